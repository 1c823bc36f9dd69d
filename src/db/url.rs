//! Database URLs: which database is meant, and how to name it without its
//! password.

use super::credentials::{self, ClientOptions, Lookup};
use super::tls::{TlsMode, Verified};
use super::{Dialect, mysql, postgres, sqlite};
use crate::input::{self, CONFIG_MAX};
use crate::text;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fmt;
use std::path::{Path, PathBuf};
use url::{Url, form_urlencoded};

/// A database URL, parsed far enough to know which driver takes it.
///
/// Its `Display` never shows a password.
#[derive(Clone)]
pub struct DatabaseUrl {
    /// Which driver; MariaDB is told from MySQL only once connected.
    pub family: Family,
    /// The URL as given. Holds the password: never print it.
    secret: String,
    shown: String,
    /// The database's name: the last part of the path, or SQLite's file.
    pub database: String,
    /// The other nodes of its cluster.
    others: Vec<Self>,
    /// Why a file that could have held the password was not read.
    ignored_file: Option<String>,
}

/// The driver that a URL's scheme asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `postgres:` and `postgresql:`
    Postgres,
    /// `mysql:` and `mariadb:`
    MySql,
    /// `sqlite:`
    Sqlite,
    /// `null:`
    Null,
}

const SCHEMES: [(&str, Family); 6] = [
    ("postgres", Family::Postgres),
    ("postgresql", Family::Postgres),
    ("mysql", Family::MySql),
    ("mariadb", Family::MySql),
    ("sqlite", Family::Sqlite),
    ("null", Family::Null),
];

/// Parameters that are shown: one that the driver does not know may be a password
/// under another name.
const SHOWN: [&str; 17] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "sslca",
    "ssl-ca",
    "host",
    "hostaddr",
    "port",
    "socket",
    "dbname",
    "user",
    "application_name",
    "options",
    "charset",
    "collation",
    "statement-cache-capacity",
];

/// Parameters that name a server, whatever stands before them.
const ADDRESS: [&str; 4] = ["host", "hostaddr", "port", "socket"];

/// Parameters that name a file, or hold what would be in it.
const FILES: [&str; 9] = [
    "sslrootcert",
    "ssl-root-cert",
    "sslca",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "passfile",
];

/// What SQLite and stockbench keep beside a database, and the database.
const SQLITE_SUFFIXES: [&str; 5] = ["", "-wal", "-shm", "-journal", ".lock"];

const LOCALHOST: &str = "localhost";

/// Where a bare `stockbench run` keeps its stock.
pub const EMBEDDED_DEFAULT: &str = "sqlite:stockbench.db";

impl DatabaseUrl {
    /// Parses a URL, or several with commas between them: the nodes of one cluster.
    ///
    /// # Errors
    /// An unknown scheme (the nearest is named), a URL that does not parse, an SQLite
    /// database in memory, which clients cannot share; nodes that are no servers, or
    /// not of one kind and with one database.
    pub fn parse(text: &str) -> Result<Self> {
        let mut nodes = Vec::new();
        for text in split_nodes(text) {
            nodes.push(Self::parse_one(text)?);
        }
        let mut home = nodes.remove(0);
        for node in &nodes {
            ensure!(
                node.family == home.family && node.database == home.database && home.address().is_some(),
                "{home} and {node} are no nodes of one cluster: several URLs name servers of one kind with one database"
            );
        }
        home.others = nodes;
        Ok(home)
    }

    /// Parses what somebody asks for, who may have said a part of it in the environment,
    /// in `~/.pgpass` or in `~/.my.cnf`.
    ///
    /// # Errors
    /// As [`DatabaseUrl::parse`]; a `PGSSLMODE` that is no mode; a file that cannot be read.
    pub fn asked_for(text: &str) -> Result<Self> {
        let url = Self::parse(text)?;
        let completed: Result<Vec<Self>> = url.nodes().into_iter().map(Self::completed).collect();

        let mut nodes = completed?.into_iter();
        let mut home = nodes.next().unwrap_or(url);
        home.others = nodes.collect();
        Ok(home)
    }

    /// This node with what its user's files say.
    fn completed(self) -> Result<Self> {
        match self.family {
            Family::Postgres => {
                postgres::check_environment(&self)?;
                self.with_postgres_password()
            }
            Family::MySql => self.with_client_options(&ClientOptions::of_user()?),
            Family::Sqlite | Family::Null => Ok(self),
        }
    }

    fn with_postgres_password(self) -> Result<Self> {
        let url = Url::parse(&self.secret)?;
        let parameter = |name: &str| {
            let last = url.query_pairs().filter(|(key, _)| key == name).last();
            last.map(|(_, value)| value.into_owned())
        };
        let is_said = url.password().is_some() || parameter("password").is_some();
        if is_said || std::env::var_os("PGPASSWORD").is_some() {
            return Ok(self);
        }
        let Some(file) = credentials::password_file(parameter("passfile").map(PathBuf::from)) else {
            return Ok(self);
        };

        match postgres::password_in(&file, &self)? {
            Lookup::Nothing => Ok(self),
            Lookup::Password(password) => self.with_password(&password),
            Lookup::Ignored(why) => Ok(Self { ignored_file: Some(why), ..self }),
        }
    }

    /// What the URL says comes first.
    fn with_client_options(self, options: &ClientOptions) -> Result<Self> {
        let mut url = Url::parse(&self.secret)?;
        let has_host = url.host_str().is_some_and(|host| !host.is_empty());
        let has_socket = url.query_pairs().any(|(key, _)| key == "socket");
        let is_local = options.host.as_deref().is_none_or(|host| host == LOCALHOST);
        let refused = "~/.my.cnf has a host or a user that fits no URL";

        // Nothing can stand before a host that is not there.
        if !has_host {
            let host = options.host.as_deref().unwrap_or(LOCALHOST);
            url.set_host(Some(host)).context(refused)?;
        }
        if let Some(socket) = options.socket.as_deref().filter(|_| !has_host && !has_socket && is_local) {
            url.query_pairs_mut().append_pair("socket", socket);
        }
        if let Some(port) = options.port.filter(|_| url.port().is_none()) {
            url.set_port(Some(port)).map_err(|()| anyhow!(refused))?;
        }
        if let Some(user) = options.user.as_deref().filter(|_| url.username().is_empty()) {
            url.set_username(&percent_encoded(user)).map_err(|()| anyhow!(refused))?;
        }

        let is_said = url.password().is_some();
        let changed = Self::parse_one(url.as_str())?;
        match options.password.as_deref().filter(|password| !is_said && !password.is_empty()) {
            Some(password) => changed.with_password(password),
            None => Ok(changed),
        }
    }

    /// The same server with a password, which changes nothing of what is shown.
    fn with_password(self, password: &str) -> Result<Self> {
        let mut url = Url::parse(&self.secret)?;
        // A URL without a host has no place for it but a parameter, which PostgreSQL's has.
        if url.set_password(Some(&percent_encoded(password))).is_err() {
            url.query_pairs_mut().append_pair("password", password);
        }
        Ok(Self { secret: url.into(), ..self })
    }

    /// Why a file that could have held the password was not read.
    pub(super) fn ignored_file(&self) -> Option<&str> {
        self.ignored_file.as_deref()
    }

    fn parse_one(text: &str) -> Result<Self> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            bail!("database URL has no scheme: expected postgres://, mysql://, mariadb:// or sqlite:");
        };
        let Some((_, family)) = SCHEMES.iter().find(|(known, _)| *known == scheme) else {
            let suggestion = text::did_you_mean(scheme, SCHEMES.map(|(known, _)| known));
            bail!(
                "unknown database URL scheme \"{}\"{suggestion} (known: postgres, mysql, mariadb, sqlite)",
                text::one_line(scheme)
            );
        };
        match family {
            Family::Sqlite => Self::sqlite(text, rest),
            Family::Null => Self::null(rest),
            family => Self::server(*family, text),
        }
    }

    fn null(rest: &str) -> Result<Self> {
        ensure!(rest.is_empty(), "null: is no database and takes nothing behind it");
        let nothing = "null:".to_owned();
        Ok(Self {
            family: Family::Null,
            secret: nothing.clone(),
            shown: nothing,
            database: String::new(),
            others: Vec::new(),
            ignored_file: None,
        })
    }

    fn sqlite(text: &str, rest: &str) -> Result<Self> {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let path = path.split('?').next().unwrap_or(path);
        ensure!(
            !path.is_empty() && !rest.contains(":memory:") && !rest.contains("mode=memory"),
            "SQLite needs a file here: an in-memory database cannot be shared by several connections"
        );
        Ok(Self {
            family: Family::Sqlite,
            secret: text.to_owned(),
            shown: format!("sqlite:{path}"),
            database: path.to_owned(),
            others: Vec::new(),
            ignored_file: None,
        })
    }

    fn server(family: Family, text: &str) -> Result<Self> {
        // The parse error could quote the password: say where, not what.
        let url = Url::parse(text).map_err(|error| anyhow!("database URL does not parse: {error}"))?;
        // A password that is not escaped would be taken for a host, and shown as one.
        let is_behind_host = url.path().contains('@')
            || url.fragment().is_some_and(|fragment| fragment.contains('@'))
            || url.query_pairs().any(|(key, _)| key.contains('@'));
        ensure!(
            !is_behind_host,
            "database URL has an @ after its host: write special characters of the password as %-escapes"
        );
        ensure!(!url.cannot_be_a_base(), "database URL has no // behind its scheme");
        let database = database(family, &url);
        ensure!(
            !database.is_empty(),
            "database URL names no database: expected {}://USER:PASSWORD@HOST:PORT/DATABASE",
            url.scheme()
        );
        check_files(&url)?;
        let shown = redacted(&url)?;
        let parsed =
            Self { family, secret: text.to_owned(), shown, database, others: Vec::new(), ignored_file: None };
        match parsed.tls_mode() {
            Ok(_) => Ok(parsed),
            Err(error) => {
                let cause = anyhow::Error::from(error).root_cause().to_string();
                bail!("database URL is not understood: {}", text::one_line(&cause))
            }
        }
    }

    /// What is asked of its connections; none where no server is connected to.
    fn tls_mode(&self) -> Result<Option<TlsMode>, sqlx::Error> {
        match self.family {
            Family::Postgres => postgres::tls_mode(self).map(Some),
            Family::MySql => mysql::tls_mode(self).map(Some),
            Family::Sqlite | Family::Null => Ok(None),
        }
    }

    /// The URL for the driver, password included.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The nodes of its cluster, this one first; each by itself.
    pub fn nodes(&self) -> Vec<Self> {
        let alone = Self { others: Vec::new(), ..self.clone() };
        std::iter::once(alone).chain(self.others.iter().cloned()).collect()
    }

    /// The nodes of both.
    pub(super) fn beside(&self, other: &Self) -> Self {
        Self { others: [&self.nodes()[1..], &other.nodes()].concat(), ..self.clone() }
    }

    /// How many nodes its cluster has.
    pub const fn node_count(&self) -> usize {
        1 + self.others.len()
    }

    /// The same server with other tables in view: a schema of this database on
    /// PostgreSQL, a database beside it on MySQL and MariaDB.
    ///
    /// # Errors
    /// There is no such thing for this kind of database.
    pub fn inside(&self, name: &str) -> Result<Self> {
        let mut url = Url::parse(&self.secret)?;
        match self.family {
            Family::Postgres => {
                url.query_pairs_mut().append_pair("options[search_path]", name);
            }
            Family::MySql => url.set_path(name),
            Family::Sqlite | Family::Null => bail!("{self} has no room for {name}"),
        }
        Self::parse(url.as_str())
    }

    /// Host and port of a server that is reached over a network, as the driver takes
    /// them from the URL, its parameters and the environment.
    pub fn address(&self) -> Option<(String, u16)> {
        let (host, port) = match self.family {
            Family::Postgres => postgres::address(self)?,
            Family::MySql => mysql::address(self)?,
            Family::Sqlite | Family::Null => return None,
        };
        Some((host.trim_matches(['[', ']']).to_owned(), port))
    }

    /// Whether the server's name is checked against its certificate: then it can be
    /// reached under this name only.
    pub fn checks_host(&self) -> bool {
        self.tls_mode().ok().flatten().is_some_and(|mode| mode.verified == Verified::Identity)
    }

    /// The same server through a port of this machine.
    pub(super) fn through(&self, port: u16) -> Self {
        let mut there = self.clone();
        if let Ok(mut url) = Url::parse(&self.secret)
            && url.set_host(Some("127.0.0.1")).is_ok()
            && url.set_port(Some(port)).is_ok()
        {
            // These would lead past it.
            let pairs = url.query_pairs().filter(|(key, _)| !ADDRESS.contains(&key.as_ref()));
            let pairs: Vec<(String, String)> =
                pairs.map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
            url.query_pairs_mut().clear().extend_pairs(pairs);
            there.secret = url.to_string();
        }
        there
    }

    /// The file of an SQLite database, as the driver takes it from the URL.
    pub fn file(&self) -> Option<PathBuf> {
        (self.family == Family::Sqlite)
            .then(|| sqlite::file(self).unwrap_or_else(|| self.database.clone().into()))
    }

    /// The files that belong to the database or say how it is reached, and what each is.
    pub fn files(&self) -> Vec<(&'static str, PathBuf)> {
        self.nodes().iter().flat_map(Self::files_of_node).collect()
    }

    fn files_of_node(&self) -> Vec<(&'static str, PathBuf)> {
        if let Some(file) = self.file() {
            let beside = |suffix: &str| {
                let mut name = file.clone().into_os_string();
                name.push(suffix);
                ("the SQLite database", PathBuf::from(name))
            };
            return SQLITE_SUFFIXES.map(beside).to_vec();
        }

        let url = Url::parse(&self.secret).ok();
        let pairs = url.iter().flat_map(Url::query_pairs);
        let named = pairs.filter(|(key, _)| FILES.contains(&key.as_ref()));
        let mut files: Vec<(&'static str, PathBuf)> = named
            .map(|(_, value)| ("a file that the database URL names", value.into_owned().into()))
            .collect();
        match self.family {
            Family::Postgres => {
                files.extend(credentials::password_file(None).map(|file| ("the password file", file)));
            }
            Family::MySql => {
                files.extend(credentials::option_file().map(|file| ("the option file of MySQL", file)));
            }
            Family::Sqlite | Family::Null => {}
        }
        files
    }

    /// The dialect as far as the URL tells.
    pub const fn dialect(&self) -> Dialect {
        match self.family {
            Family::Postgres => Dialect::Postgres,
            Family::MySql => Dialect::MySql,
            Family::Sqlite => Dialect::Sqlite,
            Family::Null => Dialect::Null,
        }
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)?;
        self.others.iter().try_for_each(|node| write!(f, ", {}", node.shown))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The database that the driver takes from a URL: PostgreSQL's has a parameter for it.
fn database(family: Family, url: &Url) -> String {
    let named = url.query_pairs().filter(|(key, _)| family == Family::Postgres && key == "dbname").last();
    named.map_or_else(|| url.path().trim_matches('/').to_owned(), |(_, name)| name.into_owned())
}

/// The driver's error for a file that is not there would name neither.
fn check_files(url: &Url) -> Result<()> {
    for (key, value) in url.query_pairs() {
        if FILES.contains(&key.as_ref()) && !value.contains("-----BEGIN") {
            let path = Path::new(value.as_ref());
            let is_empty = input::check_regular(path, CONFIG_MAX)
                .and_then(|()| std::fs::metadata(path))
                .with_context(|| format!("cannot read {value}, which the database URL names as its {key}"))?
                .len()
                == 0;
            ensure!(!is_empty, "{value}, which the database URL names as its {key}, is empty");
        }
    }
    Ok(())
}

/// A URL without its secrets.
fn redacted(url: &Url) -> Result<String> {
    let mut shown = url.clone();
    // Nobody reads it: it is the rest of a password with a # in it.
    shown.set_fragment(None);
    if shown.password().is_some() {
        shown.set_password(Some("***")).map_err(|()| anyhow!("database URL has no host"))?;
    }
    if url.query().is_some() {
        let pairs = url.query_pairs().map(|(key, value)| {
            let value = if is_shown(&key) { value } else { "***".into() };
            (key, value)
        });
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    Ok(shown.to_string())
}

/// Text in which a URL may stand, such as an argument, with what may be a password masked.
/// It need not be a right URL: a wrong one holds the same password.
pub fn masked(text: &str) -> String {
    let Some(begin) = authority(text) else { return text.to_owned() };
    let (before, rest) = text.split_at(begin);

    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let user = match user {
        "" => String::new(),
        name if !name.contains(':') => format!("{name}@"),
        _ => "***@".to_owned(),
    };
    let Some((server, query)) = rest.split_once('?') else { return format!("{before}{user}{rest}") };

    let parameter = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if !is_shown(key) => format!("{key}=***"),
        _ => pair.to_owned(),
    };
    let query: Vec<String> = query.split('&').map(parameter).collect();
    format!("{before}{user}{server}?{}", query.join("&"))
}

/// Where the first URL of a text has its user and host.
fn authority(text: &str) -> Option<usize> {
    let behind = |mark: &str| text.find(mark).map(|at| at + mark.len());
    behind("://").or_else(|| SCHEMES.iter().find_map(|(scheme, _)| behind(&format!("{scheme}:"))))
}

/// Whether the value of a parameter may be shown.
fn is_shown(key: &str) -> bool {
    SHOWN.contains(&key) || key.starts_with("options[")
}

/// Text of which nothing means anything to a URL.
fn percent_encoded(text: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    // Forms have a sign of their own for a space.
    encoded.replace('+', "%20")
}

/// At each comma behind which another URL begins: a password may hold commas.
fn split_nodes(text: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        let rest = rest.trim_start();
        SCHEMES
            .iter()
            .any(|(scheme, _)| rest.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://")))
    };
    let mut nodes = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(',') {
        if begins(&text[at + 1..]) {
            nodes.push(&text[from..at]);
            from = at + 1;
        }
    }
    nodes.push(&text[from..]);
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for url in [
            "postgres://me:s3cret@h:5432/shop",
            "postgres://me:s3%40cret@h/shop",
            "postgres://h/shop?user=me&password=s3cret",
            "postgres:///shop?host=h&password=s3%40cret&sslmode=require",
            "postgres://me:s3cret@h/shop?PASSWORD=s3cret&pwd=s3cret#s3cret",
            "mysql://me:s3cret@h/shop?password=s3cret",
            "mysql://h/shop?sslpassword=s3cret&token=s3cret",
            "mysql://me:s3cret@one/shop,mysql://me:s3%40cret@two/shop?password=s3cret",
        ] {
            let parsed = DatabaseUrl::parse(url).unwrap();
            let inside = parsed.inside("schema").unwrap();
            for shown in [format!("{parsed} {parsed:?}"), inside.to_string(), parsed.through(7).to_string()] {
                assert!(!shown.contains("s3") && !shown.contains("cret"), "{shown}");
            }
            assert_eq!(parsed.database, "shop");
        }
        for bad in [
            "postgres://me:s3cret@h:port/shop",
            "postgres://me:s3cret#@h/shop",
            "postgres://me:12/s3cret@h/shop",
            "postgres://me:12?s3cret@h/shop",
            "postgres://me:p@s3cret#x@h/shop",
            "postgres://me:p@s3cret/s3cret#@h/shop",
            "mysql://me:p@s3cret?x@h/shop",
            "postgres:me:s3cret@h/shop",
            "mysql://me:s3cret@h",
        ] {
            let error = format!("{:#}", DatabaseUrl::parse(bad).unwrap_err());
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_masked_in_any_text_whether_or_not_its_url_is_right() {
        for (text, shown) in [
            (
                "unexpected argument 'postgres://me:s3 cret@h/db' found",
                "unexpected argument 'postgres://***@h/db' found",
            ),
            ("mysql://me:s3@cret/@h/shop,mysql://me:s3cret@i/shop", "mysql://***@i/shop"),
            ("postgres:me:s3cret@h/shop", "postgres:***@h/shop"),
            (
                "postgres://me@h/shop?password=s3cret&sslmode=require",
                "postgres://me@h/shop?password=***&sslmode=require",
            ),
            ("sqlite:shop.db?mode=ro", "sqlite:shop.db?mode=***"),
            ("kill-server@5s:1s", "kill-server@5s:1s"),
        ] {
            assert_eq!(masked(text), shown);
        }
    }

    #[test]
    fn options_of_the_client_stand_behind_the_url() {
        let options = ClientOptions {
            user: Some("m/e".to_owned()),
            password: Some("s3:c/r@t%25".to_owned()),
            host: Some("one".to_owned()),
            port: Some(7),
            socket: Some("/run/my.sock".to_owned()),
        };
        let with = |url: &str, options: &ClientOptions| {
            DatabaseUrl::parse(url).unwrap().with_client_options(options).unwrap()
        };
        let all = with("mysql:///shop", &options);
        assert_eq!(all.to_string(), "mysql://m%2Fe@one:7/shop");
        assert_eq!(all.secret(), "mysql://m%2Fe:s3%3Ac%2Fr%40t%2525@one:7/shop");
        assert_eq!(with("mysql://you:x@two:8/shop", &options).secret(), "mysql://you:x@two:8/shop");

        let local = ClientOptions { host: None, ..options };
        assert_eq!(
            with("mysql:///shop", &local).to_string(),
            "mysql://m%2Fe@localhost:7/shop?socket=%2Frun%2Fmy.sock"
        );
        assert_eq!(with("mysql://two/shop", &local).to_string(), "mysql://m%2Fe@two:7/shop");
        assert_eq!(with("mysql://two/shop", &ClientOptions::default()).secret(), "mysql://two/shop");
    }

    #[test]
    fn parameters_say_where_the_server_is_and_a_relay_is_not_passed_by() {
        let at = |host: &str, port| Some((host.to_owned(), port));
        for (url, address) in [
            ("postgres://me@one/shop", at("one", 5432)),
            ("postgres://me@one:7/shop?host=two&port=8", at("two", 8)),
            ("postgres:///shop?hostaddr=10.0.0.1", at("10.0.0.1", 5432)),
            ("postgres://me@[::1]:7/shop", at("::1", 7)),
            ("postgres://me@one/shop?host=/run/postgresql", None),
            ("postgres://me@%2Frun%2Fpostgresql/shop", None),
            ("mysql://me@one:7/shop?host=two&port=8", at("one", 7)),
            ("mysql:///shop", at("localhost", 3306)),
            ("mysql://me@one/shop?socket=/run/mysqld/mysqld.sock", None),
            ("sqlite:shop.db", None),
        ] {
            let parsed = DatabaseUrl::parse(url).unwrap();
            assert_eq!(parsed.address(), address, "{url}");
            if address.is_some() {
                assert_eq!(parsed.through(9).address(), at("127.0.0.1", 9), "{url}");
            }
        }
    }

    #[test]
    fn parameters_name_the_database_and_files_that_are_there() {
        assert_eq!(DatabaseUrl::parse("postgres://h/one?dbname=two").unwrap().database, "two");
        assert_eq!(DatabaseUrl::parse("mysql://h/one?dbname=two").unwrap().database, "one");
        let error = DatabaseUrl::parse("postgres://h/shop?sslrootcert=/nowhere/ca.pem").unwrap_err();
        assert!(error.to_string().contains("cannot read /nowhere/ca.pem"), "{error}");
        let error = DatabaseUrl::parse("postgres://h/shop?sslrootcert=/tmp").unwrap_err();
        assert!(format!("{error:#}").contains("cannot read /tmp"), "{error:#}");
        let error = DatabaseUrl::parse("postgres://h/shop?sslrootcert=/dev/null").unwrap_err();
        assert!(format!("{error:#}").ends_with("it is not a regular file"), "{error:#}");
    }

    #[test]
    fn the_last_mode_decides_whether_the_host_is_checked_and_must_be_known() {
        let checks = |url| DatabaseUrl::parse(url).unwrap().checks_host();
        assert!(checks("postgres://h/shop?sslmode=verify-full"));
        assert!(checks("mysql://h/shop?ssl-mode=verify_identity"));
        assert!(!checks("postgres://h/shop?sslmode=verify-full&sslmode=verify-ca"));
        assert!(!checks("mysql://h/shop?ssl-mode=VERIFY_CA"));
        assert!(!checks("sqlite:shop.db"));
        for bad in ["postgres://me:s3cret@h/shop?sslmode=on", "mysql://me:s3cret@h/shop?ssl-mode=on"] {
            let error = DatabaseUrl::parse(bad).unwrap_err().to_string();
            assert_eq!(error, "database URL is not understood: unknown value \"on\" for `ssl_mode`");
        }
    }

    #[test]
    fn several_urls_are_the_nodes_of_one_cluster() {
        let three = "mysql://me:a,b@one/shop, mysql://me:s3cret@two:3307/shop,mariadb://three/shop";
        let url = DatabaseUrl::parse(three).unwrap();
        let nodes = url.nodes();
        assert_eq!((url.node_count(), nodes.len(), nodes[0].node_count()), (3, 3, 1));
        assert_eq!(nodes[1].address(), Some(("two".to_owned(), 3307)));
        assert!(!format!("{url} {url:?}").contains("s3cret") && url.to_string().contains("three"), "{url}");
        for bad in [
            "mysql://one/shop,postgres://two/shop",
            "mysql://one/shop,mysql://two/other",
            "sqlite:a.db,sqlite://b.db",
        ] {
            assert!(DatabaseUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_sqlite_url_names_a_file() {
        assert_eq!(DatabaseUrl::parse("sqlite:a/b.db").unwrap().file(), Some("a/b.db".into()));
        assert_eq!(DatabaseUrl::parse("sqlite:///tmp/b.db").unwrap().file(), Some("/tmp/b.db".into()));
        assert!(DatabaseUrl::parse("sqlite::memory:").is_err());
        assert!(
            DatabaseUrl::parse("postgress://x/y")
                .unwrap_err()
                .to_string()
                .contains("did you mean \"postgres\"")
        );
    }
}
