//! The checker of histories against one that tries everything.

use super::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn sale(order: i64, quantity: i64, invoked: u64, returned: u64, remaining: Option<i64>) -> Sale {
    Sale { order, quantity, invoked, returned: Some(returned), is_certain: true, remaining }
}

fn unknown(order: i64, quantity: i64, invoked: u64) -> Sale {
    Sale { order, quantity, invoked, returned: None, is_certain: false, remaining: None }
}

fn refusal(order: i64, quantity: i64, invoked: u64, returned: u64) -> Refusal {
    Refusal { order, quantity, invoked, returned, is_alone: true }
}

fn restock(order: i64, delta: i64, invoked: u64, returned: u64) -> Movement {
    Movement { order, delta, invoked, returned: Some(returned), follows_sale: false }
}

fn history(opening: i64, sales: &[Sale], refusals: &[Refusal], movements: &[Movement]) -> SkuHistory {
    SkuHistory {
        opening,
        floor: 0,
        sales: sales.to_vec(),
        refusals: refusals.to_vec(),
        movements: movements.to_vec(),
    }
}

/// What is found where only sales move the stock.
fn kinds(opening: i64, sales: &[Sale], refusals: &[Refusal]) -> Vec<(FindingKind, i64)> {
    of(&mut history(opening, sales, refusals, &[]))
}

fn of(history: &mut SkuHistory) -> Vec<(FindingKind, i64)> {
    let checked = check(history);
    assert!(!checked.is_undecided);
    checked.flaws.into_iter().map(|flaw| (flaw.kind, flaw.order)).collect()
}

#[test]
fn a_refusal_while_enough_was_there_is_found_and_told_from_one_too_early() {
    let sales = [sale(1, 2, 10, 20, None)];
    assert_eq!(kinds(5, &sales, &[refusal(2, 3, 0, 30)]), [(FindingKind::Undersold, 2)]);
    assert_eq!(kinds(5, &sales, &[refusal(2, 4, 0, 5)]), [(FindingKind::RefusedTooEarly, 2)]);
    // The sale may have come first.
    assert_eq!(kinds(5, &sales, &[refusal(2, 4, 0, 10)]), []);
}

#[test]
fn balances_that_form_no_chain_are_stale() {
    let sales = [sale(1, 1, 0, 9, Some(4)), sale(2, 1, 0, 9, Some(4))];
    assert_eq!(kinds(5, &sales, &[]), [(FindingKind::StaleBalance, 2)]);
}

#[test]
fn a_balance_from_the_future_contradicts_the_clock() {
    // Answered before the sale was placed that it says came first.
    let sales = [sale(1, 1, 0, 5, Some(3)), sale(2, 1, 10, 20, Some(4))];
    assert_eq!(kinds(5, &sales, &[]), [(FindingKind::RealTime, 1)]);
}

#[test]
fn balances_show_refusals_that_times_alone_would_excuse() {
    // Sale 1 came second, after sale 2 was placed at 50.
    let sales = [sale(1, 1, 0, 60, Some(0)), sale(2, 1, 50, 60, Some(1))];
    assert_eq!(kinds(2, &sales, &[refusal(3, 2, 0, 40)]), [(FindingKind::RefusedTooEarly, 3)]);
    let silent = sales.map(|sale| Sale { remaining: None, ..sale });
    assert_eq!(kinds(2, &silent, &[refusal(3, 2, 0, 40)]), []);
}

#[test]
fn what_is_not_known_weakens_what_depends_on_it_and_nothing_else() {
    assert_eq!(kinds(5, &[unknown(1, 5, 0)], &[refusal(2, 1, 1, 2)]), []);
    assert_eq!(kinds(3, &[unknown(1, 5, 0)], &[]), []);
    // Placed after the refusal was answered, it excuses nothing.
    assert_eq!(kinds(5, &[unknown(1, 5, 3)], &[refusal(2, 1, 1, 2)]), [(FindingKind::RefusedTooEarly, 2)]);

    // One balance is missing: the others are told in the wrong order all the same.
    let sales = [sale(1, 1, 0, 5, Some(2)), sale(2, 1, 10, 20, Some(4)), sale(3, 1, 0, 30, None)];
    assert_eq!(kinds(5, &sales, &[]).len(), 1);
}

#[test]
fn units_that_came_in_are_placed_in_time() {
    let sold = [sale(1, 2, 0, 10, None)];
    let refused = [refusal(2, 1, 40, 50)];
    // Came in before the refusal was asked for.
    let before = history(2, &sold, &refused, &[restock(3, 5, 20, 30)]);
    assert_eq!(of(&mut before.clone()), [(FindingKind::RefusedTooEarly, 2)]);
    let beside = history(2, &sold, &refused, &[restock(3, 5, 20, 45)]);
    assert_eq!(of(&mut beside.clone()), []);

    // Sold before the goods were there.
    let early = history(0, &[sale(1, 2, 0, 10, None)], &[], &[restock(3, 5, 20, 30)]);
    assert_eq!(of(&mut early.clone()), [(FindingKind::RealTime, 1)]);
}

#[test]
fn what_a_sale_gave_back_came_after_it() {
    let release = Movement { follows_sale: true, returned: None, ..restock(1, 3, 0, 0) };
    let sales = [sale(1, 3, 0, 50, None)];
    // At any time between, the units were away.
    assert_eq!(of(&mut history(3, &sales, &[refusal(2, 1, 10, 20)], &[release])), []);
    // A stock that can only rise explains no refusal.
    let rises = [restock(3, 3, 0, 60)];
    assert_eq!(of(&mut history(3, &[], &[refusal(2, 1, 10, 20)], &rises)).len(), 1);
}

#[test]
fn times_and_units_at_the_end_of_their_range_are_no_trouble() {
    let last = u64::MAX;
    let sales = [sale(1, i64::MAX, last - 1, last, None)];
    let restocks = [restock(3, i64::MAX, last - 1, last), restock(4, i64::MAX, 0, last)];
    let mut history = history(1, &sales, &[refusal(2, 1, last - 2, last - 2)], &restocks);
    assert_eq!(of(&mut history), [(FindingKind::RefusedTooEarly, 2)]);
    history.refusals[0].returned = last;
    assert_eq!(of(&mut history), []);
}

#[test]
fn backorders_lower_the_floor() {
    let mut history = history(1, &[sale(1, 3, 0, 10, Some(-2))], &[refusal(2, 1, 20, 30)], &[]);
    assert_eq!(of(&mut history), [(FindingKind::Oversold, 1)]);
    history.floor = -2;
    assert_eq!(of(&mut history), []);
    history.floor = -3;
    assert_eq!(of(&mut history), [(FindingKind::Undersold, 2)]);
}

/// One operation, and when, for a checker that tries everything.
#[derive(Debug, Clone, Copy)]
enum Event {
    Sold(Sale),
    Refused(Refusal),
    Moved(Movement),
}

impl Event {
    const fn invoked(self) -> u64 {
        match self {
            Self::Sold(sale) => sale.invoked,
            Self::Refused(refusal) => refusal.invoked,
            Self::Moved(movement) => movement.invoked,
        }
    }

    fn returned(self) -> u64 {
        match self {
            Self::Sold(sale) => sale.returned.unwrap_or(u64::MAX),
            Self::Refused(refusal) => refusal.returned,
            Self::Moved(movement) => movement.returned.unwrap_or(u64::MAX),
        }
    }

    const fn is_certain(self) -> bool {
        match self {
            Self::Sold(sale) => sale.is_certain,
            Self::Refused(_) | Self::Moved(_) => true,
        }
    }

    /// The stock after it, if a correct shop can have done it with this stock.
    fn after(self, stock: i64) -> Option<i64> {
        match self {
            Self::Sold(sale) => {
                let after = stock - sale.quantity;
                (after >= 0 && sale.remaining.is_none_or(|told| told == after)).then_some(after)
            }
            Self::Refused(refusal) => (stock < refusal.quantity).then_some(stock),
            Self::Moved(movement) => Some(stock + movement.delta),
        }
    }
}

/// Tries every order of the events that real time allows, with and without those that may not
/// have happened.
fn is_possible(stock: i64, left: &[Event]) -> bool {
    left.iter().all(|event| !event.is_certain())
        || (0..left.len()).any(|next| {
            let mut rest = left.to_vec();
            let event = rest.remove(next);
            // Nobody who was answered before it was placed may come later.
            let is_next = rest.iter().all(|other| other.returned() >= event.invoked());
            is_next && event.after(stock).is_some_and(|after| is_possible(after, &rest))
        })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Balances {
    All,
    Some,
    None,
}

/// What a history is made of.
#[derive(Debug, Clone, Copy)]
struct Mode {
    balances: Balances,
    unknowns: bool,
    restocks: bool,
}

impl Mode {
    fn all() -> impl Iterator<Item = Self> {
        let balances = [Balances::All, Balances::Some, Balances::None];
        balances.into_iter().flat_map(|balances| {
            [(false, false), (true, false), (false, true), (true, true)].map(|(unknowns, restocks)| Self {
                balances,
                unknowns,
                restocks,
            })
        })
    }

    fn told(self, rng: &mut ChaCha8Rng, units: i64) -> Option<i64> {
        let is_told = match self.balances {
            Balances::All => true,
            Balances::Some => rng.random_range(0..2) == 0,
            Balances::None => false,
        };
        is_told.then_some(units)
    }

    /// What a correct shop answers to an order.
    fn answer(self, rng: &mut ChaCha8Rng, stock: &mut i64, order: Sale) -> Event {
        let Sale { order: id, quantity, invoked, returned, .. } = order;
        if quantity > *stock {
            return Event::Refused(refusal(id, quantity, invoked, returned.unwrap_or(invoked)));
        }

        *stock -= quantity;
        Event::Sold(Sale { remaining: self.told(rng, *stock), ..order })
    }
}

/// An order whose answer is lost: it may have been sold.
fn lose(rng: &mut ChaCha8Rng, stock: &mut i64, order: Sale) -> Event {
    let is_applied = order.quantity <= *stock && rng.random_range(0..2) == 0;
    *stock -= if is_applied { order.quantity } else { 0 };
    Event::Sold(order)
}

/// Answers at random: mostly wrong.
fn random(rng: &mut ChaCha8Rng, mode: Mode) -> (i64, Vec<Event>) {
    let opening = rng.random_range(0..6);
    let events = (1..=rng.random_range(1..7))
        .map(|order| {
            let invoked = rng.random_range(0..12);
            let returned = invoked + rng.random_range(0..8);
            let quantity = rng.random_range(1..4);
            match rng.random_range(0..6) {
                0 | 1 => Event::Refused(refusal(order, quantity, invoked, returned)),
                2 if mode.restocks => Event::Moved(restock(order, quantity, invoked, returned)),
                3 if mode.unknowns => Event::Sold(unknown(order, quantity, invoked)),
                _ => {
                    let remaining = rng.random_range(0..5);
                    let remaining = mode.told(rng, remaining);
                    Event::Sold(sale(order, quantity, invoked, returned, remaining))
                }
            }
        })
        .collect();
    (opening, events)
}

/// What a correct shop answers when every order takes effect somewhere in its time.
fn right(rng: &mut ChaCha8Rng, mode: Mode) -> (i64, Vec<Event>) {
    let mut stock = rng.random_range(0..6);
    let opening = stock;
    let mut instants: Vec<u64> = (0..rng.random_range(1..8)).map(|_| rng.random_range(0..20)).collect();
    instants.sort_unstable();
    let events = (1..)
        .zip(instants)
        .map(|(order, instant)| {
            let quantity = rng.random_range(1..4);
            let invoked = instant - rng.random_range(0..=instant.min(5));
            let returned = instant + rng.random_range(0..6);
            let is_unknown = mode.unknowns && rng.random_range(0..3) == 0;

            if mode.restocks && rng.random_range(0..4) == 0 {
                stock += quantity;
                Event::Moved(restock(order, quantity, invoked, returned))
            } else if is_unknown {
                lose(rng, &mut stock, unknown(order, quantity, invoked))
            } else {
                mode.answer(rng, &mut stock, sale(order, quantity, invoked, returned, None))
            }
        })
        .collect();
    (opening, events)
}

/// Makes one answer another one: the hard case.
fn change(rng: &mut ChaCha8Rng, events: &mut [Event]) {
    let changed = rng.random_range(0..events.len());
    events[changed] = match events[changed] {
        Event::Sold(sale) => {
            let returned = sale.returned.unwrap_or(sale.invoked);
            Event::Refused(refusal(sale.order, sale.quantity, sale.invoked, returned))
        }
        Event::Refused(refused) => {
            let shorter = refused.returned - (refused.returned - refused.invoked) / 2;
            Event::Refused(Refusal { returned: shorter, ..refused })
        }
        Event::Moved(moved) => Event::Moved(Movement { delta: moved.delta + 1, ..moved }),
    };
}

fn of_events(opening: i64, events: &[Event]) -> SkuHistory {
    let mut history = history(opening, &[], &[], &[]);
    for event in events {
        match event {
            Event::Sold(sale) => history.sales.push(*sale),
            Event::Refused(refusal) => history.refusals.push(*refusal),
            Event::Moved(movement) => history.movements.push(*movement),
        }
    }
    history
}

#[test]
fn the_verdict_is_that_of_trying_everything() {
    for (number, mode) in (0..).zip(Mode::all()) {
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let mut counts = [0; 2];
        for round in 0..20_000 {
            let (opening, mut events) =
                if round % 3 == 0 { random(&mut rng, mode) } else { right(&mut rng, mode) };
            if round % 3 == 2 {
                change(&mut rng, &mut events);
            }

            let checked = check(&mut of_events(opening, &events));
            let is_possible = is_possible(opening, &events);
            assert!(!checked.is_undecided, "{mode:?}, round {round}: {opening} {events:?}");
            assert_eq!(
                checked.flaws.is_empty(),
                is_possible,
                "{mode:?}, round {round}: {opening} {events:?}: {checked:?}"
            );
            assert!(round % 3 != 1 || is_possible, "{mode:?}, round {round}: a correct shop is accused");
            counts[usize::from(is_possible)] += 1;
        }
        assert!(counts.iter().all(|count| *count > 2_000), "{mode:?}: each side is tried: {counts:?}");
    }
}

#[test]
fn a_long_history_of_a_correct_shop_is_explained() {
    for mode in Mode::all() {
        // Where balances, restocks and answers that nobody knows come together, a search may have
        // to be given up with as few as eight clients.
        let is_hard = mode.restocks && mode.balances != Balances::None;
        let clients = match (is_hard, mode.unknowns) {
            (true, true) => continue,
            (true, false) => 8,
            (false, true) if mode.restocks => 4,
            (false, _) => 100,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (opening, events) = busy(&mut rng, mode, 5_000, clients);
        assert_eq!(check(&mut of_events(opening, &events)), Checked::default(), "{mode:?}");
    }
}

#[test]
fn a_search_that_is_given_up_is_said() {
    let mode = Mode { balances: Balances::Some, unknowns: true, restocks: true };
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (opening, events) = busy(&mut rng, mode, 1_000, 200);
    let checked = check(&mut of_events(opening, &events));
    assert_eq!(checked, Checked { flaws: Vec::new(), is_undecided: true });
}

/// A correct shop with many clients at once, most of whose orders are of the same SKU.
fn busy(rng: &mut ChaCha8Rng, mode: Mode, orders: u32, clients: u64) -> (i64, Vec<Event>) {
    let mut stock = 50;
    let opening = stock;
    let events = (0..orders)
        .map(|order| {
            let instant = u64::from(order) * 10 + 10 * clients;
            let invoked = instant - rng.random_range(0..10 * clients);
            let returned = instant + rng.random_range(0..10 * clients);
            let (order, quantity) = (i64::from(order), rng.random_range(1..4));

            if mode.restocks && rng.random_range(0..20) == 0 {
                stock += 30;
                Event::Moved(restock(order, 30, invoked, returned))
            } else if mode.unknowns && rng.random_range(0..100) == 0 {
                lose(rng, &mut stock, unknown(order, quantity, invoked))
            } else {
                mode.answer(rng, &mut stock, sale(order, quantity, invoked, returned, None))
            }
        })
        .collect();
    (opening, events)
}
