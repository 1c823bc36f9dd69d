//! Which lab server is asked for: a kind, and the version where it matters.

use super::LabKind;
use clap::ValueEnum;
use clap::builder::{PossibleValue, TypedValueParser, ValueParserFactory};
use std::ffi::OsStr;
use std::fmt;
use std::str::FromStr;

/// A kind of server and, where it matters, its version: `postgres`, `postgres@18`,
/// `mariadb@11.8`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabSpec {
    /// Which server to start.
    pub kind: LabKind,
    /// Its version; without one, the first server that is found.
    pub version: Option<Version>,
}

impl From<LabKind> for LabSpec {
    fn from(kind: LabKind) -> Self {
        Self { kind, version: None }
    }
}

impl FromStr for LabSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, version) = match text.split_once('@') {
            Some((kind, version)) => (kind, Some(version.parse()?)),
            None => (text, None),
        };

        let kind = LabKind::from_str(kind, false).map_err(|_| {
            let known: Vec<&str> = LabKind::value_variants().iter().map(|kind| kind.as_str()).collect();
            format!("`{kind}` is no kind of server (known: {})", known.join(", "))
        })?;
        if kind.is_cluster() && version.is_some() {
            return Err(format!("a cluster takes no version: use {}", kind.as_str()));
        }

        Ok(Self { kind, version })
    }
}

impl fmt::Display for LabSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        match &self.version {
            Some(version) => write!(f, "@{version}"),
            None => Ok(()),
        }
    }
}

/// A server's version, or the first numbers of one: `18` stands for every 18.x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(Vec<u32>);

impl Version {
    /// Whether this is the wanted version or one within it: 10.11.19 is within 10.11 and
    /// within 10, not within 10.1.
    pub(super) fn is_within(&self, wanted: &Self) -> bool {
        self.0.starts_with(&wanted.0)
    }

    /// The version that a server prints about itself: the first word that begins with a
    /// number, without what a distribution has appended to it.
    pub(super) fn in_output(output: &str) -> Option<Self> {
        let is_of_number = |character: char| character.is_ascii_digit() || character == '.';
        output
            .split_whitespace()
            .map(|word| word.strip_prefix("v=").unwrap_or(word))
            .filter(|word| word.starts_with(|first: char| first.is_ascii_digit()))
            .find_map(|word| {
                let number = word.split(|character| !is_of_number(character)).next()?;
                number.trim_end_matches('.').parse().ok()
            })
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        numbers.map(Self).map_err(|_| format!("`{text}` is no version: write it as 18 or 11.8"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(u32::to_string).collect();
        f.write_str(&numbers.join("."))
    }
}

/// Parses the flag; the kinds are what help and completions show.
#[derive(Debug, Clone)]
pub struct LabSpecParser;

impl ValueParserFactory for LabSpec {
    type Parser = LabSpecParser;

    fn value_parser() -> Self::Parser {
        LabSpecParser
    }
}

impl TypedValueParser for LabSpecParser {
    type Value = LabSpec;

    fn parse_ref(
        &self,
        command: &clap::Command,
        flag: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<LabSpec, clap::Error> {
        LabSpec::from_str.parse_ref(command, flag, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(LabKind::value_variants().iter().filter_map(ValueEnum::to_possible_value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_version_is_read_from_what_each_server_prints() {
        for (output, expected) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "15.18"),
            ("postgres (PostgreSQL) 19beta2", "19"),
            ("/opt/mysql-8.4/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", "9.7.4"),
            ("mariadbd  Ver 11.8.9-MariaDB-0+deb13u1 from Debian for debian-linux-gnu", "11.8.9"),
            ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64", "7.0.15"),
        ] {
            assert_eq!(Version::in_output(output), Some(version(expected)), "{output}");
        }
        assert_eq!(Version::in_output("no number at all"), None);
    }

    #[test]
    fn a_version_matches_by_whole_numbers() {
        assert!(version("18.4").is_within(&version("18")));
        assert!(version("10.11.19").is_within(&version("10.11")));
        assert!(!version("10.11.19").is_within(&version("10.1")));
        assert!(!version("18").is_within(&version("18.4")));
    }

    #[test]
    fn a_spec_is_a_kind_with_or_without_a_version() {
        for text in ["postgres", "postgres@18", "mariadb@11.8", "mysql@9.7.4", "group-replication"] {
            assert_eq!(text.parse::<LabSpec>().unwrap().to_string(), text);
        }
        for (text, fragment) in [
            ("postgres@", "is no version"),
            ("postgres@18beta", "`18beta` is no version"),
            ("oracle", "`oracle` is no kind of server (known: postgres, mysql,"),
            ("oracle@9", "`oracle` is no kind of server"),
            ("galera@10.11", "a cluster takes no version: use galera"),
        ] {
            let error = text.parse::<LabSpec>().unwrap_err();
            assert!(error.contains(fragment), "{text}: {error}");
        }
    }
}
