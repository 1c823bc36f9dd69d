//! Passwords: where they may stand, and where they must never be seen.

use crate::support::{Backend, Place, Said, assert_one_line, command, execute, output, place, server, until};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use stockbench::lab::LabKind;

/// A password of characters that mean something to URLs, shells and files of options, and
/// the same in a URL.
const ODD: &str = "p@ss/w:rd%25#?&\"' ü\\";
const ODD_ENCODED: &str = "p%40ss%2Fw%3Ard%2525%23%3F%26%22%27%20%C3%BC%5C";

/// A URL with another user and password before the place's host.
fn url_with(place: &Place, user: &str) -> String {
    let mut url = url::Url::parse(&place.url).unwrap();
    url.set_password(None).unwrap();
    url.set_username("").unwrap();
    url.as_str().replacen("://", &format!("://{user}@"), 1)
}

/// A place whose server knows the user `odd` by the odd password.
fn place_of_odd(backend: Backend) -> Option<Place> {
    let place = place(backend)?;
    let quoted = ODD.replace('\'', "''");
    let user = odd_user(&place);
    if backend == Backend::Postgres {
        execute(&place.url, &format!("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{quoted}'"));
    } else {
        let quoted = quoted.replace('\\', "\\\\");
        execute(&place.url, &format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY '{quoted}'"));
        execute(&place.url, &format!("GRANT ALL ON *.* TO {user}@'127.0.0.1'"));
    }
    Some(place)
}

fn odd_user(place: &Place) -> String {
    let url = url::Url::parse(&place.url).unwrap();
    format!("odd_{}", url.path().trim_start_matches('/'))
}

#[track_caller]
fn assert_silent(text: &str) {
    for secret in [ODD, ODD_ENCODED, "p@ss", "p%40ss", "w:rd", "w%3Ard"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

fn run_with(place: &Place, url: &str, more: &[&str], variables: &[(&str, &str)]) -> Said {
    let run = ["run", "-s", "atomic", "-n", "50", "-c", "5", "--database-url", url];
    let mut command = command(place.folder.path(), &[&run, more].concat());
    command.env("HOME", place.folder.path());
    command.envs(variables.iter().copied());
    output(&mut command)
}

fn private(place: &Place, name: &str, content: &str, mode: u32) -> String {
    let path = place.write(name, content);
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_url_from_a_file_or_from_standard_input_is_used_and_never_shown() {
    for backend in [Backend::Postgres, Backend::MariaDb] {
        let Some(place) = place_of_odd(backend) else { return };
        let url = url_with(&place, &format!("{}:{ODD_ENCODED}", odd_user(&place)));
        place.write("url", &format!("{url}\n"));
        let outputs = [
            "--json",
            "a.json",
            "--html",
            "a.html",
            "--junit",
            "a.xml",
            "--hdr",
            "a.hdr",
            "--history",
            "a.csv",
        ];
        let said = run_with(&place, "@url", &outputs, &[]);
        assert_eq!(said.code, 0, "{said:?}");
        assert_silent(&said.stdout);
        for file in outputs.iter().filter(|name| !name.starts_with('-')) {
            assert_silent(&fs::read_to_string(place.path(file)).unwrap());
        }

        let mut child = command(place.folder.path(), &["audit", "--database-url", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(url.as_bytes()).unwrap();
        let audited = child.wait_with_output().unwrap();
        assert_eq!(audited.status.code(), Some(0), "{audited:?}");

        // Refused by the server, and wrong in itself.
        let wrong = url_with(&place, &format!("nobody:{ODD_ENCODED}"));
        let said = run_with(&place, &wrong, &[], &[]);
        assert_one_line(&said, 1, &["cannot connect to"]);
        assert_silent(&said.stderr);
        for bad in [format!("{url}&@x"), url.replace("://", ":"), url.replace(ODD_ENCODED, ODD)] {
            place.write("bad", &bad);
            for given in [bad.as_str(), "@bad"] {
                let said = run_with(&place, given, &[], &[]);
                assert!([1, 2].contains(&said.code) && said.stderr.lines().count() == 1, "{said:?}");
                assert_silent(&said.stderr);
            }
        }
    }
}

#[test]
fn the_password_of_a_redis_is_not_shown_either() {
    let place = place(Backend::Sqlite).unwrap();
    // Nobody listens there.
    for (password, code) in [(ODD_ENCODED, 1), (ODD, 2)] {
        let url = format!("redis://:{password}@127.0.0.1:1");
        let said = place.stockbench(&["run", "-s", "redis-lock", "--redis-url", &url]);
        assert_one_line(&said, code, &[]);
        assert_silent(&said.stderr);
    }
}

#[test]
fn a_file_that_holds_no_url_is_refused_in_one_line() {
    let place = place(Backend::Sqlite).unwrap();
    place.write("empty", "\n");
    place.write("two", "sqlite:a.db\nsqlite:b.db\n");
    fs::File::create(place.path("large")).unwrap().set_len(1 << 30).unwrap();
    for (file, why) in [
        ("@empty", "empty is empty"),
        ("@two", "two has more than one line"),
        ("@large", "larger than 64 KiB"),
        ("@/dev/zero", "it is a device"),
        ("@nowhere", "cannot read nowhere"),
    ] {
        assert_one_line(&run_with(&place, file, &[], &[]), 2, &["--database-url", why]);
        let service = format!("orders={file}");
        let said = run_with(&place, "sqlite:a.db", &["--service", &service], &[]);
        assert_one_line(&said, 2, &["--service orders", why]);
        let said = run_with(&place, "sqlite:a.db", &["--redis-url", file], &[]);
        assert_one_line(&said, 2, &["--redis-url", why]);
    }
    // Standard input is one file.
    place.write("one", "sqlite:a.db\n");
    for (file, why) in [("two", "more than one line"), ("one", "standard input holds another URL already")] {
        let mut command = command(place.folder.path(), &["run", "--database-url", "-", "--redis-url", "-"]);
        let said = output(command.stdin(fs::File::open(place.path(file)).unwrap()));
        assert_one_line(&said, 2, &[why]);
    }
}

#[test]
fn the_password_file_of_psql_is_honoured_through_a_relay_too() {
    let Some(place) = place_of_odd(Backend::Postgres) else { return };
    let user = odd_user(&place);
    let url = url_with(&place, &user);
    let said = run_with(&place, &url, &[], &[]);
    assert_one_line(&said, 1, &["check the user and password"]);

    let escaped = ODD.replace('\\', "\\\\").replace(':', "\\:");
    let line = format!("# a comment\n127.0.0.1:1:*:{user}:no\n127.0.0.1:*:*:{user}:{escaped}\n");
    private(&place, ".pgpass", &line, 0o600);
    for more in [&[][..], &["--rtt", "1ms"][..]] {
        let said = run_with(&place, &url, more, &[]);
        assert_eq!(said.code, 0, "{more:?}: {said:?}");
        assert_silent(&said.stdout);
    }

    private(&place, ".pgpass", &line, 0o644);
    let said = run_with(&place, &url, &[], &[]);
    assert_one_line(&said, 1, &[".pgpass was not read: others may read it (chmod 600 it)"]);

    let other = private(&place, "other", &line, 0o600);
    assert_eq!(run_with(&place, &url, &[], &[("PGPASSFILE", &other)]).code, 0);
    assert_eq!(run_with(&place, &url, &[], &[("PGPASSWORD", ODD)]).code, 0);
}

#[test]
fn the_option_file_of_mysql_is_honoured() {
    let Some(place) = place_of_odd(Backend::MariaDb) else { return };
    let user = odd_user(&place);
    let parsed = url::Url::parse(&place.url).unwrap();
    let escaped = ODD.replace('\\', "\\\\").replace('"', "\\\"");
    let port = parsed.port().unwrap();
    let file =
        format!("[client]\nuser = {user}\npassword = \"{escaped}\"\nhost = 127.0.0.1\nport = {port}\n");
    private(&place, ".my.cnf", &file, 0o600);

    let short = format!("mysql://{}?ssl-mode=disabled", parsed.path());
    let said = run_with(&place, &short, &[], &[]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stdout.contains(&format!("//{user}@127.0.0.1:{port}/")), "{said:?}");
    assert_silent(&said.stdout);

    // What the URL says comes first, and the file before the environment.
    let said = run_with(&place, &url_with(&place, "nobody"), &[], &[]);
    assert_one_line(&said, 1, &["//nobody@127.0.0.1"]);
    assert_eq!(run_with(&place, &short, &[], &[("MYSQL_PWD", "no")]).code, 0);

    fs::remove_file(place.path(".my.cnf")).unwrap();
    let said = run_with(&place, &url_with(&place, &user), &[], &[("MYSQL_PWD", ODD)]);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn a_password_in_an_argument_leaves_the_list_of_processes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there: it goes on asking.
    let url = format!("postgres://me:{ODD_ENCODED}@127.0.0.1:1/shop");
    let arguments = ["run", "--database-url", &url, "--wait-for-db", "170s"];
    let mut child = command(folder.path(), &arguments).stderr(Stdio::piped()).spawn().unwrap();
    let of_process = |file: &str| {
        let bytes = fs::read(format!("/proc/{}/{file}", child.id())).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };

    until("the arguments show no password", || {
        of_process("cmdline").contains("postgres://***@127.0.0.1:1/shop")
    });
    let shown = of_process("cmdline");
    assert_silent(&shown);
    assert!(shown.contains(" run --database-url"), "{shown}");
    assert_silent(&of_process("environ"));
    assert_eq!(of_process("comm").trim(), "stockbench");
    until("the handed-over arguments are closed", || {
        let files = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        !links.any(|link| link.to_string_lossy().contains("memfd"))
    });

    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_was_executed_again_ends_as_it_would_have() {
    let place = place(Backend::Sqlite).unwrap();
    // No database has a password here: a service that nobody has is refused.
    let said = place.stockbench(&["run", "--service", "orders=mysql://me:s3cret@h/shop"]);
    assert_one_line(&said, 2, &["--service orders: the strategy has no such service"]);
    let said = place.stockbench(&["run", "--json", "ünï.json", "--service", "mysql://me:s3cret@h/shop"]);
    assert_one_line(&said, 2, &["--service takes NAME=URL"]);
    let said = place.stockbench(&["run", "mysql://me:s3 cret@h/shop"]);
    assert_one_line(&said, 2, &["mysql://***@h/shop"]);
    assert!(!said.stderr.contains("cret"), "{said:?}");
    // What only stockbench says to itself.
    for descriptor in ["0", "77", "x"] {
        let argument = format!("--arguments-from-fd={descriptor}");
        let said = crate::support::stockbench(place.folder.path(), &["run", &argument]);
        assert_eq!((said.code, said.stderr.lines().count()), (2, 1), "{said:?}");
    }
}

#[test]
fn programs_that_are_started_get_no_secret() {
    if server(LabKind::Redis).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = command(folder.path(), &["lab", "redis"])
        .env("DATABASE_URL", "postgres://me:s3cret@h/shop")
        .env("REDIS_URL", "redis://:s3cret@h")
        .env("PGPASSWORD", "s3cret")
        .env("MYSQL_PWD", "s3cret")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert!(line.starts_with("redis://"), "{line}");

    let mut waiting: Vec<u32> = vec![child.id()];
    let mut seen = 0;
    while let Some(pid) = waiting.pop() {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
        for thread in threads.filter_map(|thread| thread.ok()?.file_name().to_str()?.parse::<u32>().ok()) {
            let started =
                fs::read_to_string(format!("/proc/{pid}/task/{thread}/children")).unwrap_or_default();
            waiting.extend(started.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        if pid != child.id() {
            for file in ["environ", "cmdline"] {
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                assert!(!String::from_utf8_lossy(&bytes).contains("s3cret"), "{file} of {pid}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 2, "a shell and a server were started, {seen} found");
    crate::support::signal(&child, nix::sys::signal::Signal::SIGTERM);
    child.wait().unwrap();
}
