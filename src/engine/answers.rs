//! What the clients were told, order by order: the first of the three
//! witnesses, kept in four bytes an order.

use crate::outcome::Outcome;
use crate::workload::Order;
use crate::workload::orders::OrderStream;
use parking_lot::Mutex;

/// The set of answers that the deliveries of one order were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Answers {
    given: u16,
    /// The answers that a delivery was told had been given before.
    recorded: u16,
}

impl Answers {
    /// The set of one answer.
    pub fn of(outcome: Outcome) -> Self {
        Self { given: bit(outcome), recorded: 0 }
    }

    /// Whether a delivery was given this answer.
    pub fn has(self, outcome: Outcome) -> bool {
        self.given & bit(outcome) != 0
    }

    /// Adds an answer, and the one it repeats if it says so.
    pub fn add(&mut self, outcome: Outcome, recorded: Option<Outcome>) {
        self.given |= bit(outcome);
        self.recorded |= recorded.map_or(0, bit);
    }

    /// Whether no delivery was answered.
    pub fn is_empty(self) -> bool {
        self.given == 0
    }

    /// Whether one delivery was told that the order was sold and another one
    /// that it wasn't.
    pub fn contradict(self) -> bool {
        let told = self.given | self.recorded;
        told & bit(Outcome::Deducted) != 0 && told & (bit(Outcome::SoldOut) | bit(Outcome::Compensated)) != 0
    }

    /// The answers in words.
    pub fn words(self) -> String {
        let told: Vec<&str> =
            Outcome::ALL.into_iter().filter(|outcome| self.has(*outcome)).map(Outcome::as_str).collect();
        told.join(" and ")
    }
}

fn bit(outcome: Outcome) -> u16 {
    1 << (outcome as u16)
}

/// An order and what its clients were told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldOrder {
    /// The order as it was placed.
    pub order: Order,
    /// What its deliveries were answered.
    pub answers: Answers,
}

/// The answers of a run, by the number of the order.
#[derive(Debug, Default)]
pub struct AnswerBook {
    by_number: Mutex<Vec<Answers>>,
}

impl AnswerBook {
    /// Notes the answer to the n-th order.
    pub fn note(&self, number: u64, outcome: Outcome, recorded: Option<Outcome>) {
        let index = usize::try_from(number).expect("an order number is an index");
        let mut by_number = self.by_number.lock();
        if by_number.len() <= index {
            by_number.resize((index + 1).next_power_of_two(), Answers::default());
        }
        by_number[index].add(outcome, recorded);
    }

    /// Every answered order, by ascending order id; the orders are told again
    /// from the stream instead of having been kept.
    pub fn told(self, stream: &OrderStream) -> impl Iterator<Item = ToldOrder> + Send + '_ {
        let by_number = self.by_number.into_inner();
        let mut numbers: Vec<u32> = (0..)
            .zip(&by_number)
            .filter(|(_, answers)| !answers.is_empty())
            .map(|(number, _)| number)
            .collect();
        if stream.orders().is_some() {
            numbers.sort_by_cached_key(|number| stream.order(u64::from(*number)).id);
        }
        numbers.into_iter().map(move |number| ToldOrder {
            order: stream.order(u64::from(number)),
            answers: by_number[number as usize],
        })
    }
}
