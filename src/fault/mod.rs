//! What goes wrong on purpose: which transactions are refused, whose answers
//! are lost, where a client stops for good, and when Redis is killed.
//!
//! Pure: this says what is to happen; the engine lets it happen.

use crate::db::{DbError, ErrorClass};
use crate::text;
use crate::workload::chance;
use rand::Rng;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;

/// What happens to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It answers with an error instead of being carried out.
    Fail,
    /// It is carried out, and its answer is lost.
    Lose,
    /// It is carried out, and then the client stops for good.
    Crash,
}

impl Mishap {
    const ALL: [Self; 3] = [Self::Fail, Self::Lose, Self::Crash];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Lose => "lose",
            Self::Crash => "crash",
        }
    }
}

/// One fault, as the command line and files write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultSpec {
    /// `fail@TRANSACTION:5%`
    Transaction {
        /// What happens to it.
        mishap: Mishap,
        /// Its name in the strategy's file.
        transaction: String,
        /// How often, in percent, from 1 to 100.
        percent: u8,
    },
    /// `kill-redis@500`
    KillRedis {
        /// After this many answered orders.
        after: u64,
    },
    /// `none`: not even what the strategy's own file asks for.
    None,
}

const SHAPES: &str =
    "fail@TRANSACTION[:PCT%], lose@TRANSACTION[:PCT%], crash@TRANSACTION[:PCT%], kill-redis@ORDERS or none";

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is not a fault: expected {SHAPES}");
        if text == "none" {
            return Ok(Self::None);
        }
        let (word, place) = text.split_once('@').ok_or_else(unknown)?;
        if word == "kill-redis" {
            let after = place.parse().ok().filter(|after| *after > 0);
            let after = after.ok_or_else(|| format!("`{place}` is not a number of orders from 1"))?;
            return Ok(Self::KillRedis { after });
        }
        let mishap = Mishap::ALL.into_iter().find(|mishap| mishap.as_str() == word).ok_or_else(unknown)?;
        let (transaction, percent) = match place.split_once(':') {
            None => (place, 100),
            Some((transaction, share)) => {
                let percent = share.strip_suffix('%').and_then(|number| number.parse().ok());
                let percent = percent.filter(|percent| (1..=100).contains(percent));
                (transaction, percent.ok_or_else(|| format!("`{share}` is not a share from 1% to 100%"))?)
            }
        };
        if transaction.is_empty() {
            return Err(unknown());
        }
        Ok(Self::Transaction { mishap, transaction: transaction.to_owned(), percent })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction { mishap, transaction, percent } => {
                write!(f, "{}@{transaction}:{percent}%", mishap.as_str())
            }
            Self::KillRedis { after } => write!(f, "kill-redis@{after}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl<'de> Deserialize<'de> for FaultSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The faults of a run.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    specs: Vec<FaultSpec>,
}

impl Faults {
    /// Faults on the transactions with these names.
    ///
    /// # Errors
    /// A fault names a transaction that no program has.
    pub fn new(mut specs: Vec<FaultSpec>, transactions: &[&str]) -> Result<Self, String> {
        specs.retain(|spec| *spec != FaultSpec::None);
        for spec in &specs {
            if let FaultSpec::Transaction { transaction, .. } = spec
                && !transactions.contains(&transaction.as_str())
            {
                let suggestion = text::did_you_mean(transaction, transactions.iter().copied());
                let known = if transactions.is_empty() {
                    "none of its transactions has a name".to_owned()
                } else {
                    format!("known: {}", text::backquoted(transactions))
                };
                return Err(format!("--fault {spec}: no transaction `{transaction}`{suggestion} ({known})"));
            }
        }
        Ok(Self { specs })
    }

    /// Whether this mishap befalls a transaction this time.
    pub fn strike(&self, mishap: Mishap, transaction: Option<&str>, rng: &mut impl Rng) -> bool {
        let Some(transaction) = transaction else { return false };
        self.specs.iter().any(|spec| match spec {
            FaultSpec::Transaction { mishap: kind, transaction: name, percent } => {
                *kind == mishap && name == transaction && chance(*percent, rng)
            }
            FaultSpec::KillRedis { .. } | FaultSpec::None => false,
        })
    }

    /// Whether anything befalls transactions at all.
    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// After how many answered orders Redis is killed.
    pub fn kills_redis_after(&self) -> Option<u64> {
        self.specs.iter().find_map(|spec| match spec {
            FaultSpec::KillRedis { after } => Some(*after),
            FaultSpec::Transaction { .. } | FaultSpec::None => None,
        })
    }

    /// The faults as they were written.
    pub fn specs(&self) -> Vec<String> {
        self.specs.iter().map(ToString::to_string).collect()
    }
}

/// The error that a failing service answers with.
pub fn failed() -> DbError {
    let message = "failed on purpose (--fault fail@…)".to_owned();
    DbError { class: ErrorClass::Statement, code: "fault-fail".to_owned(), message }
}

/// What a client sees whose answer is lost.
pub fn answer_lost() -> DbError {
    let message = "answer lost on purpose (--fault lose@…)".to_owned();
    DbError { class: ErrorClass::Lost, code: "fault-lose".to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    #[test]
    fn faults_are_read_and_written_alike_and_bad_ones_refused() {
        for text in ["fail@order:5%", "lose@pay:100%", "crash@deduct:1%", "kill-redis@500", "none"] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
        assert_eq!("fail@order".parse::<FaultSpec>().unwrap().to_string(), "fail@order:100%");
        for text in ["fail", "fail@", "burn@x", "fail@x:0%", "fail@x:101%", "fail@x:5", "kill-redis@soon"] {
            assert!(text.parse::<FaultSpec>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_fault_strikes_its_transaction_as_often_as_it_says() {
        let faults = Faults::new(vec!["fail@order:20%".parse().unwrap()], &["order"]).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let struck = (0..10_000).filter(|_| faults.strike(Mishap::Fail, Some("order"), &mut rng)).count();
        assert!((1_800..2_200).contains(&struck), "{struck}");
        assert!(!faults.strike(Mishap::Lose, Some("order"), &mut rng));
        assert!(!faults.strike(Mishap::Fail, Some("pay"), &mut rng));
        let error = Faults::new(vec!["fail@ordre".parse().unwrap()], &["order"]).unwrap_err();
        assert!(error.contains("did you mean \"order\"?"), "{error}");
    }
}
