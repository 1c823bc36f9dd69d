//! What goes wrong on purpose: to transactions (refused, their answers lost, their
//! connections cut, their clients stopped), and at times (the server killed, its
//! connections ended or taken, its rows locked, the way to it longer).
//!
//! Pure: this says what is to happen; the engine lets it happen to transactions,
//! the command to servers.

mod share;

pub use share::Share;

use crate::db::relay::Cut;
use crate::db::{DbError, ErrorClass};
use crate::text;
use rand::Rng;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// What happens to a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It answers with an error instead of being carried out.
    Fail,
    /// It is carried out, and its answer is lost.
    Lose,
    /// It is carried out, and then the client stops for good.
    Crash,
    /// The client stops for good between two of its statements.
    Die,
    /// Its connection is cut around what completes it.
    Cut(Cut),
}

impl Mishap {
    const ALL: [Self; 7] = [
        Self::Fail,
        Self::Lose,
        Self::Crash,
        Self::Die,
        Self::Cut(Cut::Before),
        Self::Cut(Cut::During),
        Self::Cut(Cut::After),
    ];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Lose => "lose",
            Self::Crash => "crash",
            Self::Die => "die",
            Self::Cut(Cut::Before) => "cut-before",
            Self::Cut(Cut::During) => "cut-during",
            Self::Cut(Cut::After) => "cut-after",
        }
    }
}

/// What happens to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// It is killed, all its processes at once, and started again.
    KillServer,
    /// It stands still for a while.
    PauseServer,
    /// It ends one of the clients' sessions.
    EndSession,
    /// Somebody takes all connections that it has left, for a while.
    TakeConnections,
    /// Somebody locks every row of the stock, for a while.
    LockRows,
    /// Its disk is full for a while.
    FillDisk,
    /// Redis is killed.
    KillRedis,
    /// Every round trip to it takes so much longer for a while.
    AddLatency(Duration),
}

impl Blow {
    const ALL: [Self; 8] = [
        Self::KillServer,
        Self::PauseServer,
        Self::EndSession,
        Self::TakeConnections,
        Self::LockRows,
        Self::FillDisk,
        Self::KillRedis,
        Self::AddLatency(Duration::ZERO),
    ];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KillServer => "kill-server",
            Self::PauseServer => "pause-server",
            Self::EndSession => "end-session",
            Self::TakeConnections => "take-connections",
            Self::LockRows => "lock-rows",
            Self::FillDisk => "fill-disk",
            Self::KillRedis => "kill-redis",
            Self::AddLatency(_) => "add-latency",
        }
    }

    /// Whether it goes on for a while.
    const fn lasts(self) -> bool {
        matches!(
            self,
            Self::PauseServer | Self::TakeConnections | Self::LockRows | Self::FillDisk | Self::AddLatency(_)
        )
    }

    /// Whether it happens to the server as a whole.
    pub const fn is_of_server(self) -> bool {
        matches!(self, Self::KillServer | Self::PauseServer | Self::FillDisk)
    }

    /// Whether only a lab server that this run has started takes it: others would miss
    /// the server, or the connections that are taken.
    pub const fn needs_lab(self) -> bool {
        self.is_of_server() || matches!(self, Self::TakeConnections)
    }
}

/// What happens to a server, and when, counted from the start of the measured
/// window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedFault {
    /// What happens.
    pub blow: Blow,
    /// When it first happens.
    pub at: Duration,
    /// How long it is from one time to the next; `None` for once.
    pub every: Option<Duration>,
    /// How long it lasts, where it does.
    pub lasts: Duration,
}

/// How long a blow lasts that names no time.
const LASTS: Duration = Duration::from_secs(2);

/// By how much a round trip can be made longer: MySQL and MariaDB hang up on whoever takes
/// longer than 10 s for a step of logging in (`connect_timeout`).
pub const LATENCY_MAX: Duration = Duration::from_secs(5);

impl TimedFault {
    /// When it happens again after it was due `last`; none if it does not. One that came
    /// due while another one lasted is left out: a server that is killed again before it
    /// has answered anybody says nothing of its clients.
    pub fn next_due(&self, last: Instant, now: Instant) -> Option<Instant> {
        let every = self.every?;
        let missed = now.saturating_duration_since(last).as_nanos() / every.as_nanos().max(1);
        let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        last.checked_add(every.checked_mul(steps)?)
    }

    fn parse(mut blow: Blow, when: &str) -> Result<Self, String> {
        let (when, added) = match when.split_once('+') {
            Some((when, added)) => (when, Some(added)),
            None => (when, None),
        };
        match (&mut blow, added) {
            (Blow::AddLatency(latency), Some(added)) => {
                *latency = text::duration(added)?;
                if latency.is_zero() || *latency > LATENCY_MAX {
                    return Err(format!("`+{added}` is not a time above 0 and up to 5s"));
                }
            }
            (Blow::AddLatency(_), None) => return Err("say how much longer, as in +20ms".to_owned()),
            (_, Some(added)) => return Err(format!("{} adds nothing: leave `+{added}` out", blow.as_str())),
            (_, None) => {}
        }
        let (when, lasts) = match when.split_once(':') {
            Some((when, lasts)) if blow.lasts() => (when, text::duration(lasts)?),
            Some((_, lasts)) => {
                return Err(format!("{} takes no time: leave `:{lasts}` out", blow.as_str()));
            }
            None => (when, LASTS),
        };
        let (at, every) = match when.split_once('/') {
            Some((at, every)) => (at, Some(text::duration(every)?)),
            None => (when, None),
        };
        if every.is_some_and(|every| every.is_zero()) {
            return Err(format!("{} cannot happen every 0s", blow.as_str()));
        }
        if every.is_some() && blow == Blow::KillRedis {
            return Err("it is not started again: leave the second time out".to_owned());
        }
        Ok(Self { blow, at: text::duration(at)?, every, lasts })
    }
}

impl fmt::Display for TimedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.blow.as_str(), humantime::format_duration(self.at))?;
        if let Some(every) = self.every {
            write!(f, "/{}", humantime::format_duration(every))?;
        }
        if self.blow.lasts() {
            write!(f, ":{}", humantime::format_duration(self.lasts))?;
        }
        if let Blow::AddLatency(added) = self.blow {
            write!(f, "+{}", humantime::format_duration(added))?;
        }
        Ok(())
    }
}

/// One fault, as the command line and files write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultSpec {
    /// `fail@TRANSACTION:5%`
    Transaction {
        /// What happens to it.
        mishap: Mishap,
        /// Its name in the strategy's file, or `*` for any.
        transaction: String,
        /// How often.
        share: Share,
    },
    /// `kill-redis@500`
    KillRedis {
        /// After this many answered orders.
        after: u64,
    },
    /// `kill-server@5s/10s`
    Timed(TimedFault),
    /// `none`: not even what the strategy's own file asks for.
    None,
}

/// Any transaction, whatever its name.
const ANY: &str = "*";

impl FaultSpec {
    /// Whether it cuts connections on the wire.
    pub const fn cuts_wire(&self) -> bool {
        matches!(self, Self::Transaction { mishap: Mishap::Cut(_), .. })
    }

    /// Whether the network to the server has to be ours for it.
    pub const fn needs_wire(&self) -> bool {
        self.cuts_wire() || matches!(self, Self::Timed(TimedFault { blow: Blow::AddLatency(_), .. }))
    }

    /// Whether no server is there while it lasts, or one that is far away.
    pub const fn needs_patience(&self) -> bool {
        let Self::Timed(timed) = self else { return false };
        !matches!(timed.blow, Blow::EndSession | Blow::LockRows | Blow::KillRedis)
    }
}

impl FromStr for FaultSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = &text::one_line(text);
        if text == "none" {
            return Ok(Self::None);
        }
        let words = || Mishap::ALL.map(Mishap::as_str).into_iter().chain(Blow::ALL.map(Blow::as_str));
        let (word, place) = text.split_once('@').ok_or_else(|| {
            let known: Vec<&str> = words().collect();
            format!("`{text}` is not a fault: expected none or FAULT@WHERE (known: {})", known.join(", "))
        })?;
        let after = place.parse().ok().filter(|after| *after > 0);
        if let (Some(after), "kill-redis") = (after, word) {
            return Ok(Self::KillRedis { after });
        }
        if let Some(blow) = Blow::ALL.into_iter().find(|blow| blow.as_str() == word) {
            let timed = TimedFault::parse(blow, place);
            return timed.map(Self::Timed).map_err(|error| {
                let (grammar, example) = match blow {
                    Blow::AddLatency(_) => ("START[/EVERY][:LASTING]+LATENCY", "5s/10s:2s+20ms"),
                    Blow::KillRedis => ("START or @ORDERS", "5s or @500"),
                    _ => ("START[/EVERY][:LASTING]", "5s/10s"),
                };
                format!("`{text}` is not {word}@{grammar}, as in {word}@{example}: {error}")
            });
        }
        let mishap = Mishap::ALL.into_iter().find(|mishap| mishap.as_str() == word).ok_or_else(|| {
            let suggestion = text::did_you_mean(word, words());
            let known: Vec<&str> = words().collect();
            format!("`{word}` is not a fault{suggestion} (known: {})", known.join(", "))
        })?;
        let (transaction, share) = match place.split_once(':') {
            None => (place, Share::ALWAYS),
            Some((transaction, share)) => (transaction, share.parse()?),
        };
        if transaction.is_empty() {
            return Err(format!("`{text}` names no transaction: expected {word}@TRANSACTION[:PCT%]"));
        }
        Ok(Self::Transaction { mishap, transaction: transaction.to_owned(), share })
    }
}

impl fmt::Display for FaultSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transaction { mishap, transaction, share } => {
                write!(f, "{}@{transaction}:{share}", mishap.as_str())
            }
            Self::KillRedis { after } => write!(f, "kill-redis@{after}"),
            Self::Timed(timed) => timed.fmt(f),
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
                && transaction != ANY
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
        self.mishaps().any(|(kind, name, share)| {
            kind == mishap && (name == ANY || transaction == Some(name)) && share.strikes(rng)
        })
    }

    fn mishaps(&self) -> impl Iterator<Item = (Mishap, &str, Share)> {
        self.specs.iter().filter_map(|spec| match spec {
            FaultSpec::Transaction { mishap, transaction, share } => {
                Some((*mishap, transaction.as_str(), *share))
            }
            FaultSpec::KillRedis { .. } | FaultSpec::Timed(_) | FaultSpec::None => None,
        })
    }

    /// Whether anything befalls transactions at all.
    pub fn strike_transactions(&self) -> bool {
        self.mishaps().next().is_some()
    }

    /// Whether connections are cut on the wire.
    pub fn cut_wires(&self) -> bool {
        self.specs.iter().any(FaultSpec::cuts_wire)
    }

    /// What happens to servers, and when.
    pub fn timed(&self) -> impl Iterator<Item = TimedFault> {
        self.specs.iter().filter_map(|spec| match spec {
            FaultSpec::Timed(timed) => Some(*timed),
            _ => None,
        })
    }

    /// After how many answered orders Redis is killed.
    pub fn kills_redis_after(&self) -> Option<u64> {
        self.specs.iter().find_map(|spec| match spec {
            FaultSpec::KillRedis { after } => Some(*after),
            FaultSpec::Transaction { .. } | FaultSpec::Timed(_) | FaultSpec::None => None,
        })
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
        for text in [
            "fail@order:5%",
            "lose@pay:100%",
            "crash@deduct:1%",
            "die@*:1%",
            "cut-after@*:1%",
            "kill-redis@500",
            "kill-redis@5s",
            "kill-server@5s",
            "kill-server@500ms/10s",
            "pause-server@1m/20s:3s",
            "end-session@0s/100ms",
            "lock-rows@5s:2s",
            "fill-disk@5s:2s",
            "add-latency@5s/10s:3s+20ms",
            "none",
        ] {
            assert_eq!(text.parse::<FaultSpec>().unwrap().to_string(), text);
        }
        assert_eq!("fail@order".parse::<FaultSpec>().unwrap().to_string(), "fail@order:100%");
        assert_eq!("add-latency@1s+1ms".parse::<FaultSpec>().unwrap().to_string(), "add-latency@1s:2s+1ms");
        assert_eq!("lock-rows@5s".parse::<FaultSpec>().unwrap().to_string(), "lock-rows@5s:2s");
        for text in [
            "fail",
            "fail@",
            "burn@x",
            "fail@x:0%",
            "fail@x:101%",
            "fail@x:5",
            "kill-redis@soon",
            "kill-redis@1s/500ms",
            "kill-server@5s:2s",
            "kill-server@5s/0s",
            "kill-server@",
            "pause-server@5s:",
            "pause-server@5s:1s+1ms",
            "add-latency@5s:1s",
            "add-latency@5s+0s",
            "add-latency@5s+6s",
            "add-latency@5s+",
        ] {
            assert!(text.parse::<FaultSpec>().is_err(), "{text}");
        }
        let error = "kil-server@5s".parse::<FaultSpec>().unwrap_err();
        assert!(error.contains("did you mean \"kill-server\"?"), "{error}");
    }

    #[test]
    fn a_timed_fault_keeps_its_beat_and_leaves_out_what_it_missed() {
        let FaultSpec::Timed(fault) = "kill-server@1s/2s".parse().unwrap() else { panic!() };
        let (start, s) = (Instant::now(), Duration::from_secs);
        assert_eq!(fault.next_due(start + s(1), start + s(1)), Some(start + s(3)));
        assert_eq!(fault.next_due(start + s(1), start + s(4)), Some(start + s(5)));
        assert_eq!(fault.next_due(start + s(1), start + s(5)), Some(start + s(7)));
        let FaultSpec::Timed(busy) = "end-session@0s/1ns".parse().unwrap() else { panic!() };
        assert!(busy.next_due(start, start + s(1)).unwrap() > start + s(1));
        let FaultSpec::Timed(once) = "kill-server@1s".parse().unwrap() else { panic!() };
        assert_eq!(once.next_due(start, start), None);
    }

    #[test]
    fn a_fault_strikes_its_transaction_as_often_as_it_says() {
        let faults = Faults::new(vec!["fail@order:20%".parse().unwrap()], &["order"]).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let struck = (0..10_000).filter(|_| faults.strike(Mishap::Fail, Some("order"), &mut rng)).count();
        assert!((1_800..2_200).contains(&struck), "{struck}");
        assert!(!faults.strike(Mishap::Lose, Some("order"), &mut rng));
        assert!(!faults.strike(Mishap::Fail, Some("pay"), &mut rng));
        let any = Faults::new(vec!["cut-after@*".parse().unwrap()], &[]).unwrap();
        let cut = Mishap::Cut(Cut::After);
        assert!(any.strike(cut, None, &mut rng) && any.strike(cut, Some("pay"), &mut rng));
        assert!(any.cut_wires() && !faults.cut_wires());
        let error = Faults::new(vec!["fail@ordre".parse().unwrap()], &["order"]).unwrap_err();
        assert!(error.contains("did you mean \"order\"?"), "{error}");
    }
}
