//! Where a chain of balances breaks first: the entry, and its neighbours.
//! Pure; fed with all entries of one SKU in their sequence.

use crate::audit::findings::Evidence;
use crate::audit::{Entry, Key};
use std::collections::HashMap;

/// An entry and its id in the ledger.
#[derive(Debug, Clone)]
pub struct Traced {
    /// Its id, empty where none is mapped.
    pub id: String,
    /// Whether an order is named.
    pub has_order: bool,
    /// What it says.
    pub entry: Entry<Key>,
    /// When, as the database has it.
    pub at: Option<String>,
}

/// What the trace of a SKU shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// When a chain broke first and last, where entries have a time.
    pub at: Option<(String, String)>,
    /// The first entry that does not follow, with its neighbours.
    pub evidence: Vec<Evidence>,
    /// The first entry that led below zero.
    pub below_zero: Option<Evidence>,
    /// When entries led below zero, first and last.
    pub below_zero_at: Option<(String, String)>,
}

impl Traced {
    fn evidence(&self, role: &'static str) -> Evidence {
        Evidence {
            role: role.into(),
            entry_id: self.id.clone(),
            order_id: self.has_order.then(|| self.entry.order_id.clone()),
            kind: self.entry.kind.clone(),
            delta: self.entry.delta,
            balance: self.entry.balance,
            at: self.at.clone(),
        }
    }

    /// The balances before and after it, if it moved and says so.
    fn step(&self) -> Option<(i64, i64)> {
        let (entry, balance) = (&self.entry, self.entry.balance?);
        (entry.delta != 0 && !entry.rejected).then(|| (balance.saturating_sub(entry.delta), balance))
    }
}

/// How much more often each balance is continued from than reached.
fn surplus(entries: &[Traced]) -> HashMap<i64, i64> {
    let mut surplus = HashMap::new();
    for (before, after) in entries.iter().filter_map(Traced::step) {
        *surplus.entry(before).or_default() += 1;
        *surplus.entry(after).or_default() -= 1;
    }
    surplus
}

/// Where the chain of a ledger without opening entries begins: at the first
/// balance that is continued from and that too few entries lead to.
pub fn derived_opening(entries: &[Traced]) -> i64 {
    let surplus = surplus(entries);
    let mut befores = entries.iter().filter_map(|entry| Some(entry.step()?.0));
    let first = befores.clone().next();
    befores.find(|before| surplus.get(before).is_some_and(|surplus| *surplus > 0)).or(first).unwrap_or(0)
}

/// Follows the entries of one SKU from `start`. Entries may be out of order (a
/// sequence is given before a transaction commits): only balances that are
/// continued from more often than they are reached count as breaks, and of
/// their entries the first that finds none left is shown.
pub fn trace(entries: &[Traced], start: i64) -> Trace {
    let mut surplus = surplus(entries);
    *surplus.entry(start).or_default() -= 1;
    let mut free: HashMap<i64, i64> = HashMap::from([(start, 1)]);
    let mut breaks: Vec<usize> = Vec::new();
    for (index, (before, after)) in
        entries.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.step()?)))
    {
        let left = free.entry(before).or_default();
        if *left > 0 {
            *left -= 1;
        } else if let Some(too_many) = surplus.get_mut(&before).filter(|too_many| **too_many > 0) {
            *too_many -= 1;
            breaks.push(index);
        } else {
            // It comes before the entry that it follows.
            *left -= 1;
        }
        *free.entry(after).or_default() += 1;
    }
    let mut found = Trace { at: span(entries, breaks.iter().copied()), ..Trace::default() };
    if let Some((&first, (before, _))) =
        breaks.first().and_then(|first| Some((first, entries[*first].step()?)))
    {
        let leads_here =
            entries[..first].iter().rfind(|entry| entry.step().is_some_and(|(_, to)| to == before));
        let sibling =
            entries[..first].iter().rfind(|entry| entry.step().is_some_and(|(from, _)| from == before));
        let previous = entries[..first].iter().rfind(|entry| entry.step().is_some());
        let next = entries[first + 1..].iter().find(|entry| entry.step().is_some());
        let mut shown: Vec<(&Traced, &'static str)> = Vec::new();
        shown.extend(leads_here.map(|entry| (entry, "leads to this balance")));
        shown.extend(sibling.map(|entry| (entry, "continues from it")));
        if sibling.is_none() {
            shown.extend(previous.map(|entry| (entry, "the entry before")));
        }
        let divergent = if sibling.is_some() {
            "continues from it as well"
        } else {
            "continues from a balance no entry leads to"
        };
        shown.push((&entries[first], divergent));
        shown.extend(next.map(|entry| (entry, "the entry after")));
        shown.dedup_by(|one, other| std::ptr::eq(one.0, other.0));
        found.evidence = shown.into_iter().map(|(entry, role)| entry.evidence(role)).collect();
    }
    let below: Vec<usize> = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.step().is_some_and(|(_, after)| after < 0))
        .map(|(index, _)| index)
        .collect();
    found.below_zero = below.first().map(|first| entries[*first].evidence("leads below zero"));
    found.below_zero_at = span(entries, below.into_iter());
    found
}

/// The first and the last moment of some entries.
fn span(entries: &[Traced], indexes: impl Iterator<Item = usize>) -> Option<(String, String)> {
    let moments = indexes.filter_map(|index| entries[index].at.clone());
    moments.fold(None, |span: Option<(String, String)>, at| {
        Some(match span {
            None => (at.clone(), at),
            Some((first, last)) => (first.min(at.clone()), last.max(at)),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(steps: &[(i64, i64)]) -> Vec<Traced> {
        let traced = |(index, (delta, balance)): (usize, &(i64, i64))| Traced {
            id: (index + 1).to_string(),
            has_order: true,
            entry: Entry {
                order_id: Key::Int(100 + i64::try_from(index).unwrap()),
                sku_id: Key::Int(1),
                kind: "sale".to_owned(),
                rejected: false,
                delta: *delta,
                balance: Some(*balance),
                run_id: 0,
            },
            at: Some(format!("12:0{index}")),
        };
        steps.iter().enumerate().map(traced).collect()
    }

    fn shown(found: &Trace) -> Vec<(&str, &str)> {
        found.evidence.iter().map(|evidence| (evidence.entry_id.as_str(), &*evidence.role)).collect()
    }

    #[test]
    fn a_whole_chain_shows_nothing_whatever_its_order() {
        assert_eq!(trace(&entries(&[(10, 10), (-1, 9), (-1, 8), (5, 13)]), 0), Trace::default());
        assert_eq!(trace(&entries(&[(-1, 8), (10, 10), (-1, 9)]), 0), Trace::default());
        assert_eq!(trace(&entries(&[(-1, 8), (-1, 9)]), 10), Trace::default());
    }

    #[test]
    fn a_fork_is_shown_with_both_of_its_branches() {
        let found = trace(&entries(&[(10, 10), (-1, 9), (-2, 8), (-1, 7)]), 0);
        assert_eq!(
            shown(&found),
            [
                ("1", "leads to this balance"),
                ("2", "continues from it"),
                ("3", "continues from it as well"),
                ("4", "the entry after")
            ]
        );
        assert_eq!(found.at, Some(("12:02".to_owned(), "12:02".to_owned())));
    }

    #[test]
    fn a_gap_is_shown_with_what_came_before() {
        let found = trace(&entries(&[(10, 10), (-1, 9), (-1, 6), (-1, 5)]), 0);
        assert_eq!(
            shown(&found),
            [
                ("2", "the entry before"),
                ("3", "continues from a balance no entry leads to"),
                ("4", "the entry after")
            ]
        );
    }

    #[test]
    fn an_opening_balance_is_derived_whatever_the_order() {
        assert_eq!(derived_opening(&entries(&[(-1, 9), (-1, 8)])), 10);
        assert_eq!(derived_opening(&entries(&[(-1, 8), (-1, 9)])), 10);
        // Back to where it began: the first entry tells.
        assert_eq!(derived_opening(&entries(&[(-1, 9), (1, 10)])), 10);
        assert_eq!(derived_opening(&[]), 0);
    }

    #[test]
    fn the_first_entry_below_zero_is_kept() {
        let found = trace(&entries(&[(1, 1), (-2, -1), (-1, -2), (5, 3)]), 0);
        assert_eq!(found.below_zero.unwrap().entry_id, "2");
        assert_eq!(found.below_zero_at, Some(("12:01".to_owned(), "12:02".to_owned())));
        assert_eq!(found.evidence, []);
    }
}
