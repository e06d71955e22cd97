//! Packet filter rules, address translation, and the table of connections.

use taproot_model::{Blame, Category, NetfilterHook};

use crate::firewall::{Chain, FilterRule, Firewall, Passage, Verdict};
use crate::incident::{Incident, UDP, protocol_name};
use crate::state::NetState;

/// The order in which a packet meets the hooks.
const HOOKS: [NetfilterHook; 5] = [
    NetfilterHook::Prerouting,
    NetfilterHook::Input,
    NetfilterHook::Forward,
    NetfilterHook::Output,
    NetfilterHook::Postrouting,
];

/// Finds the rule or policy that stopped the packet, at a hook or at any.
///
/// What the rules say decides where it is certain; otherwise the counters do: the
/// one rule that stops packets and counted since `before`.
pub(crate) fn stopper(incident: &Incident<'_>, hook: Option<NetfilterHook>) -> Option<Blame> {
    let one;
    let hooks = match hook {
        Some(hook) => {
            one = [hook];
            one.as_slice()
        }
        None => HOOKS.as_slice(),
    };
    hooks.iter().find_map(|hook| at(incident, *hook))
}

fn at(incident: &Incident<'_>, hook: NetfilterHook) -> Option<Blame> {
    let firewall = &incident.state.firewall;
    let came_in = incident.came_in_name();
    let leaves = leaves(incident, hook);
    let passage = firewall.passage(hook, &incident.flow(&came_in, leaves.as_deref()));
    let counted = counted(incident, hook);
    match passage {
        Passage::Rule { chain, rule, certain } => {
            let moved = moved(incident, chain, rule);
            if certain || moved == Some(true) {
                return Some(by_rule(incident, chain, rule, certain || moved == Some(true)));
            }
            let (chain, rule, proved) = counted.map_or((chain, rule, false), |(c, r)| (c, r, true));
            Some(by_rule(incident, chain, rule, proved))
        }
        Passage::Policy { chain, certain } => match counted.filter(|_| !certain) {
            Some((chain, rule)) => Some(by_rule(incident, chain, rule, true)),
            None => Some(by_policy(incident, chain, certain)),
        },
        Passage::Passes { .. } | Passage::Translated { .. } => {
            counted.map(|(chain, rule)| by_rule(incident, chain, rule, true))
        }
    }
}

/// Where a packet leaves is known from routing, at the hooks behind it.
fn leaves(incident: &Incident<'_>, hook: NetfilterHook) -> Option<String> {
    match hook {
        NetfilterHook::Prerouting | NetfilterHook::Input => None,
        _ => incident.next().map(|(out, _)| incident.state.link_name(out)),
    }
}

/// Whether a rule counted since `before`; none where it does not count.
fn moved(incident: &Incident<'_>, chain: &Chain, rule: &FilterRule) -> Option<bool> {
    let after = rule.packets?;
    let before = incident.before?.firewall.chains.iter().find(|other| same(other, chain))?;
    let same = |other: &&FilterRule| {
        (other.handle, other.number) == (rule.handle, rule.number)
            && other.conditions == rule.conditions
    };
    Some(after > before.rules.iter().find(same)?.packets?)
}

fn same(left: &Chain, right: &Chain) -> bool {
    (left.maker, &left.family, &left.table, &left.name)
        == (right.maker, &right.family, &right.table, &right.name)
}

/// The one stopping rule reachable from a hook that counted since `before` and
/// that the packet may match; none where there are several.
fn counted<'a>(
    incident: &Incident<'a>,
    hook: NetfilterHook,
) -> Option<(&'a Chain, &'a FilterRule)> {
    let came_in = incident.came_in_name();
    let leaves = leaves(incident, hook);
    let flow = incident.flow(&came_in, leaves.as_deref());
    let firewall: &'a Firewall = &incident.state.firewall;
    let v6 = incident.to().is_ipv6();
    let mut found = firewall
        .reachable(hook, v6)
        .into_iter()
        .flat_map(|chain| chain.rules.iter().map(move |rule| (chain, rule)))
        .filter(|(_, rule)| matches!(rule.verdict, Verdict::Drop | Verdict::Reject))
        .filter(|(_, rule)| rule.matches(&flow) != crate::firewall::Answer::No)
        .filter(|(chain, rule)| moved(incident, chain, rule) == Some(true));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn by_rule(incident: &Incident<'_>, chain: &Chain, rule: &FilterRule, proved: bool) -> Blame {
    let (from, to) = (incident.tuple.source, incident.tuple.destination);
    let does = match rule.verdict {
        Verdict::Reject => "rejects it with an error to the sender",
        _ => "drops it silently",
    };
    let protocol = protocol_name(incident.tuple.protocol);
    let because = format!(
        "A firewall rule {does}: {protocol} from {} to {to}{}. The rule: {}.",
        from.ip(),
        tunnel(incident),
        rule.text
    );
    let advice = format!(
        "If this traffic is wanted, put an exception before the rule, or remove it: {}",
        chain.removal_of(rule)
    );
    Incident::blame(Category::Firewall, chain.title_of(rule), because, advice, proved)
}

/// A packet to a tunnel's port carries others' packets: say so.
fn tunnel(incident: &Incident<'_>) -> String {
    let port = incident.tuple.destination.port();
    let mut links = incident.everywhere().flat_map(|state| &state.links);
    let found = links.find(|link| {
        incident.tuple.protocol == UDP && link.vxlan.is_some_and(|vxlan| vxlan.port == port)
    });
    found.map_or_else(String::new, |link| {
        format!(", the port of the VXLAN tunnel {}: nothing passes between its ends", link.name)
    })
}

fn by_policy(incident: &Incident<'_>, chain: &Chain, proved: bool) -> Blame {
    let because = format!(
        "No rule of the chain {} allows packets from {} to {}, and the chain drops what no rule \
         allows.",
        chain.name,
        incident.from(),
        incident.tuple.destination
    );
    let advice = match chain.maker {
        crate::firewall::Maker::Nft => format!(
            "Add a rule that allows it: nft add rule {} {} {} ip daddr {} accept",
            chain.family,
            chain.table,
            chain.name,
            incident.to()
        ),
        maker => format!(
            "Add a rule that allows it: {} -t {} -A {} -d {} -j ACCEPT",
            maker.command(),
            chain.table,
            chain.name,
            incident.to()
        ),
    };
    let object = format!("{} policy drop", chain.title());
    Incident::blame(Category::Firewall, object, because, advice, proved)
}

/// The table of connections is full: new ones are dropped.
pub(crate) fn table_full(incident: &Incident<'_>) -> Option<Blame> {
    let read = |state: &NetState, name: &str| {
        state.sysctls.number(&format!("netfilter/nf_conntrack_{name}"))
    };
    let (count, max) = (read(incident.state, "count")?, read(incident.state, "max")?);
    // Entries expire between the drop and the reading.
    let full = |count: i64| max > 0 && count * 100 >= max * 95;
    let before = incident.before.and_then(|state| read(state, "count"));
    if !full(count) && !before.is_some_and(full) {
        return None;
    }
    Some(Incident::blame(
        Category::Conntrack,
        format!("net.netfilter.nf_conntrack_max={max}"),
        format!(
            "The kernel's table of connections is full ({count} of {max}): new ones are dropped."
        ),
        format!(
            "Find who opens so many connections (conntrack -L), or raise the limit: \
             sysctl -w net.netfilter.nf_conntrack_max={}",
            max * 2
        ),
        true,
    ))
}

/// The rule that translates a destination to the given address.
pub(crate) fn translation<'a>(
    incident: &Incident<'a>,
    to: std::net::SocketAddr,
) -> Option<(&'a NetState, &'a Chain, &'a FilterRule)> {
    let leads = |rule: &FilterRule| match &rule.verdict {
        Verdict::Dnat(target) => target.parse() == Ok(to) || target.parse() == Ok(to.ip()),
        _ => false,
    };
    incident.everywhere().find_map(|state| {
        let mut rules =
            state.firewall.chains.iter().flat_map(|c| c.rules.iter().map(move |r| (c, r)));
        rules.find(|(_, rule)| leads(rule)).map(|(chain, rule)| (state, chain, rule))
    })
}

/// An answer that came straight from a backend, past the translation that sent
/// the question there: both ends are in one subnet and the source was kept.
pub(crate) fn hairpin(incident: &Incident<'_>) -> Option<Blame> {
    if !crate::incident::answers_syn(incident.tuple) {
        return None;
    }
    let backend = incident.tuple.source;
    let (state, chain, rule) = translation(incident, backend)?;
    let client = incident.to();
    let (command, port) = (chain.maker.command(), backend.port());
    let advice = match chain.maker {
        crate::firewall::Maker::Nft => format!(
            "Hide the client's address on this way: nft add rule {} {} POSTROUTING ip saddr \
             {client} ip daddr {} tcp dport {port} masquerade",
            chain.family,
            chain.table,
            backend.ip()
        ),
        _ => format!(
            "Hide the client's address on this way: {command} -t nat -A POSTROUTING -s {client} \
             -d {} -p tcp --dport {port} -j MASQUERADE",
            backend.ip()
        ),
    };
    Some(Incident::blame(
        Category::Conntrack,
        format!("{}{} without masquerade", chain.title_of(rule), incident.whereabouts(state)),
        format!(
            "{client} asked a service address that leads to {backend} in its own network; the \
             answer came straight from {backend}, an address that {client} had not asked."
        ),
        advice,
        true,
    ))
}
