//! Names from databases and files on their way to a reader. A SKU, an error text or a
//! file name may hold anything: line breaks that forge a line of ours, sequences that
//! steer a terminal, marks that turn text around, formulas of a spreadsheet. Here is
//! what each kind of output lets through.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

/// Whether a character does something to the text around it instead of being seen.
pub fn is_unseen(character: char) -> bool {
    let is_format = matches!(
        character,
        '\u{ad}'                       // soft hyphen
        | '\u{61c}'                    // the bidirectional marks, embeddings and isolates
        | '\u{200e}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}'
        | '\u{180e}'                   // what has no width
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'..='\u{2065}'
        | '\u{feff}'
        | '\u{2028}'..='\u{2029}'      // separators of lines and paragraphs
        | '\u{fff9}'..='\u{fffb}'      // interlinear annotations
        | '\u{e0000}'..='\u{e007f}'    // tags
    );
    character.is_control() || is_format
}

/// The text with each such character written in another way.
fn replace<W: fmt::Display>(
    text: &str,
    is_hidden: impl Fn(char) -> bool,
    written: impl Fn(char) -> W,
) -> Cow<'_, str> {
    if !text.contains(&is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut replaced = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            write!(replaced, "{}", written(character)).expect("a String takes any text");
        } else {
            replaced.push(character);
        }
    }
    Cow::Owned(replaced)
}

/// Text on one line, with every unseen character as its escape: `\n`, `\u{1b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    replace(text, is_unseen, char::escape_default)
}

/// JSON that any terminal shows as it is and any reader takes as before: what JSON itself
/// lets through unescaped stands in its strings only.
pub fn json(json: &str) -> Cow<'_, str> {
    let as_utf16 = |character: char| {
        let mut units = [0; 2];
        match character.encode_utf16(&mut units) {
            [high, low] => format!("\\u{high:04x}\\u{low:04x}"),
            only => format!("\\u{:04x}", only[0]),
        }
    };
    // The line breaks are those between its values.
    replace(json, |character| character != '\n' && is_unseen(character), as_utf16)
}

/// A string of TOML on one line.
pub fn toml_string(text: &str) -> String {
    // JSON's escapes are TOML's, but for pairs of surrogates.
    let json = serde_json::Value::from(text).to_string();
    replace(&json, is_unseen, |character| format!("\\U{:08x}", u32::from(character))).into_owned()
}

/// A string of SQL that knows escapes (`E'…'`) with every unseen character as one.
pub fn sql_string(text: &str) -> Cow<'_, str> {
    replace(text, is_unseen, |character| format!("\\U{:08X}", u32::from(character)))
}

/// Whether a spreadsheet takes a cell that begins like this for a formula.
fn begins_formula(text: &str) -> bool {
    text.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠'])
}

/// Whether text is a plain number, which is no formula whatever its sign.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole) && is_digits(fraction)
}

/// A cell of a CSV file that no spreadsheet calculates: an apostrophe goes before what would
/// begin a formula, also behind a semicolon, at which some of them part cells. Numbers stay
/// numbers.
pub fn cell(text: &str) -> Cow<'_, str> {
    let text = line(text);
    let is_formula = |part: &str| begins_formula(part) && !is_number(part);
    if is_number(&text) || !text.split(';').any(is_formula) {
        return text;
    }
    let quoted = |part: &str| if is_formula(part) { format!("'{part}") } else { part.to_owned() };
    Cow::Owned(text.split(';').map(quoted).collect::<Vec<_>>().join(";"))
}

/// Where a report for people is written: no line begins or ends there but those that the
/// report itself begins and ends.
///
/// A `writeln!` with values is one line, whatever they hold. Line breaks of ours stand
/// in text without values (`writeln!(out)`), and what was put together elsewhere, from values
/// that were escaped there, goes through `write_all` as it is.
pub struct Screen<'w> {
    out: &'w mut dyn Write,
}

impl<'w> Screen<'w> {
    /// Around the writer that takes what is left.
    pub fn new(out: &'w mut dyn Write) -> Self {
        Self { out }
    }
}

impl Write for Screen<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        if let Some(ours) = text.as_str() {
            return self.out.write_all(ours.as_bytes());
        }
        let text = text.to_string();
        match text.strip_suffix('\n') {
            Some(text) => {
                self.out.write_all(line(text).as_bytes())?;
                self.out.write_all(b"\n")
            }
            None => self.out.write_all(line(&text).as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_shown_as_its_escape() {
        for (name, shown) in [
            ("café → 40 % ✗ 漢字 👍", "café → 40 % ✗ 漢字 👍"),
            ("a\naudit: passed", "a\\naudit: passed"),
            ("a\rb\tc", "a\\rb\\tc"),
            ("\x1b[2J\x7f\u{9b}1m", "\\u{1b}[2J\\u{7f}\\u{9b}1m"),
            ("a\u{202e}b\u{2066}c\u{200b}d\u{feff}", "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{feff}"),
            ("a\u{2028}b\u{85}c\u{e0041}", "a\\u{2028}b\\u{85}c\\u{e0041}"),
        ] {
            assert_eq!(line(name), shown);
        }
    }

    #[test]
    fn escaped_json_says_the_same() {
        let name = "a\u{9b}\u{202e}\u{7f}\n\u{e0041} café";
        let plain = serde_json::to_string_pretty(&serde_json::json!({ name: [name] })).unwrap();
        let escaped = json(&plain);
        assert!(!escaped.contains(|character| is_unseen(character) && character != '\n'), "{escaped}");
        let [before, after] =
            [&plain, escaped.as_ref()].map(|text| serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(before, after);
    }

    #[test]
    fn a_string_of_toml_reads_back() {
        let name = "a\u{202e}\u{e0041}\x7f\n\"=#";
        let written = toml_string(name);
        assert!(!written.contains(is_unseen), "{written}");
        let read: toml::Table = toml::from_str(&format!("name = {written}")).unwrap();
        assert_eq!(read["name"].as_str(), Some(name));
    }

    #[test]
    fn a_cell_is_no_formula_and_a_number_is_a_number() {
        for (text, written) in [
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("+1+cmd|' /C calc'!A0", "'+1+cmd|' /C calc'!A0"),
            ("-2+3", "'-2+3"),
            (" =1", "' =1"),
            ("\t=1", "\\t=1"),
            ("＝1", "'＝1"),
            ("a;=1;b", "a;'=1;b"),
            ("-5", "-5"),
            ("+5.25", "+5.25"),
            ("sold; -5", "sold; -5"),
            ("-", "'-"),
            ("order 7; it was sold", "order 7; it was sold"),
        ] {
            assert_eq!(cell(text), written);
        }
    }

    #[test]
    fn a_line_of_a_report_is_one_line() {
        let mut written = Vec::new();
        let mut screen = Screen::new(&mut written);
        let out: &mut dyn Write = &mut screen;
        let name = "\na\naudit: passed\x1b[2J\n";
        writeln!(out, "first\nsecond").unwrap();
        writeln!(out, "SKU {name}").unwrap();
        writeln!(out, "{name}").unwrap();
        let unended = "x\ny";
        write!(out, "{unended}").unwrap();
        let name = "\\na\\naudit: passed\\u{1b}[2J\\n";
        assert_eq!(String::from_utf8(written).unwrap(), format!("first\nsecond\nSKU {name}\n{name}\nx\\ny"));
    }
}
