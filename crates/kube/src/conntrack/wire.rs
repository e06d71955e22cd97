//! Messages of `ctnetlink` (`linux/netlink.h`, and below `linux/netfilter`
//! `nfnetlink.h` and `nfnetlink_conntrack.h`). Headers are in the machine's byte
//! order, addresses and ports in that of the network.

use std::net::{IpAddr, SocketAddr};
use taproot_model::Transport;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const NLA_F_NESTED: u16 = 0x8000;
/// Upper bits of an attribute's type are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`; entries come as `..._NEW`.
const CT_GET: u16 = 0x101;
const CT_NEW: u16 = 0x100;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

const HEADER: usize = 16;
const NFGENMSG: usize = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// TCP or UDP.
    pub transport: Transport,
    /// Who sends.
    pub from: SocketAddr,
    /// Who is sent to.
    pub to: SocketAddr,
}

/// A tracked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// As the client sees it.
    pub original: Tuple,
    /// As the server answers it.
    pub reply: Tuple,
}

impl Entry {
    /// Who truly answers: the backend behind a service address.
    pub fn server(&self) -> SocketAddr {
        self.reply.from
    }

    /// The client as the server sees it.
    pub fn client(&self) -> SocketAddr {
        self.reply.to
    }

    /// Whether either address or port was translated.
    pub fn is_translated(&self) -> bool {
        self.server() != self.original.to || self.client() != self.original.from
    }
}

#[derive(Clone, Copy)]
pub(super) enum Family {
    V4 = 2,
    V6 = 10,
}

/// One message of an answer.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// A connection; `None` if it is neither TCP nor UDP.
    Entry(Option<Entry>),
    /// The end of the answer.
    Done,
    /// A positive error number.
    Error(i32),
}

/// A request for the connection that began with this tuple.
pub(super) fn lookup(original: &Tuple, sequence: u32) -> Vec<u8> {
    let (family, ip) = match (original.from.ip(), original.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let from = attribute(CTA_IP_V4_SRC, &from.octets());
            (Family::V4, [from, attribute(CTA_IP_V4_DST, &to.octets())].concat())
        }
        (from, to) => {
            let from = attribute(CTA_IP_V6_SRC, &v6_octets(from));
            (Family::V6, [from, attribute(CTA_IP_V6_DST, &v6_octets(to))].concat())
        }
    };
    let number = match original.transport {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
    };
    let protocol = [
        attribute(CTA_PROTO_NUM, &[number]),
        attribute(CTA_PROTO_SRC_PORT, &original.from.port().to_be_bytes()),
        attribute(CTA_PROTO_DST_PORT, &original.to.port().to_be_bytes()),
    ]
    .concat();
    let tuple = [nested(CTA_TUPLE_IP, &ip), nested(CTA_TUPLE_PROTO, &protocol)].concat();
    message(NLM_F_REQUEST | NLM_F_ACK, family, sequence, &nested(CTA_TUPLE_ORIG, &tuple))
}

/// A request for all connections of a family.
pub(super) fn dump(family: Family, sequence: u32) -> Vec<u8> {
    message(NLM_F_REQUEST | NLM_F_DUMP, family, sequence, &[])
}

fn v6_octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn message(flags: u16, family: Family, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = (HEADER + NFGENMSG + body.len()) as u32;
    let mut out = Vec::with_capacity(length as usize);
    out.extend(length.to_ne_bytes());
    out.extend(CT_GET.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0_u32.to_ne_bytes());
    out.extend([family as u8, 0, 0, 0]);
    out.extend(body);
    out
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(align(4 + value.len()));
    out.extend(((4 + value.len()) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(align(out.len()), 0);
    out
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, value)
}

/// Messages and attributes begin at multiples of four.
fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The messages in what one `recv` gave, each with its sequence number; `None`
/// for one that cannot be read, which ends them.
pub(super) fn answers(bytes: &[u8]) -> impl Iterator<Item = Option<(u32, Answer)>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = u32_at(rest, 0).map_or(0, |length| length as usize);
        let message = rest.get(..length).filter(|_| length >= HEADER);
        rest = message.and_then(|_| rest.get(align(length)..)).unwrap_or_default();
        Some(message.and_then(answer))
    })
}

fn answer(message: &[u8]) -> Option<(u32, Answer)> {
    let sequence = u32_at(message, 8)?;
    let body = &message[HEADER..];
    let answer = match u16_at(message, 4)? {
        NLMSG_DONE => Answer::Done,
        // An acknowledgement is an error of 0.
        NLMSG_ERROR => match i32::from_ne_bytes(body.get(..4)?.try_into().ok()?) {
            0 => Answer::Done,
            code => Answer::Error(code.checked_neg()?),
        },
        CT_NEW => Answer::Entry(entry(body.get(NFGENMSG..)?)),
        _ => return None,
    };
    Some((sequence, answer))
}

fn entry(body: &[u8]) -> Option<Entry> {
    let tuple_of = |kind| attributes(body).find(|(k, _)| *k == kind).and_then(|(_, v)| tuple(v));
    Some(Entry { original: tuple_of(CTA_TUPLE_ORIG)?, reply: tuple_of(CTA_TUPLE_REPLY)? })
}

fn tuple(body: &[u8]) -> Option<Tuple> {
    let get = |of: u16, kind: u16| {
        let (_, inner) = attributes(body).find(|(k, _)| *k == of)?;
        attributes(inner).find(|(k, _)| *k == kind).map(|(_, value)| value)
    };
    let ip = |v4, v6| -> Option<IpAddr> {
        if let Some(octets) = get(CTA_TUPLE_IP, v4) {
            return Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?));
        }
        Some(IpAddr::from(<[u8; 16]>::try_from(get(CTA_TUPLE_IP, v6)?).ok()?))
    };
    let port = |kind| Some(u16::from_be_bytes(get(CTA_TUPLE_PROTO, kind)?.try_into().ok()?));
    let transport = match get(CTA_TUPLE_PROTO, CTA_PROTO_NUM)? {
        [TCP] => Transport::Tcp,
        [UDP] => Transport::Udp,
        _ => return None,
    };
    let from = SocketAddr::new(ip(CTA_IP_V4_SRC, CTA_IP_V6_SRC)?, port(CTA_PROTO_SRC_PORT)?);
    let to = SocketAddr::new(ip(CTA_IP_V4_DST, CTA_IP_V6_DST)?, port(CTA_PROTO_DST_PORT)?);
    Some(Tuple { transport, from, to })
}

/// The attributes in a message or in another attribute: kind and value. Ends at
/// the first that is cut short.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)? & NLA_TYPE_MASK;
        let value = rest.get(4..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuple_of(from: &str, to: &str) -> Tuple {
        Tuple { transport: Transport::Tcp, from: from.parse().unwrap(), to: to.parse().unwrap() }
    }

    /// An entry as the kernel writes it: the request's tuple, and the reply's.
    fn as_entry(original: &Tuple, reply: &Tuple) -> Vec<u8> {
        let mut out = lookup(original, 7);
        let mut second = lookup(reply, 7).split_off(HEADER + NFGENMSG);
        second[2..4].copy_from_slice(&(CTA_TUPLE_REPLY | NLA_F_NESTED).to_ne_bytes());
        out.extend(second);
        let length = out.len() as u32;
        out[..4].copy_from_slice(&length.to_ne_bytes());
        out[4..6].copy_from_slice(&CT_NEW.to_ne_bytes());
        out
    }

    #[test]
    fn a_translated_connection_is_read() {
        for (original, reply) in [
            (
                tuple_of("10.1.0.5:40000", "10.96.3.7:80"),
                tuple_of("10.1.1.9:8080", "192.0.2.11:31000"),
            ),
            (
                tuple_of("[fd00::5]:40000", "[fd00:96::7]:80"),
                tuple_of("[fd00::9]:8080", "[fd00::5]:40000"),
            ),
        ] {
            let bytes = as_entry(&original, &reply);
            let found: Vec<_> = answers(&bytes).collect();
            let entry = Entry { original, reply };
            assert_eq!(found, [Some((7, Answer::Entry(Some(entry))))]);
            assert!(entry.is_translated());
            assert_eq!((entry.server(), entry.client()), (reply.from, reply.to));
        }
    }

    #[test]
    fn errors_and_ends_are_told_apart() {
        let with = |kind: u16, body: &[u8]| {
            let mut out = message(0, Family::V4, 9, &[]);
            out.truncate(HEADER);
            out.extend(body);
            let length = out.len() as u32;
            out[..4].copy_from_slice(&length.to_ne_bytes());
            out[4..6].copy_from_slice(&kind.to_ne_bytes());
            answers(&out).next().unwrap()
        };
        assert_eq!(with(NLMSG_ERROR, &(-2_i32).to_ne_bytes()), Some((9, Answer::Error(2))));
        assert_eq!(with(NLMSG_ERROR, &0_i32.to_ne_bytes()), Some((9, Answer::Done)));
        assert_eq!(with(NLMSG_DONE, &[]), Some((9, Answer::Done)));
        assert_eq!(with(NLMSG_ERROR, &[1]), None);
        assert_eq!(with(99, &[]), None);
    }

    #[test]
    fn an_untranslated_connection_is_none() {
        let original = tuple_of("10.1.0.5:40000", "10.1.1.9:80");
        let reply = tuple_of("10.1.1.9:80", "10.1.0.5:40000");
        assert!(!Entry { original, reply }.is_translated());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answers(&bytes).count();
            let _ = entry(&bytes);
        }

        #[test]
        fn any_cut_of_an_entry_is_read_without_panic(cut in 0usize..300) {
            let original = tuple_of("10.1.0.5:40000", "10.96.3.7:80");
            let bytes = as_entry(&original, &original);
            let _ = answers(&bytes[..cut.min(bytes.len())]).count();
        }
    }
}
