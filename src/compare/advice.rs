//! What follows from a comparison, in sentences: who is fastest of those that kept the
//! stock, where two cross over as contention changes, what a network's round trip does
//! to the order, and whether a rule of thumb holds here.
//!
//! Each sentence rests on figures that it names. Where the rounds do not tell two
//! strategies apart, it says so.

use super::judge::{Judged, Row};
use super::matrix::{self, ROUNDS_MAX, Setting};
use super::stats::{self, Change};
use crate::strategy::Control;
use crate::text;
use std::collections::BTreeMap;

/// From about this share of conflicts on, locking first is said to win over trying first.
const RULE_OF_THUMB: f64 = 0.30;

/// How far "about" reaches: what is so near to the rule's own figure neither confirms nor
/// refutes it.
const ABOUT: f64 = 0.05;

/// Conflicts that are rarer than this are as good as none.
const CONFLICTS_RARE: f64 = 0.005;

/// From this share on, orders that were given up are worth a sentence.
const GIVEN_UP_MANY: f64 = 0.01;

/// The strategies that stand for a side of the rule, by their own files.
pub type Controls = BTreeMap<String, Control>;

/// What can be said of these settings.
pub fn of(judged: &[Judged], controls: &Controls) -> Vec<String> {
    let mut said = Vec::from_iter(too_few_rounds(judged));
    for group in groups(judged, |setting| (setting.database.clone(), setting.rtt_us, setting.concurrency)) {
        said.extend(fastest(&group));
        said.extend(crossovers(&group));
        said.extend(conflicts(&group));
        said.extend(group.iter().filter_map(|judged| ran_out(judged)));
        said.extend(group.iter().flat_map(|judged| gave_up(judged)));
    }
    for group in groups(judged, |setting| (setting.database.clone(), setting.concurrency, setting.skus)) {
        said.extend(round_trips(&group));
    }
    for group in groups(judged, |setting| setting.database.clone()) {
        let of =
            |control: Control| controls.iter().filter(move |(_, of)| **of == control).map(|(name, _)| name);
        for tries in of(Control::Optimistic) {
            said.extend(of(Control::Pessimistic).filter_map(|locks| rule_of_thumb(&group, locks, tries)));
        }
    }
    said
}

/// Goodput counts what was sold, so that stock which ran out hides how fast it went.
fn ran_out(judged: &Judged) -> Option<String> {
    let names: Vec<&str> =
        judged.ranking().filter(|row| row.ran_out > 0).map(|row| row.strategy.as_str()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}, {}: stock ran out under {}: their goodput is what there was to sell, not what they can (--stock)",
            place(&[judged]),
            skus(judged),
            names.join(", ")
        )
    })
}

/// Goodput and latency are of what was sold, so that orders which were given up hide in them.
fn gave_up(judged: &Judged) -> impl Iterator<Item = String> {
    let many = |row: &&Row| row.given_up.median >= GIVEN_UP_MANY && row.units_left != Some(0);
    judged.ranking().filter(many).map(|row| {
        let left = row.units_left.map_or_else(String::new, |units| {
            format!(" while {} or more were left in stock", text::count(units, "unit"))
        });
        format!(
            "{}, {}: {} gave up {:.1} % of its orders{left}: neither its goodput nor its latency tells of them",
            place(&[judged]),
            skus(judged),
            row.strategy,
            row.given_up.median * 100.0
        )
    })
}

/// Of few rounds not even figures that lie wholly apart are proof enough.
fn too_few_rounds(judged: &[Judged]) -> Option<String> {
    let ranked = judged.iter().map(|judged| judged.ranking().count()).max()?;
    let comparisons = Some(stats::pairs(ranked)).filter(|comparisons| *comparisons > 0)?;
    let runs = judged.iter().flat_map(Judged::ranking).map(|row| row.runs).min()?;
    let needed = rounds_needed(comparisons)?;
    (runs < needed).then(|| {
        format!(
            "{} cannot tell {ranked} strategies apart, however far apart they are: take at least {needed}",
            text::count(runs as u64, "round")
        )
    })
}

/// A crossover is looked for among all pairs at all contentions, which takes more rounds
/// than telling strategies apart at one of them.
fn too_few_for_crossovers(group: &[&Judged]) -> Option<String> {
    let family: usize = group.iter().map(|judged| stats::pairs(judged.ranking().count())).sum();
    let runs = group.iter().flat_map(|judged| judged.ranking()).map(|row| row.runs).min()?;
    let needed = rounds_needed(family)?;
    (group.len() > 1 && runs < needed).then(|| {
        format!(
            "{}: {} cannot tell a crossover over {} contentions: take at least {needed}",
            place(group),
            text::count(runs as u64, "round"),
            group.len()
        )
    })
}

/// The fewest rounds that can tell anything among so many comparisons.
fn rounds_needed(comparisons: usize) -> Option<usize> {
    let can_tell = |rounds: &usize| stats::least_p(*rounds, comparisons) < stats::SIGNIFICANT;
    (1..=ROUNDS_MAX as usize).find(can_tell)
}

fn groups<K: Ord>(judged: &[Judged], key: impl Fn(&Setting) -> K) -> Vec<Vec<&Judged>> {
    let mut groups: BTreeMap<K, Vec<&Judged>> = BTreeMap::new();
    for one in judged {
        groups.entry(key(&one.setting)).or_default().push(one);
    }
    groups.into_values().collect()
}

/// The database and what the settings of a group have in common.
fn place(group: &[&Judged]) -> String {
    let setting = &group[0].setting;
    let place = matrix::place(&setting.database, setting.rtt_us);
    format!("{place}, {}", text::count(setting.concurrency, "client"))
}

fn skus(judged: &Judged) -> String {
    text::count(judged.setting.skus, "SKU")
}

fn times(change: &Change) -> String {
    format!("{:.2} times, {}", change.ratio, chance(change.p))
}

/// A p, which is never nothing.
fn chance(p: f64) -> String {
    if p < 0.001 { "p < 0.001".to_owned() } else { format!("p = {p:.3}") }
}

fn fastest(group: &[&Judged]) -> Option<String> {
    let parts: Vec<String> = group.iter().filter_map(|judged| fastest_at(judged)).collect();
    (!parts.is_empty())
        .then(|| format!("{}: fastest of those that kept the stock: {}", place(group), parts.join("; ")))
}

/// Who is fastest under one load, or that nobody is; nothing where nobody was measured.
fn fastest_at(judged: &Judged) -> Option<String> {
    let best = judged.best();
    let open = judged.open();
    let open = if open.is_empty() { String::new() } else { format!(", {} not judged", open.join(", ")) };
    let Some((first, beside)) = best.split_first() else {
        let is_measured = judged.rows.iter().any(|row| row.runs > 0);
        return is_measured.then(|| format!("none kept the stock with {}{open}", skus(judged)));
    };
    let next = judged.ranking().nth(best.len());
    let lead = match (beside, next) {
        ([], Some(next)) => {
            let behind = next.against_best?;
            let times = stats::ratio(first.goodput_per_s.median, next.goodput_per_s.median);
            format!(" ({times:.2} times {}, {})", next.strategy, chance(behind.p))
        }
        ([], None) => " (the only one that held)".to_owned(),
        (beside, _) => {
            let names: Vec<&str> = beside.iter().map(|row| row.strategy.as_str()).collect();
            format!(" (not told apart from {})", names.join(", "))
        }
    };
    Some(format!("{} with {}{lead}{open}", first.strategy, skus(judged)))
}

/// What contention comes to, strategy by strategy: the rate of conflicts at each.
fn conflicts(group: &[&Judged]) -> Option<String> {
    let told: Vec<String> =
        group[0].rows.iter().filter_map(|row| conflicts_over(group, &row.strategy)).collect();
    (!told.is_empty()).then(|| format!("{}: attempts that met a conflict: {}", place(group), told.join("; ")))
}

fn conflicts_over(group: &[&Judged], strategy: &str) -> Option<String> {
    let rows = group.iter().filter_map(|judged| Some((skus(judged), judged.row(strategy)?)));
    let rates: Vec<(String, f64)> =
        rows.filter(|(_, row)| row.runs > 0).map(|(skus, row)| (skus, row.conflict_rate.median)).collect();
    let is_told = rates.iter().any(|(_, rate)| *rate >= CONFLICTS_RARE);
    let at = rates.iter().map(|(skus, rate)| format!("{} with {skus}", percent(*rate)));
    is_told.then(|| format!("{strategy} {}", at.collect::<Vec<_>>().join(", ")))
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Pairs of which one is faster at one contention and the other at another. Both ends
/// must be significant among all pairs at all contentions of the group.
fn crossovers(group: &[&Judged]) -> Vec<String> {
    let mut by_skus = group.to_vec();
    by_skus.sort_by_key(|judged| judged.setting.skus);
    let mut said = Vec::from_iter(too_few_for_crossovers(&by_skus));
    let told = told_apart(&by_skus);
    for (pair, changes) in &told {
        let (one, other) = (&pair.0, &pair.1);
        for ends in changes.windows(2) {
            let [(hot_at, was), (cold_at, is)] = ends else { continue };
            if (was.ratio > 1.0) == (is.ratio > 1.0) {
                continue;
            }
            let (hot, cold) = if was.ratio > 1.0 { (one, other) } else { (other, one) };
            let (hot_at, cold_at) = (by_skus[*hot_at], by_skus[*cold_at]);
            let end = |at: &Judged, change: &Change| {
                format!("{} ({}, {})", skus(at), times(&upward(*change)), conflicts_of(at, &[hot, cold]))
            };
            said.push(format!(
                "{}: {hot} and {cold} cross over between {} and {}: {hot} is faster with {}, {cold} with {}",
                place(group),
                text::thousands(hot_at.setting.skus),
                skus(cold_at),
                end(hot_at, was),
                end(cold_at, is),
            ));
        }
    }
    said
}

/// How often these met a conflict there.
fn conflicts_of(judged: &Judged, strategies: &[&String]) -> String {
    let rows = strategies.iter().filter_map(|strategy| judged.row(strategy));
    let rates = rows.map(|row| format!("{} of {}", percent(row.conflict_rate.median), row.strategy));
    format!("conflicts {}", rates.collect::<Vec<_>>().join(" and "))
}

/// Each pair of strategies, and in which of these settings the rounds tell them apart,
/// corrected for all of them.
fn told_apart(settings: &[&Judged]) -> BTreeMap<(String, String), Vec<(usize, Change)>> {
    let mut all: Vec<((String, String), usize, Change)> = Vec::new();
    for (at, judged) in settings.iter().enumerate() {
        let mut names: Vec<&str> = judged.ranking().map(|row| row.strategy.as_str()).collect();
        names.sort_unstable();
        for (number, one) in names.iter().enumerate() {
            for other in &names[number + 1..] {
                let Some(change) = change(judged, one, other) else { continue };
                all.push((((*one).to_owned(), (*other).to_owned()), at, change));
            }
        }
    }
    let family = all.len();
    stats::holm(&mut all.iter_mut().map(|(_, _, change)| change).collect::<Vec<_>>(), family);
    let mut told: BTreeMap<(String, String), Vec<(usize, Change)>> = BTreeMap::new();
    for (pair, at, change) in all.into_iter().filter(|(_, _, change)| change.is_significant()) {
        told.entry(pair).or_default().push((at, change));
    }
    told
}

fn change(judged: &Judged, one: &str, other: &str) -> Option<Change> {
    let held = |strategy: &str| judged.row(strategy).filter(|row| row.held());
    Some(stats::change(&held(one)?.goodputs, &held(other)?.goodputs))
}

/// The same, told from the side of the faster one.
fn upward(change: Change) -> Change {
    if change.ratio >= 1.0 {
        return change;
    }
    Change { ratio: 1.0 / change.ratio, low: 1.0 / change.high, high: 1.0 / change.low, p: change.p }
}

/// What a longer round trip does to the order of those that held, near and far.
fn round_trips(group: &[&Judged]) -> Vec<String> {
    let mut by_rtt = group.to_vec();
    by_rtt.sort_by_key(|judged| judged.setting.rtt_us);
    let Some((near, far)) = by_rtt.split_first() else { return Vec::new() };
    far.iter().filter_map(|far| round_trip(near, far)).collect()
}

fn round_trip(near: &Judged, far: &Judged) -> Option<String> {
    let leader = near.ranking().next()?;
    let best: Vec<&str> = far.best().iter().map(|row| row.strategy.as_str()).collect();
    let best = if best.is_empty() { "nobody".to_owned() } else { best.join(" = ") };
    let keeps = match far.row(&leader.strategy).filter(|row| row.held()) {
        Some(kept) => {
            let share = stats::ratio(kept.goodput_per_s.median, leader.goodput_per_s.median);
            format!("keeps {} of its goodput", percent(share))
        }
        None => "did not hold there".to_owned(),
    };
    Some(format!(
        "{}, {}, {}: with {} more a round trip {}; fastest there: {best}; {} {keeps}",
        near.setting.database,
        text::count(near.setting.concurrency, "client"),
        skus(near),
        text::micros(far.setting.rtt_us - near.setting.rtt_us),
        overtakings(near, far),
        leader.strategy,
    ))
}

/// Who overtakes whom far away; that nobody does is said only of rounds that could show it.
fn overtakings(near: &Judged, far: &Judged) -> String {
    let told = told_apart(&[near, far]);
    let overtaken: Vec<String> = told
        .iter()
        .filter_map(|((one, other), changes)| {
            let [(_, was), (_, is)] = &changes[..] else { return None };
            let (before, after) = if is.ratio > 1.0 { (other, one) } else { (one, other) };
            ((was.ratio > 1.0) != (is.ratio > 1.0)).then(|| format!("{after} overtakes {before}"))
        })
        .collect();
    let runs = [near, far].into_iter().flat_map(Judged::ranking).map(|row| row.runs).min().unwrap_or(0);
    let family: usize = [near, far].iter().map(|judged| stats::pairs(judged.ranking().count())).sum();
    match rounds_needed(family).filter(|needed| runs < *needed) {
        _ if !overtaken.is_empty() => overtaken.join(", "),
        Some(needed) => {
            format!("{} cannot show an overtaking (at least {needed} can)", text::count(runs as u64, "round"))
        }
        None => "the rounds show nobody overtaking anybody".to_owned(),
    }
}

/// A load under which the rule of thumb is tested: the conflicts of who tries first, and
/// who locks first against it.
struct Met<'j> {
    rate: f64,
    change: Change,
    setting: &'j Setting,
}

impl Met<'_> {
    /// Whether conflicts are plainly rarer than where the rule begins.
    fn is_below(&self) -> bool {
        self.rate < RULE_OF_THUMB - ABOUT
    }

    /// Whether they are plainly more frequent.
    fn is_above(&self) -> bool {
        self.rate > RULE_OF_THUMB + ABOUT
    }

    /// The load: with its round trip, since several may be pooled.
    fn load(&self) -> String {
        let Setting { skus, concurrency, rtt_us, .. } = self.setting;
        let load = format!("{}, {}", text::count(*skus, "SKU"), text::count(*concurrency, "client"));
        if *rtt_us == 0 { load } else { format!("{load}, {} more a round trip", text::micros(*rtt_us)) }
    }

    fn in_words(&self, faster: &str) -> String {
        let (rate, times) = (percent(self.rate), times(&upward(self.change)));
        format!("{faster} was faster at {rate} ({}; {times})", self.load())
    }
}

/// Whether locking first wins where, and only where, trying first meets conflicts in
/// about a third of its attempts.
fn rule_of_thumb(group: &[&Judged], locks: &str, tries: &str) -> Option<String> {
    let mut met: Vec<Met> = group
        .iter()
        .filter_map(|judged| {
            let rate = judged.row(tries).filter(|row| row.held())?.conflict_rate.median;
            Some(Met { rate, change: change(judged, locks, tries)?, setting: &judged.setting })
        })
        .collect();
    let family = met.len();
    stats::holm(&mut met.iter_mut().map(|met| &mut met.change).collect::<Vec<_>>(), family);
    met.sort_by(|one, other| one.rate.total_cmp(&other.rate));
    let (least, most) = (met.first()?.rate, met.last()?.rate);
    let rule = format!(
        "{}: the rule of thumb that {locks} beats {tries} from about {} conflicts on is",
        group[0].setting.database,
        percent(RULE_OF_THUMB)
    );
    let told: Vec<&Met> = met.iter().filter(|met| met.change.is_significant()).collect();
    let locks_won = |met: &Met| met.change.ratio > 1.0;
    let is_against = |met: &Met| met.is_above() && !locks_won(met) || met.is_below() && locks_won(met);
    if let Some(against) = told.iter().find(|met| is_against(met)) {
        let faster = if locks_won(against) { locks } else { tries };
        return Some(format!("{rule} refuted: {}", against.in_words(faster)));
    }
    let below = told.iter().rev().find(|met| met.is_below()).map(|met| met.in_words(tries));
    let above = told.iter().find(|met| met.is_above()).map(|met| met.in_words(locks));
    Some(match (below, above) {
        (Some(below), Some(above)) => format!("{rule} confirmed: {below}, {above}"),
        (Some(below), None) => format!("{rule} not contradicted, and not tested above: {below}"),
        (None, Some(above)) => format!("{rule} not contradicted, and not tested below: {above}"),
        (None, None) => format!(
            "{rule} not tested: at {} to {} conflicts the rounds do not tell them apart, or they are too near to the rule's own",
            percent(least),
            percent(most)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::super::judge::tests::samples;
    use super::super::judge::{CalledUnsafe, CameTo, Sample, judge};
    use super::super::matrix::tests::matrix;
    use super::*;

    fn with_conflicts(samples: impl Iterator<Item = Sample>, rate: f64) -> Vec<Sample> {
        let mut samples: Vec<Sample> = samples.collect();
        for sample in &mut samples {
            if let CameTo::Measured(figures) = &mut sample.came_to {
                figures.conflict_rate = rate;
            }
        }
        samples
    }

    fn said(all: &[Sample], names: &[&str], skus: &[u64]) -> String {
        let controls = Controls::from([
            (names[0].to_owned(), Control::Optimistic),
            (names[1].to_owned(), Control::Pessimistic),
        ]);
        of(&judge(&matrix(names, skus), all, &CalledUnsafe::new()), &controls).join("\n")
    }

    #[test]
    fn a_crossover_is_told_with_its_ends_and_the_rule_of_thumb_is_tested() {
        let names = ["optimistic", "pessimistic"];
        let mut all = with_conflicts(samples("optimistic", 1, 100.0), 0.8);
        all.extend(samples("pessimistic", 1, 200.0));
        all.extend(with_conflicts(samples("optimistic", 100, 300.0), 0.05));
        all.extend(samples("pessimistic", 100, 200.0));
        let text = said(&all, &names, &[1, 100]);
        assert!(text.contains("pessimistic and optimistic cross over between 1 and 100 SKUs"), "{text}");
        assert!(text.contains("confirmed: optimistic was faster at 5 %"), "{text}");
        assert!(text.contains("pessimistic with 1 SKU (2.00 times optimistic"), "{text}");
        assert!(text.contains("conflicts 10 % of pessimistic and 80 % of optimistic"), "{text}");
        assert!(text.contains("; optimistic 80 % with 1 SKU, 5 % with 100 SKUs"), "{text}");

        // The same figures with few conflicts everywhere.
        let all: Vec<Sample> = all
            .into_iter()
            .map(|mut sample| {
                if let CameTo::Measured(figures) = &mut sample.came_to {
                    figures.conflict_rate = 0.05;
                }
                sample
            })
            .collect();
        let text = said(&all, &names, &[1, 100]);
        assert!(
            text.contains("refuted: pessimistic was faster at 5 % (1 SKU, 50 clients; 2.00 times"),
            "{text}"
        );
    }

    #[test]
    fn rounds_that_cannot_tell_anything_are_said_to_be_too_few() {
        let names = ["cas", "atomic"];
        let all: Vec<Sample> =
            samples("cas", 1, 100.0).take(3).chain(samples("atomic", 1, 900.0).take(3)).collect();
        let text = said(&all, &names, &[1]);
        assert!(text.contains("3 rounds cannot tell 2 strategies apart"), "{text}");
        assert!(text.contains("take at least 4"), "{text}");
        assert!(!text.contains("crossover"), "one contention has none: {text}");

        // Five rounds tell two strategies apart at one contention, and nothing at twenty.
        let skus: Vec<u64> = (1..=20).collect();
        let at = |skus: &u64| samples("cas", *skus, 100.0).chain(samples("atomic", *skus, 900.0));
        let all: Vec<Sample> = skus.iter().flat_map(at).collect();
        let text = said(&all, &names, &skus);
        assert!(text.contains("5 rounds cannot tell a crossover over 20 contentions"), "{text}");
    }

    #[test]
    fn what_is_not_told_apart_is_not_ranked() {
        let mut all = with_conflicts(samples("optimistic", 1, 100.0), 0.5);
        all.extend(samples("pessimistic", 1, 100.4));
        let text = said(&all, &["optimistic", "pessimistic"], &[1]);
        assert!(text.contains("not told apart from"), "{text}");
        assert!(text.contains("not tested: at 50 % to 50 % conflicts"), "{text}");
        assert!(!text.contains("cross over"), "{text}");
    }

    #[test]
    fn what_is_about_the_rules_own_figure_neither_confirms_nor_refutes_it() {
        let names = ["optimistic", "pessimistic"];
        // Trying first is faster just above the rule's figure.
        let mut all = with_conflicts(samples("optimistic", 1, 300.0), 0.33);
        all.extend(samples("pessimistic", 1, 200.0));
        let text = said(&all, &names, &[1]);
        assert!(text.contains("is not tested: at 33 % to 33 %"), "{text}");
        let all = with_conflicts(all.into_iter(), 0.4);
        let text = said(&all, &names, &[1]);
        assert!(text.contains("refuted: optimistic was faster at 40 %"), "{text}");
    }

    #[test]
    fn where_nobody_kept_the_stock_that_is_said() {
        let mut all: Vec<Sample> = samples("naive", 1, 300.0).collect();
        if let CameTo::Measured(figures) = &mut all[0].came_to {
            figures.findings.insert(crate::finding::FindingKind::LostUpdate, 3);
        }
        let text = said(&all, &["naive", "atomic"], &[1]);
        assert!(text.contains("none kept the stock with 1 SKU, atomic not judged"), "{text}");
    }

    /// The same figures at a distance, by so much slower.
    fn far(samples: impl Iterator<Item = Sample>) -> impl Iterator<Item = Sample> {
        samples.map(|mut sample| {
            sample.cell.setting.rtt_us = 5_000;
            sample
        })
    }

    fn said_of_distances(all: &[Sample]) -> String {
        let mut matrix = matrix(&["cas", "atomic"], &[1]);
        matrix.rtt_us = vec![0, 5_000];
        let controls = Controls::from([
            ("cas".to_owned(), Control::Optimistic),
            ("atomic".to_owned(), Control::Pessimistic),
        ]);
        of(&judge(&matrix, all, &CalledUnsafe::new()), &controls).join("\n")
    }

    #[test]
    fn a_round_trip_that_changes_the_order_says_who_overtakes_whom() {
        let near = samples("cas", 1, 300.0).chain(samples("atomic", 1, 200.0));
        let all: Vec<Sample> =
            near.chain(far(samples("cas", 1, 30.0).chain(samples("atomic", 1, 60.0)))).collect();
        let text = said_of_distances(&all);
        assert!(text.contains("with 5.00 ms more a round trip atomic overtakes cas"), "{text}");
        assert!(text.contains("cas keeps 10 % of its goodput"), "{text}");
        // Loads near and at a distance are pooled for the rule: it says which.
        assert!(text.contains("(1 SKU, 50 clients, 5.00 ms more a round trip; "), "{text}");
    }

    #[test]
    fn that_nobody_overtakes_is_said_only_of_rounds_that_could_show_it() {
        let at = |rounds: usize| -> Vec<Sample> {
            let of = |name: &str, goodput: f64| samples(name, 1, goodput).take(rounds).collect::<Vec<_>>();
            let near = of("cas", 300.0).into_iter().chain(of("atomic", 200.0));
            let distant = far(of("cas", 30.0).into_iter().chain(of("atomic", 20.0)));
            near.chain(distant).collect()
        };
        let text = said_of_distances(&at(5));
        assert!(text.contains("the rounds show nobody overtaking anybody"), "{text}");
        let text = said_of_distances(&at(4));
        assert!(text.contains("4 rounds cannot show an overtaking (at least 5 can)"), "{text}");
    }

    #[test]
    fn a_leader_that_does_not_hold_at_a_distance_does_not_silence_the_rest() {
        let near = samples("cas", 1, 300.0).chain(samples("atomic", 1, 200.0));
        let mut all: Vec<Sample> = near.chain(far(samples("atomic", 1, 60.0))).collect();
        let lost = Sample { came_to: CameTo::Undecided("lost".to_owned()), ..all[0].clone() };
        all.extend(far(std::iter::once(lost)));
        let text = said_of_distances(&all);
        assert!(text.contains("fastest there: atomic; cas did not hold there"), "{text}");
    }
}
