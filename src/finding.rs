//! The words for broken invariants, and for what is expected of an audit.

use crate::text;
use schemars::JsonSchema;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// Which invariant is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
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
    /// A client was told it bought, though a statement had failed.
    SwallowedError,
    /// One intent was sold twice: its first answer was lost, and the client ordered
    /// again under a new id.
    SoldAgain,
    /// The nodes of a cluster do not hold the same.
    NodesDiffer,
    /// Something was given back that had never been taken.
    ReleaseWithoutReserve,
    /// An entry whose order, or whose SKU, does not exist.
    Orphan,
    /// An order was refused before the stock could have run out.
    RefusedTooEarly,
    /// A client was told a balance that no correct shop could have had.
    StaleBalance,
    /// The answers contradict the order in which they were given.
    RealTime,
}

impl FindingKind {
    /// Every kind, in the order reports show them.
    pub const ALL: [Self; 30] = [
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
        Self::SwallowedError,
        Self::SoldAgain,
        Self::NodesDiffer,
        Self::ReleaseWithoutReserve,
        Self::Orphan,
        Self::RefusedTooEarly,
        Self::StaleBalance,
        Self::RealTime,
    ];

    /// Whether the audit that follows a run can make it. Others rest on the
    /// times of a history file, on the tables of a shop, or on what an exploration saw.
    pub const fn is_of_a_run(self) -> bool {
        !matches!(
            self,
            Self::RefusedTooEarly
                | Self::StaleBalance
                | Self::RealTime
                | Self::SwallowedError
                | Self::Orphan
                | Self::ReleaseWithoutReserve
        )
    }

    /// Whether a strategy can have done it, and not only clients that ordered again, servers
    /// that forgot (`durable` says whether their commits survive), or a cluster's replication.
    pub fn is_of_a_strategy(self, durable: Option<bool>) -> bool {
        match self {
            Self::SoldAgain | Self::NodesDiffer => false,
            Self::LostSale => durable != Some(false),
            _ => true,
        }
    }

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
            Self::SwallowedError => "swallowed_error",
            Self::SoldAgain => "sold_again",
            Self::NodesDiffer => "nodes_differ",
            Self::ReleaseWithoutReserve => "release_without_reserve",
            Self::Orphan => "orphan",
            Self::RefusedTooEarly => "refused_too_early",
            Self::StaleBalance => "stale_balance",
            Self::RealTime => "real_time",
        }
    }
}

impl FindingKind {
    /// What a finding may mean: its candidate causes, each with what tells it
    /// from the others. What is certain is in the finding's own sentence.
    pub const fn may_mean(self) -> &'static [&'static str] {
        match self {
            Self::Oversold | Self::NegativeStock => &[
                "two orders passed the same check before either wrote (check then act): their entries are moments apart",
                "the check is missing or looks at a copy of the stock (a cache, a replica): the stock goes below zero",
                "goods arrived that were not booked: a count of the shelf finds more than the stock says",
            ],
            Self::LostUpdate => &[
                "two writers read the same balance and the later one undid the earlier: two entries continue from one balance",
                "the stock was raised past the ledger (by hand, an import, a stock-take): the chain of balances is whole",
                "the entry was written and the deduction rolled back or matched no row: no balance moves at that entry",
            ],
            Self::EntryWithoutMovement => &[
                "an UPDATE matched no row (the check or the version failed) and nobody looked at its count",
                "the deduction and its entry are in different transactions, and only the entry was committed",
            ],
            Self::MissingEntry => &[
                "the stock was lowered and the process stopped before the entry (two transactions)",
                "the stock was lowered past the ledger (by hand, an import, a stock-take)",
                "entries were deleted or archived: gaps in their ids",
            ],
            Self::BalanceChain => &[
                "two entries from one balance: concurrent writers without a lock",
                "an entry from a balance that none leads to: something moved the stock without an entry, or an entry is gone",
                "a balance written from a stale read while the stock itself was moved relatively: the sums still agree",
            ],
            Self::DuplicateEntry => &[
                "the order was delivered twice (a retry, a redelivered message) and nothing unique refused the second",
                "two lines of one order name the same SKU: map the column that tells them apart as `line`",
            ],
            Self::TwoAnswers => &[
                "the order was tried again after a refusal, and stock had come back by then",
                "two deliveries of the order were decided independently of each other",
            ],
            Self::DoubleRelease => &[
                "two workers released the same reservation (expiry beside cancellation): releases moments apart",
                "a return was booked after the release",
            ],
            Self::SoldAgain => &[
                "the client retried under a new id: under the same one the order would have been decided once",
            ],
            Self::NodesDiffer => &[
                "replication is broken or far behind on a node: its own status tells",
                "somebody wrote on a node past the cluster (a session with wsrep_on or sql_log_bin off)",
            ],
            Self::ReleaseWithoutReserve => &[
                "the reservation was never written or was rolled back, and its release was not",
                "the release names another order or SKU than the reservation",
            ],
            Self::ConfirmedAndReleased => {
                &["expiry raced the payment: the release does not check that the reservation is still open"]
            }
            Self::UnsettledReservation => &[
                "whoever should have settled it stopped: the process died, or the sweeper does not run",
                "it is still open by right: a longer `settle_within` tells",
            ],
            Self::UnknownSku => &[
                "the SKU was deleted and its entries were kept",
                "the stock row was never written: the entry came first and the rest was rolled back",
            ],
            Self::Orphan => &[
                "the order was deleted or rolled back and its entry was not: no foreign key holds them together",
                "the entry was written before its order, in another transaction",
            ],
            Self::Undersold | Self::RefusedTooEarly => &[
                "the program looks at a part of the stock (a bucket, the rows that are not locked) and takes it for all",
                "the check reads a copy (a cache, a replica) that lags",
                "units were held by reservations or orders that were undone later and are not in the history",
            ],
            Self::StaleBalance => {
                &["the balance told to the client was read outside the lock or transaction that moved it"]
            }
            Self::RealTime => {
                &["an answer rests on a state that had already passed: a stale snapshot, a replica, a cache"]
            }
            _ => &[],
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
