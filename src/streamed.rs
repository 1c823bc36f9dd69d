//! A file that is written while a run goes on. It has its name when it is whole: until
//! then it is `NAME.partial`, so that nobody takes a part for the whole, and what was
//! there before is there until then.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// What is added to the name of a file that is not whole yet.
const PARTIAL: &str = ".partial";

/// Such a file.
#[derive(Debug)]
pub struct StreamedFile {
    path: PathBuf,
    /// None where it is no file but a pipe or a device, which is written to as it is.
    partial: Option<PathBuf>,
    writer: BufWriter<File>,
}

/// What a file of this name is called while it is not whole.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(PARTIAL);
    PathBuf::from(name)
}

impl StreamedFile {
    /// Creates it under its name for the time being. A link stays one.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path) -> io::Result<Self> {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_special = std::fs::metadata(&path).is_ok_and(|found| !found.is_file());
        let partial = (!is_special).then(|| partial(&path));
        let writer = BufWriter::new(File::create(partial.as_ref().unwrap_or(&path))?);
        Ok(Self { path, partial, writer })
    }

    /// It is whole: gives it its name.
    ///
    /// # Errors
    /// What was written does not reach the disk, or it cannot be renamed.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()?;
        if let Some(partial) = &self.partial {
            self.writer.get_ref().sync_all()?;
            std::fs::rename(partial, &self.path)?;
        }
        Ok(())
    }
}

impl Write for StreamedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.csv");
        std::fs::write(&path, "of the last run").unwrap();
        let mut file = StreamedFile::create(&path).unwrap();
        file.write_all(b"of this run").unwrap();
        file.flush().unwrap();
        let partial = folder.path().join("answers.csv.partial");
        assert_eq!(std::fs::read_to_string(&partial).unwrap(), "of this run");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of the last run");
        file.finish().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "of this run");
        assert!(!partial.exists());
        // What is no file is written to as it is.
        let mut null = StreamedFile::create(Path::new("/dev/null")).unwrap();
        null.write_all(b"nothing").unwrap();
        null.finish().unwrap();
    }
}
