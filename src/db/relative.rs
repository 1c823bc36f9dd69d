//! Databases that speak PostgreSQL's or MySQL's protocol and are others: known by
//! their versions, and described from their documentation. Nothing here was tested
//! on them.

use super::DatabaseInfo;

/// Connections that are free where a server sets no limit.
const NO_LIMIT: u32 = u32::MAX;

/// Which relative a version is of.
pub(super) fn of(version: &str) -> Option<&'static str> {
    let known = [("CockroachDB", "CockroachDB"), ("-YB-", "YugabyteDB"), ("TiDB", "TiDB")];
    known.into_iter().find(|(mark, _)| version.contains(mark)).map(|(_, name)| name)
}

/// The release in a version, behind this mark.
fn release(version: &str, mark: &str) -> Option<(u32, u32)> {
    let (_, release) = version.split_once(mark)?;
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// Connections that are left of so many. TiDB's default limit of 0 is none ("System
/// Variables"), and CockroachDB has no setting that names one.
pub(super) fn free_connections(max: Option<i64>, taken: i64) -> u32 {
    max.filter(|max| *max > 0).map_or(NO_LIMIT, |max| u32::try_from(max - taken).unwrap_or(0))
}

impl DatabaseInfo {
    /// Whether a lock that a session takes by a name or number of its own keeps others
    /// away, as `pg_try_advisory_lock` and `GET_LOCK` promise. By their documentation,
    /// CockroachDB's functions for it are there and do nothing, YugabyteDB's are an
    /// error unless switched on before release 2025.1, and TiDB has them since 6.1.
    pub fn has_advisory_locks(&self) -> bool {
        let since = |mark, first| release(&self.version, mark).is_some_and(|release| release >= first);
        match self.relative.as_deref() {
            None => true,
            Some("YugabyteDB") => since("-YB-", (2025, 1)),
            Some("TiDB") => since("TiDB-v", (6, 1)),
            Some(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relatives_are_known_by_their_versions() {
        assert_eq!(of("CockroachDB CCL v25.2.1 (x86_64-pc-linux-gnu)"), Some("CockroachDB"));
        assert_eq!(of("PostgreSQL 15.2-YB-2025.1.0.0-b0 on x86_64"), Some("YugabyteDB"));
        assert_eq!(of("8.0.11-TiDB-v8.5.0"), Some("TiDB"));
        assert_eq!(of("PostgreSQL 15.18 (Debian 15.18-0+deb12u1)"), None);
        assert_eq!(of("10.11.19-MariaDB-0+deb12u1"), None);
        assert_eq!(release("8.0.11-TiDB-v8.5.0", "TiDB-v"), Some((8, 5)));
        assert_eq!(release("11.2-YB-2.20.7.1-b0", "-YB-"), Some((2, 20)));
        assert_eq!(release("8.0.11-TiDB-None", "TiDB-v"), None);
    }

    #[test]
    fn a_limit_of_nothing_is_none() {
        assert_eq!(free_connections(Some(100), 7), 93);
        assert_eq!(free_connections(Some(5), 7), 0);
        assert_eq!(free_connections(Some(0), 7), NO_LIMIT);
        assert_eq!(free_connections(None, 0), NO_LIMIT);
    }
}
