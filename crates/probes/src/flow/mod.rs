//! TCP and UDP edges, counted in the kernel.
//!
//! An edge is who talks to which server port, seen from one end; a connection per
//! request leaves no record per connection. What belongs to a connection comes
//! from its socket, what belongs to a packet is counted where packets pass; see
//! `flow.bpf.c`. Reading is a difference of running totals, so nothing is lost
//! however seldom it happens.

mod delta;
mod drops;
mod edges;
mod raw;
mod reason;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use libbpf_rs::{Iter, Link, MapCore, MapFlags};

pub use delta::{DropDelta, DropEnds, EdgeDelta, ListenerDelta};
pub use raw::EdgeKey;
pub use reason::DropReasons;

use crate::btf::KernelBtf;
use crate::{Attached, Error, Off, Result, as_bytes, attach_all, load_tolerant};
use delta::Seen;
use skeleton::types::{flow_listener, flow_listener_key};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/flow.skel.rs"));
}

/// Reasons of `enum flow_loss`, in its order.
pub const LOSSES: [&str; 9] = [
    "edges_full",
    "socket_storage",
    "fragment",
    "header",
    "drops_full",
    "listeners_full",
    "failures_full",
    "shared_edge",
    "syn_only",
];

/// Programs, and what is not seen without them.
pub const PROGRAMS: [(&str, &str); 15] = [
    ("on_state", "TCP connects, roles, failures"),
    ("on_destroy", "resets sent by close"),
    ("on_queue", "packets sent, UDP edges"),
    ("on_receive", "packets received, UDP bytes received"),
    ("on_retransmit", "retransmits"),
    ("on_retransmit_synack", "retransmits of SYN-ACK"),
    ("on_send_reset", "resets sent"),
    ("on_receive_reset", "resets received"),
    ("on_drop", "drops and their reasons"),
    ("scan_files", "connections and listeners from before the start"),
    ("settle_all", "bytes of connections that stay open"),
    ("report_edges", "everything"),
    ("report_drops", "drops and their reasons"),
    ("on_bind4", "the first datagrams to a UDP server, up to the next scan"),
    ("on_bind6", "the first datagrams to a UDP server, up to the next scan"),
];

/// Programs that are attached by hand: iterators, and those of a control group.
const BY_HAND: [&str; 6] =
    ["scan_files", "settle_all", "report_edges", "report_drops", "on_bind4", "on_bind6"];

/// Polls between two looks for UDP servers.
const RESCAN_EVERY: u32 = 10;

/// Which sockets are accounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All of this machine.
    #[default]
    All,
    /// Those of some network namespaces, by inode.
    Netns(Vec<u32>),
}

/// How the collector runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which sockets.
    pub scope: Scope,
    /// Root of the unified control group hierarchy, where the binding of UDP
    /// servers is seen; without it they are found by scans.
    pub cgroup_root: Option<PathBuf>,
    /// Edges held at a time.
    pub max_edges: u32,
    /// Polls after which an edge without connection or packet is forgotten (looked
    /// for at every tenth poll).
    pub idle_polls: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { scope: Scope::All, cgroup_root: None, max_edges: 8192, idle_polls: 300 }
    }
}

/// What one poll found.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Edges on which something happened or a connection is open.
    pub edges: Vec<EdgeDelta>,
    /// Dropped packets.
    pub drops: Vec<DropDelta>,
    /// All listening TCP ports.
    pub listeners: Vec<ListenerDelta>,
}

/// The running collector. Dropping it detaches and unloads everything.
pub struct FlowCollector {
    skel: skeleton::FlowSkel<'static>,
    options: Options,
    reasons: DropReasons,
    edges: HashMap<Vec<u8>, Seen>,
    drops: HashMap<Vec<u8>, drops::Seen>,
    overflows: HashMap<Vec<u8>, u64>,
    lost: [u64; LOSSES.len()],
    polls: u32,
    off: Vec<Off>,
    settle: Option<Link>,
    report: Link,
    report_drops: Option<Link>,
    scan: Option<Link>,
    _links: Vec<Link>,
}

impl FlowCollector {
    /// Loads and attaches what this kernel accepts, then takes in what is there:
    /// listening ports and open connections of every process.
    pub fn start(options: Options) -> Result<Self> {
        let kernel = KernelBtf::load()?;
        let reasons = DropReasons::of(&kernel);
        let (skel, mut off) = load_tolerant(
            "flow",
            &["on_state", "report_edges"],
            skeleton::FlowSkelBuilder::default,
            |open| configure(open, &options, &kernel, &reasons),
        )?;
        if let Scope::Netns(inodes) = &options.scope {
            inodes.iter().try_for_each(|inode| allow(&skel, *inode))?;
        }
        let Attached { mut links, off: unattached } = attach_all(&skel, &BY_HAND);
        off.extend(unattached);
        links.extend(watch_binds(&skel, &options, &mut off));
        let mut collector = Self {
            settle: attached("settle_all", &mut off, || {
                skel.progs.settle_all.attach_iter(skel.maps.conns.as_fd())
            }),
            report: skel
                .progs
                .report_edges
                .attach_iter(skel.maps.edges.as_fd())
                .map_err(Error::bpf("attaching flow/report_edges"))?,
            report_drops: attached("report_drops", &mut off, || {
                skel.progs.report_drops.attach_iter(skel.maps.drops.as_fd())
            }),
            scan: attached("scan_files", &mut off, || skel.progs.scan_files.attach()),
            reasons,
            skel,
            options,
            edges: HashMap::new(),
            drops: HashMap::new(),
            overflows: HashMap::new(),
            lost: [0; LOSSES.len()],
            polls: 0,
            off,
            _links: links,
        };
        collector.scan_round(0)?;
        collector.scan_round(1)?;
        Ok(collector)
    }

    /// Programs that do not run here, and why; [`PROGRAMS`] says what is not seen then.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Edges held now; [`Options::max_edges`] at most.
    pub fn edges_held(&self) -> usize {
        self.edges.len()
    }

    /// Also accounts a network namespace (by inode), with the connections that are
    /// open in it. Without effect where [`Scope::All`] was asked for.
    pub fn watch(&mut self, inode: u32) -> Result<()> {
        let Scope::Netns(inodes) = &mut self.options.scope else { return Ok(()) };
        if inodes.contains(&inode) {
            return Ok(());
        }
        inodes.push(inode);
        allow(&self.skel, inode)?;
        self.scan_round(0)?;
        self.scan_round(1)
    }

    /// Takes a network namespace out of the scope: no new edge is made for it.
    pub fn unwatch(&mut self, inode: u32) {
        let Scope::Netns(inodes) = &mut self.options.scope else { return };
        inodes.retain(|known| *known != inode);
        // It may be out already; what matters is that it is.
        let _ = self.skel.maps.scope.delete(&inode.to_ne_bytes());
    }

    /// What came since the last poll.
    pub fn poll(&mut self) -> Result<Batch> {
        self.polls = self.polls.wrapping_add(1);
        let (mut edges, mut drops) = (Vec::new(), Vec::new());
        if self.polls.is_multiple_of(RESCAN_EVERY) {
            self.scan_round(0)?;
            edges = self.forget_idle()?;
            drops = self.forget_idle_drops();
        }
        if let Some(link) = &self.settle {
            run(link, "looking at open connections")?;
        }
        edges.extend(self.read_edges()?);
        drops.extend(self.read_drops()?);
        let listeners = self.read_listeners()?;
        Ok(Batch { edges, drops, listeners })
    }

    /// Packets thrown away with the queues of closed sockets, since the start. That
    /// is usual, so they are not among the drops.
    pub fn purged(&self) -> Result<u64> {
        raw::per_cpu_sum(&self.skel.maps.purged, 0)
    }

    /// Everything that could not be seen since the last call: reason and count.
    pub fn losses(&mut self) -> Result<Vec<(&'static str, u64)>> {
        let mut out = Vec::new();
        for (index, reason) in LOSSES.iter().enumerate() {
            let total = raw::per_cpu_sum(&self.skel.maps.losses, index as u32)?;
            let new = total - std::mem::replace(&mut self.lost[index], total);
            if new > 0 {
                out.push((*reason, new));
            }
        }
        Ok(out)
    }

    /// Walks over all sockets that processes hold: round 0 finds who listens,
    /// round 1 who is connected, whose role follows from the first.
    fn scan_round(&mut self, round: u32) -> Result<()> {
        let Some(link) = &self.scan else { return Ok(()) };
        if let Some(bss) = self.skel.maps.bss_data.as_deref_mut() {
            bss.scan_round = round;
        }
        run(link, "looking for sockets").map(drop)
    }

    fn read_listeners(&mut self) -> Result<Vec<ListenerDelta>> {
        let map = &self.skel.maps.listeners;
        let mut out = Vec::new();
        for (key, value) in crate::maps::entries::<flow_listener_key, flow_listener>(map)? {
            if value.sockets == 0 {
                raw::remove::<_, flow_listener>(map, &key);
            }
            if key.netns == 0 || raw::transport(key.proto) == taproot_model::Transport::Udp {
                continue;
            }
            let before = self.overflows.insert(as_bytes(&key).to_vec(), value.drops);
            out.push(ListenerDelta {
                netns: key.netns,
                netns_inode: value.netns_inum,
                cgroup: value.owner,
                port: key.port,
                overflows: value.drops.saturating_sub(before.unwrap_or_default()),
                backlog: value.backlog,
                backlog_limit: value.backlog_limit,
            });
            if value.sockets == 0 {
                self.overflows.remove(as_bytes(&key));
            }
        }
        Ok(out)
    }
}

fn configure(
    open: &mut skeleton::OpenFlowSkel<'static>,
    options: &Options,
    kernel: &KernelBtf,
    reasons: &DropReasons,
) -> Result<()> {
    if let Some(data) = open.maps.rodata_data.as_deref_mut() {
        data.scope_all = options.scope == Scope::All;
        data.syn_only_limit = options.max_edges / 4;
        data.purge_reason = reasons.number("QUEUE_PURGE").unwrap_or(0);
        data.retransmit_error_at =
            kernel.tracepoint_argument("tcp_retransmit_skb", "err").unwrap_or(0) as u32;
    }
    let edges = &mut open.maps.edges;
    edges.set_max_entries(options.max_edges).map_err(Error::bpf("sizing the table of edges"))?;
    let packets = &mut open.maps.packets;
    packets.set_max_entries(options.max_edges).map_err(Error::bpf("sizing the table of packets"))
}

/// Lets the programs account a network namespace.
fn allow(skel: &skeleton::FlowSkel<'static>, inode: u32) -> Result<()> {
    let scope = &skel.maps.scope;
    scope
        .update(&inode.to_ne_bytes(), &[1], MapFlags::ANY)
        .map_err(Error::bpf("widening the scope of flows (at most 1024 network namespaces)"))
}

/// Links of the programs that see UDP servers bind; without them scans do.
fn watch_binds(
    skel: &skeleton::FlowSkel<'static>,
    options: &Options,
    off: &mut Vec<Off>,
) -> Vec<Link> {
    let Some(root) = &options.cgroup_root else { return Vec::new() };
    let root = match File::open(root) {
        Ok(root) => root,
        Err(why) => {
            let why = format!("{}: {why}", root.display());
            off.push(Off { program: "on_bind4".to_owned(), why });
            return Vec::new();
        }
    };
    [("on_bind4", &skel.progs.on_bind4), ("on_bind6", &skel.progs.on_bind6)]
        .into_iter()
        .filter_map(|(name, p)| attached(name, off, || p.attach_cgroup(root.as_raw_fd())))
        .collect()
}

/// Attaches one program, or says that it is off (unless that is known already).
fn attached(
    program: &str,
    off: &mut Vec<Off>,
    attach: impl FnOnce() -> libbpf_rs::Result<Link>,
) -> Option<Link> {
    if off.iter().any(|o| o.program == program) {
        return None;
    }
    attach().map_err(|e| off.push(Off { program: program.to_owned(), why: e.to_string() })).ok()
}

/// Runs an iterator to its end and returns what it wrote.
fn run(link: &Link, what: &'static str) -> Result<Vec<u8>> {
    let mut iterator = Iter::new(link).map_err(Error::bpf(what))?;
    let mut written = Vec::new();
    iterator.read_to_end(&mut written).map_err(Error::io(what))?;
    Ok(written)
}
