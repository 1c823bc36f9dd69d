//! Behind a pooler, and without one: no command leaves anything on a connection that
//! somebody else may be given, nor anything else behind.

use crate::support::{self, Backend, Place, Said, assert_one_line, block_on, kinds, outcome, query, until};
use nix::sys::signal::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// Backends that a pooler keeps for a database: all of them are looked at.
const POOL: usize = 6;

/// A PgBouncer in front of the shared server.
struct Pooler {
    place: Place,
    process: Child,
    _folder: TempDir,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// Debian's: knows no prepared statements.
    Old,
    /// From 1.21 on, with or without `max_prepared_statements`.
    New { prepared: u32 },
}

impl Kind {
    fn program(self) -> PathBuf {
        match self {
            Self::Old => "/usr/sbin/pgbouncer".into(),
            Self::New { .. } => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".deps/pgbouncer/pgbouncer"),
        }
    }
}

/// A database behind a pooler of its own, or nothing where the server is missing.
fn pooled(kind: Kind, mode: &str) -> Option<Pooler> {
    let mut place = support::place(Backend::Postgres)?;
    let program = kind.program();
    if !program.exists() {
        assert!(!support::servers_are_required(), "no {} (make deps)", program.display());
        return None;
    }
    let mut url = url::Url::parse(&place.url).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let users = folder.path().join("users.txt");
    std::fs::write(&users, format!("\"{}\" \"{}\"", url.username(), url.password().unwrap())).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let prepared = match kind {
        Kind::Old => String::new(),
        Kind::New { prepared } => format!("max_prepared_statements = {prepared}"),
    };
    let settings = format!(
        "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n\
         default_pool_size = {POOL}\n{prepared}\n",
        url.port().unwrap(),
        users.display()
    );
    let file = folder.path().join("pgbouncer.ini");
    std::fs::write(&file, settings).unwrap();

    let mut command = Command::new(program);
    command.arg("-q").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if nix::unistd::Uid::effective().is_root() {
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
        command.uid(nobody.uid.as_raw()).gid(nobody.gid.as_raw());
    }
    let process = command.spawn().unwrap();
    until("the pooler listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());

    url.set_port(Some(port)).unwrap();
    place.url = url.to_string();
    Some(Pooler { place, process, _folder: folder })
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// What an application sees on its connections: everything that is set, held or prepared on
/// each backend, and what there is in the database beside our own tables.
type State = BTreeMap<String, Vec<String>>;

const SEEN_ON_A_BACKEND: &str = "
    SELECT name || '=' || setting FROM pg_settings WHERE source NOT IN ('client', 'override') AND name NOT LIKE 'transaction\\_%'
        OR name IN ('default_transaction_read_only', 'default_transaction_isolation', 'search_path', 'role',
                    'lock_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout', 'row_security',
                    'work_mem', 'jit', 'synchronous_commit', 'deadlock_timeout')
    UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements WHERE name NOT LIKE 'PGBOUNCER\\_%'
    UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relpersistence = 't'
    UNION ALL SELECT 'user ' || current_user
    ORDER BY 1";

const SEEN_IN_THE_DATABASE: &str = "
    SELECT 'lock ' || locktype || ' ' || coalesce(objid, 0) FROM pg_locks
        WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
    UNION ALL SELECT 'table ' || relname || ' ' || coalesce(relacl::text, '') FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relname NOT LIKE 'stockbench\\_%'
    UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'stockbench\\_%'
    ORDER BY 1";

/// As an application does whose driver asks the pooler for nothing unusual.
async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    options.application_name("shop").extra_float_digits(None).connect().await.unwrap()
}

async fn column(connection: &mut PgConnection, sql: &'static str) -> Vec<String> {
    connection.fetch_all(sql).await.unwrap().iter().map(|row| row.get::<String, _>(0)).collect()
}

/// Looks at every backend that the application can get, by holding as many at once; where no
/// pooler is, at a new one.
fn state_of(url: &str, backends: usize) -> State {
    block_on(async {
        let mut state = State::new();
        let mut held = Vec::new();
        for number in 0..backends {
            let mut connection = connect(url).await;
            connection.execute("BEGIN").await.unwrap();
            let seen = column(&mut connection, SEEN_ON_A_BACKEND).await;
            state.insert(format!("backend {number}"), seen);
            held.push(connection);
        }
        for mut connection in held {
            connection.execute("COMMIT").await.unwrap();
            connection.close().await.unwrap();
        }
        let mut connection = connect(url).await;
        state.insert("database".to_owned(), column(&mut connection, SEEN_IN_THE_DATABASE).await);
        connection.close().await.unwrap();
        state
    })
}

/// An application beside every command: its connections stay open, and it writes on each.
struct Application {
    runtime: tokio::runtime::Runtime,
    connections: Vec<PgConnection>,
    orders: i64,
}

impl Application {
    fn start(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let connections = runtime.block_on(async {
            let mut connections = Vec::new();
            for _ in 0..POOL {
                connections.push(connect(url).await);
            }
            let made = "CREATE TABLE app_order (id INT);
                CREATE TABLE product_stock (sku_id INT PRIMARY KEY, quantity INT NOT NULL);
                INSERT INTO product_stock VALUES (1, 7)";
            connections[0].execute(made).await.unwrap();
            connections
        });
        Self { runtime, connections, orders: 0 }
    }

    /// Each connection writes, all of them at once, so that each has a backend of its own.
    fn order(&mut self, after: &str) {
        let connections = &mut self.connections;
        self.runtime.block_on(async {
            for connection in connections.iter_mut() {
                connection.execute("BEGIN").await.unwrap();
                let written = connection.execute("INSERT INTO app_order VALUES (1)").await;
                written.unwrap_or_else(|error| panic!("the application cannot write after {after}: {error}"));
            }
            for connection in connections.iter_mut() {
                connection.execute("COMMIT").await.unwrap();
            }
        });
        self.orders += i64::try_from(self.connections.len()).unwrap();
    }
}

const MAPPING: &str = "
[stock]
table = \"stockbench_sku\"
sku = \"id\"
units = \"stock\"

[[ledger]]
table = \"stockbench_ledger\"
sku = \"sku_id\"
order = \"order_id\"
quantity = \"delta\"
balance = \"balance\"
kind = \"kind\"
kinds = { opening = [\"opening\"], sale = [\"sale\"] }
";

/// Every command that works on a database, with the exit codes it may have.
const COMMANDS: &[(&[&str], &[i32])] = &[
    (&["seed", "--skus", "5", "--stock", "50"], &[0]),
    (&["run", "-n", "300", "-c", "4", "--history", "answers.history", "--json", "run.json"], &[0]),
    (&["audit"], &[0]),
    (&["audit", "--history", "answers.history"], &[0]),
    (&["audit", "--init"], &[0]),
    (&["audit", "--mapping", "mapping.toml"], &[0]),
    (&["run", "-s", "serializable", "-n", "200", "-c", "4", "--lock-timeout", "5s"], &[0]),
    (&["run", "-s", "pessimistic", "-n", "200", "-c", "4", "--statement-timeout", "20s", "--no-seed"], &[0]),
    (&["run", "-s", "naive", "-n", "300", "-c", "4", "--isolation", "repeatable-read"], &[3]),
    (&["run", "-s", "advisory", "-n", "100", "-c", "4"], &[0]),
    (&["run", "-s", "reserve-confirm", "-n", "100", "-c", "4"], &[0]),
    (
        &["compare", "-s", "atomic,pessimistic", "-d", "300ms", "-w", "100ms", "--rounds", "1", "-c", "4"],
        &[0],
    ),
    (&["run", "-s", "./misspelt.toml", "-n", "10"], &[2]),
    (&["clean"], &[0]),
    (&["audit"], &[1]),
];

/// Runs every command beside an application, and looks at its backends around each.
fn leaves_nothing(place: &Place, backends: usize, prepare: impl Fn(&Place)) {
    place.write("mapping.toml", MAPPING);
    place.write("misspelt.toml", "summary = \"x\"\n[[transaction]]\n[[transaction.step]]\nsql = \"UPDATE stockbench_sku SET stok = 1\"\n");
    let mut application = Application::start(&place.url);
    application.order("nothing");
    let before = state_of(&place.url, backends);

    for (arguments, codes) in COMMANDS {
        let said = place.stockbench(arguments);
        assert!(codes.contains(&said.code), "{arguments:?}: {said:?}");
        let now = state_of(&place.url, backends);
        assert!(now == before, "{arguments:?} leaves {:?}", differences(&before, &now));
        application.order(&arguments.join(" "));
    }
    prepare(place);

    // Ended by force, and asked to end, in the middle of it.
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let arguments =
            place.arguments(&["run", "-s", "serializable", "-d", "60s", "--stock", "1000000", "-c", "4"]);
        let child = support::spawn(place.folder.path(), &arguments);
        let sold = "SELECT count(*) > 20 FROM stockbench_ledger";
        until("orders are sold", || is_true(&place.url, sold));
        support::signal(&child, signal);
        support::wait(child);
        // A backend goes on with what its client has sent, and is then as it was.
        until("all is as before", || state_of(&place.url, backends) == before);
        application.order("a run that was ended");
        let said = place.stockbench(&["seed"]);
        assert_eq!(said.code, 0, "the next command is locked out: {said:?}");
    }
    let orders = query(&place.url, "SELECT count(*) FROM app_order");
    assert_eq!(orders, application.orders.to_string());
}

fn differences(before: &State, now: &State) -> Vec<String> {
    let of = |one: &State, other: &State, sign: &str| -> Vec<String> {
        let missing = |(place, seen): (&String, &Vec<String>)| {
            let there = &other[place];
            seen.iter()
                .filter(|line| !there.contains(line))
                .map(|line| format!("{sign}{place}: {line}"))
                .collect()
        };
        one.iter().flat_map(|entry| -> Vec<String> { missing(entry) }).collect()
    };
    [of(before, now, "-"), of(now, before, "+")].concat()
}

/// Whether a query says so; it may not be possible to ask yet.
fn is_true(url: &str, sql: &'static str) -> bool {
    block_on(async {
        let mut connection = connect(url).await;
        let asked = connection.fetch_one(sql).await.is_ok_and(|row| row.get::<bool, _>(0));
        connection.close().await.unwrap();
        asked
    })
}

fn behind(kind: Kind, mode: &str) {
    let Some(pooler) = pooled(kind, mode) else { return };
    leaves_nothing(&pooler.place, POOL, |_| {});
}

#[test]
fn nothing_is_left_behind_an_old_pooler() {
    behind(Kind::Old, "transaction");
}

#[test]
fn nothing_is_left_behind_a_pooler_without_prepared_statements() {
    behind(Kind::New { prepared: 0 }, "transaction");
}

#[test]
fn nothing_is_left_behind_a_pooler_with_prepared_statements() {
    behind(Kind::New { prepared: 50 }, "transaction");
}

#[test]
fn nothing_is_left_behind_without_a_pooler() {
    let Some(place) = support::place(Backend::Postgres) else { return };
    leaves_nothing(&place, 1, |place| {
        let said = place.stockbench(&["explore", "-s", "naive"]);
        assert_eq!(said.code, 3, "{said:?}");
    });
}

/// What another session sees on MySQL and MariaDB: what is set for everybody, who is there,
/// what is locked, and the tables beside our own.
fn seen_by_others(place: &Place) -> Vec<String> {
    const QUERIES: [&str; 4] = [
        "SELECT GROUP_CONCAT(CONCAT_WS('=', variable_name, variable_value) ORDER BY 1 SEPARATOR '; ') FROM {variables} \
         WHERE variable_name IN ('transaction_isolation', 'tx_isolation', 'transaction_read_only', 'tx_read_only', \
         'lock_wait_timeout', 'innodb_lock_wait_timeout', 'max_execution_time', 'max_statement_time', 'sql_mode', \
         'time_zone', 'wait_timeout', 'autocommit', 'foreign_key_checks')",
        "SELECT CONCAT('sessions ', COUNT(*)) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
        "SELECT CONCAT('lock ', COALESCE(IS_USED_LOCK(LEFT(CONCAT('stockbench run ', DATABASE()), 64)), 'free'))",
        "SELECT GROUP_CONCAT(CONCAT(table_name, table_rows >= 0) ORDER BY 1) FROM information_schema.tables \
         WHERE table_schema = DATABASE() AND table_name NOT LIKE 'stockbench%'",
    ];
    let variables = match place.backend {
        Backend::MySql => "performance_schema.global_variables",
        _ => "information_schema.global_variables",
    };
    QUERIES.iter().map(|sql| query(&place.url, &sql.replace("{variables}", variables))).collect()
}

fn no_command_leaves_anything_behind(place: &Place) {
    place.write("mapping.toml", MAPPING);
    let misspelt = "summary = \"x\"\n[[transaction]]\n[[transaction.step]]\nsql = \"UPDATE stockbench_sku SET stok = 1\"\n";
    place.write("misspelt.toml", misspelt);
    place.execute("CREATE TABLE product_stock (sku_id BIGINT PRIMARY KEY, quantity BIGINT NOT NULL)");
    place.execute("INSERT INTO product_stock VALUES (1, 7)");
    let before = seen_by_others(place);

    let explored: (&[&str], &[i32]) = (&["explore", "-s", "naive"], &[3]);
    let of_this_level = |arguments: &&(&[&str], &[i32])| !arguments.0.contains(&"naive");
    for (arguments, codes) in COMMANDS.iter().filter(of_this_level).chain([&explored]) {
        let child = support::spawn(place.folder.path(), &place.arguments(arguments));
        let scratch = format!("stockbench\\_explore\\_{}\\_%", child.id());
        let said = support::wait(child);
        assert!(codes.contains(&said.code), "{arguments:?}: {said:?}");

        // A server notices that a session has ended a moment after it has.
        until("all is as before", || seen_by_others(place) == before);
        let left =
            format!("SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE '{scratch}'");
        assert_eq!(query(&place.url, &left), "0", "{arguments:?}");
    }
    assert_eq!(query(&place.url, "SELECT quantity FROM product_stock"), "7");
}

#[test]
fn no_command_leaves_anything_behind_on_mysql() {
    support::place(Backend::MySql).iter().for_each(no_command_leaves_anything_behind);
}

#[test]
fn no_command_leaves_anything_behind_on_mariadb() {
    support::place(Backend::MariaDb).iter().for_each(no_command_leaves_anything_behind);
}

#[test]
fn no_command_leaves_a_file_behind_or_changes_what_it_only_reads() {
    let place = support::place(Backend::Sqlite).unwrap();
    place.write("mapping.toml", MAPPING);
    place.write(
        "misspelt.toml",
        "summary = \"x\"\n[[transaction]]\n[[transaction.step]]\nsql = \"SELEC 1\"\n",
    );
    let explored: (&[&str], &[i32]) = (&["explore", "-s", "naive"], &[3]);
    let seen = |place: &Place| -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(place.folder.path()).unwrap().map(|file| file.unwrap().path());
        let named = |path: PathBuf| (path.display().to_string(), std::fs::read(&path).unwrap());
        files.map(named).collect()
    };
    // What SQLite has not, and what finds no table of a shop's.
    let not_here = ["naive", "--statement-timeout", "--init", "advisory"];
    let is_here = |command: &&(&[&str], &[i32])| !command.0.iter().any(|word| not_here.contains(word));

    for (arguments, codes) in COMMANDS.iter().filter(is_here).chain([&explored]) {
        let before = seen(&place);
        let said = place.stockbench(arguments);
        assert!(codes.contains(&said.code), "{arguments:?}: {said:?}");

        let now = seen(&place);
        let left = now
            .keys()
            .filter(|name| ["-wal", "-shm", "-journal", ".lock"].iter().any(|end| name.ends_with(end)));
        assert_eq!(left.collect::<Vec<_>>(), [""; 0], "{arguments:?}");
        if ["audit", "explore"].contains(&arguments[0]) {
            assert!(now == before, "{arguments:?} changed a file");
        }
    }
}

#[test]
fn a_pooler_is_recognised_and_named_in_the_first_line() {
    for (kind, mode, words) in [
        (Kind::Old, "transaction", ", behind a pooler, isolation"),
        (Kind::Old, "session", ", behind a pooler, isolation"),
        (Kind::New { prepared: 0 }, "transaction", ", behind a pooler, isolation"),
        (
            Kind::New { prepared: 50 },
            "transaction",
            ", behind a pooler that keeps prepared statements apart, isolation",
        ),
    ] {
        let Some(pooler) = pooled(kind, mode) else { return };
        // Nobody has used it before, and somebody has.
        for _ in 0..2 {
            let said = pooler.place.stockbench(&["run", "-n", "100", "-c", "2"]);
            assert!(
                said.code == 0 && said.stdout.lines().next().unwrap().contains(words),
                "{kind:?} {mode}: {said:?}"
            );
        }
        let (_, report) = pooler.place.run(&["-n", "50", "-c", "2"]);
        let prepares = matches!(kind, Kind::New { prepared: 1.. });
        assert_eq!(report["database"]["pooler"]["prepares"], prepares, "{kind:?} {mode}");
    }
    let Some(place) = support::place(Backend::Postgres) else { return };
    let (_, report) = place.run(&["-n", "50", "-c", "2"]);
    assert!(report["database"]["pooler"].is_null());
}

#[test]
fn isolation_reaches_every_transaction_and_outlives_none() {
    let Some(pooler) = pooled(Kind::Old, "transaction") else { return };
    let place = &pooler.place;
    let load = ["-c", "16", "-n", "600", "--skus", "1", "--stock", "100", "--random-seed", "1"];

    let (code, report) = place.run(&[&["-s", "serializable"], &load[..]].concat());
    assert_eq!((code, outcome(&report, "deducted"), kinds(&report).len()), (0, 100, 0), "{report}");
    assert_eq!(report["database"]["isolation"], "serializable");

    // Read, check and write in one transaction: what its level refuses must not be oversold,
    // and without that level it is.
    let (code, report) =
        place.run(&[&["-s", "naive-tx", "--isolation", "repeatable-read"], &load[..]].concat());
    assert_eq!((code, report["audit"]["oversold_units"].as_u64()), (0, Some(0)), "{report}");
    assert!(report["conflicts"].as_u64().unwrap() > 0, "{report}");
    let (code, report) = place.run(&[&["-s", "naive-tx"], &load[..]].concat());
    assert_eq!((code, report["database"]["isolation"].as_str()), (3, Some("read-committed")), "{report}");
}

#[test]
fn every_strategy_that_is_safe_is_safe_behind_a_pooler() {
    let Some(pooler) = pooled(Kind::Old, "transaction") else { return };
    for strategy in [
        "pessimistic",
        "pessimistic-nowait",
        "optimistic",
        "cas",
        "atomic",
        "atomic-returning",
        "constraint",
        "advisory",
        "idempotent",
        "idempotent-savepoint",
        "reserve-confirm",
        "saga",
        "buckets",
        "units",
        "group-commit",
    ] {
        let said = pooler.place.stockbench(&["run", "-s", strategy, "-c", "8", "-n", "200"]);
        assert_eq!(said.code, 0, "{strategy}: {said:?}");
    }
}

#[test]
fn one_run_at_a_time_also_behind_a_pooler() {
    let Some(pooler) = pooled(Kind::Old, "transaction") else { return };
    let place = &pooler.place;
    let arguments = place.arguments(&["run", "-d", "60s", "--stock", "1000000", "-c", "2"]);
    let child = support::spawn(place.folder.path(), &arguments);
    until("orders are sold", || is_true(&place.url, "SELECT count(*) > 20 FROM stockbench_ledger"));

    let second = place.stockbench(&["seed"]);
    assert_one_line(&second, 1, &["another stockbench is working on"]);
    support::signal(&child, Signal::SIGTERM);
    assert_eq!(support::wait(child).code, 130);
}

#[test]
fn what_needs_connections_of_its_own_is_refused_in_one_sentence() {
    let Some(pooler) = pooled(Kind::Old, "transaction") else { return };
    let place = &pooler.place;
    let refused = |arguments: &[&str], what: &str| {
        let said: Said = place.stockbench(arguments);
        assert_one_line(&said, 2, &[what, "is behind a pooler: name the server itself"]);
    };
    refused(&["explore", "-s", "naive"], "an exploration");
    refused(&["run", "--fault", "end-session@1s", "-d", "2s"], "end-session");
    refused(
        &["run", "--segment", "1/2", "--random-seed", "1", "--start-at", "2026-12-31T00:00:00Z", "-n", "10"],
        "--segment",
    );
    let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE 'stockbench%'";
    assert_eq!(query(&place.url, tables), "0");

    let Some(pooler) = pooled(Kind::Old, "statement") else { return };
    let said = pooler.place.stockbench(&["audit"]);
    assert_one_line(&said, 1, &["a pooler in statement mode"]);
}

#[test]
fn a_scratch_whose_connection_was_cut_is_dropped_all_the_same() {
    let Some(place) = support::place(Backend::Postgres) else { return };
    // As a proxy does that cuts what is idle: whoever holds the scratch says nothing meanwhile.
    let name = url::Url::parse(&place.url).unwrap().path()[1..].to_owned();
    place.execute(&format!("ALTER DATABASE {name} SET idle_session_timeout = '200ms'"));
    let said = place.stockbench(&[
        "explore",
        "-s",
        "pessimistic",
        "--clients",
        "3",
        "--no-reduce",
        "--max-schedules",
        "400",
    ]);
    assert!([0, 1].contains(&said.code), "{said:?}");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'stockbench_explore_%'";
    assert_eq!(query(&place.url, left), "0", "{said:?}");
}
