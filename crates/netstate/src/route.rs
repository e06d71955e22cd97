//! Which rule, table and route a namespace would choose for a packet.
//!
//! The kernel answers which route it would take ([`ask`]), but neither for what
//! rule nor what the rules before it lacked; [`decide`] walks the rules as
//! `fib_rules_lookup` does and names them.

use std::net::IpAddr;
use std::path::Path;

use crate::state::{
    LOCAL_TABLE, Link, Lookup, MAIN_TABLE, NetState, PolicyAction, Route, Rule, ask_kernel,
};
use crate::{Error, Result, enter};

/// What the rules and tables of a namespace decide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision<'a> {
    /// The rule that decided; none when none did.
    pub rule: Option<&'a Rule>,
    /// The route chosen; none when the rule itself discards or nothing was found.
    pub route: Option<&'a Route>,
    /// Rules written for this packet whose table had no route for it.
    pub fruitless: Vec<&'a Rule>,
    /// Whether a rule on the way has a condition that is not judged here.
    pub uncertain: bool,
}

/// Walks the rules and tables for a packet.
pub fn decide<'a>(state: &'a NetState, lookup: &Lookup) -> Decision<'a> {
    let mut decision = Decision::default();
    for rule in state.rules.iter().filter(|rule| rule.v6 == lookup.to.is_ipv6()) {
        if !applies(state, rule, lookup) {
            continue;
        }
        if rule.more {
            decision.uncertain = true;
            continue;
        }
        if rule.action != PolicyAction::Table {
            decision.rule = Some(rule);
            return decision;
        }
        let found = best(state, rule.table, lookup.to).filter(|route| {
            // `suppress_prefixlength`: routes that are not specific enough do not count.
            rule.suppress_length.is_none_or(|length| u32::from(route.to.length) > length)
        });
        if let Some(route) = found {
            decision.rule = Some(rule);
            decision.route = Some(route);
            return decision;
        }
        if rule.table != LOCAL_TABLE && rule.table != MAIN_TABLE && special(rule) {
            decision.fruitless.push(rule);
        }
    }
    decision
}

/// Whether somebody wrote the rule for certain packets (not the three of the kernel).
fn special(rule: &Rule) -> bool {
    rule.from.is_some() || rule.to.is_some() || rule.iif.is_some() || rule.mark.is_some()
}

fn applies(state: &NetState, rule: &Rule, lookup: &Lookup) -> bool {
    let device = |name: &str, index: Option<u32>| {
        state.link_named(name).is_some_and(|link| match index {
            Some(index) => link.index == index,
            // Packets from here "come in" by the loopback device.
            None => link.loopback,
        })
    };
    let from = lookup.from.unwrap_or(match lookup.to {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
    });
    let holds = rule.from.is_none_or(|subnet| subnet.contains(from))
        && rule.to.is_none_or(|subnet| subnet.contains(lookup.to))
        && rule.iif.as_deref().is_none_or(|name| device(name, lookup.iif))
        && rule.oif.is_none()
        && rule.mark.is_none_or(|(mark, mask)| lookup.mark & mask == mark);
    holds != rule.invert
}

/// The longest prefix wins, then the lowest metric; routes by devices that are
/// down are not there for the kernel either.
fn best(state: &NetState, table: u32, to: IpAddr) -> Option<&Route> {
    let usable = |route: &&Route| {
        route.out.is_none_or(|out| state.link(out).is_none_or(|link: &Link| link.up))
    };
    state
        .routes
        .iter()
        .filter(|route| route.table == table && route.to.contains(to))
        .filter(usable)
        .min_by_key(|route| (u8::MAX - route.to.length, route.metric))
        .filter(|route| route.kind != crate::state::RouteKind::Throw)
}

/// Asks the kernel of a namespace which route it would take.
///
/// `Ok(None)`: it would refuse, for want of a route or by one that discards.
pub fn ask(netns: &Path, lookup: &Lookup) -> Result<Option<Route>> {
    match enter::inside(netns, || ask_kernel(lookup))? {
        Err(Error::Netlink { source, .. }) if source.raw_os_error().is_some_and(refusal) => {
            Ok(None)
        }
        other => other,
    }
}

/// `ENETUNREACH`, `EHOSTUNREACH`, `EACCES`, `EINVAL`: the errors of the kernel's
/// `fib_props`, and `EXDEV` of the reverse path filter.
fn refusal(code: i32) -> bool {
    [101, 113, 13, 22, 18].contains(&code)
}

/// A table's name, as `ip` writes it.
pub fn table_name(table: u32) -> String {
    match table {
        253 => "default".to_owned(),
        MAIN_TABLE => "main".to_owned(),
        LOCAL_TABLE => "local".to_owned(),
        other => other.to_string(),
    }
}

/// A rule as `ip rule` writes it.
pub fn rule_text(rule: &Rule) -> String {
    let from = rule.from.map_or_else(|| "all".to_owned(), subnet);
    let mut words = vec![format!("from {from}")];
    if rule.invert {
        words.insert(0, "not".to_owned());
    }
    words.extend(rule.to.map(|to| format!("to {}", subnet(to))));
    words.extend(rule.mark.map(|(mark, mask)| format!("fwmark {mark:#x}/{mask:#x}")));
    words.extend(rule.iif.as_ref().map(|iif| format!("iif {iif}")));
    match rule.action {
        PolicyAction::Table => words.push(format!("lookup {}", table_name(rule.table))),
        PolicyAction::Blackhole => words.push("blackhole".to_owned()),
        PolicyAction::Unreachable => words.push("unreachable".to_owned()),
        PolicyAction::Prohibit => words.push("prohibit".to_owned()),
        PolicyAction::Other => {}
    }
    words.join(" ")
}

fn subnet(prefix: crate::state::Prefix) -> String {
    let whole = if prefix.address.is_ipv6() { 128 } else { 32 };
    if prefix.length == whole { prefix.address.to_string() } else { prefix.to_string() }
}
