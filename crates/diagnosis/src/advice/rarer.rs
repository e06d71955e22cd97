//! Advice for the classes that one seldom meets, or whose fix is a sentence.

use super::{Names, cgroup_file, pod, workload};
use crate::fault::Class;

pub(super) fn fix(n: &Names<'_>) -> Vec<String> {
    let place = &n.place;
    let culprit = &n.finding.culprit;
    let lines: Vec<String> = match n.finding.class {
        Class::QueueLimit => vec![
            format!("{place}: raise the rate of the shaper or device, or send less over it"),
            "give what matters a class of its own, so that bulk transfers do not fill the queue"
                .into(),
        ],
        Class::FirewallDrop => vec![
            format!(
                "find the rule or policy that drops (reason {}) and allow port {}",
                n.fact_or("drop_reason", "not known"),
                n.fact_or("port", "asked for")
            ),
            "undo the last firewall or policy change if it fits in time".into(),
        ],
        Class::NoEndpoints => vec![
            format!("compare the selector of {culprit} with the labels of its pods, and the ports"),
            "find why its pods are not ready: their probes, their own dependencies".into(),
        ],
        Class::StaleAddress => vec![
            format!(
                "make the caller ask for the name again: {} is nobody's address any more",
                n.fact_or("address", "the address it uses")
            ),
            "take the address out of whatever still hands it out".into(),
        ],
        Class::MtuBlackHole => vec![
            "let ICMP \"fragmentation needed\" (IPv6: \"packet too big\") pass all filters".into(),
            "set the MTU of tunnels to what the smallest link takes, or clamp the MSS".into(),
        ],
        Class::PortExhaustion => vec![
            format!("{place}: reuse connections (keep-alive, a pool) instead of opening new ones"),
            "widen net.ipv4.ip_local_port_range; allow net.ipv4.tcp_tw_reuse=1".into(),
        ],
        Class::ReceiverStalled => {
            vec![format!("find what keeps {place} from reading: a lock, a full queue, a slow disk")]
        }
        Class::UdpOverflow => vec![
            format!("{place}: read with more threads (SO_REUSEPORT) or many at once (recvmmsg)"),
            "enlarge its buffer (SO_RCVBUF, net.core.rmem_max) against bursts".into(),
        ],
        Class::SynFlood => vec![
            "keep net.ipv4.tcp_syncookies=1; raise net.ipv4.tcp_max_syn_backlog".into(),
            format!("limit or block the source before it reaches {place}"),
        ],
        Class::ResetStorm => vec![
            format!("look at {culprit}: does it restart, shed load, or close idle connections?"),
            "make the idle timeout of callers shorter than the server's".into(),
        ],
        _ => return more(n),
    };
    lines
}

fn more(n: &Names<'_>) -> Vec<String> {
    let place = &n.place;
    match n.finding.class {
        Class::CorruptPackets => {
            vec![
                "replace the cable, port or adapter whose counters move; try without offloads"
                    .into(),
            ]
        }
        Class::PacketBacklog => {
            vec![format!(
                "spread the work of {place} over more CPUs (more queues, RPS, irqbalance)"
            )]
        }
        Class::DiskSlow => vec![
            format!("find who else uses the disk of {place}, and what it flushes (fsync)"),
            "raise its I/O limit, or take a faster disk".into(),
        ],
        Class::DiskFull => {
            vec![format!("remove or move what grows at {place}; enlarge the volume")]
        }
        Class::DiskFault => vec![
            format!("move {place} to another node, then look at the device and the kernel's log"),
            "if it is read-only on purpose, give the program a volume to write to".into(),
        ],
        Class::NodePressure => vec![
            "move workloads away, or give them requests and limits that fit the node".into(),
            "find who grows there (kubectl top pod -A)".into(),
        ],
        Class::Stopped => {
            vec![format!("continue {place} (kill -CONT, thaw its control group, end the debugger)")]
        }
        Class::Deadlock => vec![
            format!("take the stacks of {place}, then restart it to serve again"),
            "take locks in one order; give every wait a timeout".into(),
        ],
        Class::Stall => vec![
            format!("look at the garbage collector or event loop of {place} at those moments"),
            "give the heap room, or move long computations aside".into(),
        ],
        Class::ErrorBurst => vec![
            format!("look at what {place} answers, and at what was deployed or configured last"),
            "callers: retry only what may be repeated, with a limit".into(),
        ],
        Class::CodeError => vec![
            format!("read the new error in the log of {place}: it names the place in the code"),
            "if it began with a new version, go back to the old one".into(),
        ],
        Class::PoolExhausted => vec![
            format!(
                "make the calls of {place} shorter, or its pool of {} larger",
                n.fact_or("open", "connections")
            ),
            "give the wait for a connection a timeout, so that callers fail fast".into(),
        ],
        Class::Rollout => vec![
            format!("undo the rollout of {place}, or correct what the event names"),
            n.fact("change").map_or_else(|| "see the events".into(), |c| format!("it was: {c}")),
        ],
        Class::Change => vec![format!(
            "undo it and see whether the trouble ends: {}",
            n.fact_or("change", "the change")
        )],
        _ => Vec::new(),
    }
}

pub(super) fn commands(n: &Names<'_>) -> Vec<String> {
    let victim = n.entity;
    let port = n.fact_or("port", "PORT");
    let address = n.fact_or("address", "SERVER_ADDRESS");
    let inside = pod(n.client).map(|p| format!("kubectl exec {p} -- "));
    let inside = inside.unwrap_or_else(|| "nsenter -t PID -n ".to_owned());
    let counters = |names: &str| vec![format!("{inside}nstat -az {names}")];
    let events = || pod(victim).map(|p| format!("kubectl describe pod {p}"));
    let file = |name: &str| cgroup_file(victim, name);
    let some = |list: [Option<String>; 2]| list.into_iter().flatten().collect();
    match n.finding.class {
        Class::QueueLimit => vec!["tc -s qdisc show    # dropped, overlimits, backlog".into()],
        Class::FirewallDrop => vec![
            format!("taproot trace 'host {address} and tcp port {port}' --explain"),
            "iptables-save -c; nft list ruleset    # whose counter moves".into(),
        ],
        Class::NoEndpoints => vec!["kubectl get endpointslice -A -o wide".into()],
        Class::StaleAddress => vec![format!("{inside}ip neigh show {address}    # FAILED")],
        Class::MtuBlackHole => vec![format!("{inside}ping -M do -s 1472 {address}")],
        Class::PortExhaustion => vec![format!("{inside}ss -tan state time-wait | wc -l")],
        Class::ReceiverStalled => counters("TcpExtTCPToZeroWindowAdv TcpExtTCPWinProbe"),
        Class::UdpOverflow => counters("UdpRcvbufErrors"),
        Class::SynFlood => counters("TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop"),
        Class::ResetStorm => counters("TcpEstabResets TcpOutRsts"),
        Class::CorruptPackets => counters("TcpInCsumErrors UdpInCsumErrors"),
        Class::PacketBacklog => vec!["cat /proc/net/softnet_stat    # 2nd column: drops".into()],
        Class::DiskSlow => some([file("io.pressure"), Some("iostat -x 1 5".into())]),
        Class::DiskFull => vec!["df -h; df -i".into()],
        Class::DiskFault => vec!["dmesg | tail -50; mount | grep ' ro[ ,]'".into()],
        Class::NodePressure => vec!["cat /proc/pressure/memory; kubectl describe node".into()],
        Class::Stopped => some([file("cgroup.events"), Some("ps -o pid,state,comm -p PID".into())]),
        Class::Deadlock => vec!["cat /proc/PID/task/*/wchan    # futex_wait everywhere".into()],
        Class::Stall => vec!["perf sched timehist -p PID    # who did not run when".into()],
        Class::ErrorBurst | Class::CodeError => {
            some([pod(victim).map(|p| format!("kubectl logs {p} --since=10m")), None])
        }
        Class::PoolExhausted => vec![format!("{inside}ss -tn state established    # constant")],
        Class::Rollout | Class::Change => {
            some([events(), workload(victim).map(|w| format!("kubectl rollout history {w}"))])
        }
        _ => Vec::new(),
    }
}
