//! An SQLite file in WAL mode that we may read and not write, or whose folder we may not write.
//!
//! A reader of such a file makes two files beside it, where it may. Where it may not, SQLite
//! reads the file only if it is told that nobody writes to it. That cannot be promised, so it
//! is checked: whoever writes leaves a log beside the file, or another file than before.

use super::url::DatabaseUrl;
use anyhow::{Result, ensure};
use nix::unistd::{AccessFlags, access};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the header of a file says how it is written and read.
const VERSIONS: std::ops::Range<usize> = 18..20;

/// What stands there in WAL mode.
const WAL: u8 = 2;

/// Such a file, as it was when it was first looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frozen {
    file: PathBuf,
    stamp: [i64; 6],
}

impl Frozen {
    /// The file of a URL, if it is one and has no log beside it.
    pub(super) fn of(url: &DatabaseUrl) -> Option<Self> {
        let file = url.file().filter(|file| is_wal(file).unwrap_or(false) && !log(file).exists())?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let may_write = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
        if may_write(&file) && may_write(folder.unwrap_or(Path::new("."))) {
            return None;
        }
        Some(Self { stamp: stamp(&file.metadata().ok()?), file })
    }

    /// Makes sure that it is still as it was.
    ///
    /// # Errors
    /// Somebody has written to it.
    pub(super) fn check(&self) -> Result<()> {
        let is_same = self.file.metadata().is_ok_and(|found| stamp(&found) == self.stamp);
        ensure!(
            is_same && !log(&self.file).exists(),
            "{} was written to while it was read, and only a file at rest can be read where nothing can be \
             written: try again, or as a user who may write to its folder",
            self.file.display()
        );
        Ok(())
    }
}

/// What is to be done about a log that cannot be read here, if that is what kept the file of a
/// URL from being opened.
pub(super) fn advice(url: &DatabaseUrl) -> Option<String> {
    let log = log(&url.file()?);
    log.exists().then(|| {
        format!(
            ": {} is a part of it and can be read only where files can be made beside it: copy both to a folder \
             of your own",
            log.display()
        )
    })
}

/// The write-ahead log of a file.
fn log(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn is_wal(file: &Path) -> io::Result<bool> {
    let mut header = [0; VERSIONS.end];
    File::open(file)?.read_exact(&mut header)?;
    Ok(header[VERSIONS].contains(&WAL))
}

/// What another content of a file would change.
fn stamp(found: &Metadata) -> [i64; 6] {
    let (inode, size) = (found.ino().cast_signed(), found.size().cast_signed());
    [inode, size, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_writes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        std::fs::write(&file, "as it was").unwrap();
        let frozen = Frozen { stamp: stamp(&file.metadata().unwrap()), file: file.clone() };
        frozen.check().unwrap();

        std::fs::write(log(&file), "begun").unwrap();
        let error = frozen.check().unwrap_err().to_string();
        assert!(error.contains("a.db was written to while it was read"), "{error}");

        std::fs::remove_file(log(&file)).unwrap();
        frozen.check().unwrap();
        std::fs::write(&file, "as it is now").unwrap();
        frozen.check().unwrap_err();
    }
}
