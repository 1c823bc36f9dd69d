//! Recognises a server that speaks another protocol than its URL says. MySQL's servers speak
//! first, PostgreSQL's wait to be asked: a client of the one waits for a server of the other
//! until it gives up.

use super::url::{DatabaseUrl, Family};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a server of MySQL's kind may take before its first word: it may look up our name.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(3);

/// How long an answer may take of a server that is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What asks a PostgreSQL server whether it has TLS; it answers with a letter.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// What is known of the server behind a URL of the other family.
pub(super) async fn other(url: &DatabaseUrl) -> Option<&'static str> {
    let (host, port) = url.address()?;
    let mut stream = timeout(ANSWER_WITHIN, TcpStream::connect((host.as_str(), port))).await.ok()?.ok()?;
    match url.family {
        Family::Postgres if greets_as_mysql(&mut stream).await.ok()? => {
            Some("a server of MySQL's kind answers there: begin the URL with mysql:// or mariadb://")
        }
        Family::MySql if answers_as_postgres(&mut stream).await.ok()? => {
            Some("a PostgreSQL server answers there: begin the URL with postgres://")
        }
        _ => None,
    }
}

/// Whether the first packet is a greeting (10) or a refusal (255).
async fn greets_as_mysql(stream: &mut TcpStream) -> io::Result<bool> {
    let mut packet = [0; 5];
    timeout(ANSWER_WITHIN, stream.read_exact(&mut packet)).await??;
    Ok(packet[3] == 0 && matches!(packet[4], 10 | 255))
}

async fn answers_as_postgres(stream: &mut TcpStream) -> io::Result<bool> {
    let mut answer = [0; 1];
    // Whoever speaks first is none, and is told nothing that it would not understand.
    if timeout(FIRST_WORD_WITHIN, stream.read(&mut answer)).await.is_ok() {
        return Ok(false);
    }
    stream.write_all(&SSL_REQUEST).await?;
    timeout(ANSWER_WITHIN, stream.read_exact(&mut answer)).await??;
    Ok(matches!(answer[0], b'S' | b'N'))
}
