//! The JSON of `nft -j list ruleset` (libnftables-json(5)).

use serde_json::Value;
use taproot_model::NetfilterHook;

use super::save::protocol;
use super::{Base, Chain, Condition, FilterRule, Maker, Verdict};
use crate::state::Prefix;

/// Whether there are tables that `iptables` or `ip6tables` on nftables would show.
pub(super) fn mentions_iptables(json: &str, maker: Maker) -> bool {
    let family = if maker == Maker::Ip6tables { "ip6" } else { "ip" };
    let Ok(document) = serde_json::from_str::<Value>(json) else { return true };
    entries(&document).any(|entry| {
        let table = &entry["table"];
        table["family"] == family
            && ["filter", "nat", "mangle", "raw", "security"].iter().any(|n| table["name"] == *n)
    })
}

fn entries(document: &Value) -> impl Iterator<Item = &Value> {
    document["nftables"].as_array().into_iter().flatten()
}

/// Reads what `nft -j list ruleset` prints.
pub(super) fn parse(json: &str) -> Result<Vec<Chain>, serde_json::Error> {
    let document: Value = serde_json::from_str(json)?;
    let mut chains: Vec<Chain> = Vec::new();
    for entry in entries(&document) {
        if let Some(chain) = entry.get("chain") {
            chains.push(begin(chain));
        } else if let Some(entry) = entry.get("rule") {
            let of = |c: &&mut Chain| {
                entry["family"] == *c.family
                    && entry["table"] == *c.table
                    && entry["chain"] == *c.name
            };
            if let Some(chain) = chains.iter_mut().find(of) {
                let number = chain.rules.len() + 1;
                chain.rules.push(rule(number, entry));
            }
        }
    }
    Ok(chains)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn begin(chain: &Value) -> Chain {
    let base = chain.get("hook").map(|name| Base {
        hook: hook(name.as_str().unwrap_or_default()),
        priority: chain["prio"].as_i64().unwrap_or(0),
        policy_drops: chain["policy"] == "drop",
        packets: None,
    });
    Chain {
        maker: Maker::Nft,
        family: text(&chain["family"]),
        table: text(&chain["table"]),
        name: text(&chain["name"]),
        base,
        rules: Vec::new(),
    }
}

fn hook(name: &str) -> Option<NetfilterHook> {
    Some(match name {
        "prerouting" => NetfilterHook::Prerouting,
        "input" => NetfilterHook::Input,
        "forward" => NetfilterHook::Forward,
        "output" => NetfilterHook::Output,
        "postrouting" => NetfilterHook::Postrouting,
        _ => return None,
    })
}

fn rule(number: usize, entry: &Value) -> FilterRule {
    let mut rule = FilterRule {
        number,
        handle: entry["handle"].as_u64().unwrap_or(0),
        conditions: Vec::new(),
        verdict: Verdict::Continue,
        packets: None,
        text: entry["comment"].as_str().map(str::to_owned).unwrap_or_default(),
    };
    for statement in entry["expr"].as_array().into_iter().flatten() {
        let Some((name, body)) = statement.as_object().and_then(|object| object.iter().next())
        else {
            continue;
        };
        statement_of(&mut rule, name, body);
    }
    if rule.text.is_empty() {
        rule.text = entry["expr"].to_string();
    }
    rule
}

fn statement_of(rule: &mut FilterRule, name: &str, body: &Value) {
    match name {
        "match" => {
            let inverted = body["op"] == "!=";
            rule.conditions.push((condition(body), inverted));
        }
        "counter" => rule.packets = body["packets"].as_u64(),
        "accept" => rule.verdict = Verdict::Accept,
        "drop" => rule.verdict = Verdict::Drop,
        "reject" => rule.verdict = Verdict::Reject,
        "return" => rule.verdict = Verdict::Return,
        "jump" => rule.verdict = Verdict::Jump(text(&body["target"])),
        "goto" => rule.verdict = Verdict::Goto(text(&body["target"])),
        "dnat" | "redirect" => rule.verdict = Verdict::Dnat(target(body)),
        "snat" | "masquerade" => rule.verdict = Verdict::Snat(target(body)),
        "log" | "mangle" | "notrack" | "meter" | "set" | "queue" | "dup" | "fwd" | "tproxy" => {}
        // Limits, sets of verdicts, iptables' own matches: they narrow what the
        // rule is for in a way that is not judged here.
        other => rule.conditions.push((Condition::Unjudged(other.to_owned()), false)),
    }
}

/// `10.0.0.7:80` of a translation, as far as it is plain.
fn target(body: &Value) -> String {
    let address = body["addr"].as_str().unwrap_or_default();
    match body["port"].as_u64() {
        Some(port) => format!("{address}:{port}"),
        None => address.to_owned(),
    }
}

fn condition(body: &Value) -> Condition {
    let unjudged = || Condition::Unjudged(body.to_string());
    let (left, right) = (&body["left"], &body["right"]);
    if !matches!(body["op"].as_str(), Some("==" | "!=" | "in")) {
        return unjudged();
    }
    let judged = if let Some(payload) = left.get("payload") {
        of_payload(text(&payload["protocol"]).as_str(), text(&payload["field"]).as_str(), right)
    } else if let Some(meta) = left.get("meta") {
        of_meta(text(&meta["key"]).as_str(), right)
    } else if left["ct"]["key"] == "state" {
        words(right).map(Condition::State)
    } else {
        None
    };
    judged.unwrap_or_else(unjudged)
}

fn of_payload(protocol_name: &str, field: &str, right: &Value) -> Option<Condition> {
    match (protocol_name, field) {
        ("ip" | "ip6", "saddr") => prefixes(right).map(Condition::Source),
        ("ip" | "ip6", "daddr") => prefixes(right).map(Condition::Destination),
        ("ip", "protocol") => protocols(right).map(Condition::Protocol),
        (_, "sport") => ports(right).map(Condition::SourcePort),
        (_, "dport") => ports(right).map(Condition::DestinationPort),
        _ => None,
    }
}

fn of_meta(key: &str, right: &Value) -> Option<Condition> {
    match key {
        "iifname" | "iif" => Some(Condition::In(right.as_str()?.to_owned())),
        "oifname" | "oif" => Some(Condition::Out(right.as_str()?.to_owned())),
        "l4proto" => protocols(right).map(Condition::Protocol),
        "mark" => Some(Condition::Mark(u32::try_from(right.as_u64()?).ok()?, u32::MAX)),
        "nfproto" if right == "ipv4" => Some(Condition::Version(4)),
        "nfproto" if right == "ipv6" => Some(Condition::Version(6)),
        _ => None,
    }
}

/// A value, or the values of an unnamed set.
fn values(right: &Value) -> Vec<&Value> {
    let set = right.get("set").unwrap_or(right);
    set.as_array().map_or_else(|| vec![set], |list| list.iter().collect())
}

fn words(right: &Value) -> Option<Vec<String>> {
    values(right).into_iter().map(|value| value.as_str().map(str::to_owned)).collect()
}

fn protocols(right: &Value) -> Option<Vec<u8>> {
    let number = |value: &Value| match value {
        Value::String(name) => protocol(name),
        other => u8::try_from(other.as_u64()?).ok(),
    };
    values(right).into_iter().map(number).collect()
}

fn ports(right: &Value) -> Option<Vec<(u16, u16)>> {
    let port = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let range = |value: &Value| match value["range"].as_array().map(Vec::as_slice) {
        Some([first, last]) => Some((port(first)?, port(last)?)),
        _ => port(value).map(|port| (port, port)),
    };
    values(right).into_iter().map(range).collect()
}

fn prefixes(right: &Value) -> Option<Vec<Prefix>> {
    let prefix = |value: &Value| match value.get("prefix") {
        Some(prefix) => {
            let length = u8::try_from(prefix["len"].as_u64()?).ok()?;
            Some(Prefix { address: prefix["addr"].as_str()?.parse().ok()?, length })
        }
        None => value.as_str()?.parse().ok(),
    };
    values(right).into_iter().map(prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = r#"{"nftables": [{"metainfo": {"json_schema_version": 1}},
{"table": {"family": "inet", "name": "fw", "handle": 2}},
{"chain": {"family": "inet", "table": "fw", "name": "c", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
{"rule": {"family": "inet", "table": "fw", "chain": "c", "handle": 7, "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": {"prefix": {"addr": "10.0.0.0", "len": 8}}}},
 {"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [80, {"range": [443, 445]}]}}},
 {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}},
 {"counter": {"packets": 3, "bytes": 180}}, {"drop": null}]}},
{"rule": {"family": "inet", "table": "fw", "chain": "c", "handle": 8, "expr": [{"limit": {"rate": 5}}, {"jump": {"target": "x"}}]}}]}"#;

    #[test]
    fn rules_have_handles_conditions_and_counters() {
        let chains = parse(LISTED).expect("JSON");
        let [chain] = chains.as_slice() else { panic!("one chain") };
        let base = chain.base.as_ref().expect("a base chain");
        assert!(base.policy_drops && base.hook == Some(NetfilterHook::Forward));
        let rule = &chain.rules[0];
        assert_eq!((rule.handle, rule.packets, &rule.verdict), (7, Some(3), &Verdict::Drop));
        let ports = Condition::DestinationPort(vec![(80, 80), (443, 445)]);
        assert_eq!(rule.conditions[1], (ports, true));
        assert_eq!(rule.conditions[2], (Condition::State(vec!["new".into()]), false));
        assert_eq!(chain.title_of(rule), "nft inet fw c handle 7");
        assert_eq!(chain.removal_of(rule), "nft delete rule inet fw c handle 7");
        assert_eq!(chain.rules[1].conditions, [(Condition::Unjudged("limit".into()), false)]);
    }

    #[test]
    fn junk_is_an_error_or_nothing() {
        assert!(parse("{").is_err());
        assert_eq!(parse("{}").expect("JSON"), []);
        assert!(!mentions_iptables(LISTED, Maker::Iptables));
    }
}
