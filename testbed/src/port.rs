//! Ports that a process keeps over a restart.
//!
//! The system hands ports of its ephemeral range to outgoing connections, so one that a killed
//! process had could be gone before its successor binds it. These are from below that range.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// The ports that are tried. Linux hands out 32768 and above, macOS and the standard 49152.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A loopback port that was free a moment ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(SocketAddr);

impl Place {
    /// The address to bind.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.0
    }

    /// The base address for HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

/// Finds a free loopback port.
///
/// # Errors
/// If none of many is free, or the system gives no random number.
pub fn reserve() -> io::Result<Place> {
    for _ in 0..200 {
        let port = FIRST + random()? % COUNT;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return Ok(Place(address));
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no free port between 20000 and 32000",
    ))
}

#[expect(
    clippy::disallowed_methods,
    reason = "two test programs must not try the same ports"
)]
fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u16::from_le_bytes(bytes))
}
