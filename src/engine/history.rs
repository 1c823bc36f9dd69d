//! The history file: every answer, streamed to disk as it is given, so that a
//! later audit has the clients' witness too.
//!
//! A CSV file. Its first line names the run, its last line says that nothing
//! is missing: a client that was killed leaves a file without it.

use super::answers::{Answers, ToldOrder};
use super::recorder::Delivery;
use crate::db::schema::RunRow;
use crate::outcome::Outcome;
use crate::workload::{Line, Order, QUANTITY_MAX};
use anyhow::{Context, Result, anyhow, ensure};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MAGIC: &str = "# stockbench history 4";
const COLUMNS: &str = "order_id,lines,outcome,recorded,remaining,invoked_us,returned_us,attempts,retry_of";
const COMPLETE: &str = "# complete";
const SESSIONS: &str = "# sessions ";

/// Writes a history file while the run goes on.
#[derive(Debug)]
pub struct HistoryWriter {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
    failure: Mutex<Option<std::io::Error>>,
}

impl HistoryWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, run: &RunRow) -> Result<Self> {
        let create = || -> std::io::Result<BufWriter<File>> {
            let mut file = BufWriter::new(File::create(path)?);
            writeln!(file, "{MAGIC} run_id={} started_ms={}", run.id, run.started_ms)?;
            writeln!(file, "{COLUMNS}")?;
            // What a client that is killed early leaves must still be readable.
            file.flush()?;
            Ok(file)
        };
        let file = create().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file), failure: Mutex::new(None) })
    }

    /// Notes the sessions that the run has on the stock's database.
    pub fn sessions(&self, ids: &[i64]) {
        let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
        let mut file = self.file.lock();
        if let Err(error) = writeln!(file, "{SESSIONS}{}", ids.join(" ")).and_then(|()| file.flush()) {
            self.failure.lock().get_or_insert(error);
        }
    }

    /// Adds one answer. A failure is kept for [`HistoryWriter::finish`].
    pub fn add(&self, order: &Order, delivery: &Delivery, invoked: Duration, retry_of: Option<i64>) {
        let mut lines = String::new();
        for line in &order.lines {
            let separator = if lines.is_empty() { "" } else { "+" };
            write!(lines, "{separator}{}x{}", line.quantity, line.sku_id).expect("a String takes any text");
        }
        // Rounded away from each other: the order took effect in between.
        let (invoked, returned) = (invoked.as_micros(), (invoked + delivery.latency).as_micros() + 1);
        let (outcome, attempts) = (delivery.outcome.as_str(), delivery.attempts);
        let recorded = delivery.recorded.map_or("", Outcome::as_str);
        let told = |remaining: &Option<i64>| remaining.map_or_else(String::new, |units| units.to_string());
        let remaining = delivery.remaining.iter().map(told).collect::<Vec<_>>().join("+");
        let retry_of = retry_of.map_or_else(String::new, |id| id.to_string());
        let written = writeln!(
            self.file.lock(),
            "{},{lines},{outcome},{recorded},{remaining},{invoked},{returned},{attempts},{retry_of}",
            order.id
        );
        if let Err(error) = written {
            self.failure.lock().get_or_insert(error);
        }
    }

    /// Marks the file as complete.
    ///
    /// # Errors
    /// Anything that could not be written since it was created.
    pub fn finish(self) -> Result<()> {
        let finish = || -> std::io::Result<()> {
            if let Some(error) = self.failure.into_inner() {
                return Err(error);
            }
            let mut file = self.file.into_inner();
            writeln!(file, "{COMPLETE}")?;
            file.flush()
        };
        finish().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A history file, read.
#[derive(Debug)]
pub struct History {
    /// The run it tells of.
    pub run_id: i64,
    /// When that run started, in milliseconds since 1970.
    pub started_ms: i64,
    /// Whether the run lived to complete it.
    pub complete: bool,
    /// Every answered order, by ascending id.
    pub told: Vec<ToldOrder>,
    /// Every answer, as it came.
    pub answers: Vec<Answer>,
    /// The run's sessions, by the server's numbers for them.
    pub sessions: Vec<i64>,
}

/// One answer, and when it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which order.
    pub order_id: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer that it repeats, if it says so.
    pub recorded: Option<Outcome>,
    /// The order that it repeats under an id of its own.
    pub retry_of: Option<i64>,
    /// How many units the client was told are left after each line; empty
    /// where it was not told.
    pub remaining: Vec<Option<i64>>,
    /// When the order was placed, in microseconds of the run's own clock.
    pub invoked_us: u64,
    /// When it was answered.
    pub returned_us: u64,
}

impl History {
    /// Reads a file.
    ///
    /// # Errors
    /// One line that names the file, the line and what is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Reads a history from text; `name` is how errors call it.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut lines = text.lines().zip(1_u64..);
        let (first, _) = lines.next().unwrap_or_default();
        let named = |key: &str| {
            let value = first.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.and_then(|value| value.parse::<i64>().ok())
        };
        let header = (first.starts_with(MAGIC), named("run_id"), named("started_ms"), lines.next());
        let (true, Some(run_id), Some(started_ms), Some((COLUMNS, _))) = header else {
            return Err(anyhow!("{name}:1: not a history file of stockbench"));
        };
        let cut_short = !text.ends_with('\n');
        let mut told: BTreeMap<i64, ToldOrder> = BTreeMap::new();
        let mut answers = Vec::new();
        let mut sessions = Vec::new();
        let mut complete = false;
        let mut lines = lines.peekable();
        while let Some((line, number)) = lines.next() {
            if line == COMPLETE {
                complete = true;
                continue;
            }
            if let Some(ids) = line.strip_prefix(SESSIONS) {
                sessions.extend(ids.split(' ').filter_map(|id| id.parse::<i64>().ok()));
                continue;
            }
            // A killed client may have been in the middle of its last line.
            if cut_short && lines.peek().is_none() {
                break;
            }
            let (order, answer) = parse_line(line).map_err(|error| anyhow!("{name}:{number}: {error}"))?;
            let Order { id, lines } = order;
            let known = told.entry(id).or_insert_with(|| ToldOrder {
                order: Order { id, lines },
                answers: Answers::default(),
                retry_of: answer.retry_of,
            });
            known.answers.add(answer.outcome, answer.recorded);
            answers.push(answer);
        }
        Ok(Self { run_id, started_ms, complete, told: told.into_values().collect(), answers, sessions })
    }
}

fn parse_line(text: &str) -> Result<(Order, Answer)> {
    let fields: Vec<&str> = text.split(',').collect();
    let [id, lines, outcome, recorded, remaining, invoked, returned, _attempts, retry_of] = fields.as_slice()
    else {
        return Err(anyhow!("expected the columns {COLUMNS}"));
    };
    let whole = |text: &str| text.parse::<i64>().map_err(|_| anyhow!("`{text}` is not a whole number"));
    let moment = |text: &str| text.parse::<u64>().map_err(|_| anyhow!("`{text}` is no moment"));
    let line = |text: &str| -> Result<Line> {
        let (quantity, sku_id) =
            text.split_once('x').ok_or_else(|| anyhow!("`{text}` is not QUANTITYxSKU"))?;
        let line = Line { quantity: whole(quantity)?, sku_id: whole(sku_id)? };
        ensure!(
            (1..=QUANTITY_MAX).contains(&line.quantity),
            "quantity {quantity} is not from 1 to {QUANTITY_MAX}"
        );
        Ok(line)
    };
    let lines: Result<Vec<Line>> = lines.split('+').map(line).collect();
    let order = Order { id: whole(id)?, lines: lines? };
    let parse = |text: &str| text.parse::<Outcome>().map_err(|error| anyhow!(error));
    let recorded = if recorded.is_empty() { None } else { Some(parse(recorded)?) };
    let told = |text: &str| if text.is_empty() { Ok(None) } else { whole(text).map(Some) };
    let remaining: Result<Vec<Option<i64>>> =
        if remaining.is_empty() { Ok(Vec::new()) } else { remaining.split('+').map(told).collect() };
    let answer = Answer {
        order_id: order.id,
        outcome: parse(outcome)?,
        recorded,
        retry_of: told(retry_of)?,
        remaining: remaining?,
        invoked_us: moment(invoked)?,
        returned_us: moment(returned)?,
    };
    ensure!(answer.invoked_us <= answer.returned_us, "answered before it was placed");
    Ok((order, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> String {
        format!("{MAGIC} run_id=3 started_ms=5\n{COLUMNS}\n")
    }

    #[test]
    fn a_history_reads_back_sorted_and_knows_whether_it_is_complete() {
        let text = format!(
            "{}{SESSIONS}5 6\n9,1x4,sold_out,,,0,5,1,\n7,2x1+1x2,duplicate,deducted,,0,9,2,3\n{COMPLETE}\n",
            head()
        );
        let history = History::parse("h", &text).unwrap();
        assert_eq!((history.run_id, history.started_ms, history.complete), (3, 5, true));
        assert_eq!(history.sessions, [5, 6]);
        let ids: Vec<i64> = history.told.iter().map(|told| told.order.id).collect();
        assert_eq!(ids, [7, 9]);
        assert_eq!(history.told[0].order.lines.len(), 2);
        assert!(history.told[1].answers.has(Outcome::SoldOut));
        assert_eq!((history.told[0].retry_of, history.told[1].retry_of), (Some(3), None));
        let (_, answer) = parse_line("4,2x1+1x2,deducted,,7+,3,5,1,").unwrap();
        assert_eq!((answer.remaining, answer.invoked_us, answer.returned_us), (vec![Some(7), None], 3, 5));
    }

    #[test]
    fn a_file_cut_short_is_read_as_far_as_it_goes() {
        let text = format!("{}9,1x4,sold_out,,,0,5,1,\n7,2x1+1x", head());
        let history = History::parse("h", &text).unwrap();
        assert!(!history.complete);
        assert_eq!(history.told.len(), 1);
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line() {
        assert!(History::parse("h", "").unwrap_err().to_string().starts_with("h:1: not a history"));
        let text = format!("{}9,1x4,gone,,,0,5,1,\n", head());
        assert!(
            History::parse("h", &text).unwrap_err().to_string().starts_with("h:3: unknown outcome `gone`")
        );
    }
}
