//! Which rows of a user's large table an exploration needs: those of the SKUs that
//! are ordered.

use super::event::with_values;
use crate::db::{Dialect, Value};
use crate::strategy::Program;
use crate::strategy::access::column_that_is;
use crate::strategy::program::Slot;

/// Stands where a statement is given the SKU.
const SKU: &str = "the SKU of this line";

/// The column of a table that the program compares with the SKU of a line, or
/// fills with it.
pub fn sku_column(program: &Program, table: &str, dialect: Dialect) -> Option<String> {
    program.steps().find_map(|step| {
        let shown = |slot: &Slot| match slot {
            Slot::SkuId => Value::Text(SKU.to_owned()),
            _ => Value::Int(0),
        };
        let binds: Vec<Value> = step.binds.iter().map(shown).collect();
        column_that_is(&with_values(&step.statement.sql, &binds, dialect), SKU, table, dialect)
    })
}
