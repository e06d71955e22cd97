//! Conditions on frames: addresses, tags, protocols below IP.

use taproot_probes::trace::{Compare, Field, Layer};

use super::bytes::number;
use super::parse::Parser;
use super::{Expr, FilterError, Side};

/// An Ethernet address that everybody listens to.
const EVERYBODY: [u8; 6] = [0xff; 6];

/// The largest number of a VLAN.
const LAST_VLAN: u32 = 4095;

/// Protocols below IP by name. Their packets are not traced: no packet has them.
const OTHERS: [&str; 16] = [
    "arp", "rarp", "aarp", "atalk", "decnet", "ipx", "iso", "lat", "mopdl", "moprc", "mpls",
    "netbeui", "pppoed", "pppoes", "stp", "llc",
];

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
        if OTHERS.contains(&word) {
            return self.other(word).map(Some);
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
            _ => return Ok(None),
        };
        self.next += 1;
        Ok(Some(expr))
    }

    /// What no traced packet is. Alone it would be waited for in vain.
    fn other(&mut self, word: &str) -> Result<Expr, FilterError> {
        let place = self.wrong(
            format!("`{word}` is below IP, and nothing else can pass"),
            "only IP packets are traced; ask for `ip` or `ip6`",
        );
        self.never.get_or_insert(place);
        self.next += 1;
        if matches!(word, "arp" | "rarp") {
            // `arp host 10.0.0.1`: its address has to be one.
            self.qualified(true, None, None)?;
        } else if matches!(word, "mpls" | "pppoes") && self.peek().and_then(number).is_some() {
            self.next += 1;
        }
        Ok(Expr::Any(Vec::new()))
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
        let word = self.peek().unwrap_or_default().trim_start_matches('\\').to_owned();
        let family = match (word.as_str(), number(&word)) {
            ("ip", _) | (_, Some(0x0800)) => 4,
            ("ip6", _) | (_, Some(0x86dd)) => 6,
            (name, None) if !OTHERS.contains(&name) => {
                return Err(self.wrong("no protocol of frames", "write `ip`, `ip6` or a number"));
            }
            _ => {
                let place = self.wrong(
                    format!("`{word}` is not IP, and nothing else can pass"),
                    "only IP packets are traced; ask for `ip` or `ip6`",
                );
                self.never.get_or_insert(place);
                self.next += 1;
                return Ok(Expr::Any(Vec::new()));
            }
        };
        self.next += 1;
        Ok(Expr::is(Field::Family, family))
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
