//! What is changed in a network namespace and of a limit, done by hand and told by an
//! agent, with the command that takes it back tried.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use taproot_agent::{Agent, Options, Scope};
use taproot_model::{Change, ChangeKind, Signal, Timestamp};
use taproot_testkit::{need, need_commands, need_root, skip};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// How long a change may take to be told; a guest is emulated.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process in a control group and a network namespace of its own, and an agent that
/// watches the group.
struct Bed {
    agent: Agent,
    name: String,
    pids: PathBuf,
    dirs: Vec<PathBuf>,
    process: Option<Child>,
}

impl Bed {
    /// Builds it. Says why not.
    fn new() -> Result<Self, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Named as a unit's, so that what runs in it is known as one.
        let name = format!("taproot-changes-{}-{number}.service", std::process::id());
        let (unified, pids) = groups(&name)?;
        let options = Options {
            scope: Scope::Cgroup(Path::new("/").join(&name)),
            interval: Duration::from_millis(200),
            log_root: None,
            failures: false,
            ..Options::default()
        };
        let mut dirs = vec![unified.clone()];
        dirs.extend((pids != unified).then(|| pids.clone()));
        let agent = Agent::start(options).map_err(|error| error.to_string());
        let agent = agent.inspect_err(|_| dirs.iter().for_each(|d| drop(fs::remove_dir(d))))?;
        let mut bed = Self { agent, name, pids, dirs, process: None };
        bed.settle(&unified)?;
        Ok(bed)
    }

    fn settle(&mut self, group: &Path) -> Result<(), String> {
        let name = self.name.clone();
        for line in [
            format!("netns add {name}"),
            format!("-n {name} link add a0 type veth peer name a1"),
            format!("-n {name} addr add 10.98.0.1/24 dev a0"),
            format!("-n {name} link set a0 up"),
            format!("-n {name} link set a1 up"),
        ] {
            run(&format!("ip {line}"))?;
        }
        let join = "echo $$ > \"$1/cgroup.procs\" && exec ip netns exec \"$2\" sleep 600";
        let child = Command::new("sh")
            .args(["-c", join, "sh"])
            .arg(group)
            .arg(&name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(child.map_err(|error| error.to_string())?);
        // The namespace is found with the second look at the group.
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let signals = self.agent.tick(&AtomicBool::new(false));
            let known = |s: &Signal| matches!(s, Signal::Metric(m) if m.entity.contains(&name));
            if signals.iter().any(known) {
                (0..3).for_each(|_| drop(self.agent.tick(&AtomicBool::new(false))));
                return Ok(());
            }
        }
        Err(format!("the agent never saw {name}"))
    }

    /// Runs a command in the namespace.
    fn inside(&self, command: &str) {
        let whole = format!("ip netns exec {} sh -c '{command}'", self.name);
        if let Err(why) = run(&whole) {
            panic!("{why}");
        }
    }

    /// Changes told until one holds; all of them.
    fn until(&mut self, wanted: impl Fn(&Change) -> bool) -> Vec<Change> {
        let until = Instant::now() + PATIENCE;
        let mut told = Vec::new();
        while Instant::now() < until && !told.iter().any(&wanted) {
            for signal in self.agent.tick(&AtomicBool::new(false)) {
                if let Signal::Change(change) = signal {
                    told.push(*change);
                }
            }
        }
        // The node's own network may be changed by others meanwhile.
        told.retain(|change| change.entity.contains(&self.name));
        told
    }

    /// Makes a change; it has to be told of the unit, with the time and these words.
    fn change(&mut self, kind: ChangeKind, words: &str, command: &str) -> Change {
        let before = self.agent.now();
        self.inside(command);
        let after = self.agent.now();
        let told = self.until(|change| change.what.contains(words));
        let found = told.iter().find(|change| change.what.contains(words));
        let found = found.unwrap_or_else(|| panic!("`{command}` was told as {told:?}")).clone();
        assert_eq!(found.kind, kind, "{found:?}");
        let late = Timestamp(after.0 + PATIENCE.as_nanos() as u64);
        assert!(before <= found.at && found.at <= late, "{before:?} {found:?} {after:?}");
        found
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = run(&format!("ip netns delete {}", self.name));
        for dir in &self.dirs {
            for _ in 0..50 {
                if fs::remove_dir(dir).is_ok() {
                    break;
                }
                sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The unified group, and the one whose number of processes can be limited.
fn groups(name: &str) -> Result<(PathBuf, PathBuf), String> {
    let mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .map(PathBuf::from)
        .find(|mount| mount.join("cgroup.controllers").exists())
        .ok_or("no unified cgroup hierarchy")?;
    let make = |dir: PathBuf| {
        fs::create_dir(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        Ok::<_, String>(dir)
    };
    let controllers = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    if controllers.split_whitespace().any(|c| c == "pids") {
        let _ = fs::write(mount.join("cgroup.subtree_control"), "+pids");
        let dir = make(mount.join(name))?;
        return Ok((dir.clone(), dir));
    }
    let unified = make(mount.join(name))?;
    let v1 = Path::new("/sys/fs/cgroup/pids").join(name);
    let v1 = make(v1).inspect_err(|_| drop(fs::remove_dir(&unified)))?;
    Ok((unified, v1))
}

fn run(command: &str) -> Result<(), String> {
    let out = Command::new("sh").args(["-c", command]).output().map_err(|e| e.to_string())?;
    let why = String::from_utf8_lossy(&out.stderr).into_owned();
    if out.status.success() { Ok(()) } else { Err(format!("{command}: {why}")) }
}

macro_rules! bed {
    () => {{
        need_root!();
        need_commands!("ip", "nft", "tc", "sysctl");
        match Bed::new() {
            Ok(bed) => bed,
            Err(why) => skip!("{why}"),
        }
    }};
}

#[test]
fn each_change_of_a_network_is_told_with_its_author_and_can_be_taken_back() {
    let mut bed = bed!();
    let route = "10.99.0.0/24 via 10.98.0";
    let mut made = vec![
        bed.change(
            ChangeKind::Route,
            &format!("added route {route}.2 dev a0"),
            &format!("ip route add {route}.2"),
        ),
        bed.change(
            ChangeKind::Route,
            &format!("replaced route {route}.2 dev a0 -> {route}.3 dev a0"),
            &format!("ip route replace {route}.3"),
        ),
        bed.change(
            ChangeKind::Rule,
            "added rule priority 777 from 10.97.0.0/24 lookup 100",
            "ip rule add priority 777 from 10.97.0.0/24 lookup 100",
        ),
    ];
    for change in &made {
        assert!(change.by.starts_with("ip (pid "), "the program was seen to start: {change:?}");
    }
    made.extend([
        bed.change(
            ChangeKind::Address,
            "added address 10.96.0.1/24 to a0",
            "ip addr add 10.96.0.1/24 dev a0",
        ),
        bed.change(
            ChangeKind::Neighbour,
            "added permanent neighbour 10.98.0.9 dev a0 at 02:00:00:00:00:09",
            "ip neigh add 10.98.0.9 lladdr 02:00:00:00:00:09 dev a0 nud permanent",
        ),
        bed.change(ChangeKind::Link, "MTU of a0 1500 -> 1400", "ip link set a0 mtu 1400"),
        bed.change(
            ChangeKind::Queue,
            "pfifo root of a0",
            "tc qdisc add dev a0 root handle 7: pfifo limit 10",
        ),
        bed.change(
            ChangeKind::Sysctl,
            "net/ipv4/conf/a0/proxy_arp 0 -> 1",
            "echo 1 > /proc/sys/net/ipv4/conf/a0/proxy_arp",
        ),
    ]);
    // Each is undone by the words that were told with it, last first.
    for change in made.iter().rev() {
        bed.inside(&change.undo);
    }
    // With a device that is switched off the kernel forgets the neighbours and routes on it.
    let off = bed.change(ChangeKind::Link, "switched off device a0", "ip link set a0 down");
    bed.inside(&off.undo);
}

#[test]
fn a_rule_of_the_firewall_is_told_with_the_program_that_made_it() {
    let mut bed = bed!();
    let probe = format!("ip netns exec {} nft add table ip taproot_try", bed.name);
    need!(run(&probe).is_ok(), "this kernel has no nftables");
    bed.change(ChangeKind::Firewall, "added table ip shop", "nft add table ip shop");
    let chain = "nft add chain ip shop in \"{ type filter hook input priority 0; }\"";
    bed.change(ChangeKind::Firewall, "added chain ip shop in", chain);
    let rule = bed.change(
        ChangeKind::Firewall,
        "added 1 rule in ip shop in",
        "nft add rule ip shop in tcp dport 9 drop",
    );
    assert!(rule.by.starts_with("nft (pid "), "{rule:?}");
    bed.inside(&rule.undo);
    let gone = bed.until(|change| change.what.contains("removed 1 rule in ip shop in"));
    assert!(!gone.is_empty(), "what takes it back is a change, too");
}

#[test]
fn a_burst_is_summed_up_and_a_limit_is_told() {
    let mut bed = bed!();
    let lines: Vec<String> = (0..3000_u32)
        .map(|n| format!("route add 10.{}.{}.0/24 via 10.98.0.2", 100 + n / 250, n % 250))
        .collect();
    let batch = tempfile::NamedTempFile::new().unwrap();
    fs::write(batch.path(), lines.join("\n") + "\n").unwrap();
    bed.inside(&format!("ip -batch {}", batch.path().display()));
    let told = bed.until(|change| change.what.contains("more changes of this kind (route)"));
    let named = told.iter().filter(|change| change.what.starts_with("added route")).count();
    assert!(told.iter().any(|c| c.what.contains("more changes")), "{told:?}");
    assert!(named < 300, "3000 routes were told as {named} lines");

    fs::write(bed.pids.join("pids.max"), "50").unwrap();
    let told = bed.until(|change| change.kind == ChangeKind::Limit);
    let words: Vec<&str> = told.iter().map(|change| &*change.what).collect();
    assert!(words.contains(&"limit of processes none -> 50 processes"), "{words:?}");
}
