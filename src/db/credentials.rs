//! What a URL leaves out and this user's files say: `~/.pgpass` as psql reads it,
//! `~/.my.cnf` as mysql reads it.

use crate::input::{self, SECRET_MAX};
use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Others may read or write the file, or do anything with it.
const OPEN_TO_OTHERS: u32 = 0o077;

/// Everybody may write the file.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Where psql keeps its sockets: a server that is reached there is called `localhost`.
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];

/// A server as a password file names it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server<'s> {
    /// A name, or the folder of a socket.
    pub(super) host: &'s str,
    pub(super) port: u16,
    pub(super) database: &'s str,
    pub(super) user: &'s str,
}

/// What a password file comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// It has no word for this server, or there is none.
    Nothing,
    /// The password.
    Password(String),
    /// It was not read; why, for whoever is refused then.
    Ignored(String),
}

/// The password file of psql: the one that is named, or `~/.pgpass`.
pub(super) fn password_file(named: Option<PathBuf>) -> Option<PathBuf> {
    let named = named.or_else(|| std::env::var_os("PGPASSFILE").map(PathBuf::from));
    named.or_else(|| Some(std::env::home_dir()?.join(".pgpass")))
}

/// Looks a server's password up in a password file of psql.
///
/// # Errors
/// The file is there and cannot be read, or is too large.
pub(super) fn password(file: &Path, server: Server<'_>) -> Result<Lookup> {
    let Ok(metadata) = std::fs::metadata(file) else { return Ok(Lookup::Nothing) };
    let name = file.display();
    if !metadata.is_file() {
        return Ok(Lookup::Ignored(format!("{name} was not read: it is not a regular file")));
    }
    if metadata.mode() & OPEN_TO_OTHERS != 0 {
        return Ok(Lookup::Ignored(format!("{name} was not read: others may read it (chmod 600 it)")));
    }

    let text = input::read_to_string(file, SECRET_MAX).with_context(|| format!("cannot read {name}"))?;
    let password = text.lines().find_map(|line| password_in(line, server));
    Ok(password.map_or(Lookup::Nothing, Lookup::Password))
}

/// `host:port:database:user:password`; `*` is any, `\` takes the next character as it is.
fn password_in(line: &str, server: Server<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let is_default_socket = SOCKET_FOLDERS.contains(&server.host);
    let host = if is_default_socket { "localhost" } else { server.host };
    let port = server.port.to_string();

    let mut rest = line;
    for wanted in [host, &port, server.database, server.user] {
        let (raw, field, behind) = field(rest)?;
        if raw != "*" && field != wanted {
            return None;
        }
        rest = behind;
    }
    // A colon that is not escaped ends the password, too.
    let password = field(rest).map_or_else(|| unescaped(rest), |(_, password, _)| password);
    (!password.is_empty()).then_some(password)
}

/// Up to the next colon: as it stands there, what it means, and what comes behind.
fn field(line: &str) -> Option<(&str, String, &str)> {
    let mut is_escaped = false;
    for (at, character) in line.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ':' => return Some((&line[..at], unescaped(&line[..at]), &line[at + 1..])),
            _ => {}
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            character => plain.push(character),
        }
    }
    plain
}

/// What the option file of mysql says of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ClientOptions {
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) socket: Option<String>,
}

/// The option file of this user.
pub(super) fn option_file() -> Option<PathBuf> {
    Some(std::env::home_dir()?.join(".my.cnf"))
}

impl ClientOptions {
    /// Reads `~/.my.cnf`; without a password there, `MYSQL_PWD` is it.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is too large.
    pub(super) fn of_user() -> Result<Self> {
        let mut options = option_file().map_or_else(|| Ok(Self::default()), |file| Self::read(&file))?;
        options.password = options.password.or_else(|| std::env::var("MYSQL_PWD").ok());
        Ok(options)
    }

    fn read(file: &Path) -> Result<Self> {
        // As mysql does: a file that everybody may write says nothing.
        let is_trusted =
            |metadata: std::fs::Metadata| metadata.is_file() && metadata.mode() & WRITABLE_BY_ALL == 0;
        if !std::fs::metadata(file).is_ok_and(is_trusted) {
            return Ok(Self::default());
        }
        let text = input::read_to_string(file, SECRET_MAX)
            .with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self::parse(&text))
    }

    /// The options of the group `[client]`, the last of each; what is not known is for others.
    fn parse(text: &str) -> Self {
        let mut options = Self::default();
        let mut is_client = false;
        for line in text.lines().map(str::trim) {
            if let Some(group) = line.strip_prefix('[') {
                is_client = group.split(']').next() == Some("client");
                continue;
            }
            if !is_client || line.starts_with(['#', ';', '!']) {
                continue;
            }
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = Some(option_value(value.trim()));
            match name.trim() {
                "user" => options.user = value,
                "password" => options.password = value,
                "host" => options.host = value,
                "port" => options.port = value.and_then(|port| port.parse().ok()),
                "socket" => options.socket = value,
                _ => {}
            }
        }
        options
    }
}

/// A value without its quotes and escapes; unquoted, it ends at a comment.
fn option_value(text: &str) -> String {
    let quoted = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    let text = quoted.unwrap_or_else(|| text.split('#').next().unwrap_or(text).trim_end());

    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('b') => plain.push('\u{8}'),
            Some('s') => plain.push(' '),
            Some(known @ ('\\' | '"' | '\'')) => plain.push(known),
            // Any other one stands for itself, its backslash too.
            other => {
                plain.push('\\');
                plain.extend(other);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const SERVER: Server<'_> = Server { host: "h", port: 5432, database: "shop", user: "me" };

    #[test]
    fn a_line_of_a_password_file_is_read_as_psql_reads_it() {
        let found = |line: &str| password_in(line, SERVER);
        assert_eq!(found("h:5432:shop:me:s3cret").as_deref(), Some("s3cret"));
        assert_eq!(found("*:*:*:*:s3:cret").as_deref(), Some("s3"));
        assert_eq!(found(r"h:5432:shop:me:a\:b\\c\d").as_deref(), Some(r"a:b\cd"));
        assert_eq!(found(r"\h:5432:sh\op:me:x").as_deref(), Some("x"));
        for other in [
            "#h:5432:shop:me:x",
            "i:5432:shop:me:x",
            "h:1:shop:me:x",
            "h:5432:shop:x",
            r"\*:*:*:*:x",
            "*:*:*:*:",
        ] {
            assert_eq!(found(other), None, "{other}");
        }
        let at_socket = Server { host: "/var/run/postgresql", ..SERVER };
        assert_eq!(password_in("localhost:5432:shop:me:x", at_socket).as_deref(), Some("x"));
        let elsewhere = Server { host: "/srv/run", ..SERVER };
        assert_eq!(password_in("/srv/run:5432:shop:me:x", elsewhere).as_deref(), Some("x"));
    }

    #[test]
    fn a_password_file_that_others_may_read_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".pgpass");
        assert_eq!(password(&path, SERVER).unwrap(), Lookup::Nothing);

        std::fs::write(&path, "other:*:*:*:no\n*:*:shop:me:first\n*:*:*:*:second\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(password(&path, SERVER).unwrap(), Lookup::Password("first".to_owned()));

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(
            matches!(password(&path, SERVER).unwrap(), Lookup::Ignored(why) if why.contains("chmod 600"))
        );
        assert!(matches!(password(Path::new("/dev/zero"), SERVER).unwrap(), Lookup::Ignored(_)));
    }

    #[test]
    fn the_group_of_clients_is_read_as_mysql_reads_it() {
        let options = ClientOptions::parse(
            "[mysqld]\nuser=mysql\nport=1\n\n# all clients\n[client]\nuser = me # who\n\
             password=\"a#b\\\"c\\\\d\\s\"\nhost=h\nport= 3307\nskip-ssl\n[client]\nsocket='/run/my.sock'\n\
             [mysql]\nuser=no\n",
        );
        let wanted = ClientOptions {
            user: Some("me".to_owned()),
            password: Some("a#b\"c\\d ".to_owned()),
            host: Some("h".to_owned()),
            port: Some(3307),
            socket: Some("/run/my.sock".to_owned()),
        };
        assert_eq!(options, wanted);
        assert_eq!(ClientOptions::parse("user=no\n"), ClientOptions::default());
    }

    #[test]
    fn an_option_file_that_everybody_may_write_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".my.cnf");
        std::fs::write(&path, "[client]\nuser=me\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(ClientOptions::read(&path).unwrap().user.as_deref(), Some("me"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o646)).unwrap();
        assert_eq!(ClientOptions::read(&path).unwrap(), ClientOptions::default());
        assert_eq!(ClientOptions::read(Path::new("/dev/zero")).unwrap(), ClientOptions::default());
    }
}
