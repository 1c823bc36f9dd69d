//! The arguments of the command line, with their passwords kept out of the list of processes.
//!
//! Every user of a machine may read the arguments of every process (`ps`), and safe code
//! cannot overwrite its own. So a command line that holds a password is replaced: the
//! program executes itself again, in the same process and before it does anything else,
//! with arguments that show no password, and reads the real ones from a file in memory.

use crate::db::url::masked;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The last argument of a replaced command line: where the real ones are.
const HANDED_OVER: &str = "--arguments-from-fd=";

/// What the file in memory is called.
const FILE: &str = "stockbench-arguments";

/// The arguments that the program was given, its own name first.
///
/// Where they hold a password, the program is executed again instead. If that cannot be
/// done (no `/proc`, no files in memory), the password stays visible, and all else works.
///
/// # Errors
/// The arguments that were handed over cannot be read.
pub fn take() -> io::Result<Vec<OsString>> {
    let given: Vec<OsString> = std::env::args_os().collect();
    if let Some(descriptor) = given.last().and_then(|last| handed_over(last)) {
        return receive(descriptor);
    }

    let shown: Vec<OsString> = given.iter().map(|argument| without_password(argument)).collect();
    if shown != given {
        let Err(_not_replaced) = hand_over(&given, &shown);
    }
    Ok(given)
}

fn handed_over(argument: &OsStr) -> Option<RawFd> {
    argument.to_str()?.strip_prefix(HANDED_OVER)?.parse().ok()
}

fn without_password(argument: &OsStr) -> OsString {
    let text = argument.to_string_lossy();
    let shown = masked(&text);
    if shown == text { argument.to_owned() } else { shown.into() }
}

/// Executes the program again; returns only if that fails.
fn hand_over(given: &[OsString], shown: &[OsString]) -> io::Result<Infallible> {
    let program = std::env::current_exe()?;

    // Not closed on execution: it is for the program that comes.
    let mut file = File::from(memfd_create(FILE, MFdFlags::empty())?);
    for argument in given {
        file.write_all(argument.as_bytes())?;
        file.write_all(b"\0")?;
    }

    let (name, arguments) = shown.split_first().ok_or(ErrorKind::InvalidInput)?;
    let descriptor = file.as_raw_fd();
    let mut command = Command::new(program);
    command.arg0(name).args(arguments).arg(format!("{HANDED_OVER}{descriptor}"));
    Err(command.exec())
}

/// Reads the arguments that were handed over, and removes them.
fn receive(descriptor: RawFd) -> io::Result<Vec<OsString>> {
    let path = format!("/proc/self/fd/{descriptor}");
    let is_ours = std::fs::read_link(&path)?.to_string_lossy().contains(FILE);
    if !is_ours {
        return Err(io::Error::other(format!("{HANDED_OVER} is for stockbench itself")));
    }

    let mut bytes = Vec::new();
    File::open(&path)?.read_to_end(&mut bytes)?;
    // No program that is started from here on finds them.
    nix::unistd::close(descriptor)?;

    let arguments = bytes.split(|byte| *byte == 0).map(|argument| OsString::from_vec(argument.to_vec()));
    let mut arguments: Vec<OsString> = arguments.collect();
    // Behind the last end there is nothing.
    arguments.pop();
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_without_its_passwords() {
        let shown = |argument: &str| without_password(OsStr::new(argument)).into_string().unwrap();
        for kept in
            ["run", "--think=5ms", "cut-after@*:1%", "a@4,b@1", "postgres://me@h/shop?sslmode=require"]
        {
            assert_eq!(shown(kept), kept);
        }
        assert_eq!(
            shown("--database-url=postgres://me:s3@cret@h/shop"),
            "--database-url=postgres://***@h/shop"
        );
        assert_eq!(shown("orders=mysql://me:s3cret@h/shop"), "orders=mysql://***@h/shop");
        assert_eq!(shown("redis://:s3cret@h"), "redis://***@h");
    }
}
