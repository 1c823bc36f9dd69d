//! Numbers that stand for balances, so that sums of them show whether a chain of balances is
//! whole: the database adds up what each entry leads to less what it comes from, and over a whole
//! chain everything between its two ends cancels out.
//!
//! A sum can only be fooled by other balances whose numbers add up to the same, so a balance
//! and its neighbours must have nothing to do with each other: each number is of 62 bits and
//! more, mixed by steps of which no two are linear in the same arithmetic.

use super::sql::{as_text, integer};
use crate::db::{Dialect, Value};
use std::ops::Sub;

/// What balances, or sums of differences of them, come to; modulo 2^64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([i64; Fingerprint::COLUMNS]);

impl Fingerprint {
    /// Columns of a query that one takes.
    pub const COLUMNS: usize = 2;

    /// The columns for a balance.
    pub fn of_balance(dialect: Dialect, balance: &str) -> [String; Self::COLUMNS] {
        parts(dialect, balance).map(|part| part.unwrap_or_else(|| "0".to_owned()))
    }

    /// The columns for a sum over entries, each of which leads from a balance to another one.
    pub fn of_entries(dialect: Dialect, from: &str, to: &str) -> [String; Self::COLUMNS] {
        let (from, to) = (parts(dialect, from), parts(dialect, to));
        let mut both = from.into_iter().zip(to);
        std::array::from_fn(|_| match both.next() {
            // As text: a sum of many has more than 64 bits.
            Some((Some(from), Some(to))) => as_text(dialect, &format!("COALESCE(SUM({to} - {from}), 0)")),
            _ => "0".to_owned(),
        })
    }

    /// Reads it out of these columns.
    pub fn read(columns: &[Value]) -> Self {
        let mut columns = columns.iter();
        Self(std::array::from_fn(|_| columns.next().map_or(0, low_bits)))
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|part| self.0[part].wrapping_add(other.0[part])))
    }
}

impl Sub for Fingerprint {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|part| self.0[part].wrapping_sub(other.0[part])))
    }
}

/// A whole number modulo 2^64.
fn low_bits(value: &Value) -> i64 {
    let number = match value {
        Value::Int(number) => return *number,
        value => value.to_text().parse::<i128>().unwrap_or(0),
    };
    let low = number & i128::from(u64::MAX);
    u64::try_from(low).unwrap_or(0).cast_signed()
}

/// The numbers that stand for a balance. The difference of two of them is of 64 bits.
fn parts(dialect: Dialect, balance: &str) -> [Option<String>; Fingerprint::COLUMNS] {
    let balance = format!("({balance})");
    match dialect {
        Dialect::Postgres => {
            // The server's hash of 64 bits folds its input to 32 bits, and takes a seed, which it
            // does not fold.
            let balance = integer(dialect, &balance);
            [Some(format!("(hashint8extended({balance}, {balance}) >> 1)")), None]
        }
        Dialect::MySql | Dialect::MariaDb => {
            // CRC-32 is linear in bits, products are linear in numbers: a product of both is
            // neither. What is hashed are the digits of a product.
            let spread = format!("((({balance} & 4294967295) * 2654435761) ^ ({balance} >> 32))");
            let mixed = format!("CRC32({spread}) * (({spread} >> 17) & 2147483647)");
            [Some(format!("CAST({mixed} AS SIGNED)")), None]
        }
        Dialect::Sqlite | Dialect::Null => {
            // No hash there, and sums that must stay within 64 bits: two numbers of 31 bits,
            // squared twice modulo primes that have nothing to do with each other.
            let squared_twice = |[scale, shift, first, second, third]: [u64; 5]| {
                let spread = format!("({balance} % {first} * {scale} + {shift}) % {first}");
                let once = format!("(({spread}) * ({spread}) % {second})");
                Some(format!("({once} * {once} % {third})"))
            };
            [
                squared_twice([1_103_515_245, 1_318_699, 2_147_483_629, 2_147_483_587, 2_147_483_647]),
                squared_twice([1_566_083_941, 7_450_657, 2_147_483_579, 2_147_483_563, 2_147_483_549]),
            ]
        }
    }
}
