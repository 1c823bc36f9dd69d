//! What the clients were told, order by order: the first of the three
//! witnesses, kept in a byte an order.

use crate::outcome::Outcome;
use crate::workload::Order;
use crate::workload::orders::OrderStream;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};

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
    /// The order whose answer was lost, and which this one repeats under an id of
    /// its own.
    pub retry_of: Option<i64>,
}

/// The answers of a run, by the number of the order: a byte for each, because a
/// run of an hour has millions of them and few different sets of answers.
#[derive(Debug, Default)]
pub struct AnswerBook {
    book: Mutex<Book>,
    /// Of orders that were ordered again under a new id, by the number of the first.
    again: Mutex<BTreeMap<u64, Answers>>,
}

/// Orders in one piece of memory: growing never copies what is there.
const PAGE: usize = 1 << 16;

/// What stands for a set that came when all other codes were taken.
const RARE: u8 = u8::MAX;

#[derive(Debug, Default)]
struct Book {
    /// The sets that were met; a code is a position here plus one, 0 is none.
    sets: Vec<Answers>,
    pages: Vec<Box<[u8]>>,
    rare: HashMap<usize, Answers>,
}

impl Book {
    fn get(&self, index: usize) -> Answers {
        match self.pages.get(index / PAGE).map_or(0, |page| page[index % PAGE]) {
            0 => Answers::default(),
            RARE => self.rare.get(&index).copied().unwrap_or_default(),
            code => self.sets[usize::from(code) - 1],
        }
    }

    fn set(&mut self, index: usize, answers: Answers) {
        let known = self.sets.iter().position(|set| *set == answers);
        let position = known.unwrap_or(self.sets.len());
        let code = u8::try_from(position + 1).unwrap_or(RARE);
        if code == RARE {
            self.rare.insert(index, answers);
        } else if known.is_none() {
            self.sets.push(answers);
        }
        while self.pages.len() <= index / PAGE {
            self.pages.push(vec![0; PAGE].into());
        }
        self.pages[index / PAGE][index % PAGE] = code;
    }
}

impl AnswerBook {
    /// Notes the answer to the n-th order.
    pub fn note(&self, number: u64, outcome: Outcome, recorded: Option<Outcome>) {
        let index = usize::try_from(number).expect("an order number is an index");
        let mut book = self.book.lock();
        let mut answers = book.get(index);
        answers.add(outcome, recorded);
        book.set(index, answers);
    }

    /// Notes the answer to the n-th order when it was ordered again under a new id.
    pub fn note_again(&self, number: u64, outcome: Outcome, recorded: Option<Outcome>) {
        self.again.lock().entry(number).or_default().add(outcome, recorded);
    }

    /// Every answered order, by ascending order id; the orders are told again
    /// from the stream instead of having been kept.
    pub fn told(self, stream: &OrderStream) -> impl Iterator<Item = ToldOrder> + Send + '_ {
        let again = self.again.into_inner().into_iter().map(|(number, answers)| {
            let retry_of = Some(stream.order(number).id);
            ToldOrder { order: stream.order_again(number), answers, retry_of }
        });
        let book = self.book.into_inner();
        let numbers = 0..book.pages.len() * PAGE;
        let order = |number: usize| stream.order(number as u64);
        // Ids of made-up orders ascend with their numbers; a file's need not.
        let in_order: Box<dyn Iterator<Item = usize> + Send> = if stream.orders().is_some() {
            let mut answered: Vec<usize> = numbers.filter(|number| !book.get(*number).is_empty()).collect();
            answered.sort_by_cached_key(|number| order(*number).id);
            Box::new(answered.into_iter())
        } else {
            Box::new(numbers)
        };
        let first = in_order.filter_map(move |number| {
            let answers = book.get(number);
            (!answers.is_empty()).then(|| ToldOrder { order: order(number), answers, retry_of: None })
        });
        // Their ids are above all others.
        first.chain(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_an_order_holds_every_set_of_answers() {
        let book = AnswerBook::default();
        book.note(3, Outcome::Unknown, None);
        book.note(3, Outcome::Duplicate, Some(Outcome::Deducted));
        book.note(PAGE as u64 + 1, Outcome::SoldOut, None);
        // More different sets than a byte can count.
        let mut sets = Vec::new();
        for set in 1..1_u64 << Outcome::ALL.len() {
            let number = 2 * PAGE as u64 + set;
            let given = Outcome::ALL.into_iter().filter(|outcome| set & u64::from(bit(*outcome)) != 0);
            let mut expected = Answers::default();
            for outcome in given {
                book.note(number, outcome, None);
                expected.add(outcome, None);
            }
            sets.push((usize::try_from(number).unwrap(), expected));
        }
        let book = book.book.into_inner();
        assert!(book.get(3).has(Outcome::Unknown) && book.get(3).has(Outcome::Duplicate));
        assert!(book.get(4).is_empty() && book.get(usize::MAX / 2).is_empty());
        assert!(book.get(PAGE + 1).has(Outcome::SoldOut));
        assert!(sets.len() > 1_000 && !book.rare.is_empty());
        assert!(sets.iter().all(|(index, expected)| book.get(*index) == *expected));
    }
}
