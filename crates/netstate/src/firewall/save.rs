//! The text of `iptables-save -c`.

use std::fs;

use taproot_model::NetfilterHook;

use super::{Base, Chain, Condition, FilterRule, Maker, Verdict};
use crate::state::Prefix;

/// The tables that the legacy kernel code has in the calling thread's namespace;
/// none for a maker that is not legacy.
pub(super) fn legacy_tables(maker: Maker) -> Option<Vec<String>> {
    let file = match maker {
        Maker::IptablesLegacy => "/proc/thread-self/net/ip_tables_names",
        Maker::Ip6tablesLegacy => "/proc/thread-self/net/ip6_tables_names",
        _ => return None,
    };
    let names = fs::read_to_string(file).unwrap_or_default();
    Some(names.lines().map(str::to_owned).collect())
}

/// Reads what `iptables-save -c` prints.
pub(super) fn parse(maker: Maker, text: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(chain) = line.strip_prefix(':') {
            chains.extend(begin(maker, table, chain));
        } else if let Some((packets, words)) = counted(line) {
            let mut words = words.into_iter();
            if words.next().as_deref() != Some("-A") {
                continue;
            }
            let name = words.next().unwrap_or_default();
            let chain = chains.iter_mut().find(|c| c.table == table && c.name == name);
            if let Some(chain) = chain {
                let number = chain.rules.len() + 1;
                chain.rules.push(rule(number, packets, words.collect()));
            }
        }
    }
    chains
}

/// `FORWARD ACCEPT [0:0]`
fn begin(maker: Maker, table: &str, line: &str) -> Option<Chain> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let policy = words.next()?;
    let packets =
        words.next().and_then(|c| c.trim_start_matches('[').split(':').next()?.parse().ok());
    let hook = hook(&name);
    let base = (policy != "-").then(|| Base {
        hook,
        priority: priority(table, hook),
        policy_drops: policy == "DROP",
        packets,
    });
    let v6 = matches!(maker, Maker::Ip6tables | Maker::Ip6tablesLegacy);
    let family = if v6 { "ip6" } else { "ip" }.to_owned();
    Some(Chain { maker, family, table: table.to_owned(), name, base, rules: Vec::new() })
}

/// The hook of a base chain of iptables.
pub(super) fn hook(chain: &str) -> Option<NetfilterHook> {
    Some(match chain {
        "PREROUTING" => NetfilterHook::Prerouting,
        "INPUT" => NetfilterHook::Input,
        "FORWARD" => NetfilterHook::Forward,
        "OUTPUT" => NetfilterHook::Output,
        "POSTROUTING" => NetfilterHook::Postrouting,
        _ => return None,
    })
}

/// `enum nf_ip_hook_priorities` of the kernel.
pub(super) fn priority(table: &str, hook: Option<NetfilterHook>) -> i64 {
    let source = matches!(hook, Some(NetfilterHook::Input | NetfilterHook::Postrouting));
    match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" if source => 100,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    }
}

/// `[5:300] -A FORWARD ...`: the packets, and the words.
fn counted(line: &str) -> Option<(Option<u64>, Vec<String>)> {
    let (counters, rest) = line.strip_prefix('[')?.split_once("] ")?;
    let packets = counters.split(':').next()?.parse().ok();
    Some((packets, words(rest)))
}

/// Splits at blanks, but not inside double quotes; `\"` is a quote.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => word.extend(letters.next()),
            ' ' if !quoted => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            other => word.push(other),
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

fn rule(number: usize, packets: Option<u64>, words: Vec<String>) -> FilterRule {
    let text = words.join(" ");
    let mut conditions = Vec::new();
    let mut verdict = Verdict::Continue;
    let mut rest = words.into_iter().peekable();
    let mut inverted = false;
    while let Some(word) = rest.next() {
        match word.as_str() {
            "!" => {
                inverted = true;
                continue;
            }
            "-j" => verdict = target(&rest.next().unwrap_or_default()),
            "-g" => verdict = Verdict::Goto(rest.next().unwrap_or_default()),
            "--to-destination" => verdict = Verdict::Dnat(rest.next().unwrap_or_default()),
            "--to-source" => verdict = Verdict::Snat(rest.next().unwrap_or_default()),
            // Options of a target: they do not narrow what the rule is for.
            "--comment" | "--reject-with" | "--log-prefix" | "--to-ports" | "-m" => {
                rest.next();
            }
            option => {
                let value = rest.next_if(|next| !next.starts_with('-') && next != "!");
                let condition = condition(option, value.as_deref().unwrap_or_default());
                conditions.push((condition, inverted));
            }
        }
        inverted = false;
    }
    FilterRule { number, handle: 0, conditions, verdict, packets, text }
}

fn target(word: &str) -> Verdict {
    match word {
        "ACCEPT" => Verdict::Accept,
        "DROP" => Verdict::Drop,
        "REJECT" => Verdict::Reject,
        "RETURN" => Verdict::Return,
        "DNAT" | "REDIRECT" => Verdict::Dnat(String::new()),
        "SNAT" | "MASQUERADE" => Verdict::Snat(String::new()),
        "LOG" | "MARK" | "CONNMARK" | "NFLOG" | "TRACE" | "CT" | "NOTRACK" | "TCPMSS"
        | "CHECKSUM" | "CLASSIFY" | "DSCP" | "TTL" | "SET" | "AUDIT" => Verdict::Continue,
        chain => Verdict::Jump(chain.to_owned()),
    }
}

fn condition(option: &str, value: &str) -> Condition {
    let unjudged = || Condition::Unjudged(format!("{option} {value}").trim_end().to_owned());
    let list = |value: &str| value.split(',').map(str::to_lowercase).collect::<Vec<_>>();
    match option {
        "-s" => prefixes(value).map_or_else(unjudged, Condition::Source),
        "-d" => prefixes(value).map_or_else(unjudged, Condition::Destination),
        "-p" => protocol(value).map_or_else(unjudged, |p| Condition::Protocol(vec![p])),
        "-i" => Condition::In(value.to_owned()),
        "-o" => Condition::Out(value.to_owned()),
        "--dport" | "--dports" => ports(value).map_or_else(unjudged, Condition::DestinationPort),
        "--sport" | "--sports" => ports(value).map_or_else(unjudged, Condition::SourcePort),
        "--ctstate" | "--state" => Condition::State(list(value)),
        "--mark" => mark(value).map_or_else(unjudged, |(mark, mask)| Condition::Mark(mark, mask)),
        _ => unjudged(),
    }
}

fn prefixes(value: &str) -> Option<Vec<Prefix>> {
    value.split(',').map(|text| text.parse().ok()).collect()
}

/// A protocol's number, by its number or usual name.
pub(super) fn protocol(name: &str) -> Option<u8> {
    Some(match name {
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "ipv6-icmp" | "icmpv6" => 58,
        "sctp" => 132,
        number => number.parse().ok()?,
    })
}

fn ports(value: &str) -> Option<Vec<(u16, u16)>> {
    let range = |text: &str| {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        Some((first.parse().ok()?, last.parse().ok()?))
    };
    value.split(',').map(range).collect()
}

fn mark(value: &str) -> Option<(u32, u32)> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let (mark, mask) = value.split_once('/').map_or((value, None), |(a, b)| (a, Some(b)));
    Some((number(mark)?, mask.map_or(Some(u32::MAX), number)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "\
# Generated by iptables-save
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [7:420]
:KUBE-FW - [0:0]
[5:300] -A FORWARD ! -s 10.0.0.0/8 -i eth+ -p tcp -m tcp --dport 80:90 -m comment --comment \"x -j y\" -j DROP
[1:60] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
[0:0] -A FORWARD -m set --match-set bad src -j KUBE-FW
COMMIT
";

    #[test]
    fn rules_are_numbered_counted_and_read() {
        let chains = parse(Maker::IptablesLegacy, SAVED);
        assert_eq!(chains.len(), 3);
        let forward = &chains[1];
        let base = forward.base.as_ref().expect("a base chain");
        assert!(base.policy_drops && base.packets == Some(7));
        assert_eq!(chains[2].base, None);
        let [drop, accept, jump] = forward.rules.as_slice() else { panic!("three rules") };
        assert_eq!((drop.number, drop.packets, &drop.verdict), (1, Some(5), &Verdict::Drop));
        let subnet = Condition::Source(vec!["10.0.0.0/8".parse().expect("a subnet")]);
        assert_eq!(drop.conditions[0], (subnet, true));
        assert_eq!(drop.conditions[1], (Condition::In("eth+".into()), false));
        assert_eq!(drop.conditions[3], (Condition::DestinationPort(vec![(80, 90)]), false));
        assert_eq!(drop.conditions.len(), 4, "the comment is no condition");
        let states = Condition::State(vec!["related".into(), "established".into()]);
        assert_eq!(accept.conditions, [(states, false)]);
        assert_eq!(jump.verdict, Verdict::Jump("KUBE-FW".into()));
        assert!(matches!(jump.conditions[0].0, Condition::Unjudged(_)));
    }

    #[test]
    fn objects_and_removals_are_as_the_tool_writes_them() {
        let chains = parse(Maker::IptablesLegacy, SAVED);
        let rule = &chains[1].rules[0];
        assert_eq!(chains[1].title_of(rule), "iptables filter FORWARD rule 1");
        assert_eq!(chains[1].removal_of(rule), "iptables-legacy -t filter -D FORWARD 1");
    }

    #[test]
    fn junk_is_passed_over() {
        assert_eq!(parse(Maker::Iptables, "\n[x\n[1:1] -A NONE\n:\n[1:2] \n"), []);
    }
}
