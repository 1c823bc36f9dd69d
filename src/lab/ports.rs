//! Ports for servers that are yet to come up, and for those that are down for a while.
//!
//! Several labs start beside each other, in this process and in others, and the last node
//! of a cluster comes up long after its port was drawn.

use anyhow::{Context, Result};
use rand::RngExt;
use std::net::Ipv4Addr;
use std::ops::Range;
use tokio::net::TcpSocket;

/// Where servers listen: below the ports that systems give to outgoing connections (from
/// 32768 on Linux, from 49152 by RFC 6335). One of those could be taken by any client before
/// a server comes up, or while it is being started again.
const PORTS: Range<u16> = 10_000..32_768;

/// How many of them are tried.
const PORT_TRIES: usize = 1_000;

/// Ports that nobody else has, all of them different.
#[derive(Debug)]
pub struct Ports<const COUNT: usize> {
    /// Which ones.
    pub numbers: [u16; COUNT],
    /// Sockets bound to them, on which nobody listens.
    pub(super) held: Vec<TcpSocket>,
}

impl<const COUNT: usize> Ports<COUNT> {
    /// Draws ports for servers. Nobody else who looks for free ones draws these as long
    /// as this lives, whether the servers are up or not.
    ///
    /// # Errors
    /// There are none left.
    pub fn free() -> Result<Self> {
        let mut held = Vec::with_capacity(COUNT);
        let mut numbers = [0; COUNT];
        for number in &mut numbers {
            let mut drawn = (0..PORT_TRIES).map(|_| rand::rng().random_range(PORTS));
            let socket = drawn.find_map(|port| bound(port).ok()).context("no free port on 127.0.0.1")?;
            *number = socket.local_addr()?.port();
            held.push(socket);
        }
        // Elsewhere than on Linux they might be in the servers' way.
        if cfg!(not(target_os = "linux")) {
            held.clear();
        }
        Ok(Self { numbers, held })
    }
}

/// Binds to a port that nobody is bound to. Only then it may be shared with a server, which
/// asks for an address that is used already: on Linux it is given one, unless somebody
/// listens there (socket(7), `SO_REUSEADDR`).
fn bound(port: u16) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_is_a_servers_and_no_other_labs() {
        let Ports { numbers: [port], held } = Ports::free().unwrap();
        assert_eq!(bound(port).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        // The server comes up, goes, and comes up again.
        for _ in 0..2 {
            drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
            assert_eq!(bound(port).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
        }
        drop(held);
        bound(port).unwrap();
    }
}
