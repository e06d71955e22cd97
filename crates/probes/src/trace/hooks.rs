//! The hooks of a trace, by tier, and which of them work here.

use std::path::Path;

use crate::btf::KernelBtf;
use crate::{Off, Result, doctor};

use super::arguments::functions_with;
use super::{Options, Tracer};

/// How hooks are reached. The later ones cost more and say more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Typed tracepoints: always on, on every kernel with BTF.
    #[default]
    Tracepoint,
    /// Function entry and return, where the kernel allows it: a chosen few that decide.
    Function,
    /// Every function that is given a packet, all by one probe (`kprobe.multi`).
    Every,
}

impl Tier {
    /// As the doctor prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tracepoint => "tp_btf",
            Self::Function => "fexit",
            Self::Every => "kprobe.multi",
        }
    }
}

/// One hook of a trace and whether it works on the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHook {
    /// The tracepoint or function.
    pub hook: String,
    /// How it is reached.
    pub tier: Tier,
    /// What a trace says from it.
    pub gives: &'static str,
    /// Why it is off; `None` when it is on.
    pub refused: Option<String>,
}

/// Program, tracepoint, what it gives.
pub const HOOKS: [(&str, &str, &str); 17] = [
    ("on_receive", "netif_receive_skb", "packets that a device hands up"),
    ("on_queue", "net_dev_queue", "packets handed to a device, and the socket that sends"),
    ("on_transmit", "net_dev_start_xmit", "packets that leave a device's queue"),
    ("on_drop", "kfree_skb", "drops: reason, function, stack"),
    ("on_route", "fib_table_lookup", "IPv4 routes, failed and reverse lookups"),
    ("on_neighbour", "neigh_event_send_done", "link addresses that have to be asked for"),
    ("on_icmp", "icmp_send", "ICMP errors that the kernel answers with"),
    ("on_delivery", "skb_copy_datagram_iovec", "TCP segments that a process reads"),
    ("on_read", "consume_skb", "UDP datagrams that a process has read"),
    ("on_ready", "sk_data_ready", "UDP datagrams that a socket takes"),
    ("on_full", "sock_rcvqueue_full", "full receive queues"),
    ("on_send_reset", "tcp_send_reset", "resets sent, and for which packet"),
    ("on_receive_reset", "tcp_receive_reset", "resets received"),
    ("on_retransmit", "tcp_retransmit_skb", "segments sent again"),
    ("on_retransmit_synack", "tcp_retransmit_synack", "SYN-ACKs sent again"),
    ("on_state", "inet_sock_set_state", "connections that begin and end"),
    ("on_error", "inet_sk_error_report", "errors that a socket tells its process"),
];

/// Program, function, the module it may be in (empty: the kernel itself), what it gives.
pub const FUNCTIONS: [(&str, &str, &str, &str); 11] = [
    ("on_hook", "nf_hook_slow", "", "netfilter's hooks that a packet has passed"),
    ("on_table", "ipt_do_table", "ip_tables", "what each table of iptables decides"),
    ("on_table6", "ip6t_do_table", "ip6_tables", "what each table of ip6tables decides"),
    ("on_chain", "nft_do_chain", "nf_tables", "what each base chain of nftables decides"),
    ("on_translation", "nf_nat_manip_pkt", "nf_nat", "addresses that are written over"),
    ("on_decision", "ip_route_input_noref", "", "where a received IPv4 packet is routed"),
    ("on_decision6", "ip6_route_input", "", "where a received IPv6 packet is routed"),
    ("on_segment", "tcp_v4_do_rcv", "", "IPv4 segments that reach a TCP socket"),
    ("on_segment6", "tcp_v6_do_rcv", "", "IPv6 segments that reach a TCP socket"),
    ("on_datagram", "__udp_enqueue_schedule_skb", "", "datagrams that reach a UDP socket"),
    ("on_group", "__cgroup_bpf_run_filter_skb", "", "refusals by programs of control groups"),
];

/// The program on every function, and what it gives.
pub(super) const ANY: &str = "on_any";
const GIVES_ANY: &str = "every function that is given a packet (--deep)";

/// Programs that only a filter by owner needs.
const OF_OWNERS: [&str; 2] = ["on_softirq", "on_softirq_end"];

/// What is not loaded: because nobody asked for it, or because it cannot be.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Programs that are not tried.
    pub(super) programs: Vec<&'static str>,
    /// Those of them that were asked for, and why they are not tried.
    pub(super) off: Vec<Off>,
}

impl LeftOut {
    /// Decides by trying a tiny program of each kind that is asked for, and by whether
    /// there is such a function.
    pub(super) fn of(tier: Tier, asks_owner: bool) -> Result<Self> {
        let mut left = Self::default();
        if !asks_owner {
            left.programs.extend(OF_OWNERS);
        }
        if tier == Tier::Tracepoint {
            // The kernel's types, which are many, need not be read for this.
            left.programs.extend(FUNCTIONS.map(|(program, ..)| program));
            left.programs.push(ANY);
            return Ok(left);
        }
        let kernel = KernelBtf::load()?;
        let no_functions = doctor::refusal("hook_fexit");
        for (program, function, module, _) in FUNCTIONS {
            match &no_functions {
                Some(why) => left.refuse(program, why.clone()),
                None if is_there(&kernel, function, module) => {}
                None if module.is_empty() => {
                    left.refuse(program, "this kernel does not have it".to_owned());
                }
                None => left.refuse(program, format!("the module {module} is not loaded")),
            }
        }
        match (tier == Tier::Every).then(|| no_probes(&kernel)) {
            None => left.programs.push(ANY),
            Some(Some(why)) => left.refuse(ANY, why),
            Some(None) => {}
        }
        Ok(left)
    }

    fn refuse(&mut self, program: &'static str, why: String) {
        self.programs.push(program);
        self.off.push(Off { program: program.to_owned(), why });
    }
}

/// Why every function cannot be watched here; none where it can.
fn no_probes(kernel: &KernelBtf) -> Option<String> {
    // A probe's arguments have no types; the cast gives them one.
    if !kernel.has_function("bpf_rdonly_cast") {
        return Some("probes cannot read packets here: there is no bpf_rdonly_cast".to_owned());
    }
    doctor::refusal("hook_kprobe_multi")
}

fn is_there(kernel: &KernelBtf, function: &str, module: &str) -> bool {
    let of_module = || Path::new("/sys/kernel/btf").join(module).exists();
    kernel.has_function(function) || (!module.is_empty() && of_module())
}

/// The tier of a program or function that is off.
pub(super) fn tier(off: &Off) -> Tier {
    let program = off.program.as_str();
    if HOOKS.iter().any(|hook| hook.0 == program) || OF_OWNERS.contains(&program) {
        Tier::Tracepoint
    } else if FUNCTIONS.iter().any(|hook| hook.0 == program) {
        Tier::Function
    } else {
        Tier::Every
    }
}

/// A filter that no packet passes: IP of version 0 that has ports.
fn nothing() -> Vec<super::Test> {
    vec![super::Test {
        field: super::Field::Family,
        compare: super::Compare::Equal,
        mask: u32::MAX,
        value: 0xff,
        yes: super::Test::ACCEPT,
        no: super::Test::REJECT,
    }]
}

/// Loads and attaches the hooks of a trace that matches no packet, and says which of
/// them work. They are off again when this returns. Of the probe on every function only
/// the kind is tried.
///
/// # Errors
/// When none can be loaded.
pub fn probe() -> Result<Vec<TraceHook>> {
    let kernel = KernelBtf::load()?;
    let options = Options {
        tests: nothing(),
        ring_bytes: 4096,
        budget: 1,
        tier: Tier::Function,
        ..Options::default()
    };
    let tracer = Tracer::start(&options)?;
    let why = |program: &str| {
        tracer.off().iter().find(|off| off.program == program).map(|off| off.why.clone())
    };
    let tracepoints = HOOKS.iter().map(|&(program, hook, gives)| {
        let refused = why(program).map(|why| {
            if kernel.has_tracepoint(hook) {
                why
            } else {
                "this kernel does not have it".to_owned()
            }
        });
        TraceHook { hook: hook.to_owned(), tier: Tier::Tracepoint, gives, refused }
    });
    let functions = FUNCTIONS.iter().map(|&(program, function, _, gives)| {
        let (hook, refused) = (function.to_owned(), why(program));
        TraceHook { hook, tier: Tier::Function, gives, refused }
    });
    let every = TraceHook {
        hook: format!("{} functions", functions_with("sk_buff").len()),
        tier: Tier::Every,
        gives: GIVES_ANY,
        refused: no_probes(&kernel),
    };
    Ok(tracepoints.chain(functions).chain([every]).collect())
}
