//! What is changed in a network namespace, told by the kernel while it is being changed.
//!
//! Two netlink sockets listen in the namespace: one for routes, rules, addresses, devices,
//! neighbours, queues and switches, one for nftables. The kernel tells each change to
//! whoever listens; nothing is polled, and a namespace at rest costs nothing.
//!
//! Not told by any kernel, and so not seen: rules of the old `iptables-legacy`, switches
//! other than those of devices (`ip_forward`, `rp_filter`, `proxy_arp`), IPv4 routes that
//! vanish because their device is switched off (the device itself is told), eBPF maps.

mod known;
mod nft;
mod route;
mod words;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use taproot_model::ChangeKind;

use crate::netlink::messages;
use crate::{Error, Result, enter};
use known::Known;
use nft::Transaction;

/// `RTNLGRP_*`: links, neighbours, traffic control, addresses, routes and rules of both
/// families, switches of both.
const ROUTE_GROUPS: [u32; 11] = [1, 3, 4, 5, 7, 8, 9, 11, 19, 24, 25];
/// `NFNLGRP_NFTABLES`.
const NFTABLES_GROUP: u32 = 7;
/// Bytes that may wait between two looks: the kernel halves or caps it as it likes.
const BUFFER: usize = 1 << 20;
/// Changes of one kind told one by one between two looks; more are summed up.
const MOST: usize = 8;
/// Datagrams read at one look: a flood must not hold up everything else.
const DATAGRAMS: usize = 4096;
/// What the kernel says when it had to leave something out.
const ENOBUFS: i32 = 105;

/// Who changed something, as far as the kernel tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// Its process id. That of a netlink socket is given by the process' own namespace,
    /// and by custom only: it has to be compared with the processes there are.
    pub pid: u32,
    /// The program's name, where the kernel told it; then the pid is sure, too.
    pub name: Option<String>,
}

/// Something that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// What sort.
    pub kind: ChangeKind,
    /// In words (`added route 10.2.0.0/24 via 10.1.0.9 dev eth0`).
    pub what: String,
    /// The command that takes it back; empty where none is known.
    pub undo: String,
    /// By whom.
    pub by: Option<Author>,
}

impl Noted {
    fn new(kind: ChangeKind, what: String, undo: String, port: u32) -> Self {
        let by = (port != 0).then_some(Author { pid: port, name: None });
        Self { kind, what, undo, by }
    }
}

/// What was changed between two looks.
#[derive(Debug, Default)]
pub struct Drained {
    /// The changes, oldest first.
    pub noted: Vec<Noted>,
    /// Times that the kernel had to leave messages out, because too many waited.
    pub overruns: u64,
    /// Messages that could not be read.
    pub malformed: u64,
}

/// An ear in one network namespace.
///
/// Its sockets keep the namespace alive: drop it when the last process of the namespace
/// is gone.
pub struct Watch {
    inode: u32,
    route: Socket,
    firewall: std::result::Result<Socket, io::Error>,
    known: Known,
    open: Transaction,
}

impl Watch {
    /// Begins to listen in the namespace behind a file such as `/proc/<pid>/ns/net`.
    pub fn open(netns: &Path) -> Result<Self> {
        enter::inside(netns, Self::here)?
    }

    /// Begins to listen in the calling thread's namespace.
    pub fn here() -> Result<Self> {
        let failed = |source| Error::Netlink { what: "changes", source };
        let route = listen(NETLINK_ROUTE, &ROUTE_GROUPS).map_err(failed)?;
        let firewall = listen(NETLINK_NETFILTER, &[NFTABLES_GROUP]);
        // Read once it is listened to: what changes in between is compared, not lost.
        let known = Known::here()?;
        Ok(Self { inode: enter::inode(), route, firewall, known, open: Transaction::default() })
    }

    /// The inode of the namespace.
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// Why the firewall is not listened to.
    pub fn without_firewall(&self) -> Option<&io::Error> {
        self.firewall.as_ref().err()
    }

    /// What was changed since the last look. Does not wait.
    pub fn drain(&mut self) -> Drained {
        let mut out = Drained::default();
        let Self { route, firewall, known, open, .. } = self;
        known.begin();
        out.overruns += each(route, |bytes| {
            for message in messages(bytes) {
                if known.take(&message, &mut out.noted).is_err() {
                    out.malformed += 1;
                }
            }
        });
        if let Ok(firewall) = firewall {
            out.overruns += each(firewall, |bytes| {
                for message in messages(bytes) {
                    out.noted.extend(open.take(&message));
                }
            });
        }
        out.noted = summed_up(out.noted);
        out
    }
}

fn listen(family: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(family)?;
    socket.set_non_blocking(true)?;
    // A smaller buffer overruns sooner, which is counted.
    let _ = socket.set_rx_buf_sz(BUFFER);
    socket.bind(&SocketAddr::new(0, 0))?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

/// Hands over every datagram that waits; returns how often the kernel left some out.
fn each(socket: &Socket, mut take: impl FnMut(&[u8])) -> u64 {
    let mut overruns = 0;
    for _ in 0..DATAGRAMS {
        match socket.recv_from_full() {
            Ok((bytes, _)) => take(&bytes),
            Err(error) if error.raw_os_error() == Some(ENOBUFS) => overruns += 1,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    overruns
}

/// A burst as a few lines and their number.
fn summed_up(noted: Vec<Noted>) -> Vec<Noted> {
    let of = |noted: &[Noted], kind| noted.iter().filter(|n| n.kind == kind).count();
    let mut told: Vec<Noted> = Vec::new();
    let mut more: Vec<(ChangeKind, usize)> = Vec::new();
    for one in noted {
        if of(&told, one.kind) < MOST {
            told.push(one);
            continue;
        }
        match more.iter_mut().find(|(kind, _)| *kind == one.kind) {
            Some((_, count)) => *count += 1,
            None => more.push((one.kind, 1)),
        }
    }
    told.extend(more.into_iter().map(|(kind, count)| {
        let what = format!("and {count} more changes of this kind ({})", kind.name());
        Noted { kind, what, undo: String::new(), by: None }
    }));
    told
}
