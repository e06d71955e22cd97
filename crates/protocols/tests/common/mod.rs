//! A small TCP reader for captures: enough to feed a connection, nothing more.

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

    /// Runs the conversation, every piece cut into parts of at most `cut` bytes.
    pub(crate) fn run(&self, cut: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let limits = Limits { patience: 5_000_000_000, ..Limits::default() };
        let mut connection = if self.from_start {
            Connection::from_start(Http1::default(), limits)
        } else {
            Connection::joined_late(Http1::default(), limits)
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
        records
    }

    /// Whether either side began with HTTP/1; swaps the sides where the content
    /// shows that the capture's first sender is the server.
    fn recognise(&mut self) -> bool {
        let mut swap = None;
        for sent in &self.sent {
            if let Recognition::Yes(side) = Http1::recognise(&sent.bytes) {
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

    fn finish(mut self) -> Vec<Conversation> {
        self.done.extend(self.live.into_values().map(|live| live.conversation));
        self.done.retain_mut(Conversation::recognise);
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

/// The HTTP conversations of a capture file (pcap or pcapng, plain or gzip).
pub(crate) fn conversations(path: &Path) -> Vec<Conversation> {
    let mut raw = std::fs::read(path).expect("the capture is readable");
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&raw[..]).read_to_end(&mut plain).expect("valid gzip");
        raw = plain;
    }
    let mut reassembler = Reassembler::default();
    if raw.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) {
        let mut reader = PcapNgReader::new(&raw[..]).expect("a pcapng header");
        let mut link = 1;
        while let Some(Ok(block)) = reader.next_block() {
            match block {
                Block::InterfaceDescription(interface) => link = u32::from(interface.linktype),
                Block::EnhancedPacket(packet) => {
                    let time = packet.timestamp.as_nanos() as u64;
                    reassembler.packet(link, &packet.data, time);
                }
                _ => {}
            }
        }
    } else {
        let mut reader = PcapReader::new(&raw[..]).expect("a pcap header");
        let link = u32::from(reader.header().datalink);
        while let Some(Ok(packet)) = reader.next_packet() {
            reassembler.packet(link, &packet.data, packet.timestamp.as_nanos() as u64);
        }
    }
    reassembler.finish()
}
