//! URLs that are read from a file (`@FILE`) or from standard input (`-`), so that no
//! argument holds their passwords.

use crate::cli::{Command, DatabaseArgs};
use crate::exit::usage;
use crate::input::{self, SECRET_MAX};
use anyhow::Result;
use std::io;
use std::path::{Path, PathBuf};

/// Puts the URLs of a command in the place of what they are read from.
///
/// # Errors
/// As bad usage: a file cannot be read or holds no URL, or standard input is to be read twice.
pub(super) fn resolve(command: &mut Command) -> Result<()> {
    match command {
        Command::Run(args) => {
            let mut reader = Reader::default();
            reader.database(&mut args.database)?;
            reader.url("--redis-url", args.redis_url.as_mut())?;
            reader.services(&mut args.service)?;
            args.database.url_files = reader.files;
            Ok(())
        }
        Command::Audit(args) => {
            let mut reader = Reader::default();
            reader.database(&mut args.database)?;
            reader.services(&mut args.service)?;
            args.database.url_files = reader.files;
            Ok(())
        }
        Command::Compare(args) => {
            let mut reader = Reader::default();
            // A lab server comes before a URL, which may be the environment's.
            if args.lab.is_empty() {
                reader.url("--database-url", args.database_url.as_mut())?;
            }
            reader.url("--redis-url", args.redis_url.as_mut())?;
            args.url_files = reader.files;
            Ok(())
        }
        Command::Seed(args) => resolve_database(&mut args.database),
        Command::Explore(args) => resolve_database(&mut args.database),
        Command::Clean(args) => resolve_database(&mut args.database),
        Command::Report(_)
        | Command::Strategies(_)
        | Command::Scenarios
        | Command::Lab(_)
        | Command::Completions(_)
        | Command::Man(_) => Ok(()),
    }
}

fn resolve_database(args: &mut DatabaseArgs) -> Result<()> {
    let mut reader = Reader::default();
    reader.database(args)?;
    args.url_files = reader.files;
    Ok(())
}

/// Reads the URLs of one command.
#[derive(Default)]
struct Reader {
    /// The files that were read.
    files: Vec<PathBuf>,
    stdin_is_read: bool,
}

impl Reader {
    fn database(&mut self, args: &mut DatabaseArgs) -> Result<()> {
        // A lab server comes before a URL, which may be the environment's.
        if args.lab.is_some() {
            return Ok(());
        }
        self.url("--database-url", args.database_url.as_mut())
    }

    /// `NAME=@FILE` and `NAME=-`.
    fn services(&mut self, services: &mut [String]) -> Result<()> {
        for service in services {
            let Some((name, url)) = service.split_once('=') else { continue };
            let flag = format!("--service {name}");
            if let Some(url) = self.read(&flag, url)? {
                *service = format!("{name}={url}");
            }
        }
        Ok(())
    }

    fn url(&mut self, flag: &str, url: Option<&mut String>) -> Result<()> {
        if let Some(url) = url
            && let Some(read) = self.read(flag, url)?
        {
            *url = read;
        }
        Ok(())
    }

    /// The URL that a value is read from; none where the value is the URL.
    fn read(&mut self, flag: &str, value: &str) -> Result<Option<String>> {
        let (name, text) = if value == "-" {
            if std::mem::replace(&mut self.stdin_is_read, true) {
                return Err(usage(format!("{flag} -: standard input holds another URL already")));
            }
            ("standard input", input::read_stream(io::stdin().lock(), SECRET_MAX))
        } else if let Some(file) = value.strip_prefix('@') {
            self.files.push(PathBuf::from(file));
            (file, input::read_to_string(Path::new(file), SECRET_MAX))
        } else {
            return Ok(None);
        };

        let text = text.map_err(|error| usage(format!("{flag}: cannot read {name}: {error}")))?;
        // The text is not quoted: it may hold a password.
        match text.trim() {
            "" => Err(usage(format!("{flag}: {name} is empty: it should hold one URL"))),
            url if url.lines().count() > 1 => {
                Err(usage(format!("{flag}: {name} has more than one line: it should hold one URL")))
            }
            url => Ok(Some(url.to_owned())),
        }
    }
}
