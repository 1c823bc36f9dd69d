//! The exit codes: what a script or CI learns from a run.

use std::process::ExitCode;

/// What is said where a thread cannot be started.
pub const NO_THREADS: &str = "the system gives no more threads (its limits: ulimit -u, ulimit -v)";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything held.
    Held = 0,
    /// It could not run, or could not judge.
    CouldNot = 1,
    /// Bad usage or a bad file.
    Usage = 2,
    /// The audit found a violation.
    Violation = 3,
    /// A threshold was missed.
    Threshold = 4,
    /// Interrupted, after draining and a partial report.
    Interrupted = 130,
}

impl Exit {
    /// The one that speaks first when several apply: 3 beats 130 beats 1
    /// beats 4.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let rank = |exit| match exit {
            Self::Held => 0,
            Self::Threshold => 1,
            Self::CouldNot => 2,
            Self::Interrupted => 3,
            Self::Violation => 4,
            Self::Usage => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error of the user's making: exit code 2 instead of 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Marks an error as the user's to mend.
pub fn usage(error: impl std::fmt::Display) -> anyhow::Error {
    UsageError(error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::Exit::*;

    #[test]
    fn a_violation_speaks_before_an_interruption_before_a_failure_before_a_threshold() {
        let order = [Held, Threshold, CouldNot, Interrupted, Violation];
        for (i, weaker) in order.iter().enumerate() {
            for stronger in &order[i..] {
                assert_eq!(weaker.worst(*stronger), *stronger);
                assert_eq!(stronger.worst(*weaker), *stronger);
            }
        }
    }
}
