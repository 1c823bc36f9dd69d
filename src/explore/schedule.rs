//! A schedule: who moves when. It is data: printed with every result, and
//! given back to see the same thing again.

use crate::text;
use std::fmt;
use std::str::FromStr;

/// One client does its next step, or none any more. Clients count from 0 here
/// and from 1 for everybody who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Move {
    /// The client sends its next statement.
    Step(usize),
    /// The client stops for good.
    Crash(usize),
}

impl Move {
    /// Who moves.
    pub const fn client(self) -> usize {
        match self {
            Self::Step(client) | Self::Crash(client) => client,
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(client) => write!(f, "{}", client + 1),
            Self::Crash(client) => write!(f, "x{}", client + 1),
        }
    }
}

/// Moves in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule(pub Vec<Move>);

impl Schedule {
    /// How often another client goes on than the one that moved last, while that
    /// one had something left to do.
    pub fn switches(&self) -> usize {
        let moves = &self.0;
        let is_left = |at: &usize| {
            let client = moves[*at - 1].client();
            moves[*at].client() != client && moves[*at..].iter().any(|later| later.client() == client)
        };
        (1..moves.len()).filter(is_left).count()
    }

    /// Schedules with one move made earlier or later, right after another one of
    /// its client.
    pub fn neighbours(&self) -> Vec<Self> {
        let moves = &self.0;
        let mut neighbours = Vec::new();
        for from in 0..moves.len() {
            for to in 0..moves.len() {
                let mut changed = moves.clone();
                let taken = changed.remove(from);
                changed.insert(to, taken);
                let changed = Self(changed);
                let keeps_order = (0..super::CLIENTS_MAX).all(|client| {
                    let of = |schedule: &Self| -> Vec<Move> {
                        schedule.0.iter().copied().filter(|each| each.client() == client).collect()
                    };
                    of(self) == of(&changed)
                });
                if keeps_order && changed != *self && changed.switches() < self.switches() {
                    neighbours.push(changed);
                }
            }
        }
        neighbours.sort_by_key(Self::effort);
        neighbours.dedup();
        neighbours
    }

    /// What is compared to find the schedule that is understood at once: the
    /// fewest switches, then the fewest moves.
    pub fn effort(&self) -> (usize, usize) {
        (self.switches(), self.0.len())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, next) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            next.fmt(f)?;
        }
        Ok(())
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text::one_line(text);
        let parse = |word: &str| {
            let (digits, is_crash) = word.strip_prefix('x').map_or((word, false), |rest| (rest, true));
            let number =
                digits.parse::<usize>().ok().filter(|number| (1..=super::CLIENTS_MAX).contains(number));
            let Some(client) = number.map(|number| number - 1) else {
                return Err(format!(
                    "`{word}` is no move: a client's number from 1 to {}, or x and its number where it stops",
                    super::CLIENTS_MAX
                ));
            };
            Ok(if is_crash { Move::Crash(client) } else { Move::Step(client) })
        };
        let moves: Vec<Move> =
            text.split([' ', ',']).filter(|word| !word.is_empty()).map(parse).collect::<Result<_, _>>()?;
        if moves.is_empty() { Err("a schedule needs a move".to_owned()) } else { Ok(Self(moves)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_reads_as_it_is_written() {
        let schedule: Schedule = "1 1 2 x1 2".parse().unwrap();
        assert_eq!(schedule.0[3], Move::Crash(0));
        assert_eq!(schedule.to_string(), "1 1 2 x1 2");
        assert_eq!("1,1,2,x1,2".parse(), Ok(schedule));
        for bad in ["", "0", "1 x", "1;2", "9"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_leaving_a_client_in_the_middle_is_a_switch() {
        let switches = |text: &str| text.parse::<Schedule>().unwrap().switches();
        assert_eq!(switches("1 1 2 2"), 0);
        assert_eq!(switches("1 2 2 1"), 1);
        assert_eq!(switches("1 2 1 2"), 2);
    }
}
