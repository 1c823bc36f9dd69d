//! Files: no output takes the place of an input, and no input is too large to be refused.

use crate::support::{Backend, Place, Said, assert_one_line, place, stockbench};
use std::fs;
use std::os::unix::fs::symlink;

const ORDERS: &str = "order_id,sku_id,quantity\n1,1,1\n2,2,1\n";

fn show(place: &Place, name: &str) -> String {
    stockbench(place.folder.path(), &["strategies", "show", name]).stdout
}

/// What every file of a folder holds.
fn content(place: &Place) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().map(|path| (path.display().to_string(), fs::read(path).unwrap())).collect()
}

/// Refused, and nothing was touched.
#[track_caller]
fn assert_refused(place: &Place, arguments: &[&str], what: &str) {
    let before = content(place);
    let said = stockbench(place.folder.path(), arguments);
    assert_one_line(&said, 2, &["would overwrite", what]);
    assert!(content(place) == before, "{arguments:?} changed a file");
}

#[test]
fn an_output_that_names_an_input_is_refused_before_anything_is_touched() {
    let place = place(Backend::Sqlite).unwrap();
    let inside = |arguments: &[&str]| stockbench(place.folder.path(), arguments);
    assert_eq!(inside(&["run", "-n", "20", "--json", "old.json", "--database-url", "sqlite:c.db"]).code, 0);
    place.write("orders.csv", ORDERS);
    place.write("mine.toml", &show(&place, "atomic"));
    place
        .write("plan.toml", "summary = \"x\"\nstrategy = \"./mine.toml\"\n[load]\nreplay = \"orders.csv\"\n");
    place.write("stock.toml", "");
    place.write("url", "sqlite:c.db\n");
    place.write(".env", "");
    fs::hard_link(place.path("c.db"), place.path("hard.db")).unwrap();
    symlink("c.db", place.path("link.db")).unwrap();
    fs::create_dir(place.path("sub")).unwrap();
    symlink("../new.db", place.path("sub/dangling")).unwrap();

    let database = ["run", "-n", "20", "--database-url", "sqlite:c.db"];
    for flag in ["--json", "--html", "--junit", "--hdr", "--history"] {
        for output in
            ["c.db", "./c.db", "sub/../c.db", "hard.db", "link.db", "c.db-wal", "c.db-shm", "c.db.lock"]
        {
            assert_refused(&place, &[&database[..], &[flag, output]].concat(), "the SQLite database");
        }
        let scenario =
            ["run", "--scenario", "./plan.toml", "--database-url", "@url", "--baseline", "old.json"];
        for (output, what) in [
            ("mine.toml", "the strategy"),
            ("plan.toml", "the scenario"),
            ("orders.csv", "the orders"),
            ("old.json", "the baseline"),
            ("c.db", "the SQLite database"),
            ("url", "a file that holds a URL"),
            (".env", "the .env file"),
        ] {
            assert_refused(&place, &[&scenario[..], &[flag, output]].concat(), what);
        }
    }
    // A database that is not there yet, or has no flag.
    for (url, output) in [("sqlite:new.db", "sub/dangling"), ("sqlite:n%65w.db", "new.db")] {
        assert_refused(&place, &["run", "--database-url", url, "--json", output], "the SQLite database");
    }
    assert_refused(&place, &["run", "--json", "stockbench.db"], "the SQLite database");
    assert_refused(&place, &["run", "--history", "stockbench.db-wal"], "the SQLite database");
    let service = ["run", "--database-url", "sqlite:c.db", "--service", "orders=sqlite:o.db"];
    assert_refused(&place, &[&service[..], &["--json", "o.db"]].concat(), "the SQLite database");

    let audit = ["audit", "--mapping", "stock.toml", "--database-url", "sqlite:c.db"];
    place.write("stock.toml", include_str!("../corpus/inventory_log.toml"));
    for (output, what) in [("c.db", "the SQLite database"), ("stock.toml", "the mapping")] {
        assert_refused(&place, &[&audit[..], &["--evidence", output]].concat(), what);
    }
    let compare = ["compare", "-s", "./mine.toml,naive", "--database-url", "sqlite:c.db"];
    for flag in ["--journal", "--json", "--html"] {
        for (output, what) in [("c.db", "the SQLite database"), ("mine.toml", "the strategy")] {
            assert_refused(&place, &[&compare[..], &[flag, output]].concat(), what);
        }
    }
    let explore = ["explore", "-s", "./mine.toml", "--database-url", "sqlite:c.db"];
    for (output, what) in [("hard.db", "the SQLite database"), ("mine.toml", "the strategy")] {
        assert_refused(&place, &[&explore[..], &["--json", output]].concat(), what);
    }
    assert_refused(&place, &["report", "old.json", "--html", "old.json"], "a result that is read");
}

#[test]
fn files_of_a_server_are_inputs_too() {
    let place = place(Backend::Sqlite).unwrap();
    place.write("ca.pem", "-----BEGIN");
    let url = format!("postgres://me@127.0.0.1:1/shop?sslrootcert={}", place.path("ca.pem").display());
    assert_refused(&place, &["run", "--database-url", &url, "--json", "ca.pem"], "the database URL names");

    place.write(".pgpass", "*:*:*:*:x\n");
    place.write(".my.cnf", "[client]\n");
    for (url, file) in
        [("postgres://me@127.0.0.1:1/shop", ".pgpass"), ("mysql://me@127.0.0.1:1/shop", ".my.cnf")]
    {
        let arguments = ["run", "--database-url", url, "--json", file];
        let mut command = crate::support::command(place.folder.path(), &arguments);
        let said = crate::support::output(command.env("HOME", place.folder.path()));
        assert_one_line(&said, 2, &["would overwrite the"]);
    }
}

/// What reads this file ends in one line, exit code 2.
#[track_caller]
fn assert_limited(said: &Said, why: &str) {
    assert_one_line(said, 2, &[why]);
}

#[test]
fn inputs_without_an_end_are_refused_in_one_line() {
    let place = place(Backend::Sqlite).unwrap();
    let large = |name: &str, bytes: u64| {
        fs::File::create(place.path(name)).unwrap().set_len(bytes).unwrap();
        place.path(name).display().to_string()
    };
    let inside = |arguments: &[&str]| stockbench(place.folder.path(), arguments);
    // Holes take no room on the disk.
    let gigabyte = large("large.toml", 1 << 30);
    let terabyte = large("terabyte", 1 << 40);
    let readers: [&[&str]; 11] = [
        &["run", "-s"],
        &["explore", "-s"],
        &["compare", "-s"],
        &["strategies", "show"],
        &["run", "--scenario"],
        &["run", "--replay"],
        &["seed", "--replay"],
        &["audit", "--history"],
        &["audit", "--mapping"],
        &["report"],
        &["run", "--baseline"],
    ];
    for reader in readers {
        for (file, why) in [
            ("/dev/zero", "it is a device"),
            (terabyte.as_str(), "it is larger than"),
            (
                gigabyte.as_str(),
                if reader.contains(&"--history") { "it has a line longer" } else { "it is larger than" },
            ),
        ] {
            assert_limited(&inside(&[reader, &[file]].concat()), why);
        }
    }
    assert_limited(&inside(&["compare", "-s", "naive", "--journal", &terabyte]), "it is larger than");

    // As long as a file of orders may be, and one line.
    let orders = large("orders.csv", 256 << 20);
    assert_limited(&inside(&["run", "--replay", &orders]), "it has a line longer than 64 KiB");

    large(".env", 1 << 30);
    assert_limited(&inside(&["strategies"]), ".env cannot be read: it is larger than 1 MiB");
}

#[test]
fn a_pipe_is_an_input_and_one_that_nobody_writes_to_is_not_waited_for() {
    let place = place(Backend::Sqlite).unwrap();
    let pipe = place.path("pipe.csv");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let run = ["run", "--replay", pipe.to_str().unwrap()];
    assert_limited(&place.stockbench(&run), "nobody has written");

    let child = crate::support::spawn(place.folder.path(), &place.arguments(&run));
    fs::write(&pipe, ORDERS).unwrap();
    let said = crate::support::wait(child);
    assert_eq!(said.code, 0, "{said:?}");
}
