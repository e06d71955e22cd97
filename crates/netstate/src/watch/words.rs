//! Routes, rules and queues as `ip` and `tc` write them, so that what was changed can be
//! taken back with the same words.

use crate::state::{MAIN_TABLE, PolicyAction, Prefix, Route, Rule};

/// `ip`, for the family of an address.
pub(super) fn ip(v6: bool) -> &'static str {
    if v6 { "ip -6" } else { "ip" }
}

/// A route with its device and table.
pub(super) fn route(route: &Route, device: Option<&str>) -> String {
    let more = |hops: usize| format!("(and {hops} more next hops)");
    let parts = [
        Some(route.to_string()),
        device.map(|device| format!("dev {device}")),
        (route.more_hops > 0).then(|| more(route.more_hops)),
        (route.metric != 0).then(|| format!("metric {}", route.metric)),
        (route.table != MAIN_TABLE).then(|| format!("table {}", route.table)),
    ];
    joined(parts)
}

/// A policy rule as `ip rule add` takes it.
pub(super) fn rule(rule: &Rule) -> String {
    let prefix = |word: &str, p: Option<&Prefix>| p.map(|p| format!("{word} {p}"));
    let anyone = rule.from.is_none() && rule.to.is_none();
    let parts = [
        Some(format!("priority {}", rule.priority)),
        rule.invert.then(|| "not".to_owned()),
        anyone.then(|| "from all".to_owned()),
        prefix("from", rule.from.as_ref()),
        prefix("to", rule.to.as_ref()),
        rule.iif.as_ref().map(|name| format!("iif {name}")),
        rule.oif.as_ref().map(|name| format!("oif {name}")),
        rule.mark.map(|(mark, mask)| format!("fwmark {mark:#x}/{mask:#x}")),
        match rule.action {
            PolicyAction::Table => Some(format!("lookup {}", rule.table)),
            PolicyAction::Blackhole => Some("blackhole".to_owned()),
            PolicyAction::Unreachable => Some("unreachable".to_owned()),
            PolicyAction::Prohibit => Some("prohibit".to_owned()),
            PolicyAction::Other => None,
        },
    ];
    joined(parts)
}

fn joined(parts: impl IntoIterator<Item = Option<String>>) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
