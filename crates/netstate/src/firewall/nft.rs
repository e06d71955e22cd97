//! The JSON of `nft -j list ruleset` (libnftables-json(5)).

use serde_json::Value;
use taproot_model::NetfilterHook;

use super::save::{self, protocol};
use super::xt::{self, Extensions, Meaning};
use super::{Base, Chain, Condition, FilterRule, Maker, Verdict};
use crate::state::Prefix;

/// The tables of iptables.
const TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

/// Whether there are tables that `iptables` or `ip6tables` on nftables would show.
pub(super) fn mentions_iptables(json: &str, maker: Maker) -> bool {
    let family = if maker == Maker::Ip6tables { "ip6" } else { "ip" };
    let Ok(document) = serde_json::from_str::<Value>(json) else { return true };
    entries(&document).any(|entry| {
        let table = &entry["table"];
        table["family"] == family && TABLES.iter().any(|name| table["name"] == *name)
    })
}

fn entries(document: &Value) -> impl Iterator<Item = &Value> {
    document["nftables"].as_array().into_iter().flatten()
}

/// Whether a rule has an extension of iptables in it.
pub(super) fn has_extensions(json: &str) -> bool {
    json.contains("\"xt\"")
}

/// Reads what `nft -j list ruleset` prints; `extensions` say what it has only the
/// names of. Tables that iptables made are taken for such.
pub(super) fn parse(json: &str, extensions: &Extensions) -> Result<Vec<Chain>, serde_json::Error> {
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
                chain.rules.push(rule(number, entry, extensions));
            }
        }
    }
    let made: Vec<(usize, Maker)> = chains
        .iter()
        .enumerate()
        .filter_map(|(at, chain)| Some((at, of_iptables(&chains, chain)?)))
        .collect();
    for (at, maker) in made {
        chains[at].maker = maker;
    }
    Ok(chains)
}

/// The kind of iptables that made a chain's table; none where it was not iptables:
/// nothing in the table says so, but iptables has names and priorities of its own
/// for base chains, and counts in every rule.
fn of_iptables(chains: &[Chain], chain: &Chain) -> Option<Maker> {
    let maker = match chain.family.as_str() {
        "ip" => Maker::Iptables,
        "ip6" => Maker::Ip6tables,
        _ => return None,
    };
    let table = || chains.iter().filter(|c| (&c.family, &c.table) == (&chain.family, &chain.table));
    let usual = |chain: &Chain| match &chain.base {
        Some(base) => {
            let hook = save::hook(&chain.name);
            hook.is_some()
                && base.hook == hook
                && base.priority == save::priority(&chain.table, hook)
        }
        None => true,
    };
    let counts = |chain: &Chain| chain.rules.iter().all(|rule| rule.packets.is_some());
    let found = TABLES.contains(&chain.table.as_str())
        && table().any(|chain| chain.base.is_some())
        && table().all(|chain| usual(chain) && counts(chain));
    found.then_some(maker)
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

fn rule(number: usize, entry: &Value, extensions: &Extensions) -> FilterRule {
    let handle = entry["handle"].as_u64().unwrap_or(0);
    let key = (text(&entry["family"]), text(&entry["table"]), handle);
    let mut known = extensions.get(&key).into_iter().flatten();
    let mut rule = FilterRule {
        number,
        handle,
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
        if name == "xt" {
            extension(&mut rule, known.next().cloned().unwrap_or_else(|| named(body)));
        } else {
            statement_of(&mut rule, name, body);
        }
    }
    if rule.text.is_empty() {
        rule.text = entry["expr"].to_string();
    }
    rule
}

/// What the name of an extension alone says.
fn named(body: &Value) -> Meaning {
    let name = text(&body["name"]);
    if body["type"] == "target" { xt::target_named(&name) } else { xt::match_named(&name) }
}

fn extension(rule: &mut FilterRule, meaning: Meaning) {
    match meaning {
        Meaning::Conditions(conditions) => rule.conditions.extend(conditions),
        Meaning::Verdict(verdict) => rule.verdict = verdict,
    }
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
        // Limits and sets of verdicts: they narrow what the rule is for in a way
        // that is not judged here.
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
    } else if left["&"][0]["meta"]["key"] == "mark" {
        masked(&left["&"][1], right)
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

/// A mark under a mask.
fn masked(mask: &Value, right: &Value) -> Option<Condition> {
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    Some(Condition::Mark(number(right)?, number(mask)?))
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
        let chains = parse(LISTED, &Extensions::new()).expect("JSON");
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

    /// What `nft` 1.0.6 printed of rules that iptables 1.8.9 made.
    const BY_IPTABLES: &str = include_str!("../../tests/data/iptables-nft.json");

    #[test]
    fn rules_of_iptables_are_named_as_iptables_does() {
        let chains = parse(BY_IPTABLES, &Extensions::new()).expect("JSON");
        let find = |table: &str, name: &str| {
            let found = chains.iter().find(|c| c.table == table && c.name == name);
            found.expect("the chain")
        };
        let forward = find("filter", "FORWARD");
        assert_eq!(forward.maker, Maker::Iptables);
        let verdicts: Vec<&Verdict> = forward.rules.iter().map(|rule| &rule.verdict).collect();
        let jump = Verdict::Jump("POL".to_owned());
        let expected = [&Verdict::Drop, &Verdict::Reject, &Verdict::Drop, &Verdict::Accept, &jump];
        assert_eq!(verdicts, expected);
        assert_eq!(forward.rules[0].conditions.len(), 2, "a comment is no condition");
        let mark = (Condition::Mark(0x10, 0xf0), false);
        assert_eq!(forward.rules[3].conditions[1], mark);
        assert_eq!(forward.title_of(&forward.rules[1]), "iptables filter FORWARD rule 2");
        assert_eq!(
            forward.removal_of(&forward.rules[1]),
            "iptables -t filter -D FORWARD 2 (or: nft delete rule ip filter FORWARD handle 3)"
        );
        let sources: Vec<_> = find("nat", "POSTROUTING").rules.iter().collect();
        assert!(sources.iter().all(|rule| rule.verdict == Verdict::Snat(String::new())));
        assert_eq!(find("mangle", "FORWARD").rules[0].verdict, Verdict::Continue);
    }

    #[test]
    fn the_kernel_says_what_the_listing_does_not() {
        let to = || Meaning::Verdict(Verdict::Dnat("10.2.0.3:8080".to_owned()));
        let key = ("ip".to_owned(), "nat".to_owned(), 2);
        let chains = parse(BY_IPTABLES, &Extensions::from([(key, vec![to()])])).expect("JSON");
        let nat = chains.iter().find(|c| c.table == "nat" && c.name == "PREROUTING");
        let rules = &nat.expect("the chain").rules;
        assert_eq!(rules[0].verdict, Verdict::Dnat("10.2.0.3:8080".to_owned()));
        assert_eq!(rules[1].verdict, Verdict::Dnat(String::new()), "nothing is known of it");
    }

    #[test]
    fn a_table_that_only_looks_like_iptables_stays_its_own() {
        let renamed = BY_IPTABLES.replace("\"FORWARD\"", "\"forward\"");
        let chains = parse(&renamed, &Extensions::new()).expect("JSON");
        assert!(chains.iter().filter(|c| c.table == "filter").all(|c| c.maker == Maker::Nft));
        let counter = r#"{"counter": {"packets": 0, "bytes": 0}}, "#;
        assert!(BY_IPTABLES.contains(counter));
        let uncounted = BY_IPTABLES.replacen(counter, "", 1);
        let chains = parse(&uncounted, &Extensions::new()).expect("JSON");
        assert!(chains.iter().filter(|c| c.table == "filter").all(|c| c.maker == Maker::Nft));
    }

    #[test]
    fn junk_is_an_error_or_nothing() {
        assert!(parse("{", &Extensions::new()).is_err());
        assert_eq!(parse("{}", &Extensions::new()).expect("JSON"), []);
        assert!(!mentions_iptables(LISTED, Maker::Iptables));
    }
}
