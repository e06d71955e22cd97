//! What the rules of a hook would do with a packet, as far as that can be known.

use std::net::{IpAddr, SocketAddr};

use taproot_model::{NetfilterHook, Tuple};

use super::{Chain, Condition, FilterRule, Firewall, Verdict};

/// Chains may call each other; the kernel refuses loops and more than 16 levels.
const DEPTH: usize = 16;

/// Yes, no, or not to be known from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// A condition is not judged by this crate, or the packet's side of it is not
    /// known.
    Unknown,
}

impl Answer {
    fn of(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, Self::Yes) => Self::Yes,
            _ => Self::Unknown,
        }
    }

    fn turned(self, inverted: bool) -> Self {
        match (self, inverted) {
            (Self::Yes, true) => Self::No,
            (Self::No, true) => Self::Yes,
            (same, _) => same,
        }
    }
}

/// A packet as rules see it.
#[derive(Clone, Debug)]
pub struct Flow<'a> {
    /// Addresses, ports, protocol.
    pub tuple: &'a Tuple,
    /// The device that it came in by; empty for none, none for not known.
    pub came_in: Option<&'a str>,
    /// The device that it leaves by.
    pub leaves: Option<&'a str>,
    /// Whether it begins a connection, where that is known.
    pub begins: Option<bool>,
    /// Its mark, where known.
    pub mark: Option<u32>,
}

/// What became of a packet at a hook.
#[derive(Clone, Debug, PartialEq)]
pub enum Passage<'a> {
    /// No rule stops it; whether that is certain.
    Passes {
        /// Whether no condition on the way was unknown, and no new destination.
        certain: bool,
    },
    /// It passes, and a rule wrote a new destination.
    Translated {
        /// The new destination.
        to: SocketAddr,
        /// Whether no condition on the way was unknown.
        certain: bool,
    },
    /// A rule stops it; whether that is certain.
    Rule {
        /// The chain that the rule is in.
        chain: &'a Chain,
        /// The rule.
        rule: &'a FilterRule,
        /// Whether no condition on the way was unknown.
        certain: bool,
    },
    /// The policy of a chain stops it; whether that is certain.
    Policy {
        /// The chain.
        chain: &'a Chain,
        /// Whether no condition on the way was unknown.
        certain: bool,
    },
}

/// What a walk through a chain came to.
enum End<'a> {
    Accepted,
    Stopped(&'a Chain, &'a FilterRule),
    NewDestination(SocketAddr),
    Fell,
}

impl Firewall {
    /// Walks the chains of a hook as the kernel does. A rule that may or may not
    /// match is passed over and makes everything behind it uncertain.
    pub fn passage(&self, hook: NetfilterHook, flow: &Flow<'_>) -> Passage<'_> {
        let mut certain = true;
        let mut destination = None;
        for chain in self.at(hook, flow.tuple.destination.is_ipv6()) {
            match self.walk(chain, flow, &mut certain, 0) {
                End::Accepted => {}
                End::NewDestination(to) => destination = Some(to),
                End::Stopped(chain, rule) => return Passage::Rule { chain, rule, certain },
                End::Fell => {
                    if chain.base.as_ref().is_some_and(|base| base.policy_drops) {
                        return Passage::Policy { chain, certain };
                    }
                }
            }
        }
        match destination {
            Some(to) => Passage::Translated { to, certain },
            None => Passage::Passes { certain },
        }
    }

    fn walk<'a>(
        &'a self,
        chain: &'a Chain,
        flow: &Flow<'_>,
        certain: &mut bool,
        depth: usize,
    ) -> End<'a> {
        for rule in &chain.rules {
            match rule.matches(flow) {
                Answer::No => continue,
                Answer::Unknown => {
                    *certain &= rule.verdict == Verdict::Continue;
                    continue;
                }
                Answer::Yes => {}
            }
            match &rule.verdict {
                Verdict::Accept | Verdict::Snat(_) => return End::Accepted,
                Verdict::Drop | Verdict::Reject => return End::Stopped(chain, rule),
                Verdict::Return => return End::Fell,
                Verdict::Continue => {}
                Verdict::Dnat(to) => {
                    let Some(to) = translated(to, flow) else {
                        *certain = false;
                        return End::Accepted;
                    };
                    return End::NewDestination(to);
                }
                Verdict::Jump(name) | Verdict::Goto(name) => {
                    let Some(next) = self.chain(chain, name).filter(|_| depth < DEPTH) else {
                        *certain = false;
                        continue;
                    };
                    match self.walk(next, flow, certain, depth + 1) {
                        End::Fell if matches!(rule.verdict, Verdict::Jump(_)) => {}
                        end => return end,
                    }
                }
            }
        }
        End::Fell
    }
}

/// The new destination; the port stays where none is given.
fn translated(to: &str, flow: &Flow<'_>) -> Option<SocketAddr> {
    let port = flow.tuple.destination.port();
    to.parse().ok().or_else(|| to.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port)))
}

impl FilterRule {
    /// Whether a packet matches.
    pub fn matches(&self, flow: &Flow<'_>) -> Answer {
        self.conditions.iter().fold(Answer::Yes, |answer, (condition, inverted)| {
            answer.and(condition.holds(flow).turned(*inverted))
        })
    }
}

impl Condition {
    fn holds(&self, flow: &Flow<'_>) -> Answer {
        let Tuple { source, destination, protocol, .. } = flow.tuple;
        let within = |ranges: &[(u16, u16)], port: u16| {
            Answer::of(ranges.iter().any(|(first, last)| (*first..=*last).contains(&port)))
        };
        match self {
            Self::Source(subnets) => Answer::of(subnets.iter().any(|s| s.contains(source.ip()))),
            Self::Destination(subnets) => {
                Answer::of(subnets.iter().any(|s| s.contains(destination.ip())))
            }
            Self::Protocol(numbers) => Answer::of(numbers.contains(protocol)),
            Self::SourcePort(ranges) => within(ranges, source.port()),
            Self::DestinationPort(ranges) => within(ranges, destination.port()),
            Self::In(pattern) => named(pattern, flow.came_in),
            Self::Out(pattern) => named(pattern, flow.leaves),
            Self::State(states) => state(states, flow.begins),
            Self::Version(version) => Answer::of((*version == 6) == destination.is_ipv6()),
            Self::Mark(mark, mask) => {
                flow.mark.map_or(Answer::Unknown, |own| Answer::of(own & mask == *mark))
            }
            Self::Unjudged(_) => Answer::Unknown,
        }
    }
}

fn named(pattern: &str, name: Option<&str>) -> Answer {
    let Some(name) = name else { return Answer::Unknown };
    Answer::of(match pattern.strip_suffix(['+', '*']) {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    })
}

fn state(states: &[String], begins: Option<bool>) -> Answer {
    let has = |name: &str| states.iter().any(|state| state == name);
    match begins {
        Some(true) if has("new") => Answer::Yes,
        Some(false) if has("established") => Answer::Yes,
        // "invalid", "related" and "untracked" cannot be told from the headers.
        Some(true) if !has("invalid") && !has("related") && !has("untracked") => Answer::No,
        Some(true) if has("established") => Answer::No,
        Some(false) if has("new") && states.len() == 1 => Answer::No,
        _ => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Maker, save};
    use super::*;

    fn tuple(port: u16) -> Tuple {
        Tuple {
            source: "10.1.0.2:40000".parse().expect("an address"),
            destination: SocketAddr::new("10.2.0.2".parse().expect("an address"), port),
            protocol: 6,
            tcp_flags: 2,
            icmp: None,
            ttl: 64,
            length: 60,
        }
    }

    fn firewall(text: &str) -> Firewall {
        Firewall { chains: save::parse(Maker::Iptables, text), unread: Vec::new() }
    }

    fn forward(firewall: &Firewall, port: u16) -> Option<(String, bool)> {
        let tuple = tuple(port);
        let flow = Flow {
            tuple: &tuple,
            came_in: Some("eth0"),
            leaves: None,
            begins: Some(true),
            mark: None,
        };
        match firewall.passage(NetfilterHook::Forward, &flow) {
            Passage::Rule { chain, rule, certain } => Some((chain.title_of(rule), certain)),
            Passage::Policy { chain, certain } => Some((chain.title(), certain)),
            Passage::Translated { .. } | Passage::Passes { .. } => None,
        }
    }

    #[test]
    fn jumps_come_back_and_policies_decide_last() {
        let rules = firewall(
            "*filter\n:FORWARD DROP [0:0]\n:POL - [0:0]\n\
             [0:0] -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
             [0:0] -A FORWARD -d 10.2.0.0/16 -j POL\n\
             [0:0] -A FORWARD -p tcp -m tcp --dport 443 -j ACCEPT\n\
             [0:0] -A POL -p tcp -m tcp --dport 80 -j RETURN\n\
             [0:0] -A POL -i eth+ -p tcp -m tcp --dport 8080 -j REJECT\nCOMMIT\n",
        );
        assert_eq!(forward(&rules, 443), None);
        assert_eq!(forward(&rules, 80), Some(("iptables filter FORWARD".into(), true)));
        assert_eq!(forward(&rules, 8080), Some(("iptables filter POL rule 2".into(), true)));
    }

    #[test]
    fn what_cannot_be_judged_makes_the_rest_uncertain() {
        let rules = firewall(
            "*filter\n:FORWARD ACCEPT [0:0]\n\
             [0:0] -A FORWARD -m set --match-set good src -j ACCEPT\n\
             [0:0] -A FORWARD -j DROP\nCOMMIT\n",
        );
        assert_eq!(forward(&rules, 80), Some(("iptables filter FORWARD rule 2".into(), false)));
    }

    #[test]
    fn a_translation_is_followed() {
        let rules = firewall(
            "*nat\n:PREROUTING ACCEPT [0:0]\n\
             [0:0] -A PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.9.0.1:8080\nCOMMIT\n",
        );
        let tuple = tuple(80);
        let flow =
            Flow { tuple: &tuple, came_in: None, leaves: None, begins: Some(true), mark: None };
        let passage = rules.passage(NetfilterHook::Prerouting, &flow);
        let to = "10.9.0.1:8080".parse().expect("an address");
        assert_eq!(passage, Passage::Translated { to, certain: true });
    }
}
