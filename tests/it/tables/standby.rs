//! An audit on a real standby of a private PostgreSQL, and what it says when
//! the standby goes on without it.

use super::{MAPPING, Shop, make};
use crate::support::{Backend, Place, assert_one_line, place, server, stockbench, until};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use stockbench::lab::{LabKind, Ports};

/// A standby that ends with the test.
pub(crate) struct Standby {
    postgres: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
    _ports: Ports<1>,
}

impl Drop for Standby {
    fn drop(&mut self) {
        // Whoever waits for a lock or a client is not waited for.
        self.postgres.kill().unwrap();
        self.postgres.wait().unwrap();
    }
}

/// The folder of PostgreSQL's programs.
fn programs() -> PathBuf {
    let versions =
        std::fs::read_dir("/usr/lib/postgresql").unwrap().map(|entry| entry.unwrap().path().join("bin"));
    versions.filter(|bin| bin.join("pg_basebackup").exists()).max().unwrap()
}

/// A program as the user that PostgreSQL may run as.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new(program);
    if nix::unistd::Uid::effective().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A standby of a private server; its URL names this database. It waits for so long (in
/// milliseconds, or -1 for ever) before what it repeats cancels a query that is in the way.
pub(crate) fn standby_of(primary: &str, database: &str, delay: &str) -> Standby {
    let folder = tempfile::tempdir().unwrap();
    if nix::unistd::Uid::effective().is_root() {
        let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
        nix::unistd::chown(folder.path(), Some(user.uid), Some(user.gid)).unwrap();
    }
    let data = folder.path().join("data");
    let copied = as_postgres(&programs().join("pg_basebackup"))
        .args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
            "--dbname",
            primary,
            "--pgdata",
        ])
        .arg(&data)
        .status()
        .unwrap();
    assert!(copied.success());
    let ports = Ports::free().unwrap();
    let [port] = ports.numbers;
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", folder.path().display()),
        "max_connections=600".to_owned(),
        // All that the primary holds would be written out before it answers.
        "fsync=off".to_owned(),
        format!("max_standby_streaming_delay={delay}"),
    ];
    let settings = settings.iter().flat_map(|setting| ["-c", setting]);
    let postgres =
        as_postgres(&programs().join("postgres")).arg("-D").arg(&data).args(settings).spawn().unwrap();
    let mut url = url::Url::parse(primary).unwrap();
    url.set_port(Some(port)).unwrap();
    url.set_path(database);
    Standby { postgres, url: url.to_string(), _folder: folder, _ports: ports }
}

fn audit(place: &Place, url: &str, more: &[&str]) -> crate::support::Said {
    let file = place.write("stock.toml", MAPPING);
    let arguments =
        [&["audit", "--mapping", &file, "--database-url", url, "--wait-for-db", "30s"], more].concat();
    stockbench(place.folder.path(), &arguments)
}

#[test]
fn a_standby_is_audited_and_says_how_far_it_is_behind() {
    let Some(place) = place(Backend::Postgres) else { return };
    let mut shop = Shop::sound(300, 81);
    make(&place, &shop, 82);
    let database = stockbench::db::DatabaseUrl::parse(&place.url).unwrap().database;
    let standby = standby_of(&server(LabKind::Postgres).unwrap().url, &database, "0");
    // As long as it has not met the primary, it does not know.
    until("it follows the primary", || audit(&place, &standby.url, &["--replica", "1min"]).code == 0);
    let said = audit(&place, &standby.url, &["--replica", "1min"]);
    assert!(said.stdout.contains("a replica ") && said.stdout.contains(" s behind"), "{said:?}");

    // What is damaged on the primary arrives there.
    shop.plant(7, "raised by hand");
    place.execute("UPDATE product SET on_hand = on_hand + 7 WHERE id = 7");
    until("the damage has arrived", || audit(&place, &standby.url, &["--replica", "1min"]).code == 3);
    assert_one_line(&audit(&place, &place.url, &["--replica", "1min"]), 1, &["it is a primary"]);
}
