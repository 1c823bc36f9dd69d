//! How a delivery of an order ends, and the words for it.

use crate::text;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::str::FromStr;

/// How a delivery ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every line was taken from stock.
    Deducted,
    /// Refused: not enough in stock.
    SoldOut,
    /// The order had been decided before.
    Duplicate,
    /// Taken, then given back.
    Released,
    /// A saga that was undone.
    Compensated,
    /// Done, and nothing was sold: a restock, a stock-take, a like.
    Done,
    /// Refused by concurrency control until the tries ran out.
    Conflict,
    /// The database refused for another reason; surely not applied.
    Error,
    /// Sent, and the answer was lost.
    Unknown,
    /// Never started: it was already too late.
    Skipped,
}

impl Outcome {
    /// Every outcome, in the order reports show them.
    pub const ALL: [Self; 10] = [
        Self::Deducted,
        Self::SoldOut,
        Self::Duplicate,
        Self::Released,
        Self::Compensated,
        Self::Done,
        Self::Conflict,
        Self::Error,
        Self::Unknown,
        Self::Skipped,
    ];

    /// The word used in files, JSON and on the terminal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deducted => "deducted",
            Self::SoldOut => "sold_out",
            Self::Duplicate => "duplicate",
            Self::Released => "released",
            Self::Compensated => "compensated",
            Self::Done => "done",
            Self::Conflict => "conflict",
            Self::Error => "error",
            Self::Unknown => "unknown",
            Self::Skipped => "skipped",
        }
    }

    /// Whether a program can state it as the shop's answer.
    pub const fn is_answer(self) -> bool {
        matches!(
            self,
            Self::Deducted
                | Self::SoldOut
                | Self::Duplicate
                | Self::Released
                | Self::Compensated
                | Self::Done
        )
    }

    /// The outcomes that a program can state.
    pub fn answers() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|outcome| outcome.is_answer())
    }
}

impl FromStr for Outcome {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str);
            format!("unknown outcome `{word}`, expected one of {}", text::backquoted(&known))
        })
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a client does that does not know whether its order was sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnknown {
    /// Leaves it at that.
    #[default]
    Keep,
    /// Asks again under the same order id, until there is an answer: right where the
    /// strategy decides an order once.
    SameId,
    /// Orders again, once, under an id of its own: a customer who sells himself the
    /// same thing twice.
    NewId,
}
