//! One fault: how it is made, what traffic meets it, and what has to be said.

use std::any::Any;
use std::net::SocketAddr;
use std::time::Duration;

use taproot_model::{Category, Drop, NetfilterHook, Tuple};
use taproot_netstate::{Incident, NetState, explain};
use taproot_testkit::{is_root, missing_commands};

use crate::bed::{Bed, WHO};
use crate::drops::{Seen, Watch};

/// Programs that every fault takes.
const TOOLS: &[&str] = &["ip", "tc", "nft", "iptables", "sysctl"];

/// What traffic keeps alive until the state was read.
pub(crate) type Held = Box<dyn Any>;

/// A fault and the truth about it.
pub(crate) struct Fault {
    /// Who does what to make it.
    pub(crate) set_up: &'static [(&'static str, &'static str)],
    /// The traffic that meets it.
    pub(crate) traffic: fn(&Bed) -> Held,
    /// Where the packet is lost: who, the device that it came in by (empty for
    /// none), and the device where it was last seen.
    pub(crate) at: (&'static str, &'static str, &'static str),
    /// The packet: from, to, protocol, TCP flags, time to live, length.
    pub(crate) packet: (&'static str, &'static str, u8, u8, u8, u16),
    /// The destination as the sender wrote it, where it was translated.
    pub(crate) asked: Option<&'static str>,
    /// The control group of the process at that end.
    pub(crate) group: Option<&'static str>,
    /// Programs that it takes beside those of every fault.
    pub(crate) needs: &'static [&'static str],
    /// Whether it takes the BPF programs of the bed.
    pub(crate) programs: bool,
    /// How kernels drop it: reason and function, any of these. Empty: not at all.
    pub(crate) kernel: &'static [(&'static str, &'static str)],
    /// The category to be named.
    pub(crate) category: Category,
    /// What the object's name has to contain.
    pub(crate) object: &'static [&'static str],
    /// What the advice has to contain.
    pub(crate) advice: &'static str,
}

/// TCP and its SYN, UDP.
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const SYN: u8 = 2;

impl Fault {
    /// A TCP connection from the client to pod 1 that dies in the node.
    pub(crate) const FORWARDED: Self = Self {
        set_up: &[],
        traffic: |bed| Box::new(bed.connect("client", "10.2.0.2:8080")),
        at: ("node", "c0", "c0"),
        packet: ("10.1.0.2:40000", "10.2.0.2:8080", TCP, SYN, 63, 60),
        asked: None,
        group: None,
        needs: &[],
        programs: false,
        kernel: &[],
        category: Category::Unknown,
        object: &[],
        advice: "",
    };

    fn tuple(&self) -> Tuple {
        let (source, destination, protocol, tcp_flags, ttl, length) = self.packet;
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (source, destination) = (address(source), address(destination));
        Tuple { source, destination, protocol, tcp_flags, icmp: None, ttl, length }
    }

    /// Why this machine cannot run it.
    pub(crate) fn obstacle(&self) -> Option<String> {
        if !is_root() {
            return Some("not root: run it with sudo or in a guest".to_owned());
        }
        let missing = missing_commands(&[TOOLS, self.needs].concat());
        if !missing.is_empty() {
            return Some(format!("not installed: {}", missing.join(", ")));
        }
        crate::programs::obstacle().filter(|_| self.programs)
    }

    /// Makes the fault, sends the traffic, and compares what is said with the truth.
    pub(crate) fn run(&self) {
        let _alone = crate::bed::alone();
        let watch = Watch::start().expect("root may read the kernel's trace events");
        let bed = Bed::make();
        for (who, commands) in self.set_up {
            bed.run(who, commands);
        }
        let before = bed.state(self.at.0);
        watch.clear();
        let held = (self.traffic)(&bed);
        std::thread::sleep(Duration::from_millis(50));
        let after = bed.state(self.at.0);
        let others: Vec<NetState> =
            WHO.iter().filter(|who| **who != self.at.0).map(|who| bed.state(who)).collect();
        std::mem::drop(held);
        let drop = (!self.kernel.is_empty()).then(|| self.drop_among(&watch.seen()));
        self.judge(&before, &after, &others, drop.as_ref());
    }

    /// The kernel's own word for the drop, which has to be one that we know of.
    fn drop_among(&self, seen: &[Seen]) -> Drop {
        let ours = |seen: &&Seen| {
            self.kernel.iter().any(|(reason, function)| {
                seen.reason == *reason
                    && seen.stack.first().is_some_and(|f| f.starts_with(function))
            })
        };
        let heads: Vec<_> = seen.iter().map(|s| (&s.reason, s.stack.first())).collect();
        let found = seen.iter().find(ours).unwrap_or_else(|| panic!("only {heads:?} was dropped"));
        Drop {
            reason: found.reason.as_str().into(),
            function: found.stack.first().map_or("", String::as_str).into(),
            stack: found.stack.iter().map(|name| name.as_str().into()).collect(),
            netfilter: hook(&found.stack),
        }
    }

    fn judge(&self, before: &NetState, after: &NetState, others: &[NetState], drop: Option<&Drop>) {
        let index = |name: &str| after.link_named(name).map_or(0, |link| link.index);
        let tuple = self.tuple();
        let original = self.asked.map(|asked| Tuple {
            destination: asked.parse().expect("an address"),
            ..tuple.clone()
        });
        let blame = explain(&Incident {
            drop,
            tuple: &tuple,
            original: original.as_ref(),
            came_in: index(self.at.1),
            device: index(self.at.2),
            mark: 0,
            control_group: self.group,
            before: Some(before),
            state: after,
            others,
        });
        println!("{drop:?}\n{blame:#?}");
        assert_eq!(blame.category, self.category, "{blame:#?}");
        for part in self.object {
            assert!(blame.object.contains(part), "object without {part:?}: {blame:#?}");
        }
        assert!(blame.advice.contains(self.advice), "advice lacks {:?}: {blame:#?}", self.advice);
        assert!(!self.advice.is_empty() && !self.object.is_empty(), "a fault without a truth");
    }
}

/// The hook behind `nf_hook_slow` on the stack.
fn hook(stack: &[String]) -> Option<NetfilterHook> {
    let at = stack.iter().rposition(|name| name == "nf_hook_slow")?;
    let caller = stack.get(at + 1)?;
    Some(match caller.as_str() {
        "ip_rcv" | "ip_sabotage_in" => NetfilterHook::Prerouting,
        "ip_local_deliver" => NetfilterHook::Input,
        "ip_forward" => NetfilterHook::Forward,
        "__ip_local_out" => NetfilterHook::Output,
        "ip_output" => NetfilterHook::Postrouting,
        _ => return None,
    })
}
