//! Conditions on frames: addresses, tags, protocols below IP.

use taproot_model::Frame;
use taproot_probes::trace::{Compare, Field, Layer};

use super::bytes::number;
use super::parse::Parser;
use super::{Expr, FilterError, Side};

/// An Ethernet address that everybody listens to.
const EVERYBODY: [u8; 6] = [0xff; 6];

/// The largest label of MPLS.
const LAST_LABEL: u32 = 0xf_ffff;

/// The largest number of a VLAN.
const LAST_VLAN: u32 = 4095;

/// Types of frames by name. Below 1536 they are LLC's numbers for who takes it.
const TYPES: [(&str, u32); 17] = [
    ("ip", 0x0800),
    ("ip6", 0x86dd),
    ("arp", 0x0806),
    ("rarp", 0x8035),
    ("aarp", AARP),
    ("atalk", ATALK),
    ("decnet", 0x6003),
    ("lat", 0x6004),
    ("mopdl", 0x6001),
    ("moprc", 0x6002),
    ("mpls", 0x8847),
    ("pppoed", 0x8863),
    ("pppoes", 0x8864),
    ("ipx", IPX_LLC),
    ("iso", 0xfe),
    ("netbeui", 0xf0),
    ("stp", 0x42),
];

const AARP: u32 = 0x80f3;
const ATALK: u32 = 0x809b;
const IPX: u16 = 0x8137;
const IPX_LLC: u32 = 0xe0;

/// Frames of IPX that have neither a type nor LLC, as the kernel numbers them.
const RAW: u16 = 1;

/// Words of pcap-filter that are not known here, and what to do instead.
const UNKNOWN: [(&str, &str); 12] = [
    ("gateway", "ask for the gateway's address: `ether host MAC`"),
    ("inbound", "ask for the device with --interface"),
    ("outbound", "ask for the device with --interface"),
    ("ifname", "ask for the device with --interface"),
    ("on", "ask for the device with --interface"),
    ("vxlan", "leave it out: what a tunnel carries is asked, too"),
    ("geneve", "leave it out: what a tunnel carries is asked, too"),
    ("protochain", "ask for `proto N`, the protocol right after the IP header"),
    ("wlan", "ask for `ether host MAC`: frames look like Ethernet's here"),
    ("fddi", "ask for `ether host MAC`: frames look like Ethernet's here"),
    ("tr", "ask for `ether host MAC`: frames look like Ethernet's here"),
    ("type", "frames of wireless networks look like Ethernet's here"),
];

impl Parser {
    /// A condition on a frame, or an error at a word that is known from elsewhere; none
    /// where the word is no such.
    pub(super) fn frame(&mut self, word: &str) -> Result<Option<Expr>, FilterError> {
        if let Some((_, hint)) = UNKNOWN.iter().find(|(name, _)| *name == word) {
            return Err(self.wrong(format!("`{word}` cannot be asked for"), *hint));
        }
        let expr = match word {
            "ether" | "link" => {
                self.next += 1;
                return self.ether().map(Some);
            }
            "vlan" => {
                self.next += 1;
                return self.vlan().map(Some);
            }
            "broadcast" => address(EVERYBODY, Side::Destination),
            "multicast" => is_multicast(),
            // These have words of their own that follow.
            "ip" | "ip6" | "arp" | "rarp" => return Ok(None),
            _ => return self.of_type(word),
        };
        self.next += 1;
        Ok(Some(expr))
    }

    /// Frames of a type by its name, where the word is one: `mpls 100` and `pppoes 7` with
    /// a label or session.
    fn of_type(&mut self, word: &str) -> Result<Option<Expr>, FilterError> {
        if word == "llc" {
            self.next += 1;
            return Ok(Some(Expr::is(Field::Family, Field::frame(Frame::LLC))));
        }
        let Some((name, kind)) = TYPES.iter().find(|(name, _)| *name == word) else {
            return Ok(None);
        };
        self.next += 1;
        let expr = frames(*kind);
        let (size, shift, most) = match *name {
            "mpls" => (4, 12, LAST_LABEL),
            "pppoes" => (2, 0, u32::from(u16::MAX)),
            _ => return Ok(Some(expr)),
        };
        let Some(number) = self.peek().and_then(number) else { return Ok(Some(expr)) };
        if number > most {
            return Err(self.wrong("there is no such number", format!("write one up to {most}")));
        }
        self.next += 1;
        let offset = if size == 4 { 0 } else { 2 };
        let mask = u32::MAX << shift;
        Ok(Some(expr.and(payload(offset, size, mask, number << shift))))
    }

    /// What follows `ether`.
    fn ether(&mut self) -> Result<Expr, FilterError> {
        if self.take(&["broadcast"]) {
            return Ok(address(EVERYBODY, Side::Destination));
        }
        if self.take(&["multicast"]) {
            return Ok(is_multicast());
        }
        if self.take(&["proto"]) {
            return self.ether_proto();
        }
        let side = self.side().unwrap_or_default();
        self.take(&["host"]);
        self.link_address(side)
    }

    fn ether_proto(&mut self) -> Result<Expr, FilterError> {
        let word = self.peek().unwrap_or_default().trim_start_matches('\\');
        let named = TYPES.iter().find(|(name, _)| *name == word).map(|(_, kind)| *kind);
        let kind = named.or_else(|| number(word)).filter(|kind| u16::try_from(*kind).is_ok());
        let Some(kind) = kind else {
            return Err(self.wrong("no protocol of frames", "write `ip`, `arp`, ... or a number"));
        };
        self.next += 1;
        Ok(frames(kind))
    }

    /// A tag, or the tag of a number.
    fn vlan(&mut self) -> Result<Expr, FilterError> {
        let field = Field::Vlan;
        let Some(id) = self.peek().and_then(number) else {
            let value = Field::TAGGED;
            return Ok(Expr::Ask { field, compare: Compare::AnyBit, mask: u32::MAX, value });
        };
        if id > LAST_VLAN {
            return Err(self.wrong("no VLAN has this number", "write one from 0 to 4095"));
        }
        self.next += 1;
        let (mask, value) = (Field::TAGGED | LAST_VLAN, Field::TAGGED | id);
        Ok(Expr::Ask { field, compare: Compare::Equal, mask, value })
    }
}

/// Frames of a type or, up to 1500, for one of LLC's receivers.
fn frames(kind: u32) -> Expr {
    let of = |kind: u16| Expr::is(Field::Family, Field::frame(kind));
    let llc = |size, value| of(Frame::LLC).and(payload(0, size, u32::MAX, value));
    // A type that LLC carries: 0xaaaa03, whose numbers these are, the type.
    let snap = |whose: u32, kind: u32| {
        llc(4, 0xaaaa_0300 | whose >> 16).and(payload(4, 4, u32::MAX, whose << 16 | kind))
    };
    match kind {
        0x0800 => Expr::is(Field::Family, 4),
        0x86dd => Expr::is(Field::Family, 6),
        AARP => Expr::Any(vec![of(AARP as u16), snap(0, AARP)]),
        ATALK => Expr::Any(vec![of(ATALK as u16), snap(0x08_0007, ATALK)]),
        IPX_LLC => Expr::Any(vec![of(IPX), of(RAW), llc(1, IPX_LLC), snap(0, u32::from(IPX))]),
        0xfe | 0xf0 => llc(2, kind << 8 | kind),
        _ => match u16::try_from(kind) {
            Ok(kind) if kind > 1500 => of(kind),
            _ => llc(1, kind),
        },
    }
}

/// Bytes behind a frame's header.
fn payload(offset: u16, size: u8, mask: u32, value: u32) -> Expr {
    let field = Field::Bytes { layer: Layer::Network, offset, size };
    Expr::Ask { field, compare: Compare::Equal, mask, value }
}

/// Bytes of a frame's header.
fn bytes(offset: u16, size: u8, mask: u32, value: u32) -> Expr {
    let field = Field::Bytes { layer: Layer::Link, offset, size };
    Expr::Ask { field, compare: Compare::Equal, mask, value }
}

/// A frame with the lowest bit of its first byte set goes to many.
fn is_multicast() -> Expr {
    bytes(0, 1, 1, 1)
}

/// Frames from or to an address: the destination comes first.
pub(super) fn address(mac: [u8; 6], side: Side) -> Expr {
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum: u32, byte| sum << 8 | u32::from(*byte));
    let end = |is_source| {
        let begin = if is_source { 6 } else { 0 };
        let high = bytes(begin, 4, u32::MAX, number(&mac[..4]));
        high.and(bytes(begin + 4, 2, u32::MAX, number(&mac[4..])))
    };
    side.of(&end)
}

/// `02:00:00:00:00:01`, with `:`, `-` or `.` between.
pub(super) fn mac(word: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let mut parts = word.split([':', '-', '.']);
    for byte in &mut out {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(out)
}
