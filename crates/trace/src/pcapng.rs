//! A trace as pcapng, for Wireshark: every hop of every packet as a packet of its
//! own at its device, with what happened there as the comment.
//!
//! The tracer copies no payload. The headers are written anew from what a hop knows
//! of them, so options are missing and TCP's checksum is 0; lengths are those of the
//! packet, which Wireshark shows as cut short. Lookups have no packet: they are in
//! the comment of the next hop. What is not IP is written as it was, as far as it was
//! copied, with its Ethernet header; so a device that carried both is there twice.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, PcapError};
use taproot_model::{Direction, Step, Tuple};
use taproot_probes::trace::Event;

use crate::judge::Verdict;
use crate::names::{self, Names};
use crate::path::{Path, Trace};
use crate::words;

/// Timestamps are in nanoseconds: 10 to the power of minus this.
const RESOLUTION: u8 = 9;
/// `epb_flags`: the packet's direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Writes a trace with its verdicts.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write<W: Write>(
    out: W,
    trace: &Trace,
    verdicts: &[Verdict],
    names: &dyn Names,
) -> Result<(), PcapError> {
    let account = &trace.account;
    let lost = account.produced.saturating_sub(account.delivered);
    let about = format!(
        "Headers as the kernel saw them hop by hop, without payload. {} hops reported, {lost} lost.",
        account.delivered
    );
    let section = SectionHeaderBlock {
        options: vec![
            SectionHeaderOption::Comment(Cow::Owned(about)),
            SectionHeaderOption::UserApplication(Cow::Borrowed("taproot trace")),
        ],
        ..SectionHeaderBlock::default()
    };
    let mut out = PcapNgWriter::with_section_header(out, section)?;
    let mut interfaces: HashMap<(Option<u32>, String, bool), u32> = HashMap::new();
    let mut hops: Vec<(usize, usize)> = Vec::new();
    for (number, path) in trace.paths.iter().enumerate() {
        let packets = path.hops.iter().enumerate().filter(|(_, event)| has_headers(event));
        hops.extend(packets.map(|(at, _)| (number, at)));
    }
    hops.sort_by_key(|(path, at)| trace.paths[*path].hops[*at].hop.at);
    for (number, at) in hops {
        let path = &trace.paths[number];
        let event = &path.hops[at];
        let device = event.hop.place.device.to_string();
        let next = interfaces.len() as u32;
        let key = (event.hop.place.netns, device, event.frame.is_some());
        let interface = if let Some(known) = interfaces.get(&key) {
            *known
        } else {
            out.write_pcapng_block(interface(&key.1, event, names))?;
            interfaces.insert(key, next);
            next
        };
        out.write_pcapng_block(packet(
            interface,
            event,
            comment(number, path, at, verdicts, names),
        ))?;
    }
    Ok(())
}

fn has_headers(event: &Event) -> bool {
    !matches!(event.hop.step, Step::Routed(_) | Step::Neighbour(_))
}

fn interface(device: &str, event: &Event, names: &dyn Names) -> InterfaceDescriptionBlock<'static> {
    let owner = names::place(names, event.hop.place.netns);
    let device = if device.is_empty() { "no device" } else { device };
    InterfaceDescriptionBlock {
        linktype: if event.frame.is_some() { DataLink::ETHERNET } else { DataLink::RAW },
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Owned(format!("{device} in {owner}"))),
            InterfaceDescriptionOption::IfTsResol(RESOLUTION),
        ],
    }
}

fn packet(interface: u32, event: &Event, comment: String) -> EnhancedPacketBlock<'static> {
    let (data, length) = match &event.frame {
        Some(frame) => (frame.bytes.clone(), frame.length),
        None => (headers(event), event.hop.tuple.length),
    };
    let mut options = vec![EnhancedPacketOption::Comment(Cow::Owned(comment))];
    match event.hop.place.direction {
        Direction::In => options.push(EnhancedPacketOption::Flags(INBOUND)),
        Direction::Out => options.push(EnhancedPacketOption::Flags(OUTBOUND)),
        Direction::Within => {}
    }
    EnhancedPacketBlock {
        interface_id: interface,
        timestamp: Duration::from_nanos(event.hop.at.0),
        original_len: u32::from(length).max(data.len() as u32),
        data: Cow::Owned(data),
        options,
    }
}

/// What happened at a hop, the lookups before it, and the verdict where it ended.
fn comment(
    number: usize,
    path: &Path,
    at: usize,
    verdicts: &[Verdict],
    names: &dyn Names,
) -> String {
    let event = &path.hops[at];
    let place = names::place(names, event.hop.place.netns);
    let mut out = format!("packet {number}, {place}: {}", words::told(event));
    let lookups = path.hops[..at].iter().rev().take_while(|event| !has_headers(event)).count();
    for lookup in &path.hops[at - lookups..at] {
        out.push_str("\nbefore: ");
        out.push_str(&words::hop(lookup));
    }
    if let Some(outer) = &event.outer {
        let _ = write!(out, "\ncarried by {} -> {}", outer.source, outer.destination);
    }
    if path.holes.contains(&at) {
        out.push_str("\nhops before this one were not seen");
    }
    for verdict in verdicts.iter().filter(|v| v.path == Some(number) && v.hop == Some(at)) {
        let _ = write!(out, "\n{}: {}", verdict.outcome.as_str(), verdict.headline);
        if let Some(blame) = &verdict.blame {
            let parts = [&blame.object, &blame.because, &blame.advice];
            for part in parts.into_iter().filter(|part| !part.is_empty()) {
                out.push('\n');
                out.push_str(part);
            }
        }
    }
    out
}

/// The IP header and the beginning of what it carries.
fn headers(event: &Event) -> Vec<u8> {
    let tuple = &event.hop.tuple;
    let (carried, whole) = transport(event);
    match (tuple.source.ip(), tuple.destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = tuple.length.max(20 + whole);
            let mut header = vec![0x45, 0];
            header.extend(length.to_be_bytes());
            header.extend(event.hop.id.ip_id.to_be_bytes());
            // In units of eight bytes. Whether more follow is not known.
            header.extend((event.fragment.unwrap_or(0) / 8).to_be_bytes());
            header.extend([tuple.ttl, tuple.protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            [header, carried].concat()
        }
        (from, to) => {
            let length = tuple.length.saturating_sub(40).max(whole);
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([tuple.protocol, tuple.ttl]);
            header.extend(as_v6(from));
            header.extend(as_v6(to));
            [header, carried].concat()
        }
    }
}

fn as_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The transport header, and its length; nothing where the hop knows none.
fn transport(event: &Event) -> (Vec<u8>, u16) {
    let (tuple, id) = (&event.hop.tuple, &event.hop.id);
    let mut out = Vec::new();
    if is_later_piece(event) {
        return (out, 0);
    }
    let ports = || [tuple.source.port().to_be_bytes(), tuple.destination.port().to_be_bytes()];
    match (tuple.protocol, tuple.icmp) {
        (TCP, _) => {
            out.extend(ports().concat());
            out.extend(id.sequence.to_be_bytes());
            out.extend(id.acknowledgement.to_be_bytes());
            out.extend([5 << 4, tuple.tcp_flags, 0, 0, 0, 0, 0, 0]);
        }
        (UDP, _) => {
            out.extend(ports().concat());
            let carried = tuple.length.saturating_sub(ip_header(tuple)).max(8);
            out.extend(carried.to_be_bytes());
            out.extend([0, 0]);
        }
        (_, Some((kind, code))) => {
            out.extend([kind, code, 0, 0]);
            out.extend(id.acknowledgement.to_be_bytes());
        }
        _ => {}
    }
    let length = out.len() as u16;
    (out, length)
}

/// Without a transport header of its own.
fn is_later_piece(event: &Event) -> bool {
    event.fragment.is_some_and(|at| at > 0)
}

fn ip_header(tuple: &Tuple) -> u16 {
    if tuple.source.is_ipv4() { 20 } else { 40 }
}

/// RFC 1071 over whole 16-bit words.
fn checksum(header: &[u8]) -> u16 {
    let words =
        header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
#[path = "pcapng_tests.rs"]
mod tests;
