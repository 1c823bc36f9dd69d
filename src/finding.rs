//! The words for broken invariants, and for what is expected of an audit.

use crate::text;
use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Which invariant is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// More units were sold than existed.
    Oversold,
    /// The stock is higher than its ledger.
    LostUpdate,
    /// Entries were written at a balance that did not move.
    EntryWithoutMovement,
    /// The stock is lower than its ledger.
    MissingEntry,
    /// The stock is below zero.
    NegativeStock,
    /// The balances of a SKU's entries do not follow from each other.
    BalanceChain,
    /// One order, one SKU, one kind, several entries.
    DuplicateEntry,
    /// Some of an order's lines were sold and others not.
    HalfOrder,
    /// The entry's units are not the order's.
    WrongQuantity,
    /// A client was told it bought what the ledger does not know of.
    LostSale,
    /// A client was refused, and the ledger sold to it.
    RefusedButSold,
    /// An entry of an order that nobody placed.
    UnexpectedOrder,
    /// A refusal in the ledger that moved stock.
    RejectedMoved,
    /// A client was told its order had been decided, and the ledger has none.
    DuplicateWithoutEntry,
    /// An order was refused while enough was there all the time.
    Undersold,
    /// A SKU in the ledger that has no stock row.
    UnknownSku,
    /// One order was given two answers that cannot both be true.
    TwoAnswers,
    /// An order gave back more than it had taken.
    DoubleRelease,
    /// A reservation was both confirmed and released.
    ConfirmedAndReleased,
    /// A reservation that was neither confirmed nor released.
    UnsettledReservation,
    /// A row of one of the strategy's own invariants.
    Invariant,
    /// Every retry repeated what had just been refused.
    FutileRetry,
}

impl FindingKind {
    /// Every kind, in the order reports show them.
    pub const ALL: [Self; 22] = [
        Self::Oversold,
        Self::LostUpdate,
        Self::EntryWithoutMovement,
        Self::MissingEntry,
        Self::NegativeStock,
        Self::BalanceChain,
        Self::DuplicateEntry,
        Self::HalfOrder,
        Self::WrongQuantity,
        Self::LostSale,
        Self::RefusedButSold,
        Self::UnexpectedOrder,
        Self::RejectedMoved,
        Self::DuplicateWithoutEntry,
        Self::Undersold,
        Self::UnknownSku,
        Self::TwoAnswers,
        Self::DoubleRelease,
        Self::ConfirmedAndReleased,
        Self::UnsettledReservation,
        Self::Invariant,
        Self::FutileRetry,
    ];

    /// The word in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Oversold => "oversold",
            Self::LostUpdate => "lost_update",
            Self::EntryWithoutMovement => "entry_without_movement",
            Self::MissingEntry => "missing_entry",
            Self::NegativeStock => "negative_stock",
            Self::BalanceChain => "balance_chain",
            Self::DuplicateEntry => "duplicate_entry",
            Self::HalfOrder => "half_order",
            Self::WrongQuantity => "wrong_quantity",
            Self::LostSale => "lost_sale",
            Self::RefusedButSold => "refused_but_sold",
            Self::UnexpectedOrder => "unexpected_order",
            Self::RejectedMoved => "rejected_moved",
            Self::DuplicateWithoutEntry => "duplicate_without_entry",
            Self::Undersold => "undersold",
            Self::UnknownSku => "unknown_sku",
            Self::TwoAnswers => "two_answers",
            Self::DoubleRelease => "double_release",
            Self::ConfirmedAndReleased => "confirmed_and_released",
            Self::UnsettledReservation => "unsettled_reservation",
            Self::Invariant => "invariant",
            Self::FutileRetry => "futile_retry",
        }
    }
}

impl FromStr for FindingKind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
            let known: Vec<&str> = std::iter::once("nothing").chain(Self::ALL.map(Self::as_str)).collect();
            let suggestion = text::did_you_mean(word, known.iter().copied());
            format!("unknown finding `{word}`{suggestion} (known: {})", text::backquoted(&known))
        })
    }
}

/// A finding that must be made, or the word `nothing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedFinding {
    /// The audit must pass.
    Nothing,
    /// A finding of this kind, whatever else is found with it.
    Kind(FindingKind),
}

impl ExpectedFinding {
    /// The word in files and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Kind(kind) => kind.as_str(),
        }
    }
}

impl<'de> Deserialize<'de> for ExpectedFinding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word == "nothing" {
            return Ok(Self::Nothing);
        }
        word.parse().map(Self::Kind).map_err(de::Error::custom)
    }
}
