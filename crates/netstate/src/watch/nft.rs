//! Changes of nftables, and of the `iptables` that is built on it.
//!
//! The kernel tells what a transaction did, object by object, and then who made it
//! (`NFT_MSG_NEWGEN`). A transaction is told as one change.

use std::collections::BTreeMap;

use taproot_model::ChangeKind;

use super::{Author, Noted};
use crate::netlink::{Raw, attributes};

/// `NFNL_SUBSYS_NFTABLES`.
const NFTABLES: u16 = 10;
/// `NFT_MSG_NEWGEN`, which ends a transaction.
const GENERATION: u16 = 15;
/// `NFTA_GEN_PROC_PID`, `NFTA_GEN_PROC_NAME`.
const GENERATION_PID: u16 = 2;
const GENERATION_NAME: u16 = 3;
/// Length of `struct nfgenmsg`.
const FAMILY_HEADER: usize = 4;
/// Different places told of one transaction; more are counted.
const PLACES: usize = 4;

/// What an object is, by the message that makes and the one that removes it.
const THINGS: [(u16, u16, Thing); 7] = [
    (0, 2, Thing::Table),
    (3, 5, Thing::Chain),
    (6, 8, Thing::Rule),
    (9, 11, Thing::Set),
    (12, 14, Thing::Element),
    (18, 20, Thing::Object),
    (22, 24, Thing::Flowtable),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Table,
    Chain,
    Rule,
    Set,
    Element,
    Object,
    Flowtable,
}

impl Thing {
    fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Chain => "chain",
            Self::Rule => "rule",
            Self::Set => "set",
            Self::Element => "element",
            Self::Object => "object",
            Self::Flowtable => "flowtable",
        }
    }

    /// The attributes of its name within its table, and of its handle.
    fn names(self) -> (u16, u16) {
        match self {
            // Its chain: rules have no name.
            Self::Rule => (2, 3),
            Self::Chain => (3, 2),
            // A table has no name beside that of the table.
            Self::Table => (u16::MAX, 4),
            Self::Set => (2, 16),
            Self::Element | Self::Object | Self::Flowtable => (2, u16::MAX),
        }
    }
}

/// What one transaction did at one place.
#[derive(Debug, Default)]
struct Done {
    count: u64,
    handle: Option<u64>,
}

/// A transaction whose end was not told yet.
#[derive(Debug, Default)]
pub(super) struct Transaction(BTreeMap<(bool, Thing, String), Done>);

impl Transaction {
    /// Takes in a message; gives the change once it is complete.
    pub(super) fn take(&mut self, message: &Raw<'_>) -> Option<Noted> {
        if message.kind >> 8 != NFTABLES {
            return None;
        }
        let kind = message.kind & 0xff;
        let body = message.payload.get(FAMILY_HEADER..)?;
        if kind == GENERATION {
            return std::mem::take(self).told(author(body));
        }
        let made = |(new, gone, thing): &(u16, u16, Thing)| {
            let added = (kind == *new).then_some((true, *thing));
            added.or((kind == *gone).then_some((false, *thing)))
        };
        let (added, thing) = THINGS.iter().find_map(made)?;
        let (name_at, handle_at) = thing.names();
        let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
        let mut place = family(*message.payload.first()?).to_owned();
        for name in [value(1), value(name_at)].into_iter().flatten() {
            place.push(' ');
            place.push_str(&text(name));
        }
        let done = self.0.entry((added, thing, place)).or_default();
        done.count += 1;
        done.handle = value(handle_at).and_then(|v| Some(u64::from_be_bytes(v.try_into().ok()?)));
        None
    }

    fn told(self, by: Option<Author>) -> Option<Noted> {
        let all = self.0.len();
        let undo = if all == 1 { self.undo() } else { String::new() };
        let mut parts: Vec<String> = self.0.iter().take(PLACES).map(words).collect();
        if all > PLACES {
            parts.push(format!("and more in {} places", all - PLACES));
        }
        let what = parts.join(", ");
        (all > 0).then_some(Noted { kind: ChangeKind::Firewall, what, undo, by })
    }

    /// How a transaction that made one thing is taken back.
    fn undo(&self) -> String {
        match self.0.first_key_value() {
            Some(((true, Thing::Rule, place), Done { count: 1, handle: Some(handle) })) => {
                format!("nft delete rule {place} handle {handle}")
            }
            Some(((true, thing @ (Thing::Table | Thing::Chain), place), Done { count: 1, .. })) => {
                format!("nft delete {} {place}", thing.word())
            }
            _ => String::new(),
        }
    }
}

fn words(((added, thing, place), done): (&(bool, Thing, String), &Done)) -> String {
    let verb = if *added { "added" } else { "removed" };
    let thing_word = thing.word();
    match (done.count, thing, done.handle) {
        (1, Thing::Table | Thing::Chain, _) => format!("{verb} {thing_word} {place}"),
        (1, _, Some(handle)) => format!("{verb} 1 {thing_word} in {place} (handle {handle})"),
        (1, ..) => format!("{verb} 1 {thing_word} in {place}"),
        (count, ..) => format!("{verb} {count} {thing_word}s in {place}"),
    }
}

fn author(body: &[u8]) -> Option<Author> {
    let value = |wanted| attributes(body).find(|(kind, _)| *kind == wanted).map(|(_, v)| v);
    let pid = u32::from_be_bytes(value(GENERATION_PID)?.try_into().ok()?);
    Some(Author { pid, name: value(GENERATION_NAME).map(text) })
}

/// A string of the kernel, which ends with a zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// `NFPROTO_*` as `nft` writes it.
fn family(number: u8) -> &'static str {
    match number {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "unknown",
    }
}
