//! The history file: every answer, streamed to disk as it is given, so that a
//! later audit has the clients' witness too.
//!
//! A CSV file. Its first line names the run, its last line says that nothing
//! is missing: a client that was killed leaves a file without it, which is still called
//! `….partial`.

use super::answers::{Answers, ToldOrder};
use super::recorder::Delivery;
use crate::db::schema::RunRow;
use crate::input::{HISTORY_MAX, Input};
use crate::outcome::Outcome;
use crate::streamed::{self, StreamedFile};
use crate::workload::{Line, Order, QUANTITY_MAX, Segment};
use anyhow::{Context, Result, anyhow, bail, ensure};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
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
    file: Mutex<StreamedFile>,
    failure: Mutex<Option<io::Error>>,
}

impl HistoryWriter {
    /// Creates the file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: &Path, run: &RunRow, segment: Option<Segment>) -> Result<Self> {
        let segment = segment.map_or_else(String::new, |segment| format!(" segment={segment}"));
        let create = || -> io::Result<StreamedFile> {
            let mut file = StreamedFile::create(path)?;
            writeln!(file, "{MAGIC} run_id={} started_ms={}{segment}", run.id, run.started_ms)?;
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
        let finish = || -> io::Result<()> {
            if let Some(error) = self.failure.into_inner() {
                return Err(error);
            }
            let mut file = self.file.into_inner();
            writeln!(file, "{COMPLETE}")?;
            file.finish()
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
    /// Which part of the run it tells of, if that had several.
    pub segment: Option<Segment>,
    /// Whether the run lived to complete it, all parts of it.
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
        let file = Input::open_lines(path, HISTORY_MAX).with_context(|| {
            let partial = streamed::partial(path);
            let hint = if !path.exists() && partial.exists() {
                format!(" ({} is what a run has left that did not end)", partial.display())
            } else {
                String::new()
            };
            format!("cannot read {}{hint}", path.display())
        })?;

        Self::parse(&path.display().to_string(), BufReader::new(file))
    }

    /// Reads a history line by line; `name` is how errors call it.
    ///
    /// # Errors
    /// As [`History::read`].
    pub fn parse(name: &str, text: impl BufRead) -> Result<Self> {
        let mut lines = Lines { text, number: 0 };
        let cannot_read = || format!("cannot read {name}");
        let head = lines.next().with_context(cannot_read)?.unwrap_or_default();
        let columns = lines.next().with_context(cannot_read)?.unwrap_or_default();

        let first = head.text().unwrap_or_default();
        let value =
            |key: &str| first.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
        let number = |key: &str| value(key).and_then(|value| value.parse::<i64>().ok());
        let segment = value("segment").map(str::parse::<Segment>).transpose();
        let is_history = first.starts_with(MAGIC) && columns.text() == Some(COLUMNS);
        let (true, Some(run_id), Some(started_ms), Ok(segment)) =
            (is_history, number("run_id"), number("started_ms"), segment)
        else {
            return Err(anyhow!("{name}:1: not a history file of stockbench"));
        };

        let mut told: BTreeMap<i64, ToldOrder> = BTreeMap::new();
        let mut answers = Vec::new();
        let mut sessions = Vec::new();
        let mut complete = false;
        while let Some(line) = lines.next().with_context(cannot_read)? {
            let text = line.text();
            if text == Some(COMPLETE) {
                complete = true;
                continue;
            }
            if let Some(ids) = text.and_then(|text| text.strip_prefix(SESSIONS)) {
                sessions.extend(ids.split(' ').filter_map(|id| id.parse::<i64>().ok()));
                continue;
            }
            // A killed client may have been in the middle of its last line.
            if !line.is_whole() {
                break;
            }

            let parsed = text.context("it is not UTF-8 text").and_then(parse_line);
            let (order, answer) = parsed.map_err(|error| anyhow!("{name}:{}: {error}", lines.number))?;
            let Order { id, lines } = order;
            let known = told.entry(id).or_insert_with(|| ToldOrder {
                order: Order { id, lines },
                answers: Answers::default(),
                retry_of: answer.retry_of,
            });
            known.answers.add(answer.outcome, answer.recorded);
            answers.push(answer);
        }
        let told = told.into_values().collect();
        Ok(Self { run_id, started_ms, segment, complete, told, answers, sessions })
    }

    /// What several processes told of one run: every order belongs to one of them. Their
    /// clocks are not one another's, so that times are left out of it.
    ///
    /// # Errors
    /// Two of them are not of one run, or are the same part of it.
    pub fn join(parts: Vec<Self>) -> Result<Option<Self>> {
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else { return Ok(None) };
        let Some(first) = whole.segment else {
            ensure!(
                parts.next().is_none(),
                "several history files: the first is no segment's, it is of a whole run"
            );
            return Ok(Some(whole));
        };
        let mut numbers = BTreeSet::from([first.number]);
        let mut told: BTreeMap<i64, ToldOrder> =
            whole.told.drain(..).map(|told| (told.order.id, told)).collect();
        whole.answers.clear();
        for part in parts {
            let is_of_run = (part.run_id, part.started_ms) == (whole.run_id, whole.started_ms);
            let segment = part.segment.filter(|segment| is_of_run && segment.of == first.of);
            let Some(segment) = segment else {
                bail!("the history files are not of the segments of one run");
            };
            ensure!(numbers.insert(segment.number), "segment {segment} is told of by two history files");
            for order in part.told {
                let id = order.order.id;
                ensure!(
                    told.insert(id, order).is_none(),
                    "order {id} is in the history files of two segments"
                );
            }
            whole.complete &= part.complete;
            whole.sessions.extend(part.sessions);
        }
        whole.complete &= numbers.len() as u64 == first.of;
        whole.told = told.into_values().collect();
        Ok(Some(whole))
    }
}

/// The lines of a text, one at a time.
struct Lines<T> {
    text: T,
    /// The number of the last line that was read, from 1.
    number: u64,
}

impl<T: BufRead> Lines<T> {
    fn next(&mut self) -> io::Result<Option<RawLine>> {
        let mut bytes = Vec::new();
        let count = self.text.read_until(b'\n', &mut bytes)?;
        self.number += 1;
        Ok((count > 0).then_some(RawLine(bytes)))
    }
}

/// A line with its end, which may be anything yet.
#[derive(Default)]
struct RawLine(Vec<u8>);

impl RawLine {
    /// Whether its end was written, too.
    fn is_whole(&self) -> bool {
        self.0.ends_with(b"\n")
    }

    /// What it says; none where that is no text.
    fn text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?;
        let line = text.strip_suffix('\n').unwrap_or(text);
        Some(line.strip_suffix('\r').unwrap_or(line))
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
        let history = History::parse("h", text.as_bytes()).unwrap();
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
        let history = History::parse("h", text.as_bytes()).unwrap();
        assert!(!history.complete);
        assert_eq!(history.told.len(), 1);
    }

    #[test]
    fn what_the_segments_were_told_is_joined_and_what_is_not_of_one_run_is_refused() {
        let part = |segment: &str, order: i64, end: &str| {
            let head = head().replacen("started_ms=5", &format!("started_ms=5{segment}"), 1);
            History::parse("h", format!("{head}{order},1x4,deducted,,,0,5,1,\n{end}").as_bytes()).unwrap()
        };
        let of = |number: i64| format!(" segment={number}/2");
        let complete = format!("{COMPLETE}\n");
        let joined = |parts| History::join(parts).map(Option::unwrap);
        let whole = joined(vec![part(&of(2), 8, &complete), part(&of(1), 7, &complete)]).unwrap();
        assert!(whole.complete && whole.answers.is_empty());
        assert_eq!(whole.told.iter().map(|told| told.order.id).collect::<Vec<_>>(), [7, 8]);
        assert!(!joined(vec![part(&of(1), 7, &complete), part(&of(2), 8, "")]).unwrap().complete);
        assert!(!joined(vec![part(&of(1), 7, &complete)]).unwrap().complete, "one is missing");
        for (one, other) in [(of(1), of(1)), (of(1), " segment=2/3".to_owned()), (String::new(), of(1))] {
            assert!(joined(vec![part(&one, 7, ""), part(&other, 8, "")]).is_err(), "{one} {other}");
        }
        let error = joined(vec![part(&of(1), 7, ""), part(&of(2), 7, "")]).unwrap_err().to_string();
        assert!(error.contains("order 7"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_line() {
        assert!(History::parse("h", &b""[..]).unwrap_err().to_string().starts_with("h:1: not a history"));
        let text = format!("{}9,1x4,gone,,,0,5,1,\n", head());
        assert!(
            History::parse("h", text.as_bytes())
                .unwrap_err()
                .to_string()
                .starts_with("h:3: unknown outcome `gone`")
        );
    }
}
