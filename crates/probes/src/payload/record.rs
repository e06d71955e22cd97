//! The kernel's records as Rust types.

use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::skeleton::types::{
    payload_close, payload_datagram, payload_ends, payload_open, payload_passed, payload_piece,
    payload_plain,
};
use crate::{Pod, from_bytes};

/// Which end of a connection its socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
    /// Nothing of the socket tells.
    Unknown,
}

/// Whose a socket is and what it is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Cookie of the network namespace; 0 for UDP, whose sockets do not tell.
    pub netns: u64,
    /// Control group (v2 id) that owns the socket.
    pub cgroup: u64,
    /// Own address.
    pub local: IpAddr,
    /// Own port.
    pub local_port: u16,
    /// Peer's address.
    pub remote: IpAddr,
    /// Peer's port.
    pub remote_port: u16,
}

/// A connection was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its number: the socket's cookie.
    pub id: u64,
    /// When: `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
    /// Which end this is.
    pub role: Role,
    /// Whether it is seen from its first byte on.
    pub pristine: bool,
    /// Whose it is.
    pub ends: Ends,
}

/// A segment of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The connection.
    pub id: u64,
    /// When it passed the socket: `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
    /// Whether this end sent it.
    pub outbound: bool,
    /// Place of its first byte in its direction, modulo 2^32. Of a pristine connection
    /// the first byte is at 0.
    pub offset: u32,
    /// Bytes of the segment.
    pub length: u32,
    /// Its beginning, as far as it was copied.
    pub bytes: &'a [u8],
    /// Whether its writer closed after it.
    pub fin: bool,
    /// Bytes of its direction, before it, that the full ring had no room for.
    pub lost: u32,
}

/// A UDP datagram that reads like DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The socket.
    pub id: u64,
    /// When it passed the socket: `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
    /// Whether this end sent it.
    pub outbound: bool,
    /// Whose it is; its addresses are those of the packet.
    pub ends: Ends,
    /// Bytes of the datagram.
    pub length: u32,
    /// Its beginning.
    pub bytes: &'a [u8],
}

/// Plaintext that a TLS library took or gave ([`crate::tls`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain<'a> {
    /// When the session was met; another one is another session, from its own beginning.
    pub since: u64,
    /// From when on its process is certainly observed: a handshake that ended later is
    /// followed by nothing that was not seen.
    pub watched: u64,
    /// Whether no read of the session can have begun before it was observed.
    pub settled: bool,
    /// What passed, by place in the session's own streams. The id is that of the
    /// connection; a write has the time of its beginning, a read that of its end.
    pub piece: Piece<'a>,
}

/// What the ring carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A connection was met.
    Open(Open),
    /// It said something.
    Piece(Piece<'a>),
    /// It is gone.
    Close {
        /// The connection.
        id: u64,
        /// When: `CLOCK_MONOTONIC`, nanoseconds.
        time: u64,
    },
    /// A datagram.
    Datagram(Datagram<'a>),
    /// It said something inside of TLS.
    Plain(Plain<'a>),
    /// An encrypted connection has carried something.
    Passed {
        /// The connection.
        id: u64,
        /// Bytes since this was last told, both ways.
        bytes: u64,
    },
}

/// Reads a record; `None` for one that no program of ours writes.
pub(super) fn read(bytes: &[u8]) -> Option<Record<'_>> {
    match from_bytes::<u32>(bytes)? {
        0 => from_bytes::<payload_open>(bytes).map(|raw| Record::Open(open(&raw))),
        1 => {
            let (raw, rest) = split::<payload_piece>(bytes)?;
            Some(Record::Piece(Piece {
                id: raw.id,
                time: raw.time,
                outbound: raw.outbound != 0,
                offset: raw.offset,
                length: raw.length,
                bytes: rest.get(..raw.copied as usize)?,
                fin: raw.fin != 0,
                lost: raw.lost,
            }))
        }
        2 => {
            let raw = from_bytes::<payload_close>(bytes)?;
            Some(Record::Close { id: raw.id, time: raw.time })
        }
        3 => {
            let (raw, rest) = split::<payload_datagram>(bytes)?;
            Some(Record::Datagram(Datagram {
                id: raw.id,
                time: raw.time,
                outbound: raw.outbound != 0,
                ends: ends(&raw.ends),
                length: raw.length,
                bytes: rest.get(..raw.copied as usize)?,
            }))
        }
        4 => {
            let (raw, rest) = split::<payload_plain>(bytes)?;
            Some(Record::Plain(Plain {
                since: raw.since,
                watched: raw.watched,
                settled: raw.settled != 0,
                piece: Piece {
                    id: raw.id,
                    time: raw.time,
                    outbound: raw.outbound != 0,
                    offset: raw.offset,
                    length: raw.length,
                    bytes: rest.get(..raw.copied as usize)?,
                    fin: false,
                    lost: raw.lost,
                },
            }))
        }
        5 => {
            let raw = from_bytes::<payload_passed>(bytes)?;
            Some(Record::Passed { id: raw.id, bytes: raw.bytes })
        }
        _ => None,
    }
}

fn split<T: Pod>(bytes: &[u8]) -> Option<(T, &[u8])> {
    Some((from_bytes(bytes)?, bytes.get(size_of::<T>()..)?))
}

fn open(raw: &payload_open) -> Open {
    Open {
        id: raw.id,
        time: raw.time,
        role: match raw.role {
            1 => Role::Client,
            2 => Role::Server,
            _ => Role::Unknown,
        },
        pristine: raw.pristine != 0,
        ends: ends(&raw.ends),
    }
}

fn ends(raw: &payload_ends) -> Ends {
    let address = |bytes: &[u8; 16]| match raw.family {
        2 => IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])),
        _ => IpAddr::V6(Ipv6Addr::from(*bytes)),
    };
    Ends {
        netns: raw.netns,
        cgroup: raw.cgroup,
        local: address(&raw.local),
        local_port: raw.local_port,
        remote: address(&raw.remote),
        remote_port: raw.remote_port,
    }
}
