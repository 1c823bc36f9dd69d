//! The test language: run the binary in a folder of its own, look at exactly
//! what it said; and a database of its own for each test.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use stockbench::db::{Database, DatabaseInfo, DatabaseUrl, Dialect, SessionSettings};
use stockbench::lab::{LabKind, LabServer, LabSpec};
use stockbench::workload::arrivals::{Arrivals, Profile, Spacing};
use tempfile::TempDir;

/// Nothing here may take longer; a test that waits for a condition fails then.
const PATIENCE: Duration = Duration::from_secs(180);

/// The databases that every suite runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Postgres,
    MySql,
    MariaDb,
    Sqlite,
}

impl Backend {
    fn lab(self) -> Option<LabKind> {
        match self {
            Self::Postgres => Some(LabKind::Postgres),
            Self::MySql => Some(LabKind::MySql),
            Self::MariaDb => Some(LabKind::MariaDb),
            Self::Sqlite => None,
        }
    }
}

/// The server of a kind that the tests run on: any version of it, unless STOCKBENCH_LABS names
/// the databases (`postgres@18,sqlite`). Then there is none of the others.
fn wanted(kind: LabKind) -> Option<LabSpec> {
    let Some(named) = named_labs() else { return Some(kind.into()) };
    let stocks = matches!(kind, LabKind::Postgres | LabKind::MySql | LabKind::MariaDb);
    let mut labs = named.split(',').filter(|name| *name != SQLITE).map(|lab| lab.parse::<LabSpec>().unwrap());
    labs.find(|lab| lab.kind == kind).or_else(|| (!stocks).then(|| kind.into()))
}

fn named_labs() -> Option<String> {
    std::env::var("STOCKBENCH_LABS").ok()
}

/// SQLite's name in STOCKBENCH_LABS.
const SQLITE: &str = "sqlite";

/// A folder and a database that no other test uses.
pub struct Place {
    pub folder: TempDir,
    pub url: String,
    pub backend: Backend,
}

/// What the binary said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The shared server of a kind, or nothing where its binaries are missing:
/// said loudly, and a failure where servers are required.
pub fn server(kind: LabKind) -> Option<&'static LabServer> {
    static SERVERS: [OnceLock<Option<LabServer>>; 7] = [const { OnceLock::new() }; 7];
    let wanted = wanted(kind)?;
    let server = SERVERS[kind as usize].get_or_init(|| match start(wanted) {
        Ok(server) => Some(server),
        Err(error) if servers_are_required() => panic!("servers are required here: {error:#}"),
        Err(error) => {
            // Straight to the terminal: the test runner keeps what passes quiet.
            let skipped = format!("\n*** SKIPPED: every test on {}: {error:#}\n\n", kind.as_str());
            std::io::stderr().write_all(skipped.as_bytes()).unwrap();
            None
        }
    });
    server.as_ref()
}

fn start(lab: LabSpec) -> anyhow::Result<LabServer> {
    block_on(LabServer::start(lab))
}

pub fn servers_are_required() -> bool {
    std::env::var_os("CI").is_some() || std::env::var_os("STOCKBENCH_REQUIRE_SERVERS").is_some()
}

/// Runs a future on a thread of its own.
pub fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| scope.spawn(move || runtime().block_on(future)).join().unwrap())
}

/// A fresh database, or nothing where the server's binaries are missing.
pub fn place(backend: Backend) -> Option<Place> {
    let folder = tempfile::tempdir().unwrap();
    let url = match backend.lab() {
        None if named_labs().is_some_and(|named| !named.split(',').any(|name| name == SQLITE)) => {
            return None;
        }
        None => format!("sqlite:{}", folder.path().join("shop.db").display()),
        Some(kind) => {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let server = server(kind)?;
            let name = format!("shop{}", NEXT.fetch_add(1, Ordering::Relaxed));
            execute(&server.url, &format!("CREATE DATABASE {name}"));
            let mut url = url::Url::parse(&server.url).unwrap();
            url.set_path(&name);
            url.to_string()
        }
    };
    Some(Place { folder, url, backend })
}

/// Runs one statement.
pub fn execute(url: &str, sql: &str) {
    block_on(async {
        let mut session = database(url).await.open(&SessionSettings::default()).await.unwrap();
        session.control(sql).await.unwrap();
        session.close().await;
    });
}

/// The first value of a query's first row, as text.
pub fn query(url: &str, sql: &str) -> String {
    block_on(async {
        let mut session = database(url).await.open(&SessionSettings::default()).await.unwrap();
        let row = stockbench::db::first_row(session.as_mut(), sql).await.unwrap().unwrap();
        session.close().await;
        row[0].to_text()
    })
}

pub async fn database(url: &str) -> Database {
    let url = DatabaseUrl::parse(url).unwrap();
    Database::connect(&url, &SessionSettings::default(), Duration::ZERO).await.unwrap()
}

/// The binary, in a folder, with nothing of this machine's environment that
/// could lead it elsewhere.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stockbench"));
    command.args(arguments).current_dir(folder).env_remove("DATABASE_URL").stdin(Stdio::null());
    command
}

/// The binary as a user who may write nowhere that others have not opened to all: root may
/// write everywhere.
pub fn unprivileged(folder: &Path, arguments: &[&str]) -> Command {
    let own = command(folder, arguments);
    if !nix::unistd::Uid::effective().is_root() {
        return own;
    }
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    nobody.arg(own.get_program()).args(own.get_args()).current_dir(folder);
    nobody.env_remove("DATABASE_URL").stdin(Stdio::null());
    nobody
}

/// Sets a path's permissions, as `chmod` does.
pub fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
}

/// Runs the binary to its end.
pub fn stockbench(folder: &Path, arguments: &[&str]) -> Said {
    output(&mut command(folder, arguments))
}

/// Runs a command to its end.
pub fn output(command: &mut Command) -> Said {
    said(command.output().unwrap())
}

fn said(output: std::process::Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Starts the binary and leaves it running.
pub fn spawn(folder: &Path, arguments: &[&str]) -> Child {
    command(folder, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for a child that was left running.
pub fn wait(child: Child) -> Said {
    said(child.wait_with_output().unwrap())
}

/// Sends a signal to a child.
pub fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Place {
    pub fn dialect(&self) -> Dialect {
        match self.backend {
            Backend::Postgres => Dialect::Postgres,
            Backend::MySql => Dialect::MySql,
            Backend::MariaDb => Dialect::MariaDb,
            Backend::Sqlite => Dialect::Sqlite,
        }
    }

    /// What the database says of itself.
    pub fn info(&self) -> DatabaseInfo {
        block_on(database(&self.url)).info
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// The arguments with this place's database behind them.
    pub fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--database-url", &self.url]].concat()
    }

    /// Runs the binary on this place's database.
    pub fn stockbench(&self, arguments: &[&str]) -> Said {
        stockbench(self.folder.path(), &self.arguments(arguments))
    }

    /// `stockbench run` on this place's database; its exit code and report.
    pub fn run(&self, arguments: &[&str]) -> (i32, Value) {
        let said = self.stockbench(&[&["run", "-o", "json"], arguments].concat());
        let report = serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("{error} in {arguments:?}: {said:?}"));
        (said.code, report)
    }

    pub fn execute(&self, sql: &str) {
        execute(&self.url, sql);
    }
}

/// The kinds of a report's findings.
pub fn kinds(report: &Value) -> Vec<&str> {
    let audit = report.get("audit").unwrap_or(report);
    audit["findings"].as_array().unwrap().iter().map(|finding| finding["kind"].as_str().unwrap()).collect()
}

/// Deliveries of an outcome.
pub fn outcome(report: &Value, outcome: &str) -> u64 {
    report["outcomes"][outcome].as_u64().unwrap_or(0)
}

/// How many orders arrive in an open loop of so many seconds: the rate and the seed fix it.
pub fn arrivals(rate_per_s: f64, seconds: u64, seed: u64) -> u64 {
    let profile = Profile::constant(rate_per_s, Some(Duration::from_secs(seconds)));
    Arrivals::new(profile, Spacing::Poisson, seed).count() as u64
}

/// One clear line on standard error, nothing else, and no secret anywhere.
#[track_caller]
pub fn assert_one_line(said: &Said, code: i32, fragments: &[&str]) {
    assert_eq!(said.code, code, "{said:?}");
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
    assert!(said.stderr.starts_with("stockbench: "), "{said:?}");
    for fragment in fragments {
        assert!(said.stderr.contains(fragment), "expected {fragment:?} in {said:?}");
    }
}

/// The same test on every database.
macro_rules! on_every_database {
    ($($test:ident),* $(,)?) => {
        $crate::support::on_every_database!(@ postgres Postgres; $($test),*);
        $crate::support::on_every_database!(@ mysql MySql; $($test),*);
        $crate::support::on_every_database!(@ mariadb MariaDb; $($test),*);
        $crate::support::on_every_database!(@ sqlite Sqlite; $($test),*);
    };
    (@ $module:ident $backend:ident; $($test:ident),*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    if let Some(place) = $crate::support::place($crate::support::Backend::$backend) {
                        super::$test(&place);
                    }
                }
            )*
        }
    };
}
pub(crate) use on_every_database;
