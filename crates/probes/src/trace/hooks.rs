//! The hooks of a trace, by tier, and which of them work here.

use crate::Result;
use crate::btf::KernelBtf;

use super::{Options, Tracer};

/// How a hook is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Typed tracepoints: always on, on every kernel with BTF.
    Tracepoint,
}

impl Tier {
    /// As the doctor prints it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tracepoint => "tp_btf",
        }
    }
}

/// One hook of a trace and whether it works on the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceHook {
    /// The tracepoint or function.
    pub hook: &'static str,
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

/// Loads and attaches all hooks of a trace that matches no packet, and says which
/// of them work. They are off again when this returns.
///
/// # Errors
/// When none can be loaded.
pub fn probe() -> Result<Vec<TraceHook>> {
    let kernel = KernelBtf::load()?;
    let options = Options { tests: nothing(), ring_bytes: 4096, budget: 1, ..Options::default() };
    let tracer = Tracer::start(&options)?;
    Ok(HOOKS
        .iter()
        .map(|&(program, hook, gives)| {
            let refused = tracer.off().iter().find(|off| off.program == program);
            let refused = refused.map(|off| {
                if kernel.has_tracepoint(hook) {
                    off.why.clone()
                } else {
                    "this kernel does not have it".to_owned()
                }
            });
            TraceHook { hook, tier: Tier::Tracepoint, gives, refused }
        })
        .collect())
}
