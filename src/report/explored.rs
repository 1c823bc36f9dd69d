//! What an exploration found: as data, and for people.

use super::Document;
use super::grid::Grid;
use super::measured::as_f64;
use super::model::SCHEMA_VERSION;
use super::terminal;
use crate::db::{DatabaseInfo, Dialect};
use crate::escape;
use crate::exit::Exit;
use crate::explore::draws::DrawnValues;
use crate::explore::{Explored, OutcomeCount, Problem, Witness, witness};
use crate::finding::FindingKind;
use crate::text;
use crate::workload::Line;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Outcomes shown on the terminal; all of them are in the JSON.
const OUTCOMES_SHOWN: usize = 12;

/// What `explore -o json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "stockbench exploration")]
pub struct ExploreReport {
    /// The version of this shape.
    pub schema_version: u32,
    /// The version of stockbench that wrote it.
    pub stockbench_version: &'static str,
    /// The strategy that was explored.
    pub strategy: String,
    /// The database, as it described itself.
    pub database: DatabaseInfo,
    /// What was asked.
    pub config: Config,
    /// The values drawn for orders that were explored; none where nothing is drawn.
    pub drawn: Option<DrawnValues>,
    /// What was found.
    pub explored: Explored,
    /// The searches that were made, in short: what was asked for, and the wider ones that
    /// followed where it found nothing. `explored` is the first, or the one that found
    /// something.
    pub searches: Vec<Search>,
    /// Triggers, foreign keys and rules of the user's tables that the copies are without, each
    /// with the reason: then nothing is proved, and nobody accused.
    pub left_behind: Vec<String>,
    /// What none of them covers, a sentence each.
    pub not_covered: Vec<String>,
    /// What was asked for (every schedule, or the one that was named) was run, and
    /// no invariant broke.
    pub passed: bool,
}

/// What was asked of an exploration.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Config {
    /// Clients, each with one order.
    pub clients: u8,
    /// Whether they delivered one and the same order.
    pub same_order: bool,
    /// Background programs that took part, once at any time and then to the end.
    pub flows: Vec<String>,
    /// What each of them ordered, in the order in which it was worked on.
    pub orders: Vec<Vec<OrderLine>>,
    /// Units of each SKU in our own tables.
    pub stock: u32,
    /// Attempts per order.
    pub max_tries: u32,
    /// Clients that might stop for good.
    pub crashes: u8,
    /// Whether schedules that nobody can tell apart were run once.
    pub reduced: bool,
    /// The seed of what was sampled.
    pub random_seed: u64,
    /// Values for the strategy's params.
    pub params: BTreeMap<String, i64>,
    /// Schedules, at most.
    pub max_schedules: u64,
    /// Schedules that were to be drawn at random.
    pub sample: Option<u64>,
    /// The one schedule that was asked for.
    pub schedule: Option<String>,
    /// Tables whose storage engine has no transactions, each with its engine: what is found
    /// may be the engine's doing.
    pub without_transactions: Vec<String>,
}

/// A search, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Search {
    /// What is new in it, in words.
    pub what: String,
    /// The flags that ask for it.
    pub flags: String,
    /// Schedules that were run to their end.
    pub schedules: u64,
    /// Those that broke an invariant.
    pub violations: u64,
    /// Orders that ended in an error that the program has no way with.
    pub failed: u64,
    /// Why not every schedule was run, if not.
    pub cut_short: Option<String>,
}

impl Search {
    /// What a search came to.
    pub fn new(what: &str, flags: &str, explored: &Explored) -> Self {
        Self {
            what: what.to_owned(),
            flags: flags.to_owned(),
            schedules: explored.schedules,
            violations: explored.violations,
            failed: explored.failed,
            cut_short: explored.cut_short.clone(),
        }
    }

    /// What it does not cover of what it set out to, if anything.
    pub fn not_covered(&self) -> Option<String> {
        let Self { what, flags, failed, .. } = self;
        if *failed > 0 {
            let orders = text::count(*failed, "order");
            return Some(format!(
                "{what} ({flags}): {orders} ended in an error that the strategy has no way with"
            ));
        }
        let run = text::count(self.schedules, "schedule");
        self.cut_short
            .as_ref()
            .map(|_| format!("{what}: more than the {run} that were run (`{flags}` runs more)"))
    }
}

/// A line of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct OrderLine {
    /// Which SKU.
    pub sku_id: i64,
    /// Units.
    pub quantity: i64,
}

/// A line as it is reported.
pub const fn line(line: &Line) -> OrderLine {
    OrderLine { sku_id: line.sku_id, quantity: line.quantity }
}

impl Document for ExploreReport {}

impl ExploreReport {
    /// What was found, with what was asked.
    pub fn new(problem: &Problem, database: DatabaseInfo, config: Config, explored: Explored) -> Self {
        let all_run = explored.complete || config.schedule.is_some() && explored.cut_short.is_none();
        let passed = all_run
            && explored.violations == 0
            && explored.failed == 0
            && problem.attached.left_behind.is_empty();
        let drawn = Some(problem.drawn.clone()).filter(|drawn| !drawn.draws.is_empty());
        let not_covered = not_covered(problem, &explored);
        Self {
            schema_version: SCHEMA_VERSION,
            stockbench_version: env!("CARGO_PKG_VERSION"),
            strategy: problem.program.name.clone(),
            database,
            config,
            drawn,
            explored,
            searches: Vec::new(),
            left_behind: problem.attached.left_behind.clone(),
            not_covered,
            passed,
        }
    }

    /// How the command ends.
    pub const fn exit(&self) -> Exit {
        if self.explored.violations > 0 && self.left_behind.is_empty() {
            Exit::Violation
        } else if self.passed {
            Exit::Held
        } else {
            Exit::CouldNot
        }
    }

    /// The first witness as a script, after the statements that fill the tables.
    pub fn script(&self, problem: &Problem, start: &str) -> String {
        if let Some(Witness { kind, schedule, steps, .. }) = self.explored.witnesses.first() {
            let title = format!("{} with {}", kind.as_str(), self.strategy);
            return witness::script(problem, (schedule, steps), &title, start);
        }
        let verdict = self.verdict();
        verdict.iter().flat_map(|line| ["-- ".into(), escape::line(line), "\n".into()]).collect()
    }

    fn orders(&self) -> String {
        let lines = |lines: &Vec<OrderLine>| {
            let lines = lines.iter();
            let lines = lines.map(|line| {
                format!("{} of SKU {}", text::count(line.quantity.unsigned_abs(), "unit"), line.sku_id)
            });
            lines.collect::<Vec<_>>().join(" and ")
        };
        let orders: Vec<String> = self.config.orders.iter().map(lines).collect();
        let clients = text::count(self.config.clients.into(), "client");
        let beside = self.config.flows.join(" and ");
        let clients = if beside.is_empty() { clients } else { format!("{clients} beside {beside}") };
        if self.config.same_order {
            return format!(
                "{clients} delivering one order of {}",
                orders.first().map_or("", String::as_str)
            );
        }
        if orders.windows(2).all(|pair| pair[0] == pair[1]) {
            return format!("{clients}, each ordering {}", orders.first().map_or("", String::as_str));
        }
        let each =
            orders.iter().enumerate().map(|(client, order)| format!("client {} orders {order}", client + 1));
        each.collect::<Vec<_>>().join(", ")
    }

    /// What else was explored, and what is left out, in lines.
    fn coverage(&self) -> Vec<String> {
        let wider = self.searches.iter().skip(1);
        let wider: Vec<String> = wider
            .map(|search| format!("{} ({})", search.what, text::count(search.schedules, "schedule")))
            .collect();
        let wider = (!wider.is_empty())
            .then(|| format!("  also explored, without a violation: {}", wider.join("; ")));
        wider
            .into_iter()
            .chain(self.not_covered.iter().map(|what| format!("  not covered: {what}")))
            .collect()
    }

    /// What can be said, and no more, in lines.
    fn verdict(&self) -> Vec<String> {
        let Explored { schedules, pruned, complete, violations, failed, cut_short, .. } = &self.explored;
        let run = text::count(*schedules, "schedule");
        if !self.left_behind.is_empty() {
            let broken = if *violations > 0 {
                format!("{} of {run} break an invariant", text::thousands(*violations))
            } else {
                format!("no violation in {run}")
            };
            let without = format!("PARTIAL, no verdict: {broken}, on copies without what may decide it:");
            let left_behind = self.left_behind.iter().map(|what| format!("  {what}"));
            return std::iter::once(without).chain(left_behind).chain(self.coverage()).collect();
        }
        if *violations > 0 {
            let partial = if *complete { "" } else { " so far" };
            let mut lines =
                vec![format!("VIOLATION in {} of {run} run{partial}", text::thousands(*violations))];
            if let [plain, .., found] = &self.searches[..] {
                let before = text::count(plain.schedules, "schedule");
                let Search { what, flags, .. } = found;
                lines.push(format!("  with {what} (`{flags}`); none in {before} without that"));
            }
            return lines;
        }
        if let Some(why) = cut_short {
            let mut lines = vec![format!("PARTIAL, no proof: no violation in {run}, and then: {why}")];
            lines.extend(self.coverage());
            return lines;
        }
        if *failed > 0 {
            let orders = text::count(*failed, "order");
            return vec![format!("no verdict: {orders} ended in an error that the strategy has no way with")];
        }
        if let Some(schedule) = &self.config.schedule {
            return vec![format!("no violation in the schedule {schedule}, the only one that was run")];
        }
        let like = if *pruned > 0 {
            format!(
                " ({} more were broken off: nobody could tell them from one that was run)",
                text::thousands(*pruned)
            )
        } else {
            String::new()
        };
        let mut lines = vec![format!("no violation in any schedule: {run} run{like}")];
        lines.extend(self.coverage());
        let snapshot = match self.database.settings.get("innodb_snapshot_isolation") {
            Some(value) => format!("with innodb_snapshot_isolation {value}, "),
            None => String::new(),
        };
        let crash = if self.config.crashes > 0 { ", one of which may stop for good anywhere" } else { "" };
        lines.push(format!(
            "  this holds for {}{crash}, at most {}, \
             on {} {} at {}, {snapshot}and this stock, where no wait for a lock times out; of more clients and other data it says \
             nothing",
            self.orders(),
            text::count(self.config.max_tries.into(), "attempt"),
            self.database.kind.title(),
            self.database.version,
            self.database.isolation,
        ));
        lines
    }
}

/// What an exploration leaves open, a sentence each.
fn not_covered(problem: &Problem, explored: &Explored) -> Vec<String> {
    let chosen_by_server = [
        (explored.raced, "a move let several clients go on at once"),
        (explored.unrepeated, "the same moves led elsewhere when they were made again"),
    ];
    let chosen_by_server = chosen_by_server.into_iter().filter(|(count, _)| *count > 0);
    let chosen_by_server = chosen_by_server.map(|(count, what)| {
        format!(
            "in {} {what}: which was first, the server decided, and the other order is left out",
            text::count(count, "schedule")
        )
    });
    // SQLite lets one writer in at a time.
    let can_overlap =
        problem.dialect() != Dialect::Sqlite && problem.has_lone_statements_that_read_and_write();
    let overlap = can_overlap.then(|| {
        "single statements that are inside the server at once: each was answered before another client's was sent, \
         and one that writes by what it reads may need that to break (`stockbench run -c 16` meets it by chance)"
            .to_owned()
    });
    chosen_by_server.chain(problem.drawn.not_covered()).chain(overlap).collect()
}

/// Writes what was found for people.
///
/// # Errors
/// The writer fails.
pub fn print(out: &mut dyn Write, report: &ExploreReport) -> io::Result<()> {
    let explored = &report.explored;
    writeln!(
        out,
        "exploring {}: {}, {} of each SKU in stock, at most {}",
        report.strategy,
        report.orders(),
        text::count(report.config.stock.into(), "unit"),
        text::count(report.config.max_tries.into(), "attempt")
    )?;
    if let Some(drawn) = report.drawn.as_ref().and_then(|drawn| drawn.in_words(report.config.random_seed)) {
        writeln!(out, "drawn for each order: {drawn}")?;
    }
    for table in &report.config.without_transactions {
        writeln!(out, "{}", terminal::no_transactions(table))?;
    }
    writeln!(out)?;
    outcomes(out, &explored.outcomes)?;
    for witness in &explored.witnesses {
        print_witness(out, witness)?;
    }
    if let Some(circle) = &explored.deadlock {
        let schedules = text::count(explored.deadlocks, "schedule");
        writeln!(out)?;
        writeln!(out, "deadlock in {schedules}, ended by the database; schedule {}:", circle.schedule)?;
        for wait in &circle.waits {
            writeln!(out, "  client {} {} in {}", wait.client, wait.result, wait.sql)?;
        }
        writeln!(out, "  why: {}", circle.cause)?;
    }
    if !explored.errors.is_empty() {
        let errors =
            explored.errors.iter().map(|(code, count)| format!("{code} {} times", text::thousands(*count)));
        writeln!(out)?;
        writeln!(out, "the database's refusals: {}", errors.collect::<Vec<_>>().join(", "))?;
    }
    if explored.undecided > 0 {
        let orders = text::count(explored.undecided, "order");
        writeln!(out)?;
        writeln!(out, "{orders} ended as conflict: the attempts were used up")?;
    }
    let rate = as_f64(explored.schedules) / explored.elapsed_s.max(1e-9);
    writeln!(out)?;
    report.verdict().iter().try_for_each(|line| writeln!(out, "{line}"))?;
    writeln!(out, "  {:.1} s, {rate:.0} schedules/s", explored.elapsed_s)
}

fn outcomes(out: &mut dyn Write, outcomes: &[OutcomeCount]) -> io::Result<()> {
    let mut table =
        Grid::new(&["clients are told", "stock left", "broken", "schedules", "one of them"]).figures(3..4);
    for outcome in outcomes.iter().take(OUTCOMES_SHOWN) {
        let told = outcome.told.iter().map(|outcome| outcome.as_str()).collect::<Vec<_>>().join(", ");
        let stock = outcome.stock.iter().map(|sku| sku.stock.to_string()).collect::<Vec<_>>().join(", ");
        let broken = outcome.findings.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
        let broken = if broken.is_empty() { "-".to_owned() } else { broken };
        table.add_row([told, stock, broken, text::thousands(outcome.schedules), outcome.schedule.clone()]);
    }
    table.write(out)?;
    let more = outcomes.len().saturating_sub(OUTCOMES_SHOWN);
    if more > 0 {
        writeln!(out, "and {} (all of them with -o json)", text::count(more as u64, "other way"))?;
    }
    Ok(())
}

fn print_witness(out: &mut dyn Write, witness: &Witness) -> io::Result<()> {
    let Witness { kind, schedule, switches, ways, steps, causes, findings, at_the_end } = witness;
    let kind: FindingKind = *kind;
    let ways = if ways.is_empty() { String::new() } else { format!("; {ways}") };
    writeln!(out)?;
    writeln!(
        out,
        "{}: {}, schedule {schedule}{ways}",
        kind.as_str(),
        text::count(*switches as u64, "switch")
    )?;
    let clients: Vec<usize> = steps.iter().map(|step| step.client).collect();
    for step in steps {
        let indent = " ".repeat(2 + 2 * (step.client - 1).min(clients.len()));
        let said = if step.sql.is_empty() {
            format!("client {} {}", step.client, step.result)
        } else if let Some(reply) = step.result.strip_prefix("resumes: ") {
            format!("client {} goes on: {reply}", step.client)
        } else {
            format!("client {}: {}  → {}", step.client, step.sql, step.result)
        };
        writeln!(out, "{indent}{said}")?;
    }
    for cause in causes {
        writeln!(out, "  why: {cause}")?;
    }
    writeln!(out, "  {at_the_end}")?;
    for finding in findings {
        writeln!(out, "  {}: {}", finding.kind.as_str(), finding.message)?;
    }
    Ok(())
}
