//! Where a probe of TCP connects to.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The port is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpAddress {
    At(SocketAddr),
    /// This port at 127.0.0.1, and where that refuses at ::1.
    Localhost(u16),
}

impl TcpAddress {
    pub fn port(self) -> u16 {
        match self {
            TcpAddress::At(address) => address.port(),
            TcpAddress::Localhost(port) => port,
        }
    }

    pub fn first(self) -> SocketAddr {
        match self {
            TcpAddress::At(address) => address,
            TcpAddress::Localhost(port) => (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Where to connect to when the first one refuses.
    pub fn second(self) -> Option<SocketAddr> {
        match self {
            TcpAddress::At(_) => None,
            TcpAddress::Localhost(port) => Some((Ipv6Addr::LOCALHOST, port).into()),
        }
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TcpAddress::At(address) => address.fmt(f),
            TcpAddress::Localhost(port) => write!(f, "localhost:{port}"),
        }
    }
}
