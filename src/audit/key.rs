//! What a shop calls a SKU or an order: a number or a text.

use crate::db::{Dialect, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An id as the database has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Key {
    /// A number.
    Int(i64),
    /// A text; several columns are joined by `/`.
    Text(Box<str>),
}

impl Key {
    /// The id in a column; `None` where it is NULL.
    pub fn of(value: &Value) -> Option<Self> {
        match value {
            Value::Null => None,
            Value::Int(number) => Some(Self::Int(*number)),
            Value::Text(text) => Some(Self::Text(text.as_str().into())),
        }
    }
}

impl Key {
    /// The id in SQL.
    pub fn literal(&self, dialect: Dialect) -> String {
        match self {
            Self::Int(number) => number.to_string(),
            Self::Text(text) => dialect.literal(text),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}
