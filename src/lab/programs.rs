//! Finds a server's binaries, and a user to run it as.

use super::LabKind;
use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, chown};
use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The programs of a server, and who runs them.
#[derive(Debug)]
pub(super) struct Programs {
    /// The server itself.
    pub(super) server: PathBuf,
    /// What makes its data folder, where that is another program.
    pub(super) initialise: Option<PathBuf>,
    /// Who it runs as.
    pub(super) owner: Owner,
}

/// Who a lab server runs as: servers refuse to run as root, or should.
#[derive(Debug, Clone)]
pub(super) enum Owner {
    /// Whoever runs stockbench.
    Caller {
        /// Whether that is root all the same: a binary that only root can read.
        root: bool,
    },
    /// An unprivileged user of this machine.
    Other { name: String, uid: u32, gid: u32 },
}

/// Where a kind's programs are looked for, and what they are called.
struct Search {
    variable: &'static str,
    server: &'static str,
    initialise: Option<&'static str>,
    folders: &'static [&'static str],
    users: &'static [&'static str],
    package: &'static str,
}

fn search(kind: LabKind) -> Search {
    match kind {
        LabKind::Postgres => Search {
            variable: "STOCKBENCH_POSTGRES",
            server: "postgres",
            initialise: Some("initdb"),
            folders: &["/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql/bin"],
            users: &["postgres", "nobody"],
            package: "apt-get install postgresql",
        },
        LabKind::MySql | LabKind::GroupReplication | LabKind::GroupReplicationSingle => Search {
            variable: "STOCKBENCH_MYSQLD",
            server: "mysqld",
            initialise: None,
            folders: &["/usr/sbin", "/usr/local/mysql/bin", "/opt/homebrew/opt/mysql/bin"],
            users: &["mysql", "nobody"],
            package: "MySQL's own packages, or `make deps` in stockbench's sources",
        },
        LabKind::MariaDb | LabKind::Galera => Search {
            variable: "STOCKBENCH_MARIADBD",
            server: "mariadbd",
            initialise: Some("mariadb-install-db"),
            folders: &["/usr/sbin", "/usr/libexec", "/opt/homebrew/opt/mariadb/bin"],
            users: &["mysql", "nobody"],
            package: "apt-get install mariadb-server-core mariadb-client-core",
        },
        LabKind::Redis => Search {
            variable: "STOCKBENCH_REDIS_SERVER",
            server: "redis-server",
            initialise: None,
            folders: &["/usr/sbin", "/opt/homebrew/opt/redis/bin"],
            users: &["redis", "nobody"],
            package: "apt-get install redis-server",
        },
    }
}

impl Programs {
    pub(super) fn find(kind: LabKind) -> Result<Self> {
        let search = search(kind);
        let (server, initialise) = match env::var_os(search.variable) {
            Some(named) => {
                let server = PathBuf::from(named);
                let Some(found) = with_initialise(kind, &search, &server) else {
                    bail!(
                        "{} names {}, which is not a usable {} server",
                        search.variable,
                        server.display(),
                        kind.as_str()
                    );
                };
                found
            }
            None => candidates(&search)
                .find_map(|server| with_initialise(kind, &search, &server))
                .with_context(|| {
                    format!(
                        "no {} server on this machine: install it ({}) or name its binary in {}",
                        kind.as_str(),
                        search.package,
                        search.variable
                    )
                })?,
        };
        let owner = Owner::for_program(&server, search.users)?;
        Ok(Self { server, initialise, owner })
    }
}

/// What may hold a password in the environment: no server has a use for it.
const SECRETS: [&str; 4] = ["DATABASE_URL", "REDIS_URL", "PGPASSWORD", "MYSQL_PWD"];

/// A command that does not hand our own secrets on.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for secret in SECRETS {
        command.env_remove(secret);
    }
    command
}

/// Every place where the server's binary may be.
fn candidates(search: &Search) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(search.folders.iter().map(PathBuf::from));
    if search.server == "postgres" {
        folders.extend(debian_postgres());
    }
    let server = search.server;
    folders.into_iter().map(move |folder| folder.join(server)).filter(|file| file.is_file())
}

/// Debian keeps each major version apart and none on the PATH: newest first.
fn debian_postgres() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

/// The server with the program that makes its data folder beside it, if both
/// are what they should be.
fn with_initialise(kind: LabKind, search: &Search, server: &Path) -> Option<(PathBuf, Option<PathBuf>)> {
    let real = server.canonicalize().ok()?;
    if kind == LabKind::MySql {
        // MariaDB installs itself under MySQL's name too.
        let version = command(server).arg("--version").output().ok()?;
        let version = String::from_utf8_lossy(&version.stdout).into_owned();
        if !version.contains("Ver ") || version.contains("MariaDB") {
            return None;
        }
        return Some((server.to_owned(), None));
    }
    let Some(name) = search.initialise else { return Some((server.to_owned(), None)) };
    let beside = [server.parent(), real.parent()];
    let on_path = env::var_os("PATH").unwrap_or_default();
    let elsewhere: Vec<PathBuf> = env::split_paths(&on_path).chain([PathBuf::from("/usr/bin")]).collect();
    let folders = beside.into_iter().flatten().map(Path::to_owned);
    // PostgreSQL's two programs must be of one version.
    let folders: Vec<PathBuf> =
        if kind == LabKind::Postgres { folders.collect() } else { folders.chain(elsewhere).collect() };
    let initialise = folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file())?;
    Some((server.to_owned(), Some(initialise)))
}

impl Owner {
    /// Root hands the server to an unprivileged user; anybody else keeps it.
    fn for_program(server: &Path, users: &[&str]) -> Result<Self> {
        if !Uid::effective().is_root() {
            return Ok(Self::Caller { root: false });
        }
        for name in users {
            let Some(user) = User::from_name(name).context("cannot look users up")? else { continue };
            let owner =
                Self::Other { name: (*name).to_owned(), uid: user.uid.as_raw(), gid: user.gid.as_raw() };
            let mut version = command(server);
            version.arg("--version").current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
            owner.run_as(&mut version);
            if version.status().is_ok_and(|status| status.success()) {
                return Ok(owner);
            }
        }
        Ok(Self::Caller { root: true })
    }

    /// What MySQL and MariaDB must be told of the user they run as.
    pub(super) fn mysql_user(&self) -> Option<&str> {
        match self {
            Self::Caller { root: true } => Some("root"),
            Self::Caller { root: false } => None,
            Self::Other { name, .. } => Some(name),
        }
    }

    /// The numbers of user and group.
    pub(super) fn numbers(&self) -> [u32; 2] {
        match self {
            Self::Caller { .. } => [Uid::effective().as_raw(), Gid::effective().as_raw()],
            Self::Other { uid, gid, .. } => [*uid, *gid],
        }
    }

    /// Makes a command run as this user.
    pub(super) fn run_as(&self, command: &mut Command) {
        if let Self::Other { uid, gid, .. } = self {
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a file or folder to this user.
    pub(super) fn take(&self, path: &Path) -> Result<()> {
        if let Self::Other { uid, gid, .. } = self {
            chown(path, Some(Uid::from_raw(*uid)), Some(Gid::from_raw(*gid)))
                .with_context(|| format!("cannot give {} to the server's user", path.display()))?;
        }
        Ok(())
    }
}
