//! Files that are read: every kind has a limit of size, and what never ends is refused.
//!
//! A named pipe is read like a file, so that a shell's `<(…)` works, but it is not waited
//! for without an end.

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The largest strategy, scenario, mapping, certificate or `.env`, in bytes.
pub const CONFIG_MAX: u64 = MIB;

/// The largest file that holds a URL or passwords, in bytes.
pub const SECRET_MAX: u64 = 64 * KIB;

/// The largest result of a run or a comparison, or journal of one, in bytes.
pub const RESULT_MAX: u64 = 64 * MIB;

/// The largest file of orders, in bytes.
pub const ORDERS_MAX: u64 = 512 * MIB;

/// The largest history of a run, in bytes.
pub const HISTORY_MAX: u64 = 4 * GIB;

/// The longest line of orders or of a history, in bytes.
const LINE_MAX: u64 = 64 * KIB;

/// How long a pipe may stay silent.
const PIPE_PATIENCE: Duration = Duration::from_secs(5);

/// A file that is read up to its limit.
#[derive(Debug)]
pub struct Input {
    file: File,
    is_pipe: bool,
    limit: u64,
    /// Bytes that may still come before the limit is passed.
    left: u64,
    /// The bytes since the last end of a line, where lines have a limit.
    line: Option<u64>,
}

impl Input {
    /// Opens a file of at most `limit` bytes.
    ///
    /// # Errors
    /// It is not there, a device or a folder, or larger than that.
    pub fn open(path: &Path, limit: u64) -> io::Result<Self> {
        // Before it is opened: opening a device may do something.
        check_kind(&std::fs::metadata(path)?)?;

        let options = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(options.bits()).open(path)?;

        let metadata = file.metadata()?;
        check_kind(&metadata)?;
        if metadata.len() > limit {
            return Err(too_large(limit));
        }

        let is_pipe = !metadata.is_file();
        Ok(Self { file, is_pipe, limit, left: limit, line: None })
    }

    /// Opens a file of lines, which are read one by one: none may be longer than 64 KiB.
    ///
    /// # Errors
    /// As [`Input::open`].
    pub fn open_lines(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self { line: Some(0), ..Self::open(path, limit)? })
    }

    /// Waits until a pipe has something to say, or its other end is closed.
    fn wait_for_pipe(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let patience = PollTimeout::try_from(PIPE_PATIENCE).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, patience)? {
            0 => Err(io::Error::other(format!(
                "it is a pipe to which nobody has written for {} s",
                PIPE_PATIENCE.as_secs()
            ))),
            _ => Ok(()),
        }
    }

    fn check_line(&mut self, read: &[u8]) -> io::Result<()> {
        let Some(line) = self.line.as_mut() else { return Ok(()) };
        let length = |bytes: usize| bytes as u64;

        let first_end = read.iter().position(|byte| *byte == b'\n');
        let longest = *line + length(first_end.unwrap_or(read.len()));
        let last_end = read.iter().rposition(|byte| *byte == b'\n');
        *line = last_end.map_or(longest, |end| length(read.len() - end - 1));

        if longest > LINE_MAX {
            return Err(io::Error::other(format!("it has a line longer than {}", size(LINE_MAX))));
        }
        Ok(())
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_pipe {
            self.wait_for_pipe()?;
        }

        let count = self.file.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| too_large(self.limit))?;
        self.check_line(&buffer[..count])?;
        Ok(count)
    }
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// As [`Input::open`], or it cannot be read.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Input::open(path, limit)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole text of at most `limit` bytes.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_to_string(path: &Path, limit: u64) -> io::Result<String> {
    let not_text = |_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read(path, limit)?).map_err(not_text)
}

/// Reads what comes from elsewhere to its end, up to `limit` bytes.
///
/// # Errors
/// It cannot be read, is larger than that, or is not UTF-8.
pub fn read_stream(stream: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let count = stream.take(limit + 1).read_to_string(&mut text)?;
    if count as u64 > limit { Err(too_large(limit)) } else { Ok(text) }
}

/// Checks a file that somebody else reads, more than once: it must be a regular file of
/// at most `limit` bytes.
///
/// # Errors
/// It is not there or may not be read, or is something else.
pub fn check_regular(path: &Path, limit: u64) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    Input::open(path, limit).map(drop)
}

fn check_kind(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    if kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::other("it is a device, not a file"));
    }
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    Ok(())
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(
        ErrorKind::FileTooLarge,
        format!("it is larger than {}, the limit for such a file", size(limit)),
    )
}

/// A limit in words; all of them are whole numbers of a unit.
fn size(bytes: u64) -> String {
    match bytes {
        GIB.. => format!("{} GiB", bytes / GIB),
        MIB.. => format!("{} MiB", bytes / MIB),
        _ => format!("{} KiB", bytes / KIB),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn error_of(path: &str, limit: u64) -> String {
        read(Path::new(path), limit).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_no_further() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, vec![b'x'; 2_048]).unwrap();
        assert_eq!(read(&path, 2 * KIB).unwrap().len(), 2_048);
        let error = read(&path, KIB).unwrap_err().to_string();
        assert_eq!(error, "it is larger than 1 KiB, the limit for such a file");

        assert_eq!(read_stream(&b"1234"[..], 4).unwrap(), "1234");
        assert!(read_stream(&b"12345"[..], 4).is_err());
        assert!(read_stream(io::repeat(0), KIB).is_err());
    }

    #[test]
    fn what_has_no_size_is_stopped_at_the_limit_too() {
        // Its length is said to be 0.
        assert!(read(Path::new("/proc/self/status"), 100).unwrap_err().to_string().contains("larger than"));
        assert!(read(Path::new("/proc/self/status"), MIB).unwrap().len() > 100);
    }

    #[test]
    fn devices_and_folders_are_refused_before_they_are_opened() {
        assert_eq!(error_of("/dev/zero", KIB), "it is a device, not a file");
        assert_eq!(error_of("/tmp", KIB), "is a directory");
    }

    #[test]
    fn a_line_has_a_limit_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.csv");
        let line = |length: usize| format!("{}\n", "x".repeat(length));
        let read = || {
            let mut text = String::new();
            Input::open_lines(&path, MIB).unwrap().read_to_string(&mut text).map(|_| text.len())
        };
        std::fs::write(&path, line(40_000).repeat(10)).unwrap();
        assert_eq!(read().unwrap(), 400_010);
        std::fs::write(&path, line(40_000) + &line(70_000) + &line(1)).unwrap();
        assert_eq!(read().unwrap_err().to_string(), "it has a line longer than 64 KiB");
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || OpenOptions::new().write(true).open(path)?.write_all(b"from a pipe")
        });
        assert_eq!(read_to_string(&path, KIB).unwrap(), "from a pipe");
        writer.join().unwrap().unwrap();
    }
}
