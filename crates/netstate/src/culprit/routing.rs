//! Routes, policy rules, forwarding and the reverse path filter.

use taproot_model::{Blame, Category};

use crate::incident::Incident;
use crate::route::{decide, rule_text, table_name};
use crate::state::{Lookup, PolicyAction, Route, RouteKind, Rule};

/// Finds why the packet could not be routed.
pub(crate) fn unroutable(incident: &Incident<'_>) -> Option<Blame> {
    let decision = incident.decision();
    let certain = !decision.uncertain;
    match (decision.rule, decision.route) {
        (_, Some(route)) if route.kind.discards() => Some(discarding(incident, route, certain)),
        (_, Some(route)) if route.kind == RouteKind::Unicast => not_forwarding(incident),
        (_, Some(_)) => None,
        (Some(rule), None) => Some(refusing(rule, certain)),
        (None, None) => Some(missing(incident, decision.fruitless.first().copied(), certain)),
    }
}

fn discarding(incident: &Incident<'_>, route: &Route, proved: bool) -> Blame {
    let table = table_name(route.table);
    let does = match route.kind {
        RouteKind::Blackhole => "throws such packets away without a word",
        RouteKind::Prohibit => "refuses such packets as prohibited",
        _ => "refuses such packets as unreachable",
    };
    Incident::blame(
        Category::Routing,
        format!("route {route} table {table}"),
        format!("A route for {} {does}.", incident.to()),
        format!(
            "If {} should be reached, remove the route (ip route del {route} table {table}) or \
             add a more specific one.",
            incident.to()
        ),
        proved,
    )
}

fn refusing(rule: &Rule, proved: bool) -> Blame {
    let does = match rule.action {
        PolicyAction::Blackhole => "throws such packets away without a word",
        PolicyAction::Prohibit => "refuses such packets as prohibited",
        PolicyAction::Unreachable => "refuses such packets as unreachable",
        PolicyAction::Table | PolicyAction::Other => "ends the search for a route",
    };
    Incident::blame(
        Category::Routing,
        format!("rule {}: {}", rule.priority, rule_text(rule)),
        format!("A policy rule {does}."),
        format!("Remove the rule: ip rule del priority {}", rule.priority),
        proved,
    )
}

/// No route at all: for want of one in the table that a rule names, because its
/// device is down, or simply.
fn missing(incident: &Incident<'_>, rule: Option<&Rule>, proved: bool) -> Blame {
    if let Some(blame) = super::device::down_for(incident, incident.to()) {
        return blame;
    }
    let to = incident.to();
    if let Some(rule) = rule {
        let table = table_name(rule.table);
        let empty = !incident.state.routes.iter().any(|route| route.table == rule.table);
        let lacks = if empty { "is empty" } else { "has no route for it" };
        return Incident::blame(
            Category::Routing,
            format!("rule {}: {} (table {table} {lacks})", rule.priority, rule_text(rule)),
            format!("A policy rule sends packets for {to} to the table {table}, which {lacks}."),
            format!("Add the route there: ip route add {to} via GATEWAY table {table}"),
            proved,
        );
    }
    Incident::blame(
        Category::Routing,
        format!("no route to {to}"),
        format!("{} has no route to {to}, and no default route.", place(incident)),
        format!("Add one: ip route add {to} via GATEWAY"),
        proved,
    )
}

fn place(incident: &Incident<'_>) -> String {
    match incident.state.name.as_str() {
        "" => "This network namespace".to_owned(),
        name => name.to_owned(),
    }
}

/// The packet is for another host, and this one does not send packets on.
pub(crate) fn not_forwarding(incident: &Incident<'_>) -> Option<Blame> {
    let device = incident.state.link_name(incident.iif()?);
    let v6 = incident.to().is_ipv6();
    let sysctls = &incident.state.sysctls;
    if incident.state.owns(incident.to()) || sysctls.forwards(&device, v6) {
        return None;
    }
    let family = if v6 { "ipv6" } else { "ipv4" };
    let everywhere = sysctls.number(&format!("{family}/conf/all/forwarding")) == Some(0);
    let name = match (everywhere, v6) {
        (true, false) => "net.ipv4.ip_forward".to_owned(),
        (true, true) => "net.ipv6.conf.all.forwarding".to_owned(),
        (false, _) => format!("net.{family}.conf.{device}.forwarding"),
    };
    Some(Incident::blame(
        Category::Sysctl,
        format!("{name}=0"),
        format!(
            "The packet is for {}, another host, and {} is told not to send packets on.",
            incident.to(),
            place(incident)
        ),
        format!("Switch forwarding on: sysctl -w {name}=1"),
        true,
    ))
}

/// The reverse path filter refused the packet's source.
pub(crate) fn reverse_path(incident: &Incident<'_>) -> Option<Blame> {
    let came_in = incident.iif()?;
    let device = incident.state.link_name(came_in);
    let strict = match incident.state.sysctls.rp_filter(&device) {
        1 => true,
        2 => false,
        _ => return None,
    };
    let source = incident.from();
    let lookup = Lookup { to: source, from: Some(incident.to()), iif: None, mark: incident.mark };
    let back = decide(incident.state, &lookup).route.filter(|route| !route.kind.discards());
    let back_by = back.and_then(|route| route.out);
    if back_by.is_some() && (!strict || back_by == Some(came_in)) {
        return None;
    }
    let name = switch(incident, &device);
    let way = match back_by {
        Some(out) => format!("would leave by {}", incident.state.link_name(out)),
        None => "has no route".to_owned(),
    };
    let loose = if back_by.is_some() {
        format!(", or loosen the check: sysctl -w net.ipv4.conf.{device}.rp_filter=2")
    } else {
        String::new()
    };
    Some(Incident::blame(
        Category::Sysctl,
        name,
        format!(
            "The packet from {source} came in by {device}, but an answer to {source} {way}; the \
             reverse path filter takes such a source for forged."
        ),
        format!("Add the route back (ip route add {source} dev {device}){loose}"),
        true,
    ))
}

/// The switch that makes the filter what it is: the larger of two.
fn switch(incident: &Incident<'_>, device: &str) -> String {
    let value = |name: &str| {
        incident.state.sysctls.number(&format!("ipv4/conf/{name}/rp_filter")).unwrap_or(0)
    };
    let (all, own) = (value("all"), value(device));
    let (name, value) = if all >= own { ("all", all) } else { (device, own) };
    format!("net.ipv4.conf.{name}.rp_filter={value}")
}
