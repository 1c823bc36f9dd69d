//! How connections to a server are protected on their way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What protects the connections to a server, as the server sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tls {
    /// The version that is spoken: `none` where connections are plain, `unknown` where
    /// the server does not say.
    pub version: String,
    /// What was asked for, by the URL, the environment or else by default; in the words
    /// of the URL's `sslmode`.
    pub mode: String,
    /// What was checked of the server's certificate.
    pub verified: Verified,
}

/// What was checked of a server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verified {
    /// Nothing: whoever answers is taken for the server.
    None,
    /// Who signed it.
    Ca,
    /// Who signed it, and that it is for the host that was asked for.
    Identity,
}

/// What a URL and the environment ask of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsMode {
    /// The word for it.
    pub(super) word: &'static str,
    /// Whether there is no connection without TLS.
    pub(super) required: bool,
    pub(super) verified: Verified,
}

const NONE: &str = "none";
const UNKNOWN: &str = "unknown";

impl Tls {
    /// Puts together what was asked for and what the server says of its session:
    /// nothing at all, that it is plain (an empty text), or the version.
    pub(super) fn new(mode: TlsMode, said: Option<String>) -> Self {
        let version = match said {
            // What ends the TLS that was asked for is a proxy before the server.
            Some(version) if version.is_empty() && mode.required => UNKNOWN.to_owned(),
            Some(version) if version.is_empty() => NONE.to_owned(),
            Some(version) => version,
            None => UNKNOWN.to_owned(),
        };
        Self { version, mode: mode.word.to_owned(), verified: mode.verified }
    }
}

impl fmt::Display for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self.version.as_str() {
            NONE => return write!(f, "no TLS (sslmode={})", self.mode),
            UNKNOWN => "TLS not known",
            version => version,
        };
        let verified = match self.verified {
            Verified::None => "certificate not verified",
            Verified::Ca => "certificate verified, host name not",
            Verified::Identity => "certificate and host name verified",
        };
        write!(f, "{version} (sslmode={}, {verified})", self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_what_there_is_are_both_said() {
        let prefer = TlsMode { word: "prefer", required: false, verified: Verified::None };
        let require = TlsMode { word: "require", required: true, ..prefer };
        let full = TlsMode { word: "verify-full", verified: Verified::Identity, ..require };
        let said = |mode, version: Option<&str>| Tls::new(mode, version.map(str::to_owned)).to_string();
        assert_eq!(said(prefer, Some("")), "no TLS (sslmode=prefer)");
        assert_eq!(said(prefer, None), "TLS not known (sslmode=prefer, certificate not verified)");
        assert_eq!(said(require, Some("")), "TLS not known (sslmode=require, certificate not verified)");
        assert_eq!(said(require, Some("TLSv1.3")), "TLSv1.3 (sslmode=require, certificate not verified)");
        let verified = "TLSv1.2 (sslmode=verify-full, certificate and host name verified)";
        assert_eq!(said(full, Some("TLSv1.2")), verified);
    }
}
