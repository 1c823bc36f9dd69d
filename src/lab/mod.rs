//! Lab servers: private, throwaway database servers started from binaries on
//! this machine.
//!
//! A server lives in a folder of its own, listens on loopback only, on a free
//! port, behind a random password, and commits durably unless asked not to.
//! Three of them make a cluster ([`cluster`]). [`programs`] finds the binaries,
//! [`ports`] where they can listen, [`watchdog`] makes sure that server and folder
//! go when we do, however we go, and starts a server again that was crashed on
//! purpose.

mod cluster;
mod ports;
mod programs;
mod spec;
mod watchdog;

pub use ports::Ports;
pub use spec::{LabSpec, LabSpecParser, Version};

use crate::db::{Database, DatabaseUrl, SessionSettings};
use anyhow::{Context, Result, bail, ensure};
use cluster::Node;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use programs::Programs;
use rand::RngExt;
use rand::distr::Alphanumeric;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use watchdog::Watchdog;

/// How long a server may take to answer.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// How often a starting server is asked.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// Connections that a lab server allows by default.
const CONNECTIONS: u32 = 600;

/// Lines of the server's log shown when it does not start.
const LOG_LINES: usize = 8;

/// The name of user and database on a lab server.
const NAME: &str = "stockbench";

/// Which server to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum LabKind {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    #[value(name = "mysql")]
    MySql,
    /// MariaDB.
    #[value(name = "mariadb")]
    MariaDb,
    /// Redis.
    Redis,
    /// Three MariaDB nodes in a Galera cluster; all of them take writes.
    Galera,
    /// Three MySQL nodes in a replication group; all of them take writes.
    GroupReplication,
    /// Three MySQL nodes in a replication group; one of them takes writes.
    GroupReplicationSingle,
}

impl LabKind {
    /// Whether it is more than one server.
    pub const fn is_cluster(self) -> bool {
        matches!(self, Self::Galera | Self::GroupReplication | Self::GroupReplicationSingle)
    }

    /// What one server of it is.
    const fn of_one(self) -> Self {
        match self {
            Self::Galera => Self::MariaDb,
            Self::GroupReplication | Self::GroupReplicationSingle => Self::MySql,
            one => one,
        }
    }

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
            Self::Redis => "redis",
            Self::Galera => "galera",
            Self::GroupReplication => "group-replication",
            Self::GroupReplicationSingle => "group-replication-single",
        }
    }
}

/// What a lab server is started with.
#[derive(Debug, Clone, Copy)]
pub struct LabOptions {
    /// Whether a commit is answered only when it is on disk.
    pub durable: bool,
    /// Whether the data is kept on a small disk of its own, in memory, which can be
    /// filled ([`LabServer::fill_disk`]). That takes root, on Linux.
    pub small_disk: bool,
    /// Connections that it allows.
    pub connections: u32,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self { durable: true, small_disk: false, connections: CONNECTIONS }
    }
}

/// A running server; stopped and removed when dropped.
#[derive(Debug)]
pub struct LabServer {
    /// Which server it is.
    pub kind: LabKind,
    /// Its URL, password included: it opens nothing that outlives the server.
    pub url: String,
    /// Its folder.
    pub folder: PathBuf,
    options: LabOptions,
    watchdog: Watchdog,
    /// Its place in a cluster, and the other nodes where it is the first.
    node: Option<Node>,
    others: Vec<Self>,
    /// What keeps other labs from taking its ports, also while it is down.
    ports: Vec<TcpSocket>,
}

/// What a server is started with.
struct Setup {
    kind: LabKind,
    programs: Programs,
    folder: PathBuf,
    data: PathBuf,
    port: u16,
    password: String,
    options: LabOptions,
    node: Option<Node>,
}

impl LabServer {
    /// Starts a server that commits durably, and waits until it answers.
    ///
    /// # Errors
    /// As [`LabServer::start_with`].
    pub async fn start(lab: impl Into<LabSpec>) -> Result<Self> {
        Self::start_with(lab, LabOptions::default()).await
    }

    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// The binaries are not on this machine, in the version asked for, or the
    /// server does not start: then its own last log lines are shown.
    pub async fn start_with(lab: impl Into<LabSpec>, options: LabOptions) -> Result<Self> {
        let lab = lab.into();
        if lab.kind.is_cluster() {
            return Box::pin(cluster::start(lab.kind, options)).await;
        }

        let Ports { numbers: [port], held } = Ports::free()?;
        let server = Setup::new(&lab, options, port)?.start_or_clear().await?;
        Ok(LabServer { ports: held, ..server })
    }
}

impl Setup {
    /// One node of a cluster; all of them have one password.
    fn of_node(kind: LabKind, options: LabOptions, node: Node, password: &str) -> Result<Self> {
        let setup = Self::new(&kind.into(), options, node.port)?;
        Ok(Self { node: Some(node), password: password.to_owned(), ..setup })
    }

    async fn start_or_clear(&self) -> Result<LabServer> {
        let started = self.start().await;
        if started.is_err() {
            // The watchdog removes the folder of a server that ran; one that
            // was never started has none.
            drop(fs::remove_dir_all(&self.folder));
        }
        started
    }

    fn new(lab: &LabSpec, options: LabOptions, port: u16) -> Result<Self> {
        let kind = lab.kind;
        let programs = Programs::find(lab)?;
        let folder = tempfile::Builder::new()
            .prefix("stockbench-lab-")
            .tempdir()
            .context("cannot make a lab folder")?;
        let folder = folder.keep();
        programs.owner.take(&folder)?;
        let temporary = folder.join("tmp");
        fs::create_dir(&temporary).context("cannot make a lab folder")?;
        programs.owner.take(&temporary)?;
        let password = rand::rng().sample_iter(Alphanumeric).take(24).map(char::from).collect();
        Ok(Self { kind, programs, data: folder.join("data"), folder, port, password, options, node: None })
    }

    async fn start(&self) -> Result<LabServer> {
        let (mut initialise, mut server) = match self.kind.of_one() {
            LabKind::Postgres => self.postgres()?,
            LabKind::MySql => self.mysql()?,
            LabKind::MariaDb => self.mariadb()?,
            _ => (Vec::new(), self.redis()?),
        };
        let (mut once, mut again) = (None, None);
        if let Some(node) = &self.node {
            server.extend(node.options(self.kind, self.port)?);
            (once, again) = node.once_and_again(self.kind);
            if !node.makes_its_data(self.kind) {
                initialise = vec!["mkdir".to_owned(), text(&self.data)];
                server.retain(|option| !option.starts_with("--init-file"));
            }
        }
        let signal = if self.kind == LabKind::Postgres { "QUIT" } else { "KILL" };
        let script =
            self.write("start.sh", &start_script(&self.folder, &initialise, &server, [once, again]))?;
        let disk = self.options.small_disk.then_some(self.data.as_path());
        let watchdog = Watchdog::spawn(&self.programs.owner, &self.folder, signal, &script, disk)?;
        let url = self.await_ready(&watchdog).await?;
        if self.node.is_some() {
            // It has been read; a node that comes back is not asked to write.
            fs::write(self.folder.join("init.sql"), "").context("cannot write the lab server's init.sql")?;
        }
        let folder = self.folder.clone();
        Ok(LabServer {
            kind: self.kind,
            url,
            folder,
            options: self.options,
            watchdog,
            node: self.node.clone(),
            others: Vec::new(),
            ports: Vec::new(),
        })
    }

    fn postgres(&self) -> Result<(Vec<String>, Vec<String>)> {
        let password_file = self.write("password", &self.password)?;
        let initialise = vec![
            self.initialise_program("initdb"),
            "--pgdata".to_owned(),
            text(&self.data),
            format!("--username={NAME}"),
            format!("--pwfile={}", password_file.display()),
            "--auth=scram-sha-256".to_owned(),
            "--encoding=UTF8".to_owned(),
            "--no-locale".to_owned(),
        ];
        let mut server = vec![text(&self.programs.server), "-D".to_owned(), text(&self.data)];
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "unix_socket_directories=".to_owned(),
            format!("max_connections={}", self.options.connections),
            "shared_buffers=256MB".to_owned(),
            // The default of a second lets deadlocks crawl.
            "deadlock_timeout=100ms".to_owned(),
        ] {
            server.extend(["-c".to_owned(), setting]);
        }
        if !self.options.durable {
            server.extend(["-c".to_owned(), "synchronous_commit=off".to_owned()]);
        }
        Ok((initialise, server))
    }

    fn mysql(&self) -> Result<(Vec<String>, Vec<String>)> {
        let mut initialise = vec![text(&self.programs.server)];
        initialise.extend(self.mysql_common());
        initialise.push("--initialize-insecure".to_owned());
        let mut server = self.mysql_server()?;
        server.extend(["--mysqlx=OFF".to_owned(), "--secure-file-priv=".to_owned()]);
        Ok((initialise, server))
    }

    fn mariadb(&self) -> Result<(Vec<String>, Vec<String>)> {
        let mut initialise = vec![self.initialise_program("mariadb-install-db")];
        initialise.extend(self.mysql_common());
        initialise
            .extend(["--auth-root-authentication-method=normal".to_owned(), "--skip-test-db".to_owned()]);
        Ok((initialise, self.mysql_server()?))
    }

    /// The program that makes the data folder.
    fn initialise_program(&self, name: &str) -> String {
        self.programs.initialise.as_deref().map_or_else(|| name.to_owned(), text)
    }

    fn mysql_common(&self) -> Vec<String> {
        // MySQL and MariaDB delete the temporary tables of all servers when they start, where they share
        // a folder for them: their own neighbours', and those of the machine's own server.
        let temporary = self.folder.join("tmp");
        let mut options = vec![
            "--no-defaults".to_owned(),
            format!("--datadir={}", self.data.display()),
            format!("--tmpdir={}", temporary.display()),
        ];
        options.extend(self.programs.owner.mysql_user().map(|user| format!("--user={user}")));
        options
    }

    /// The server's command line; user, database and passwords come from a
    /// file that only the server's owner can read.
    fn mysql_server(&self) -> Result<Vec<String>> {
        let password = &self.password;
        // What each node of a group does by itself is none of the group's.
        let is_grouped = self.node.is_some() && self.kind != LabKind::Galera;
        let unlogged = if is_grouped { "SET SQL_LOG_BIN = 0;\n" } else { "" };
        let init = self.write(
            "init.sql",
            &format!(
                "{unlogged}ALTER USER root@localhost IDENTIFIED BY '{password}';\n\
                 CREATE DATABASE IF NOT EXISTS {NAME};\n\
                 CREATE USER IF NOT EXISTS {NAME}@'127.0.0.1' IDENTIFIED BY '{password}';\n\
                 GRANT ALL ON *.* TO {NAME}@'127.0.0.1' WITH GRANT OPTION;\n"
            ),
        )?;
        let mut command = vec![text(&self.programs.server)];
        command.extend(self.mysql_common());
        command.extend([
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--socket={}", self.folder.join("server.sock").display()),
            format!("--pid-file={}", self.folder.join("mysqld.pid").display()),
            format!("--init-file={}", init.display()),
            format!("--max-connections={}", self.options.connections),
            "--max-prepared-stmt-count=1000000".to_owned(),
            "--innodb-buffer-pool-size=256M".to_owned(),
            // 0 writes and flushes the log once a second.
            format!("--innodb-flush-log-at-trx-commit={}", u8::from(self.options.durable)),
            format!("--sync-binlog={}", u8::from(self.options.durable)),
            "--skip-name-resolve".to_owned(),
        ]);
        Ok(command)
    }

    fn redis(&self) -> Result<Vec<String>> {
        let config = self.write(
            "redis.conf",
            &format!(
                "bind 127.0.0.1\nport {}\nrequirepass {}\ndir {}\nappendonly yes\nappendfsync {}\nsave \"\"\n",
                self.port,
                self.password,
                self.folder.display(),
                if self.options.durable { "always" } else { "no" }
            ),
        )?;
        Ok(vec![text(&self.programs.server), text(&config)])
    }

    /// Writes a file that only the server's owner can read.
    fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        let write = || -> Result<()> {
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            self.programs.owner.take(&path)
        };
        write().with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    async fn await_ready(&self, watchdog: &Watchdog) -> Result<String> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(url) = self.ask().await {
                return Ok(url);
            }
            if watchdog.server_has_ended() || Instant::now() > deadline {
                let log = fs::read_to_string(watchdog.log()).unwrap_or_default();
                bail!(
                    "the {} lab server did not start; its log ends:\n{}",
                    self.kind.as_str(),
                    last_lines(&log)
                );
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Asks the server once; its URL when it answered as it should.
    async fn ask(&self) -> Result<String> {
        let Self { port, password, .. } = self;
        let settings = SessionSettings::default();
        match self.kind.of_one() {
            LabKind::MySql | LabKind::MariaDb => {
                // TLS on loopback would only measure the cipher.
                let scheme = self.kind.of_one().as_str();
                let url = format!("{scheme}://{NAME}:{password}@127.0.0.1:{port}/{NAME}?ssl-mode=disabled");
                Database::connect(&DatabaseUrl::parse(&url)?, &settings, Duration::ZERO).await?;
                Ok(url)
            }
            LabKind::Postgres => {
                let server = format!("postgres://{NAME}:{password}@127.0.0.1:{port}/");
                let url = DatabaseUrl::parse(&format!("{server}postgres"))?;
                let database = Database::connect(&url, &settings, Duration::ZERO).await?;
                let mut session = database.open(&settings).await?;
                session.control(&format!("CREATE DATABASE {NAME}")).await?;
                session.close().await;
                Ok(format!("{server}{NAME}"))
            }
            _ => {
                let mut stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_read_timeout(Some(Duration::from_secs(1)))?;
                write!(stream, "AUTH {password}\r\n")?;
                let mut answer = [0; 3];
                stream.read_exact(&mut answer)?;
                if &answer != b"+OK" {
                    bail!("redis refused its own password");
                }
                Ok(format!("redis://:{password}@127.0.0.1:{port}/"))
            }
        }
    }
}

impl LabServer {
    /// Kills the server for good; its folder stays until this ends.
    ///
    /// # Errors
    /// There is no such server any more.
    pub fn kill(&self) -> Result<()> {
        self.watchdog.ends().context("cannot end the lab server")?;
        self.signal(Signal::SIGKILL)
    }

    /// How many nodes it has: 1, where it is one server.
    pub const fn nodes(&self) -> usize {
        1 + self.others.len()
    }

    /// A node of the cluster, from 0 in the order of the URLs; the server itself where
    /// it is one.
    fn node(&self, number: usize) -> &Self {
        number.checked_sub(1).and_then(|other| self.others.get(other)).unwrap_or(self)
    }

    /// Kills a node and all its processes, as a crash would, and has it started again on
    /// the same data and port.
    ///
    /// # Errors
    /// There is no such server any more.
    pub fn crash(&self, node: usize) -> Result<()> {
        let node = self.node(node);
        node.watchdog.comes_back().context("cannot have the lab server started again")?;
        node.signal(Signal::SIGKILL)
    }

    /// Waits until a node answers again after a pause; in a cluster, until it is in step.
    ///
    /// # Errors
    /// It does not.
    pub async fn goes_on(&self, node: usize) -> Result<()> {
        if self.others.is_empty() {
            self.answers().await
        } else {
            cluster::in_step(self.kind, self.node(node)).await
        }
    }

    /// Stops a node where it is, with all its processes.
    ///
    /// # Errors
    /// There is no such server any more.
    pub fn pause(&self, node: usize) -> Result<()> {
        self.node(node).signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// There is no such server any more.
    pub fn resume(&self, node: usize) -> Result<()> {
        self.node(node).signal(Signal::SIGCONT)
    }

    /// Fills the server's small disk to the last byte. A server that cannot go on then
    /// is started again until it can.
    ///
    /// # Errors
    /// The server has no small disk.
    pub fn fill_disk(&self) -> Result<()> {
        self.watchdog.comes_back().context("cannot have the lab server started again")?;
        let path = self.filler()?;
        let mut file = fs::File::create(&path).context("cannot fill the lab server's disk")?;
        let chunk = vec![0; 64 * 1024];
        // Until there is no room for a chunk, and then for a byte.
        while file.write_all(&chunk).is_ok() {}
        while file.write_all(&chunk[..1]).is_ok() {}
        Ok(())
    }

    /// Makes room on the disk again.
    ///
    /// # Errors
    /// The server has no small disk.
    pub fn empty_disk(&self) -> Result<()> {
        fs::remove_file(self.filler()?).context("cannot make room on the lab server's disk")
    }

    /// The disk is mounted for the server alone: it is reached by way of one of its
    /// processes.
    fn filler(&self) -> Result<PathBuf> {
        let shell = self.watchdog.shell_pid();
        let disk = PathBuf::from(format!("/proc/{shell}/root{}", self.folder.join("data").display()));
        if !self.options.small_disk || !disk.is_dir() {
            bail!("the lab server has no disk that can be filled");
        }
        Ok(disk.join("filler"))
    }

    /// Waits until a node is back after a crash; in a cluster, until it is in step.
    ///
    /// # Errors
    /// It does not come back: its own last log lines are shown.
    pub async fn is_back(&self, node: usize) -> Result<()> {
        let crashed = self.node(node);
        if self.others.is_empty() {
            self.answers().await?;
        } else {
            if self.kind != LabKind::Galera {
                let other = self.node(usize::from(node == 0));
                cluster::join_again(other, crashed).await?;
            }
            cluster::in_step(self.kind, crashed).await?;
        }
        crashed.watchdog.is_back().context("cannot leave the lab server to itself")
    }

    async fn answers(&self) -> Result<()> {
        let url = DatabaseUrl::parse(&self.url)?;
        let deadline = Instant::now() + READY_WITHIN;
        while Database::connect(&url, &SessionSettings::default(), Duration::ZERO).await.is_err() {
            if self.watchdog.server_has_ended() || Instant::now() > deadline {
                let log = last_lines(&fs::read_to_string(self.watchdog.log()).unwrap_or_default());
                bail!("the {} lab server did not come back; its log ends:\n{log}", self.kind.as_str());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// The process id of the server itself.
    pub fn server_pid(&self) -> Option<i32> {
        self.watchdog.server_pid()
    }

    /// PostgreSQL is a family of processes: those that the server has forked get the
    /// signal too.
    fn signal(&self, signal: Signal) -> Result<()> {
        // Its number may be another's by now.
        ensure!(!self.watchdog.server_has_ended(), "the {} lab server has ended", self.kind.as_str());
        let server = self.server_pid().context("the lab server has no process")?;
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        signal::kill(Pid::from_raw(server), signal)?;
        for child in children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()) {
            // One that has ended meanwhile needs no signal.
            signal::kill(Pid::from_raw(child), signal).unwrap_or_default();
        }
        Ok(())
    }
}

/// What the watchdog runs: the data folder is made under its eyes too.
/// `once` is for the first start, `again` for the others.
fn start_script(
    folder: &Path,
    initialise: &[String],
    server: &[String],
    [once, again]: [Option<String>; 2],
) -> String {
    let quoted = |command: &[String]| {
        command.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect::<Vec<_>>().join(" ")
    };
    let initialise = if initialise.is_empty() {
        String::new()
    } else {
        format!("[ -e initialised ] || {{ {} && : >initialised; }} || exit 1\n", quoted(initialise))
    };
    let folder = quoted(&[text(folder)]);
    format!(
        "cd {folder} || exit 1\n{initialise}[ ! -e ending ] || exit 1\n\
         more={}\n[ ! -e serving ] || more={}\n: >serving\nexec {} $more\n",
        once.unwrap_or_default(),
        again.unwrap_or_default(),
        quoted(server)
    )
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = &lines[lines.len().saturating_sub(LOG_LINES)..];
    if shown.is_empty() { "  (it said nothing)".to_owned() } else { format!("  {}", shown.join("\n  ")) }
}
