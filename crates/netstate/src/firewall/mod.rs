//! Packet filter rules of nftables and iptables in one form, with what they
//! match as far as this crate can judge it, and with their counters.

mod judge;
mod nft;
mod save;
mod xt;

use std::process::Command;

use serde::{Deserialize, Serialize};
use taproot_model::NetfilterHook;

pub use judge::{Answer, Flow, Passage};

use crate::state::Prefix;

/// Who made a rule, and so how it is named and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// `nft`.
    Nft,
    /// `iptables` on nftables.
    Iptables,
    /// `iptables-legacy`.
    IptablesLegacy,
    /// `ip6tables` on nftables.
    Ip6tables,
    /// `ip6tables-legacy`.
    Ip6tablesLegacy,
}

impl Maker {
    /// The command.
    pub fn command(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ip6tables => "ip6tables",
            Self::Ip6tablesLegacy => "ip6tables-legacy",
        }
    }

    /// The command as an object's name has it: the two kinds of iptables are one
    /// to their users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables | Self::IptablesLegacy => "iptables",
            Self::Ip6tables | Self::Ip6tablesLegacy => "ip6tables",
        }
    }
}

/// What a rule does with what it matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Pass on; this hook's chain is done.
    Accept,
    /// Discard silently.
    Drop,
    /// Discard and answer with an error.
    Reject,
    /// Back to the chain that called.
    Return,
    /// Go on in another chain, come back at its end.
    Jump(String),
    /// Go on in another chain, do not come back.
    Goto(String),
    /// Write another destination (an address and port where given).
    Dnat(String),
    /// Write another source.
    Snat(String),
    /// Count, log, mark: the next rule is asked.
    Continue,
}

/// One condition of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The source is in one of these subnets.
    Source(Vec<Prefix>),
    /// The destination is in one of these subnets.
    Destination(Vec<Prefix>),
    /// The protocol is one of these numbers.
    Protocol(Vec<u8>),
    /// The source port is in one of these ranges.
    SourcePort(Vec<(u16, u16)>),
    /// The destination port is in one of these ranges.
    DestinationPort(Vec<(u16, u16)>),
    /// It came in by a device (a `+` or `*` at the end stands for anything).
    In(String),
    /// It leaves by a device.
    Out(String),
    /// The connection is in one of these states (`new`, `established`...).
    State(Vec<String>),
    /// IP version.
    Version(u8),
    /// The mark under a mask.
    Mark(u32, u32),
    /// Something that this crate does not judge, as the tool writes it.
    Unjudged(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterRule {
    /// Position in its chain, from 1: iptables' number.
    pub number: usize,
    /// nftables' handle; 0 for a rule that a program of iptables told.
    pub handle: u64,
    /// Its conditions, and for each whether it is turned round.
    pub conditions: Vec<(Condition, bool)>,
    /// What it does.
    pub verdict: Verdict,
    /// Packets that it matched; none where it does not count.
    pub packets: Option<u64>,
    /// As the tool writes it.
    pub text: String,
}

/// Where and when a chain is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The hook; none where it is not one of the five of IP (netdev ingress...).
    pub hook: Option<NetfilterHook>,
    /// Chains of one hook are asked in this order, lowest first.
    pub priority: i64,
    /// What becomes of a packet that no rule decided on: dropped?
    pub policy_drops: bool,
    /// Packets that fell to the policy, where it counts.
    pub packets: Option<u64>,
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Who made it.
    pub maker: Maker,
    /// `ip`, `ip6`, `inet`, `bridge`, `netdev`, `arp`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it is asked; none for a chain that rules jump to.
    pub base: Option<Base>,
    /// Its rules in order.
    pub rules: Vec<FilterRule>,
}

impl Chain {
    /// The chain as its tool names it.
    pub fn title(&self) -> String {
        match self.maker {
            Maker::Nft => format!("nft {} {} {}", self.family, self.table, self.name),
            maker => format!("{} {} {}", maker.word(), self.table, self.name),
        }
    }

    /// A rule of it as its tool names it.
    pub fn title_of(&self, rule: &FilterRule) -> String {
        match self.maker {
            Maker::Nft => format!("{} handle {}", self.title(), rule.handle),
            _ => format!("{} rule {}", self.title(), rule.number),
        }
    }

    /// The command that removes a rule.
    pub fn removal_of(&self, rule: &FilterRule) -> String {
        match self.maker {
            Maker::Nft => format!(
                "nft delete rule {} {} {} handle {}",
                self.family, self.table, self.name, rule.handle
            ),
            maker => {
                let own = format!(
                    "{} -t {} -D {} {}",
                    maker.command(),
                    self.table,
                    self.name,
                    rule.number
                );
                // It was read from `nft`: the programs of iptables may not be here.
                match rule.handle {
                    0 => own,
                    handle => format!(
                        "{own} (or: nft delete rule {} {} {} handle {handle})",
                        self.family, self.table, self.name
                    ),
                }
            }
        }
    }
}

/// All packet filter rules of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firewall {
    /// All chains.
    pub chains: Vec<Chain>,
    /// What could not be read, and why: a report must not call that "no rules".
    pub unread: Vec<String>,
}

/// Who may have made rules of iptables; for each the programs that print them: its
/// own, and one that prints those of either kind, whichever was installed.
const SAVERS: [(Maker, &str, &str); 4] = [
    (Maker::Iptables, "iptables-nft-save", "iptables-save"),
    (Maker::IptablesLegacy, "iptables-legacy-save", "iptables-save"),
    (Maker::Ip6tables, "ip6tables-nft-save", "ip6tables-save"),
    (Maker::Ip6tablesLegacy, "ip6tables-legacy-save", "ip6tables-save"),
];

impl Firewall {
    /// Reads the rules of the calling thread's namespace, by `nft` and the
    /// `iptables-save` family. What nothing here can print is entered in `unread`.
    pub(crate) fn here() -> Self {
        let mut firewall = Self::default();
        let nft = firewall.output("nft", &["-j", "list", "ruleset"]);
        for (maker, own, common) in SAVERS {
            // The legacy tools create the tables that they read: ask first.
            if let Some(tables) = save::legacy_tables(maker) {
                firewall.add_legacy(maker, saver(maker, own, common), &tables);
            } else if nft.as_deref().is_none_or(|json| nft::mentions_iptables(json, maker))
                && let Some(command) = saver(maker, own, common)
                && let Some(text) = firewall.output(command, &["-c"])
            {
                firewall.chains.extend(save::parse(maker, &text));
            }
        }
        if let Some(json) = nft {
            firewall.add_nft(&json);
        }
        firewall
    }

    fn add_legacy(&mut self, maker: Maker, saver: Option<&str>, tables: &[String]) {
        let Some(saver) = saver else {
            if !tables.is_empty() {
                let (command, tables) = (maker.command(), tables.join(", "));
                self.unread.push(format!("{command}: no program here prints its {tables}"));
            }
            return;
        };
        for table in tables {
            if let Some(text) = self.output(saver, &["-c", "-t", table]) {
                self.chains.extend(save::parse(maker, &text));
            }
        }
    }

    /// Tables that iptables made are already there in its own words.
    fn add_nft(&mut self, json: &str) {
        let extensions = if nft::has_extensions(json) {
            xt::read().unwrap_or_else(|why| {
                self.unread.push(why.to_string());
                xt::Extensions::new()
            })
        } else {
            xt::Extensions::new()
        };
        match nft::parse(json, &extensions) {
            Ok(chains) => {
                let known = |chain: &Chain| {
                    let maker = match chain.family.as_str() {
                        "ip" => Maker::Iptables,
                        "ip6" => Maker::Ip6tables,
                        _ => return false,
                    };
                    self.chains.iter().any(|c| c.maker == maker && c.table == chain.table)
                };
                let fresh: Vec<Chain> = chains.into_iter().filter(|chain| !known(chain)).collect();
                self.chains.extend(fresh);
            }
            Err(why) => self.unread.push(format!("nft list ruleset: {why}")),
        }
    }

    fn output(&mut self, command: &str, arguments: &[&str]) -> Option<String> {
        let output = match Command::new(command).args(arguments).output() {
            Ok(output) => output,
            Err(error) => {
                self.unread.push(format!("{command}: {error}"));
                return None;
            }
        };
        if output.status.success() {
            return Some(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        self.unread.push(format!("{command}: {}", said.lines().next().unwrap_or("failed")));
        None
    }

    /// A chain by maker, family, table and name.
    fn chain(&self, like: &Chain, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|chain| {
            chain.maker == like.maker
                && chain.family == like.family
                && chain.table == like.table
                && chain.name == name
        })
    }

    /// The base chains of a hook, in the order in which the kernel asks them.
    pub fn at(&self, hook: NetfilterHook, v6: bool) -> Vec<&Chain> {
        let here = |chain: &&Chain| {
            let family = match chain.family.as_str() {
                "inet" => true,
                "ip" => !v6,
                "ip6" => v6,
                _ => false,
            };
            family && chain.base.as_ref().is_some_and(|base| base.hook == Some(hook))
        };
        let mut chains: Vec<&Chain> = self.chains.iter().filter(here).collect();
        chains.sort_by_key(|chain| chain.base.as_ref().map(|base| base.priority));
        chains
    }

    /// The chains that a packet at a hook can come to, by jumps too.
    pub(crate) fn reachable(&self, hook: NetfilterHook, v6: bool) -> Vec<&Chain> {
        let mut found = self.at(hook, v6);
        let mut next = 0;
        while let Some(chain) = found.get(next).copied() {
            next += 1;
            for rule in &chain.rules {
                let (Verdict::Jump(name) | Verdict::Goto(name)) = &rule.verdict else { continue };
                if let Some(target) = self.chain(chain, name)
                    && !found.iter().any(|known| std::ptr::eq(*known, target))
                {
                    found.push(target);
                }
            }
        }
        found
    }
}

/// The installed program that prints a maker's rules.
fn saver(maker: Maker, own: &'static str, common: &'static str) -> Option<&'static str> {
    let on_nftables = matches!(maker, Maker::Iptables | Maker::Ip6tables);
    let fits = |said: &String| said.contains("nf_tables") == on_nftables;
    version(own).map(|_| own).or_else(|| version(common).filter(fits).map(|_| common))
}

/// What a program says of itself (`iptables-save v1.8.9 (nf_tables)`); none where it
/// is not installed.
fn version(command: &str) -> Option<String> {
    let output = Command::new(command).arg("--version").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
