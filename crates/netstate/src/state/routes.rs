//! Routes of all tables, and the rules that choose the table.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteNextHop, RouteType, RouteVia,
};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use serde::{Deserialize, Serialize};

use super::Prefix;
use crate::Result;
use crate::netlink::{absent, ask, dump};

/// The table `local`: addresses of this namespace.
pub const LOCAL_TABLE: u32 = 255;
/// The table `main`: where routes go when nobody says otherwise.
pub const MAIN_TABLE: u32 = 254;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    /// Send it on.
    Unicast,
    /// Deliver it here.
    Local,
    /// Deliver it here and to all others of the subnet.
    Broadcast,
    /// To a group.
    Multicast,
    /// Discard it silently.
    Blackhole,
    /// Discard it, answer "administratively prohibited".
    Prohibit,
    /// Discard it, answer "host unreachable".
    Unreachable,
    /// Look no further in this table.
    Throw,
    /// Something rarer.
    Other,
}

impl RouteKind {
    /// Whether a packet that takes such a route is thrown away.
    pub fn discards(self) -> bool {
        matches!(self, Self::Blackhole | Self::Prohibit | Self::Unreachable)
    }

    /// As `ip route` writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Blackhole => "blackhole",
            Self::Prohibit => "prohibit",
            Self::Unreachable => "unreachable",
            Self::Throw => "throw",
            Self::Other => "other",
        }
    }
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The table that it is in.
    pub table: u32,
    /// What it does.
    pub kind: RouteKind,
    /// The destinations that it is for.
    pub to: Prefix,
    /// The next router; none when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The device to leave by, by number.
    pub out: Option<u32>,
    /// Metric; the lowest wins.
    pub metric: u32,
    /// The source address for packets from here.
    pub source: Option<IpAddr>,
    /// How many next hops share the traffic beyond the one named.
    pub more_hops: usize,
}

impl fmt::Display for Route {
    /// As `ip route` writes it, without the device, which is known by number only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::Unicast {
            write!(f, "{} ", self.kind.word())?;
        }
        match self.to.length {
            0 => write!(f, "default")?,
            _ => write!(f, "{}", self.to)?,
        }
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        Ok(())
    }
}

/// What a policy rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyAction {
    /// Look into a table.
    Table,
    /// Discard silently.
    Blackhole,
    /// Discard with "host unreachable".
    Unreachable,
    /// Discard with "administratively prohibited".
    Prohibit,
    /// Something rarer (goto, nop).
    Other,
}

/// One policy rule (`ip rule`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its place in the order: lowest first.
    pub priority: u32,
    /// Whether it is for IPv6.
    pub v6: bool,
    /// Source addresses that it is for.
    pub from: Option<Prefix>,
    /// Destinations that it is for.
    pub to: Option<Prefix>,
    /// The device that the packet came in by.
    pub iif: Option<String>,
    /// The device that the socket is bound to.
    pub oif: Option<String>,
    /// The mark and its mask.
    pub mark: Option<(u32, u32)>,
    /// Whether it is for what it does *not* describe.
    pub invert: bool,
    /// What it does.
    pub action: PolicyAction,
    /// The table to look into.
    pub table: u32,
    /// Routes with a shorter prefix than this or equal do not count.
    pub suppress_length: Option<u32>,
    /// Whether it has a condition that this crate does not judge (uid, ports...).
    pub more: bool,
}

/// All routes of the calling thread's namespace, of both families.
pub(crate) fn read_routes() -> Result<Vec<Route>> {
    let mut routes = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        match dump(NETLINK_ROUTE, "routes", RouteNetlinkMessage::GetRoute(question)) {
            Ok(answers) => routes.extend(answers.into_iter().filter_map(from_answer)),
            Err(error) if absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(routes)
}

/// What a route is looked up for.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// Where to.
    pub to: IpAddr,
    /// Where from, when known.
    pub from: Option<IpAddr>,
    /// The device that the packet came in by; none for a packet from here.
    pub iif: Option<u32>,
    /// The mark, 0 for none.
    pub mark: u32,
}

/// Asks the kernel for the table entry that it would use (`RTM_F_FIB_MATCH`).
///
/// The error is the kernel's: `ENETUNREACH` when there is none, `EINVAL`,
/// `EACCES`, `EHOSTUNREACH` for blackhole, prohibit and unreachable routes.
pub(crate) fn ask_kernel(lookup: &Lookup) -> Result<Option<Route>> {
    let mut question = RouteMessage::default();
    let v6 = lookup.to.is_ipv6();
    question.header.address_family = if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let length = if v6 { 128 } else { 32 };
    question.header.destination_prefix_length = length;
    // Without the second flag every answer claims to be of the table `main`.
    question.header.flags = RouteFlags::FibMatch | RouteFlags::LookupTable;
    question.attributes.push(RouteAttribute::Destination(address(lookup.to)));
    if let Some(from) = lookup.from {
        question.header.source_prefix_length = length;
        question.attributes.push(RouteAttribute::Source(address(from)));
    }
    if let Some(iif) = lookup.iif {
        question.attributes.push(RouteAttribute::Iif(iif));
    }
    if lookup.mark != 0 {
        question.attributes.push(RouteAttribute::Mark(lookup.mark));
    }
    let answers = ask(NETLINK_ROUTE, "the route", RouteNetlinkMessage::GetRoute(question))?;
    Ok(answers.into_iter().find_map(from_answer))
}

fn address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn from_answer(answer: RouteNetlinkMessage) -> Option<Route> {
    let RouteNetlinkMessage::NewRoute(message) = answer else { return None };
    Some(from_message(&message))
}

pub(crate) fn from_message(message: &RouteMessage) -> Route {
    let v6 = message.header.address_family == AddressFamily::Inet6;
    let mut route = Route {
        table: u32::from(message.header.table),
        kind: kind(message.header.kind),
        to: Prefix::any(v6, message.header.destination_prefix_length),
        gateway: None,
        out: None,
        metric: 0,
        source: None,
        more_hops: 0,
    };
    for attribute in &message.attributes {
        add(&mut route, attribute);
    }
    route
}

fn add(route: &mut Route, attribute: &RouteAttribute) {
    match attribute {
        RouteAttribute::Table(table) => route.table = *table,
        RouteAttribute::Destination(to) => {
            route.to.address = plain(to).unwrap_or(route.to.address);
        }
        RouteAttribute::Gateway(gateway) => route.gateway = plain(gateway),
        RouteAttribute::Via(via) => route.gateway = via_address(via),
        RouteAttribute::Oif(out) => route.out = Some(*out),
        RouteAttribute::Priority(metric) => route.metric = *metric,
        RouteAttribute::PrefSource(source) => route.source = plain(source),
        RouteAttribute::MultiPath(hops) => add_hops(route, hops),
        _ => {}
    }
}

fn add_hops(route: &mut Route, hops: &[RouteNextHop]) {
    let Some(first) = hops.first() else { return };
    route.out = Some(first.interface_index);
    route.more_hops = hops.len() - 1;
    for attribute in &first.attributes {
        add(route, attribute);
    }
}

fn via_address(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn kind(kind: RouteType) -> RouteKind {
    match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast | RouteType::Anycast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Throw => RouteKind::Throw,
        _ => RouteKind::Other,
    }
}

/// All policy rules of the calling thread's namespace, in the order of the kernel.
pub(crate) fn read_rules() -> Result<Vec<Rule>> {
    let mut rules = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut question = RuleMessage::default();
        question.header.family = family;
        match dump(NETLINK_ROUTE, "policy rules", RouteNetlinkMessage::GetRule(question)) {
            Ok(answers) => rules.extend(answers.into_iter().filter_map(rule)),
            Err(error) if absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

fn rule(answer: RouteNetlinkMessage) -> Option<Rule> {
    let RouteNetlinkMessage::NewRule(message) = answer else { return None };
    Some(rule_of(&message))
}

pub(crate) fn rule_of(message: &RuleMessage) -> Rule {
    let header = &message.header;
    let mut rule = Rule {
        priority: 0,
        v6: header.family == AddressFamily::Inet6,
        from: None,
        to: None,
        iif: None,
        oif: None,
        mark: None,
        invert: header.flags.contains(RuleFlags::Invert),
        action: action(header.action),
        table: u32::from(header.table),
        suppress_length: None,
        more: header.tos != 0,
    };
    for attribute in &message.attributes {
        condition(&mut rule, attribute, header.src_len, header.dst_len);
    }
    rule
}

fn condition(rule: &mut Rule, attribute: &RuleAttribute, from_length: u8, to_length: u8) {
    match attribute {
        RuleAttribute::Priority(priority) => rule.priority = *priority,
        RuleAttribute::Table(table) => rule.table = *table,
        RuleAttribute::Source(from) => {
            rule.from = Some(Prefix { address: *from, length: from_length });
        }
        RuleAttribute::Destination(to) => {
            rule.to = Some(Prefix { address: *to, length: to_length });
        }
        RuleAttribute::Iifname(name) => rule.iif = Some(name.clone()),
        RuleAttribute::Oifname(name) => rule.oif = Some(name.clone()),
        RuleAttribute::FwMark(mark) => rule.mark = Some((*mark, rule.mark.map_or(!0, |m| m.1))),
        RuleAttribute::FwMask(mask) => rule.mark = Some((rule.mark.map_or(0, |m| m.0), *mask)),
        // All bits set is the kernel's "not given".
        RuleAttribute::SuppressPrefixLen(length) if *length != u32::MAX => {
            rule.suppress_length = Some(*length);
        }
        RuleAttribute::TunId(_)
        | RuleAttribute::L3MDev(_)
        | RuleAttribute::UidRange(_)
        | RuleAttribute::IpProtocol(_)
        | RuleAttribute::SourcePortRange(_)
        | RuleAttribute::DestinationPortRange(_) => rule.more = true,
        _ => {}
    }
}

fn action(action: RuleAction) -> PolicyAction {
    match action {
        RuleAction::ToTable => PolicyAction::Table,
        RuleAction::Blackhole => PolicyAction::Blackhole,
        RuleAction::Unreachable => PolicyAction::Unreachable,
        RuleAction::Prohibit => PolicyAction::Prohibit,
        _ => PolicyAction::Other,
    }
}
