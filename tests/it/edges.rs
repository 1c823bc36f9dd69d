//! What lies about where a command begins: files that cannot be written or are not there,
//! tables that somebody dropped, servers that are something else.

use crate::support::{Backend, Place, assert_one_line, chmod, output, place, stockbench, unprivileged};
use std::path::Path;

/// A file in WAL mode, with what a run has left in it, in a folder by itself.
fn file_of_a_run(place: &Place) -> std::path::PathBuf {
    let folder = place.path("shop");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("a.db");
    let url = format!("sqlite:{}", file.display());
    let said = stockbench(place.folder.path(), &["run", "-n", "50", "--database-url", &url]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!folder.join("a.db-wal").exists(), "it was closed in whole");
    chmod(place.folder.path(), 0o755);
    file
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_that_may_only_be_read_is_audited_and_left_alone() {
    let place = place(Backend::Sqlite).unwrap();
    let file = file_of_a_run(&place);
    let folder = file.parent().unwrap();
    let url = format!("sqlite:{}", file.display());
    let audit = || output(&mut unprivileged(place.folder.path(), &["audit", "--database-url", &url]));

    for (folder_mode, file_mode) in [(0o555, 0o644), (0o777, 0o444), (0o555, 0o444)] {
        chmod(&file, file_mode);
        chmod(folder, folder_mode);
        let said = audit();
        assert_eq!(said.code, 0, "{said:?}");
        assert!(said.stdout.contains("audit: passed (3 SKUs, 53 entries, 50 orders)"), "{said:?}");
        assert_eq!(names(folder), ["a.db"]);
    }

    // A log that nobody can read there is a part of the file.
    chmod(folder, 0o755);
    std::fs::write(folder.join("a.db-wal"), "").unwrap();
    chmod(folder, 0o555);
    assert_one_line(&audit(), 1, &["a.db-wal is a part of it", "copy both to a folder of your own"]);
    chmod(folder, 0o755);
}

#[test]
fn a_journal_that_cannot_be_written_ends_as_other_files_do() {
    let place = place(Backend::Sqlite).unwrap();
    chmod(place.folder.path(), 0o755);
    let folder = place.path("closed");
    std::fs::create_dir(&folder).unwrap();
    chmod(&folder, 0o555);
    let load = ["-d", "100ms", "--warmup", "0s", "--rounds", "1", "-c", "1", "--contention", "1"];
    let compare = ["compare", "-s", "atomic", "--database-url", "null:", "--journal", "closed/j.jsonl"];
    let said = output(&mut unprivileged(place.folder.path(), &[&compare[..], &load].concat()));
    assert_one_line(&said, 1, &["cannot write closed/j.jsonl: Permission denied"]);
    // What is no journal is a bad file all the same.
    let notes = place.write("notes.txt", "notes\n");
    let compare = ["compare", "-s", "atomic", "--database-url", "null:", "--journal", &notes];
    let said = stockbench(place.folder.path(), &[&compare[..], &load].concat());
    assert_one_line(&said, 2, &["this is no journal"]);
}

#[test]
fn an_exploration_begins_with_the_file_that_a_run_would_make() {
    let place = place(Backend::Sqlite).unwrap();
    let explore = |more: &[&str]| stockbench(place.folder.path(), &[&["explore"], more].concat());

    let said = explore(&["-s", "atomic", "--database-url", "sqlite:new.db"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(names(place.folder.path()), ["new.db"]);
    let said = explore(&["-s", "atomic"]);
    assert_eq!((said.code, names(place.folder.path())), (0, vec!["new.db".to_owned()]), "{said:?}");

    // One that fails leaves none behind, and takes none away.
    let wrong = "summary = 'x'\n[[transaction]]\n[[transaction.step]]\nsql = 'SELECT nothing FROM nowhere'\n";
    let wrong = place.write("wrong.toml", wrong);
    for file in ["newer.db", "new.db"] {
        let said = explore(&["-s", &wrong, "--database-url", &format!("sqlite:{file}")]);
        assert_eq!(said.code, 2, "{said:?}");
        assert_eq!(names(place.folder.path()), ["new.db", "wrong.toml"]);
    }
    let said = explore(&["-s", "atomic", "--database-url", "sqlite:nowhere/new.db"]);
    assert_one_line(&said, 1, &["there is no SQLite database at nowhere/new.db"]);
}
