//! Packets that are not IP: what they say in words, and who answers whom.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Serialize;
use taproot_model::{Arp, Frame, Mac, Name, Step};

use crate::names::{self, Names};
use crate::path::{Conversation, Path, Trace};

const REQUEST: u16 = 1;
const ANSWER: u16 = 2;

/// Places that a story names at most.
const MOST_PLACES: usize = 8;

/// What sort of frame it is.
pub(crate) fn kind(frame: &Frame) -> String {
    if let Some(arp) = frame.arp() {
        return match (frame.ether_type, arp.operation) {
            (Frame::ARP, REQUEST) if is_announcement(&arp) => "ARP announcement".to_owned(),
            (Frame::ARP, REQUEST) if arp.sender_address.is_unspecified() => "ARP probe".to_owned(),
            (Frame::ARP, REQUEST) => "ARP request".to_owned(),
            (Frame::ARP, ANSWER) => "ARP answer".to_owned(),
            (Frame::RARP, 3) => "RARP request".to_owned(),
            (Frame::RARP, 4) => "RARP answer".to_owned(),
            (_, other) => format!("ARP message {other}"),
        };
    }
    match frame.ether_type {
        Frame::LLC if frame.payload().starts_with(&[0x42, 0x42]) => "spanning tree message",
        Frame::LLC => "LLC frame",
        Frame::ARP => "ARP message of other addresses",
        0x8100 | 0x88a8 => "frame with a VLAN tag in it",
        0x8809 => "LACP message",
        0x8847 | 0x8848 => "MPLS frame",
        0x8863 | 0x8864 => "PPPoE frame",
        0x888e => "802.1X message",
        0x88cc => "LLDP message",
        other => return format!("frame of type {other:#06x}"),
    }
    .to_owned()
}

/// Who asks for whom, or who is where; of other frames who sends it to whom.
pub(crate) fn says(frame: &Frame) -> String {
    said(frame, &|address| address.to_string())
}

/// The same with the names of addresses.
pub(crate) fn says_with(frame: &Frame, names: &dyn Names) -> String {
    said(frame, &|address| names::end(names, SocketAddr::new(IpAddr::V4(address), 0)))
}

fn said(frame: &Frame, name: &dyn Fn(Ipv4Addr) -> String) -> String {
    let Some(arp) = frame.arp() else {
        let end = |mac: Option<Mac>| mac.map_or_else(|| "?".to_owned(), |mac| mac.to_string());
        return format!("from {} to {}", end(frame.source()), end(frame.destination()));
    };
    let (sender, target) = (arp.sender_address, arp.target_address);
    match arp.operation {
        REQUEST if is_announcement(&arp) => format!("{} is at {}", name(sender), arp.sender),
        REQUEST if sender.is_unspecified() => {
            format!("does anybody have {}, asks {}", name(target), arp.sender)
        }
        REQUEST => format!("who has {}, asks {}", name(target), name(sender)),
        ANSWER => format!("{} is at {}", name(sender), arp.sender),
        3 => format!("which address has {}, asks {}", arp.target, arp.sender),
        4 => format!("{} has {}", arp.target, name(target)),
        other => format!("operation {other} from {} to {}", name(sender), name(target)),
    }
}

fn is_announcement(arp: &Arp) -> bool {
    arp.sender_address == arp.target_address
}

/// What is asked for, if it is a question that the one who has it answers. Whoever asks
/// before it takes an address, or announces its own, hopes for no answer.
fn question(frame: &Frame) -> Option<Arp> {
    let arp = frame.arp().filter(|_| frame.ether_type == Frame::ARP)?;
    let is_one =
        arp.operation == REQUEST && !is_announcement(&arp) && !arp.sender_address.is_unspecified();
    is_one.then_some(arp)
}

/// Whether a packet is a question of ARP's.
pub(crate) fn is_question(path: &Path) -> bool {
    path.frame().and_then(question).is_some()
}

/// The first frame of each who answers a question, after it was asked.
pub(crate) fn answers<'t>(
    trace: &'t Trace,
    conversation: &Conversation,
    path: &Path,
) -> Vec<&'t Frame> {
    let Some(asked) = path.frame().and_then(question) else { return Vec::new() };
    let mut found: Vec<(Mac, &Frame)> = Vec::new();
    let later =
        conversation.paths.iter().map(|at| &trace.paths[*at]).filter(|o| o.at() >= path.at());
    for frame in later.filter_map(Path::frame) {
        let Some(arp) = frame.arp() else { continue };
        let is_answer = arp.operation == ANSWER && arp.sender_address == asked.target_address;
        if is_answer && found.iter().all(|(who, _)| *who != arp.sender) {
            found.push((arp.sender, frame));
        }
    }
    found.into_iter().map(|(_, frame)| frame).collect()
}

/// What belongs to a question's story: where it got to while nobody answered, or that
/// several did.
pub(crate) fn story(path: &Path, answers: &[&Frame], names: &dyn Names) -> Vec<String> {
    let Some(asked) = path.frame().and_then(question) else { return Vec::new() };
    match answers {
        [] => arrivals(path, names).into_iter().collect(),
        [_] => Vec::new(),
        several => {
            let who: Vec<String> =
                several.iter().filter_map(|f| f.arp()).map(|arp| arp.sender.to_string()).collect();
            vec![format!(
                "Several answer for {}: {}. The address is used more than once.",
                asked.target_address,
                who.join(", ")
            )]
        }
    }
}

fn arrivals(path: &Path, names: &dyn Names) -> Option<String> {
    let mut places: Vec<(Option<u32>, &Name)> = Vec::new();
    for event in path.hops.iter().filter(|event| event.hop.step == Step::Received) {
        let place = (event.hop.place.netns, &event.hop.place.device);
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let told: Vec<String> = places
        .iter()
        .take(MOST_PLACES)
        .map(|(netns, device)| format!("{device} in {}", names::place(names, *netns)))
        .collect();
    if told.is_empty() {
        return None;
    }
    let mut out = format!("It arrived at {}", told.join(", "));
    if places.len() > told.len() {
        let _ = write!(out, " and {} more", places.len() - told.len());
    }
    out.push_str("; no answer was seen.");
    Some(out)
}

/// A frame as JSON has it.
#[derive(Debug, Serialize)]
pub(crate) struct FrameLine {
    ether_type: u16,
    length: u16,
    source: Option<String>,
    destination: Option<String>,
    arp: Option<ArpLine>,
    /// What was copied of it, two digits a byte.
    bytes: String,
}

#[derive(Debug, Serialize)]
struct ArpLine {
    operation: u16,
    sender: String,
    sender_address: Ipv4Addr,
    target: String,
    target_address: Ipv4Addr,
}

impl FrameLine {
    pub(crate) fn of(frame: &Frame) -> Self {
        let mut bytes = String::new();
        for byte in &frame.bytes {
            let _ = write!(bytes, "{byte:02x}");
        }
        Self {
            ether_type: frame.ether_type,
            length: frame.length,
            source: frame.source().map(|mac| mac.to_string()),
            destination: frame.destination().map(|mac| mac.to_string()),
            arp: frame.arp().map(|arp| ArpLine {
                operation: arp.operation,
                sender: arp.sender.to_string(),
                sender_address: arp.sender_address,
                target: arp.target.to_string(),
                target_address: arp.target_address,
            }),
            bytes,
        }
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
