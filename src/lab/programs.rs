//! Finds a server's binaries, and a user to run it as.

use super::{LabKind, LabSpec, Version};
use anyhow::{Context, Result, anyhow, ensure};
use nix::unistd::{Gid, Uid, User, chown};
use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder with servers that were unpacked beside the system's own.
const UNPACKED: &str = ".deps";

/// Names another such folder.
const UNPACKED_VARIABLE: &str = "STOCKBENCH_DEPS";

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
    /// The first server that is usable and of the version asked for: the one that the
    /// environment names, then those of this machine, then the unpacked ones.
    pub(super) fn find(lab: &LabSpec) -> Result<Self> {
        let kind = lab.kind.of_one();
        let search = search(kind);

        let named = env::var_os(search.variable).map(PathBuf::from);
        if let Some(server) = &named {
            ensure!(
                with_initialise(kind, &search, server).is_some(),
                "{} names {}, which is not a usable {} server",
                search.variable,
                server.display(),
                kind.as_str()
            );
        }

        let mut usable = named
            .into_iter()
            .chain(candidates(&search))
            .filter_map(|server| with_initialise(kind, &search, &server));
        let found = match &lab.version {
            None => usable.next().ok_or_else(|| {
                anyhow!(
                    "no {kind} server on this machine: install it ({}) or name its binary in {}",
                    search.package,
                    search.variable,
                    kind = kind.as_str(),
                )
            }),
            Some(version) => of_version(version, usable).map_err(|others| {
                anyhow!(
                    "no {kind} {version} on this machine: found {others}; looked on the PATH, in the usual \
                     places and in {}: install it, or name its binary in {}",
                    unpacked().display(),
                    search.variable,
                    kind = kind.as_str(),
                )
            }),
        };

        let (server, initialise) = found?;
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

/// A server's binary, and what makes its data folder.
type Found = (PathBuf, Option<PathBuf>);

/// The first server of a version; in words which others there are, if there is none.
fn of_version(wanted: &Version, servers: impl Iterator<Item = Found>) -> Result<Found, String> {
    let mut others = Vec::new();
    for found in servers {
        match version_of(&found.0) {
            Some(version) if version.is_within(wanted) => return Ok(found),
            Some(version) => {
                // A folder of the PATH may be another one's link.
                let server = found.0.canonicalize().unwrap_or(found.0);
                let other = format!("{version} ({})", server.display());
                if !others.contains(&other) {
                    others.push(other);
                }
            }
            None => {}
        }
    }
    Err(if others.is_empty() { "none".to_owned() } else { others.join(", ") })
}

/// What a server says its version is.
fn version_of(server: &Path) -> Option<Version> {
    let output = command(server).arg("--version").output().ok()?;
    Version::in_output(&String::from_utf8_lossy(&output.stdout))
}

/// The folder with the unpacked servers.
fn unpacked() -> PathBuf {
    let folder = env::var_os(UNPACKED_VARIABLE).map_or_else(|| UNPACKED.into(), PathBuf::from);
    // A server runs in a folder of its own.
    std::path::absolute(&folder).unwrap_or(folder)
}

/// Every place where the server's binary may be.
fn candidates(search: &Search) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(search.folders.iter().map(PathBuf::from));
    if search.server == "postgres" {
        folders.extend(debian_postgres());
    }
    folders.extend(unpacked_folders());
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

/// The folder of each unpacked server, and the programs' folder in it, by name.
fn unpacked_folders() -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(unpacked()) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    folders.into_iter().flat_map(|folder| [folder.join("bin"), folder]).collect()
}

/// The server with the program that makes its data folder beside it, if both
/// are what they should be.
fn with_initialise(kind: LabKind, search: &Search, server: &Path) -> Option<Found> {
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
