//! Database URLs: which database is meant, and how to name it without its
//! password.

use super::Dialect;
use crate::text;
use anyhow::{Result, anyhow, bail, ensure};
use std::fmt;
use std::path::PathBuf;
use url::Url;

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
        })
    }

    fn server(family: Family, text: &str) -> Result<Self> {
        // The parse error could quote the password: say where, not what.
        let url = Url::parse(text).map_err(|error| anyhow!("database URL does not parse: {error}"))?;
        ensure!(
            !url.path().contains('@'),
            "database URL has an @ after its host: write special characters of the password as %-escapes"
        );
        let database = url.path().trim_matches('/').to_owned();
        ensure!(
            !database.is_empty(),
            "database URL names no database: expected {}://USER:PASSWORD@HOST:PORT/DATABASE",
            url.scheme()
        );
        let mut shown = url.clone();
        if shown.password().is_some() {
            shown.set_password(Some("***")).map_err(|()| anyhow!("database URL has no host"))?;
        }
        let shown_query: Vec<(String, String)> = url
            .query_pairs()
            .map(|(key, value)| {
                let secret = key.contains("pass") || key.contains("key");
                (key.into_owned(), if secret { "***".to_owned() } else { value.into_owned() })
            })
            .collect();
        if !shown_query.is_empty() {
            shown.query_pairs_mut().clear().extend_pairs(shown_query);
        }
        Ok(Self { family, secret: text.to_owned(), shown: shown.to_string(), database, others: Vec::new() })
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

    /// Host and port of a server that is reached over a network.
    pub fn address(&self) -> Option<(String, u16)> {
        let default = match self.family {
            Family::Postgres => 5432,
            Family::MySql => 3306,
            Family::Sqlite | Family::Null => return None,
        };
        let url = Url::parse(&self.secret).ok()?;
        let host = url.host_str().filter(|host| !host.is_empty())?;
        Some((host.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(default)))
    }

    /// Whether the server's name is checked against its certificate: then it can be
    /// reached under this name only.
    pub fn checks_host(&self) -> bool {
        let Ok(url) = Url::parse(&self.secret) else { return false };
        let mut modes = url.query_pairs().filter(|(key, _)| key == "sslmode" || key == "ssl-mode");
        modes.any(|(_, mode)| {
            ["verify-full", "VERIFY_IDENTITY"].iter().any(|full| mode.eq_ignore_ascii_case(full))
        })
    }

    /// The same server through a port of this machine.
    pub(super) fn through(&self, port: u16) -> Self {
        let mut there = self.clone();
        if let Ok(mut url) = Url::parse(&self.secret)
            && url.set_host(Some("127.0.0.1")).is_ok()
            && url.set_port(Some(port)).is_ok()
        {
            there.secret = url.to_string();
        }
        there
    }

    /// The file of an SQLite database.
    pub fn file(&self) -> Option<PathBuf> {
        (self.family == Family::Sqlite).then(|| PathBuf::from(&self.database))
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
        for url in ["postgres://me:s3cret@h:5432/shop", "mysql://me:s3cret@h/shop?password=s3cret"] {
            let parsed = DatabaseUrl::parse(url).unwrap();
            assert!(!format!("{parsed} {parsed:?}").contains("s3cret"), "{parsed}");
            assert_eq!(parsed.database, "shop");
        }
        let error = DatabaseUrl::parse("postgres://me:s3cret@h:port/shop").unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
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
