//! A small TCP reader for captures: enough to feed a connection, nothing more.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::{Block, PcapNgReader};
use taproot_protocols::http1::{Answer, Http1, Record};
use taproot_protocols::stream::Limits;
use taproot_protocols::{Connection, Piece, Protocol, Recognition, Side};

/// The folder of outside protocol data, if `TAPROOT_DATA` names one.
pub(crate) fn data() -> Option<PathBuf> {
    let root = std::env::var_os("TAPROOT_DATA")?;
    Some(PathBuf::from(root).join("protocols")).filter(|folder| folder.is_dir())
}

/// Why a test that needs it was skipped.
pub(crate) const NO_DATA: &str = "TAPROOT_DATA names no folder that holds protocols/";

/// A piece that owns its bytes.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) side: Side,
    pub(crate) position: u64,
    pub(crate) length: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) time: u64,
}

/// One TCP connection of a capture.
#[derive(Default)]
pub(crate) struct Conversation {
    pub(crate) sent: Vec<Sent>,
    pub(crate) from_start: bool,
}

/// Counts as tshark would give them.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) responses: u64,
    pub(crate) unseen: u64,
}

impl Tally {
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut tally = Self::default();
        for record in records {
            match record {
                Record::Orphan(_) => tally.responses += 1,
                Record::Exchange(exchange) => {
                    tally.requests += 1;
                    tally.responses += u64::from(exchange.interim);
                    match exchange.answer {
                        Answer::Response(_) => tally.responses += 1,
                        Answer::Unanswered => {}
                        Answer::Unseen => tally.unseen += 1,
                    }
                }
            }
        }
        tally
    }
}

impl Conversation {
    /// Whether every byte was seen and made sense.
    pub(crate) fn is_sound(&self) -> bool {
        let mut connection = Connection::from_start(Http1::default(), Limits::default());
        let mut records = Vec::new();
        for sent in &self.sent {
            let Sent { side, position, length, bytes, time } = sent;
            let (position, length, time) = (*position, *length, *time);
            connection.push(*side, Piece { position, length, bytes, time }, &mut records);
        }
        [Side::Client, Side::Server].iter().all(|side| {
            let found = connection.coverage(*side);
            found.losses + found.malformed + found.stream.reordered_pieces + found.unframed == 0
        })
    }

    /// Runs the conversation as HTTP/1, every piece cut into parts of at most `cut`
    /// bytes.
    pub(crate) fn run(&self, cut: usize) -> Vec<Record> {
        self.run_as::<Http1>(cut).0
    }

    /// Runs the conversation under a protocol, every piece cut into parts of at most
    /// `cut` bytes. Returns the records, and the bytes that were of no use and the
    /// places lost.
    pub(crate) fn run_as<P: Protocol + Default>(&self, cut: usize) -> (Vec<P::Record>, u64) {
        let mut records = Vec::new();
        let limits = Limits { patience: 5_000_000_000, ..Limits::default() };
        let mut connection = if self.from_start {
            Connection::from_start(P::default(), limits)
        } else {
            Connection::joined_late(P::default(), limits)
        };
        for sent in &self.sent {
            let mut at = 0;
            while at < sent.length {
                let length = (cut as u64).min(sent.length - at);
                let from = (at as usize).min(sent.bytes.len());
                let to = ((at + length) as usize).min(sent.bytes.len());
                let bytes = &sent.bytes[from..to];
                let position = sent.position + at;
                let piece = Piece { position, length, bytes, time: sent.time };
                connection.push(sent.side, piece, &mut records);
                at += length;
            }
        }
        let end = self.sent.last().map_or(0, |sent| sent.time);
        connection.close(Side::Client, end, &mut records);
        connection.close(Side::Server, end, &mut records);
        let unused = [Side::Client, Side::Server].map(|side| connection.coverage(side));
        let unused = unused.iter().map(|one| one.unframed + one.losses + one.malformed).sum();
        (records, unused)
    }

    /// Whether any piece begins with the protocol; swaps the sides where the content
    /// shows that the capture's first sender is the server.
    fn recognise<P: Protocol>(&mut self) -> bool {
        let mut swap = None;
        for sent in &self.sent {
            if let Recognition::Yes(side) = P::recognise(&sent.bytes) {
                swap.get_or_insert(side != sent.side);
            }
        }
        if swap == Some(true) && !self.from_start {
            self.sent.iter_mut().for_each(|sent| sent.side = sent.side.peer());
        }
        swap.is_some()
    }
}

#[derive(Default)]
struct Reassembler {
    done: Vec<Conversation>,
    live: HashMap<(Vec<u8>, Vec<u8>), Live>,
}

struct Live {
    conversation: Conversation,
    client: Vec<u8>,
    base: [Option<u32>; 2],
}

struct Segment<'a> {
    from: Vec<u8>,
    to: Vec<u8>,
    sequence: u32,
    flags: u8,
    length: u64,
    bytes: &'a [u8],
}

impl Reassembler {
    fn packet(&mut self, link: u32, packet: &[u8], time: u64) {
        let Some(segment) = network(link, packet).and_then(tcp) else { return };
        let key = if segment.from < segment.to {
            (segment.from.clone(), segment.to.clone())
        } else {
            (segment.to.clone(), segment.from.clone())
        };
        let (syn, ack) = (segment.flags & 2 != 0, segment.flags & 16 != 0);
        let restarted = |live: &Live| {
            let same = live.base[0] == Some(segment.sequence.wrapping_add(1));
            syn && !ack && !same && !live.conversation.sent.is_empty()
        };
        if self.live.get(&key).is_some_and(restarted)
            && let Some(old) = self.live.remove(&key)
        {
            self.done.push(old.conversation);
        }
        let live = self.live.entry(key).or_insert_with(|| Live {
            conversation: Conversation { sent: Vec::new(), from_start: syn },
            client: if syn && ack { segment.to.clone() } else { segment.from.clone() },
            base: [None, None],
        });
        let side = if segment.from == live.client { Side::Client } else { Side::Server };
        let first = segment.sequence.wrapping_add(u32::from(syn));
        let base = *live.base[side as usize].get_or_insert(first);
        let position = i64::from(first.wrapping_sub(base).cast_signed());
        if segment.length == 0 || position < 0 {
            return;
        }
        live.conversation.sent.push(Sent {
            side,
            position: position as u64,
            length: segment.length,
            bytes: segment.bytes.to_vec(),
            time,
        });
    }

    fn finish<P: Protocol>(mut self) -> Vec<Conversation> {
        self.done.extend(self.live.into_values().map(|live| live.conversation));
        self.done.retain_mut(Conversation::recognise::<P>);
        self.done
    }
}

/// The IP packet inside a frame.
fn network(link: u32, frame: &[u8]) -> Option<&[u8]> {
    match link {
        0 => frame.get(4..),
        1 => {
            let mut at = 12;
            while matches!(frame.get(at..at + 2)?, [0x81, 0] | [0x88, 0xa8]) {
                at += 4;
            }
            frame.get(at + 2..)
        }
        101 | 228 | 229 => Some(frame),
        113 => frame.get(16..),
        276 => frame.get(20..),
        _ => None,
    }
}

fn tcp(packet: &[u8]) -> Option<Segment<'_>> {
    let (header, total, protocol, from, to) = match packet.first()? >> 4 {
        4 => {
            let total = u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]) as usize;
            let header = usize::from(packet[0] & 15) * 4;
            (header, total, *packet.get(9)?, packet.get(12..16)?, packet.get(16..20)?)
        }
        6 => {
            let total = 40 + u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]) as usize;
            (40, total, *packet.get(6)?, packet.get(8..24)?, packet.get(24..40)?)
        }
        _ => return None,
    };
    let total = if total == 0 { packet.len() } else { total };
    if protocol != 6 {
        return None;
    }
    let segment = packet.get(header..total.min(packet.len()))?;
    let data = usize::from(*segment.get(12)? >> 4) * 4;
    Some(Segment {
        from: [from, segment.get(0..2)?].concat(),
        to: [to, segment.get(2..4)?].concat(),
        sequence: u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?),
        flags: *segment.get(13)?,
        length: total.checked_sub(header + data)? as u64,
        bytes: segment.get(data..)?,
    })
}

/// One datagram: from and to (address and port), and what it holds.
pub(crate) struct Datagram {
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) time: u64,
}

/// The payload of an unfragmented IPv4 or IPv6 packet that carries UDP.
fn udp(packet: &[u8], time: u64) -> Option<Datagram> {
    let (header, protocol, addresses) = match packet.first()? >> 4 {
        4 => (usize::from(packet[0] & 15) * 4, *packet.get(9)?, packet.get(12..20)?),
        6 => (40, *packet.get(6)?, packet.get(8..40)?),
        _ => return None,
    };
    let (from, to) = addresses.split_at(addresses.len() / 2);
    let inner = packet.get(header..).filter(|_| protocol == 17)?;
    let length = usize::from(u16::from_be_bytes([*inner.get(4)?, *inner.get(5)?]));
    Some(Datagram {
        from: [from, inner.get(0..2)?].concat(),
        to: [to, inner.get(2..4)?].concat(),
        bytes: inner.get(8..length.min(inner.len()))?.to_vec(),
        time,
    })
}

/// The datagrams of a capture file, in their order.
pub(crate) fn datagrams(path: &Path) -> Vec<Datagram> {
    let mut found = Vec::new();
    packets(path, |link, packet, time| {
        found.extend(network(link, packet).and_then(|packet| udp(packet, time)));
    });
    found
}

/// The HTTP/1 conversations of a capture file (pcap or pcapng, plain or gzip).
pub(crate) fn conversations(path: &Path) -> Vec<Conversation> {
    conversations_of::<Http1>(path)
}

/// Those in which some piece begins with the protocol.
pub(crate) fn conversations_of<P: Protocol>(path: &Path) -> Vec<Conversation> {
    let mut reassembler = Reassembler::default();
    packets(path, |link, packet, time| reassembler.packet(link, packet, time));
    reassembler.finish::<P>()
}

/// Hands over link type, bytes and time of every packet.
fn packets(path: &Path, mut each: impl FnMut(u32, &[u8], u64)) {
    let mut raw = std::fs::read(path).expect("the capture is readable");
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&raw[..]).read_to_end(&mut plain).expect("valid gzip");
        raw = plain;
    }
    if raw.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        let mut reader = PcapNgReader::new(&raw[..]).expect("a pcapng header");
        let mut link = 1;
        while let Some(Ok(block)) = reader.next_block() {
            match block {
                Block::InterfaceDescription(interface) => link = u32::from(interface.linktype),
                Block::EnhancedPacket(packet) => {
                    each(link, &packet.data, packet.timestamp.as_nanos() as u64);
                }
                _ => {}
            }
        }
    } else {
        let mut reader = PcapReader::new(&raw[..]).expect("a pcap header");
        let link = u32::from(reader.header().datalink);
        while let Some(Ok(packet)) = reader.next_packet() {
            each(link, &packet.data, packet.timestamp.as_nanos() as u64);
        }
    }
}
