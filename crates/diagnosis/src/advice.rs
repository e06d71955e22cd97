//! What to do about each class, and the commands that show the same by other means.

mod rarer;

use crate::fault::{Class, Finding};
use crate::place::Place;
use crate::report::Advice;
use crate::scene::Scene;
use taproot_model::{Entity, EntityId, Name};

/// The names that advice needs.
struct Names<'a> {
    finding: &'a Finding,
    /// The place, in words.
    place: String,
    /// The entity at the place: the victim, or the server of a link.
    entity: Option<&'a Entity>,
    /// The calling end of a link, else the same entity.
    client: Option<&'a Entity>,
    culprit: Option<&'a Entity>,
}

impl<'a> Names<'a> {
    fn of(scene: &'a Scene<'_>, finding: &'a Finding) -> Self {
        let get = |id: &EntityId| scene.entities.get(id);
        let (entity, client) = match &finding.place {
            Place::Entity { id, .. } => (get(id), get(id)),
            Place::Link { edge, .. } => (get(&edge.server), get(&edge.client)),
            Place::Service { service } => {
                let first = scene.instances(service).next();
                (first, first)
            }
        };
        let culprit = finding.culprit_entity.as_ref().and_then(get);
        Self { finding, place: finding.place.words(), entity, client, culprit }
    }

    fn fact(&self, name: &str) -> Option<&str> {
        self.finding.facts.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    fn fact_or<'s>(&'s self, name: &str, other: &'s str) -> &'s str {
        self.fact(name).unwrap_or(other)
    }
}

/// `namespace/pod` arguments for kubectl, if the entity is a pod's.
fn pod(entity: Option<&Entity>) -> Option<String> {
    let e = entity.filter(|e| !e.pod.is_empty() && !e.namespace.is_empty())?;
    Some(format!("-n {} {}", e.namespace, e.pod))
}

/// `namespace kind/name` of the workload, if there is one.
fn workload(entity: Option<&Entity>) -> Option<String> {
    let e = entity.filter(|e| !e.workload.is_empty() && !e.namespace.is_empty())?;
    Some(format!("-n {} {}/{}", e.namespace, e.workload_kind.to_lowercase(), e.workload))
}

/// Shows a control group's file wherever it is: beneath the root of v2, or of the
/// file's own controller where the node still has v1 (the shell expands both).
fn cgroup_file(entity: Option<&Entity>, file: &str) -> Option<String> {
    let path: &Name = &entity?.cgroup_path;
    let path = path.trim_matches('/');
    let controller = file.split('.').next()?;
    let show = || format!("cat /sys/fs/cgroup{{,/{controller}}}/{path}/{file} 2>/dev/null");
    (!path.is_empty()).then(show)
}

/// Advice for a class; of a finding, with its names and figures.
pub(crate) fn advice(scene: &Scene<'_>, class: Class, finding: Option<&Finding>) -> Advice {
    let page = !matches!(class, Class::Healthy | Class::LoadGrew | Class::Unknown);
    let page = page.then(|| format!("docs/faults/{}.md", class.id()));
    let Some(finding) = finding else {
        return Advice { fix: general(class), commands: Vec::new(), page };
    };
    let names = Names::of(scene, finding);
    // What followed packets named is nearer than what is usual for the class.
    let named = names.fact("object_fix").map(str::to_owned);
    let undo = names.fact("undo").map(str::to_owned);
    let fix = named.into_iter().chain(undo).chain(fix(&names)).collect();
    let commands = commands(&names);
    Advice { fix, commands, page }
}

fn general(class: Class) -> Vec<String> {
    let text = match class {
        Class::LoadGrew => {
            "nothing is broken; if the growth stays, add instances or raise limits before latency follows"
        }
        Class::Unknown => {
            "look at the place where the trouble begins with its own logs and traces, and at \
             what could not be seen (below): turning that on may decide it"
        }
        _ => return Vec::new(),
    };
    vec![text.to_owned()]
}

fn fix(n: &Names<'_>) -> Vec<String> {
    let place = &n.place;
    let culprit = &n.finding.culprit;
    match n.finding.class {
        Class::NoisyNeighbour => cpu_neighbour(n),
        Class::CpuLimit => vec![
            format!(
                "raise the CPU limit of {place} (now {} CPUs), or remove it and keep the request",
                n.fact_or("cpu_limit", "not known how many")
            ),
            "or give it less to do: more instances, fewer threads than CPUs".to_owned(),
        ],
        Class::FdExhaustion => fd(n),
        Class::WrongRoute => vec![
            "compare the two routes: replies must leave by the interface the requests came in on \
             (a second address needs a policy rule: ip rule add from ADDRESS table TABLE)"
                .to_owned(),
            "undo the last change of routes, rules or addresses if it fits in time".to_owned(),
            "only if the asymmetry is wanted: net.ipv4.conf.IFACE.rp_filter=2 (loose)".to_owned(),
        ],
        Class::PacketLoss => vec![
            format!(
                "find who drops on the way ({}): a firewall rule or network policy, a full queue, a bad line",
                n.fact_or(
                    "drop_reason",
                    "the kernel here saw no drop, so it is outside this machine"
                )
            ),
            "undo the last firewall or policy change if it fits in time".to_owned(),
        ],
        Class::LinkDelay => vec![
            format!("{place}: look for a new hop, tunnel, proxy or traffic shaping on the way"),
            "until it is found, bring the two ends closer (same node or zone)".to_owned(),
        ],
        Class::SlowDownstream => vec![
            format!(
                "look into {culprit} itself (its code, its locks, its own database): its CPU, memory and links are healthy"
            ),
            "callers: a timeout and a fallback keep its slowness from spreading".to_owned(),
        ],
        _ => fix_more(n),
    }
}

fn fix_more(n: &Names<'_>) -> Vec<String> {
    let place = &n.place;
    let culprit = &n.finding.culprit;
    match n.finding.class {
        Class::ConnectionRefused => vec![
            format!(
                "start {culprit} again, or make it listen on port {}",
                n.fact_or("port", "asked for")
            ),
            "if it runs: compare the port it listens on with the one its callers use".to_owned(),
        ],
        Class::OomKill => vec![
            format!(
                "raise the memory limit of {place} (now {}), or find what grows in it",
                n.fact_or("memory_limit", "not known")
            ),
            "if the growth never stops it is a leak: a higher limit only postpones the kill"
                .to_owned(),
        ],
        Class::Crash => vec![
            format!("read the last words of {place} (above) and its log before the end"),
            "if it began with a new version, go back to the old one".to_owned(),
        ],
        Class::ConntrackFull => vec![
            format!(
                "raise the limit (net.netfilter.nf_conntrack_max, now {}) and the memory for it",
                n.fact_or("conntrack_limit", "not known")
            ),
            "find who opens so many connections; reuse them, or shorten the timeouts of dead ones"
                .to_owned(),
        ],
        Class::ListenOverflow => vec![
            format!("find why {place} does not call accept: a blocked main loop, too few workers"),
            "raise its listen backlog (and net.core.somaxconn) if bursts are normal".to_owned(),
        ],
        Class::DnsFailure => vec![
            format!("look at the name server {culprit}: is it up, does it reach its upstream"),
            "callers: cache answers, and keep using the old address when a lookup fails".to_owned(),
        ],
        Class::LogOnly => vec![format!(
            "read the log of {place}: the program itself says what is wrong; no resource or link is"
        )],
        Class::MemoryPressure => vec![format!(
            "raise the memory limit of {place} (now {}) before the kernel kills it",
            n.fact_or("memory_limit", "not known")
        )],
        Class::PidsLimit => vec![format!(
            "raise the pids limit of {place} (now {}), or find what starts so many threads",
            n.fact_or("pids_limit", "not known")
        )],
        _ => rarer::fix(n),
    }
}

fn cpu_neighbour(n: &Names<'_>) -> Vec<String> {
    let culprit = &n.finding.culprit;
    let mut out = vec![match n.fact_or("culprit_cpu_limit", "none") {
        _ if n.fact("culprit_is_node").is_some() => {
            "find what runs there outside of any pod (top, systemd-cgtop), and limit or move it"
                .to_owned()
        }
        "none" => format!("give {culprit} a CPU limit: it has none; or move it to another node"),
        limit => format!(
            "lower the CPU limit of {culprit} (now {limit} CPUs), or move it to another node"
        ),
    }];
    out.push(format!("give {} a CPU request, so that its share is kept for it", n.place));
    if let Some(limit) = n.fact("cpu_limit") {
        out.push(format!("its own limit of {limit} CPUs leaves no room to catch up: raise it"));
    }
    out
}

fn fd(n: &Names<'_>) -> Vec<String> {
    let place = &n.place;
    let kind = n.fact("fd_kind").map_or_else(String::new, |k| format!(" (they are of kind {k})"));
    vec![
        format!("restart {place} to gain time, then find where it forgets to close{kind}"),
        format!(
            "raise the limit (LimitNOFILE, ulimit -n; now {}) only to gain more time",
            n.fact_or("fd_limit", "not known")
        ),
    ]
}

fn commands(n: &Names<'_>) -> Vec<String> {
    let mut out: Vec<Option<String>> = Vec::new();
    let victim = n.entity;
    let of_pod = |verb: &str, e: Option<&Entity>| pod(e).map(|p| format!("kubectl {verb} {p}"));
    match n.finding.class {
        Class::NoisyNeighbour => {
            out.push(of_pod("top pod", n.culprit));
            out.push(pod(victim).and(victim).map(|e| {
                format!("kubectl get pods -A -o wide --field-selector spec.nodeName={}", e.node)
            }));
            out.push(cgroup_file(victim, "cpu.stat"));
            out.push(cgroup_file(n.culprit, "cpu.stat"));
            out.push(Some(
                "pidstat -u -w 1 5    # %wait of the victim, %CPU of the neighbour".into(),
            ));
        }
        Class::CpuLimit => {
            out.push(
                workload(victim)
                    .map(|w| format!("kubectl get {w} -o jsonpath='{{..resources.limits.cpu}}'")),
            );
            out.push(cgroup_file(victim, "cpu.{max,cfs_quota_us}"));
            out.push(
                cgroup_file(victim, "cpu.stat").map(|c| c + "    # nr_throttled, throttled_usec"),
            );
        }
        Class::FdExhaustion => {
            out.push(
                pod(victim).map(|p| format!("kubectl exec {p} -- sh -c 'ls /proc/1/fd | wc -l'")),
            );
            out.push(Some(
                "ls -l /proc/PID/fd | awk '{print $NF}' | sort | uniq -c | sort -n | tail".into(),
            ));
            out.push(Some("grep 'open files' /proc/PID/limits".into()));
        }
        Class::OomKill | Class::MemoryPressure => {
            out.push(of_pod("describe pod", victim));
            out.push(cgroup_file(victim, "memory.events"));
            out.push(Some("dmesg | grep -i 'oom\\|killed process' | tail".into()));
        }
        Class::Crash | Class::LogOnly => {
            out.push(pod(victim).map(|p| format!("kubectl logs --previous {p}")));
            out.push(of_pod("describe pod", victim));
        }
        Class::PidsLimit => out.push(cgroup_file(victim, "pids.events")),
        _ => out.extend(network_commands(n).into_iter().map(Some)),
    }
    out.into_iter().flatten().collect()
}

fn network_commands(n: &Names<'_>) -> Vec<String> {
    let port = n.fact_or("port", "PORT");
    let address = n.fact_or("address", "SERVER_ADDRESS");
    let service = match &n.finding.place {
        Place::Link { server, .. } => server.to_string(),
        other => other.words(),
    };
    let inside = pod(n.client).map(|p| format!("kubectl exec {p} -- "));
    let inside = inside.unwrap_or_else(|| "nsenter -t PID -n ".to_owned());
    let list: Vec<String> = match n.finding.class {
        Class::WrongRoute => vec![
            format!("{inside}ip route get {address}"),
            format!("{inside}ip rule; {inside}ip route show table all"),
            format!("{inside}nstat -az TcpExtIPReversePathFilter IpOutNoRoutes"),
            format!("tcpdump -ni any 'tcp port {port} and tcp[tcpflags] & tcp-syn != 0'"),
        ],
        Class::PacketLoss => vec![
            format!("{inside}nstat -az TcpRetransSegs TcpExtTCPTimeouts"),
            format!("{inside}ss -tin    # retrans per connection"),
            "iptables -L -v -n; nft list ruleset    # counters of DROP rules".to_owned(),
        ],
        Class::LinkDelay => vec![
            format!("{inside}ss -tin    # rtt per connection"),
            format!("{inside}ping -c 10 {address}"),
            "tc -s qdisc show".to_owned(),
        ],
        Class::ConnectionRefused => vec![
            pod(n.entity).map_or_else(
                || format!("ss -ltnp 'sport = :{port}'"),
                |p| format!("kubectl get pod {p} -o wide; kubectl logs --previous {p}"),
            ),
            format!("{inside}nc -vz {address} {port}"),
        ],
        Class::ConntrackFull => vec![
            format!(
                "{inside}sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max"
            ),
            format!("{inside}conntrack -S    # drop, insert_failed"),
            "dmesg | grep 'nf_conntrack: table full'".to_owned(),
        ],
        Class::ListenOverflow => vec![
            "ss -ltn    # Recv-Q at or above Send-Q".to_owned(),
            "nstat -az TcpExtListenOverflows TcpExtListenDrops".to_owned(),
        ],
        Class::DnsFailure => vec![
            format!("{inside}cat /etc/resolv.conf"),
            format!("{inside}nslookup NAME    # or: dig NAME @SERVER"),
            "kubectl -n kube-system logs -l k8s-app=kube-dns --tail=50".to_owned(),
        ],
        Class::SlowDownstream => vec![format!("taproot requests --service {service} --watch")],
        _ => rarer::commands(n),
    };
    list
}
