//! The files of a command: no output may take the place of an input, or of another output.

use crate::cli::DatabaseArgs;
use crate::db::DatabaseUrl;
use crate::db::url::EMBEDDED_DEFAULT;
use crate::dotenv;
use crate::exit::usage;
use crate::{shipped, streamed};
use anyhow::Result;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Links that are followed, as many as the system follows.
const LINKS_MAX: usize = 40;

/// What a command writes and what it reads.
#[derive(Debug, Default)]
pub(super) struct Files<'a> {
    outputs: Vec<Output<'a>>,
    inputs: Vec<Input>,
}

#[derive(Debug)]
struct Output<'a> {
    flag: &'static str,
    /// As it was given.
    path: &'a Path,
    /// Where it is written until it is whole.
    partial: Option<PathBuf>,
}

#[derive(Debug)]
struct Input {
    /// What it is, in words.
    what: &'static str,
    path: PathBuf,
}

impl<'a> Files<'a> {
    /// An output that is written at once, at the end.
    pub(super) fn writes(mut self, flag: &'static str, path: Option<&'a PathBuf>) -> Self {
        self.outputs.extend(path.map(|path| Output { flag, path, partial: None }));
        self
    }

    /// An output that is written while a run goes on.
    pub(super) fn streams(mut self, flag: &'static str, path: Option<&'a PathBuf>) -> Self {
        let output = |path: &'a PathBuf| Output { flag, path, partial: Some(streamed::partial(path)) };
        self.outputs.extend(path.map(output));
        self
    }

    /// Inputs.
    pub(super) fn reads(
        mut self,
        what: &'static str,
        paths: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Self {
        self.inputs.extend(paths.into_iter().map(|path| Input { what, path: path.into() }));
        self
    }

    /// Strategies or scenarios, by name or by path.
    pub(super) fn reads_named<'n>(
        self,
        what: &'static str,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        self.reads(what, names.into_iter().filter_map(shipped::path))
    }

    /// What belongs to the database that the flags name.
    pub(super) fn reads_database(self, args: &DatabaseArgs) -> Self {
        let files = self.reads("a file that holds a URL", &args.url_files);
        match (&args.lab, &args.database_url) {
            (Some(_), _) => files,
            (None, url) => files.reads_url(url.as_deref().unwrap_or(EMBEDDED_DEFAULT)),
        }
    }

    /// What belongs to the databases of services.
    pub(super) fn reads_services(self, services: &[String]) -> Self {
        let urls = services.iter().filter_map(|service| service.split_once('='));
        urls.fold(self, |files, (_, url)| files.reads_url(url))
    }

    fn reads_url(mut self, url: &str) -> Self {
        // What does not parse is refused when it is used.
        let Ok(url) = DatabaseUrl::parse(url) else { return self };
        self.inputs.extend(url.files().into_iter().map(|(what, path)| Input { what, path }));
        self
    }

    /// Refuses, before anything is touched, what could not be written afterwards or would
    /// destroy something.
    ///
    /// # Errors
    /// As bad usage: an output has no folder or is one, is an input, or is another output.
    pub(super) fn check(self) -> Result<()> {
        let files = self.reads("the .env file", dotenv::find());
        let inputs: Vec<(&Input, Identity)> =
            files.inputs.iter().map(|input| (input, Identity::of(&input.path))).collect();

        let mut taken: Vec<Identity> = Vec::new();
        for Output { flag, path, partial } in &files.outputs {
            let shown = path.display();
            if !super::folder_of(path).is_dir() || path.is_dir() {
                return Err(usage(format!("cannot write {shown}: no such folder, or a folder itself")));
            }
            // A pipe or a device holds nothing that could be lost.
            if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
                continue;
            }

            for written in [Some(*path), partial.as_deref()].into_iter().flatten() {
                let identity = Identity::of(written);
                if let Some((input, _)) = inputs.iter().find(|(_, input)| input.is_same_as(&identity)) {
                    let what = input.what;
                    return Err(usage(format!("{flag} {shown} would overwrite {what}: name another file")));
                }
                if taken.iter().any(|other| other.is_same_as(&identity)) {
                    return Err(usage(format!(
                        "{shown} is to hold two things: name another file for one of them"
                    )));
                }
                taken.push(identity);
            }
        }
        Ok(())
    }
}

/// Which file a path leads to, by whatever name.
#[derive(Debug)]
struct Identity {
    /// Where it is, or would be made.
    real: PathBuf,
    /// Device and number, if it is there: the same under every hard link.
    number: Option<(u64, u64)>,
}

impl Identity {
    fn of(path: &Path) -> Self {
        let number = std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        Self { real: real(path), number }
    }

    fn is_same_as(&self, other: &Self) -> bool {
        self.real == other.real || self.number.is_some() && self.number == other.number
    }
}

/// Where a file is or would be made, through links that may lead to nothing yet.
fn real(path: &Path) -> PathBuf {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = super::folder_of(&path).join(target);
    }

    let folder = std::fs::canonicalize(super::folder_of(&path));
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refused(output: &Path, input: &Path) -> String {
        let output = output.to_owned();
        let files = Files::default().writes("--json", Some(&output)).reads("the mapping", [input]);
        files.check().map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn an_input_is_known_by_every_name_that_leads_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        std::fs::write(at("in"), "").unwrap();
        symlink("in", at("link")).unwrap();
        symlink("link", at("link2")).unwrap();
        symlink(at("sub"), at("sublink")).unwrap();
        std::fs::hard_link(at("in"), at("hard")).unwrap();
        // What is not there yet has only its place.
        symlink("../new", at("sub/dangling")).unwrap();

        for output in ["in", "link", "link2", "hard", "sub/../in", "sublink/../in"] {
            assert!(refused(&at(output), &at("in")).contains("would overwrite the mapping"), "{output}");
        }
        for output in ["new", "sub/dangling", "sublink/dangling"] {
            assert!(refused(&at(output), &at("new")).contains("would overwrite the mapping"), "{output}");
        }
        for output in ["other", "sub/in"] {
            assert_eq!(refused(&at(output), &at("in")), "", "{output}");
        }
    }

    #[test]
    fn the_name_that_an_output_has_for_a_while_counts_too() {
        let folder = tempfile::tempdir().unwrap();
        let (history, partial) = (folder.path().join("a"), folder.path().join("a.partial"));
        let streams = || Files::default().streams("--history", Some(&history));
        assert!(streams().check().is_ok());
        assert!(streams().reads("the orders", [&partial]).check().is_err());
        assert!(streams().writes("--json", Some(&partial)).check().is_err());
    }
}
