//! The kernel's connection tracking: to which backend a service address led.
//!
//! `ctnetlink` is asked for one connection at a time, which costs one system call
//! in each direction and needs no table of our own; a dump serves a start in
//! mid-connection.

mod wire;

pub use wire::{Entry, Tuple};

use crate::netns;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::{Answer, Family};

/// The kernel answers at once; a dump of a large table comes in many parts.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Largest part of a dump that the kernel sends.
const BUFFER: usize = 64 << 10;

/// Why connection tracking gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// The network namespace could not be entered.
    #[error("cannot enter the network namespace {path}: {source}")]
    Namespace {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `ctnetlink` cannot be used here.
    #[error(
        "connection tracking cannot be asked: {0} (it needs CAP_NET_ADMIN, and a kernel with CONFIG_NF_CT_NETLINK)"
    )]
    Unavailable(io::Error),
    /// The kernel sent what is no message of `ctnetlink`.
    #[error("connection tracking answered with a message that cannot be read")]
    Malformed,
}

/// A line to the connection tracking of one network namespace.
///
/// The socket keeps its namespace alive: keep one for the node, not for pods.
#[derive(Debug)]
pub struct Conntrack {
    socket: OwnedFd,
    sequence: u32,
}

impl Conntrack {
    /// Opens a line to the namespace of the calling thread.
    pub fn open() -> Result<Self, ConntrackError> {
        Self::connect().map_err(ConntrackError::Unavailable)
    }

    /// Opens a line to the namespace at a path (`/proc/<pid>/ns/net`,
    /// `/run/netns/<name>`).
    pub fn open_in(path: &Path) -> Result<Self, ConntrackError> {
        let failed = |source| ConntrackError::Namespace { path: path.to_owned(), source };
        netns::inside(path, Self::connect).map_err(failed)?.map_err(ConntrackError::Unavailable)
    }

    fn connect() -> io::Result<Self> {
        let (kind, flags) = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = socket_with(AddressFamily::NETLINK, kind, flags, Some(netlink::NETFILTER))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(TIMEOUT))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The tracked connection that began with this tuple, if there is one.
    pub fn lookup(&mut self, original: &Tuple) -> Result<Option<Entry>, ConntrackError> {
        self.sequence = self.sequence.wrapping_add(1);
        self.request(&wire::lookup(original, self.sequence))?;
        Ok(self.answers()?.into_iter().next())
    }

    /// All tracked TCP and UDP connections.
    pub fn dump(&mut self) -> Result<Vec<Entry>, ConntrackError> {
        let mut entries = Vec::new();
        for family in [Family::V4, Family::V6] {
            self.sequence = self.sequence.wrapping_add(1);
            self.request(&wire::dump(family, self.sequence))?;
            entries.extend(self.answers()?);
        }
        Ok(entries)
    }

    fn request(&self, message: &[u8]) -> Result<(), ConntrackError> {
        let sent = send(&self.socket, message, SendFlags::empty());
        sent.map(drop).map_err(|why| ConntrackError::Unavailable(why.into()))
    }

    /// Reads until the answer to the last request is whole.
    fn answers(&self) -> Result<Vec<Entry>, ConntrackError> {
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER];
        loop {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())
                .map_err(|why| ConntrackError::Unavailable(why.into()))?;
            for answer in wire::answers(&buffer[..length]) {
                let (sequence, answer) = answer.ok_or(ConntrackError::Malformed)?;
                if sequence != self.sequence {
                    continue;
                }
                match answer {
                    Answer::Entry(entry) => found.extend(entry),
                    Answer::Done => return Ok(found),
                    Answer::Error(code) if code == rustix::io::Errno::NOENT.raw_os_error() => {
                        return Ok(Vec::new());
                    }
                    Answer::Error(code) => {
                        return Err(ConntrackError::Unavailable(io::Error::from_raw_os_error(
                            code,
                        )));
                    }
                }
            }
        }
    }
}
