//! Filling the node's connection-tracking table through ctnetlink
//! (`linux/netfilter/nfnetlink_conntrack.h`), and emptying it of our entries.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, bind, recv, send, socket};

use crate::error::{Error, Result};
use crate::faults::helper;
use crate::net;
use crate::state::Lab;

/// Mark on every entry of ours, so that only these are removed again.
const MARK: u32 = 0x7470_726c;
/// Life of an entry in seconds.
const LIFE: u32 = 3600;
/// Entries sent in one message to the kernel.
const BATCH: u32 = 500;

const NEW: u16 = 0x100;
const DELETE: u16 = 0x102;
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCLUSIVE_CREATE: u16 = 0x200 | 0x400;
const NESTED: u16 = 0x8000;
const ERROR: u16 = 2;
const SEEN_REPLY_ASSURED_CONFIRMED: u32 = 2 | 4 | 8;
const UDP: u8 = 17;

/// Fills the table, then keeps it full, until the process is ended.
pub(crate) fn run(state_dir: &std::path::Path) -> Result<()> {
    let lab = Lab::load(state_dir)?;
    helper::join(&lab)?;
    net::enter(&lab.node.netns.name)?;
    let io = |e| Error::io("fill", "the conntrack table")(e);
    let socket = open().map_err(io)?;
    let (mut next, mut full) = (0_u32, false);
    loop {
        // Once the table is full, real entries that end are all that makes room.
        let count = if full { 1 } else { BATCH };
        full = !add(&socket, next, count).map_err(io)?;
        next = next.wrapping_add(count);
        if full {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Entries in the table of a namespace and how many it takes.
pub(crate) fn fill_level(netns: &str) -> Result<(u64, u64)> {
    let read = |file: &str| {
        let path = std::path::Path::new("/proc/sys/net/netfilter").join(file);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        Ok(text.trim().parse().unwrap_or(0))
    };
    net::inside(netns, || Ok((read("nf_conntrack_count")?, read("nf_conntrack_max")?)))?
}

/// Removes all entries of ours from the table of a namespace.
pub(crate) fn flush(netns: &str) -> Result<()> {
    let work = || -> io::Result<()> {
        let socket = open()?;
        let mut message = header(DELETE, REQUEST | ACK);
        attribute(&mut message, 8, &MARK.to_be_bytes());
        attribute(&mut message, 21, &u32::MAX.to_be_bytes());
        close(&mut message, 0);
        send(&socket, &message, SendFlags::empty())?;
        answer(&socket).map(drop)
    };
    net::inside(netns, work)?.map_err(Error::io("empty", "the conntrack table"))
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    // Failed entries of a batch are each reported; they must find room.
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1 << 20)?;
    Ok(socket)
}

/// Adds entries numbered from `first`; true when the last of them went in.
fn add(socket: &OwnedFd, first: u32, count: u32) -> io::Result<bool> {
    let mut batch = Vec::with_capacity(count as usize * 128);
    for number in first..first.saturating_add(count) {
        // Only the last is acknowledged: the kernel works in order.
        let last = number + 1 == first.saturating_add(count);
        let start = batch.len();
        batch.extend(entry(number, if last { ACK } else { 0 }));
        close(&mut batch, start);
    }
    send(socket, &batch, SendFlags::empty())?;
    loop {
        let answer = answer(socket)?.filter(|(done, _)| *done + 1 == first.saturating_add(count));
        if let Some((_, code)) = answer {
            return Ok(code == 0);
        }
    }
}

/// Number and error code of the next answer.
fn answer(socket: &OwnedFd) -> io::Result<Option<(u32, i32)>> {
    let mut buffer = [0_u8; 8192];
    let (n, _) = recv(socket, &mut buffer, RecvFlags::empty())?;
    let word = |at: usize| -> Option<[u8; 4]> { buffer[..n].get(at..at + 4)?.try_into().ok() };
    let kind = word(4).map(|w| u16::from_ne_bytes([w[0], w[1]]));
    if kind != Some(ERROR) {
        return Ok(None);
    }
    let (sequence, code) = (word(8), word(16));
    Ok(sequence.zip(code).map(|(s, c)| (u32::from_ne_bytes(s), i32::from_ne_bytes(c))))
}

/// An assured UDP "connection" between two addresses of the benchmark range
/// (RFC 2544), which nothing uses: the kernel evicts no assured entry early.
fn entry(number: u32, flags: u16) -> Vec<u8> {
    let client = Ipv4Addr::from(0xc612_0000 | (number >> 16 & 0xffff));
    let server = Ipv4Addr::new(198, 19, 0, 1);
    let port = (number & 0xffff) as u16;
    let mut message = header(NEW, REQUEST | EXCLUSIVE_CREATE | flags);
    message[8..12].copy_from_slice(&number.to_ne_bytes());
    tuple(&mut message, 1, (client, port), (server, 9));
    tuple(&mut message, 2, (server, 9), (client, port));
    attribute(&mut message, 3, &SEEN_REPLY_ASSURED_CONFIRMED.to_be_bytes());
    attribute(&mut message, 7, &LIFE.to_be_bytes());
    attribute(&mut message, 8, &MARK.to_be_bytes());
    message
}

/// Netlink header, its length still open, and the netfilter header behind it.
fn header(kind: u16, flags: u16) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend([0; 8]);
    out.extend([2, 0, 0, 0]); // AF_INET, version 0, no resource
    out
}

/// Writes the length of the message that begins at `start` and ends here.
fn close(buffer: &mut [u8], start: usize) {
    let length = (buffer.len() - start) as u32;
    buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

fn attribute(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend((value.len() as u16 + 4).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

fn tuple(out: &mut Vec<u8>, kind: u16, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) {
    let mut addresses = Vec::new();
    attribute(&mut addresses, 1, &from.0.octets());
    attribute(&mut addresses, 2, &to.0.octets());
    let mut ports = Vec::new();
    attribute(&mut ports, 1, &[UDP]);
    attribute(&mut ports, 2, &from.1.to_be_bytes());
    attribute(&mut ports, 3, &to.1.to_be_bytes());
    let mut inner = Vec::new();
    attribute(&mut inner, 1 | NESTED, &addresses);
    attribute(&mut inner, 2 | NESTED, &ports);
    attribute(out, kind | NESTED, &inner);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_well_formed_netlink() {
        let mut message = entry(70_000, ACK);
        close(&mut message, 0);
        assert_eq!(message.len() % 4, 0);
        assert_eq!(u32::from_ne_bytes(message[..4].try_into().unwrap()) as usize, message.len());
        // The attributes fill the message to its end, none reaches beyond.
        let mut at = 20;
        let mut kinds = Vec::new();
        while at < message.len() {
            let length = u16::from_ne_bytes([message[at], message[at + 1]]) as usize;
            kinds.push(u16::from_ne_bytes([message[at + 2], message[at + 3]]) & !NESTED);
            at += length.next_multiple_of(4);
        }
        assert_eq!((at, kinds), (message.len(), vec![1, 2, 3, 7, 8]));
    }

    #[test]
    fn entries_differ() {
        let all: std::collections::BTreeSet<_> =
            (0..200_000).step_by(7).map(|n| entry(n, 0)).collect();
        assert_eq!(all.len(), 200_000_usize.div_ceil(7));
    }
}
