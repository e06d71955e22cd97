//! A control group and a network namespace with servers in them, and an agent that
//! watches the group and nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use taproot_agent::{Agent, Options, Scope};
use taproot_model::{Protocol, Requests, Role, Signal};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What a server needs to be ready, at most.
const READY: Duration = Duration::from_mins(1);

pub(crate) struct Bed {
    agent: Agent,
    group: Group,
    netns: Netns,
    pub(crate) dir: tempfile::TempDir,
    losses: BTreeMap<String, u64>,
}

/// Why a load tells nothing exact: bytes passed unread, by reason; or its own client broke.
pub(crate) struct Unread(pub(crate) String);

/// Beds in which [`read_whole`] tries a load.
const TRIES: usize = 3;

/// Puts a load on a new bed until all of it was read. A server that answers as fast as a
/// CPU can fills the ring in a few milliseconds: where other work holds up the reader
/// for longer, bytes are lost, which has to be said and makes no count wrong in silence.
/// Says why not.
pub(crate) fn read_whole(load: impl Fn(Bed) -> Result<(), Unread>) -> Result<(), String> {
    let mut unread = String::new();
    for _ in 0..TRIES {
        match load(Bed::new()?) {
            Ok(()) => return Ok(()),
            Err(Unread(lost)) => unread = lost,
        }
    }
    Err(format!("{TRIES} times of {TRIES} the load told nothing exact: {unread}"))
}

/// Requests that were counted between two looks.
pub(crate) struct Counted(Vec<Requests>);

impl Counted {
    /// Adds what came later.
    pub(crate) fn add(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Those of one protocol that one end saw.
    pub(crate) fn of(&self, protocol: Protocol, role: Role) -> impl Iterator<Item = &Requests> {
        self.0.iter().filter(move |r| r.protocol == protocol && r.edge.role == role)
    }

    /// How many of them there are by operation.
    pub(crate) fn by_method(&self, protocol: Protocol, role: Role) -> BTreeMap<String, u64> {
        let mut out = BTreeMap::new();
        for requests in self.of(protocol, role) {
            *out.entry(requests.method.to_string()).or_default() += requests.count;
        }
        out
    }

    /// How many of them are neither answered well nor without need of an answer.
    pub(crate) fn odd(&self, protocol: Protocol) -> Vec<&Requests> {
        let odd = |r: &&Requests| r.protocol == protocol && (r.error || &*r.code == "unseen");
        self.0.iter().filter(odd).collect()
    }
}

impl Bed {
    /// Builds it. Says why not.
    pub(crate) fn new() -> Result<Self, String> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("taproot-calls-{}-{number}", std::process::id());
        let netns = Netns::new(&name)?;
        // Named as a unit's, so that what runs in it is known as one.
        let name = format!("{name}.service");
        let group = Group::new(&name)?;
        let options = Options {
            scope: Scope::Cgroup(Path::new("/").join(&name)),
            interval: Duration::from_millis(200),
            log_root: None,
            failures: false,
            ..Options::default()
        };
        let agent = Agent::start(options).map_err(|error| error.to_string())?;
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        Ok(Self { agent, group, netns, dir, losses: BTreeMap::new() })
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        let join = "echo $$ > \"$1/cgroup.procs\" && shift && exec ip netns exec \"$@\"";
        command.args(["-c", join, "sh"]).arg(&self.group.0).args([&self.netns.0, program]);
        command.args(args);
        command
    }

    /// Starts a program in the group.
    pub(crate) fn start(&self, program: &str, args: &[&str]) -> Process {
        let log = File::create(self.dir.path().join("server.log")).unwrap();
        let mut command = self.command(program, args);
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        Process(command.spawn().unwrap())
    }

    /// A program in the namespace, but not in the group.
    fn outsider(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.netns.0, program]).args(args);
        command
    }

    /// Starts a program that nobody observes.
    pub(crate) fn start_unseen(&self, program: &str, args: &[&str]) -> Process {
        let log = File::create(self.dir.path().join("server.log")).unwrap();
        let mut command = self.outsider(program, args);
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        Process(command.spawn().unwrap())
    }

    /// Runs a program that nobody observes to its end; returns what it printed.
    pub(crate) fn run_unseen(&self, program: &str, args: &[&str]) -> String {
        let out = self.outsider(program, args).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(out.status.success(), "{program} {args:?}: {text}");
        text
    }

    /// Starts a program in the group that goes on reading what it is told.
    pub(crate) fn talk(&self, program: &str, args: &[&str]) -> (Process, ChildStdin) {
        let mut command = self.command(program, args);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        (Process(child), stdin)
    }

    /// Writes a configuration of nginx with these servers, and files for them below `www`.
    /// Gives its path.
    pub(crate) fn nginx_config(&self, files: &[(&str, usize)], servers: &str) -> String {
        let d = self.dir.path().display();
        for (name, size) in files {
            let file = self.dir.path().join("www").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "x".repeat(*size)).unwrap();
        }
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {d}/tmp;"))
            .concat();
        let config = format!(
            "daemon off; user root; worker_processes 1; pid {d}/pid; error_log {d}/error.log;
             events {{ worker_connections 1024; }}
             http {{ access_log {d}/access.log; keepalive_requests 100000000; {temp}
               root {d}/www; {servers} }}"
        );
        let path = format!("{d}/nginx.conf");
        fs::write(&path, config).unwrap();
        path
    }

    /// What the last program that was [started](Self::start) wrote.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("server.log")).unwrap()
    }

    /// Runs a program in the group to its end, with something to read.
    pub(crate) fn feed(&self, program: &str, args: &[&str], input: &str) -> Output {
        let mut command = self.command(program, args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs a program in the group to its end; returns what it printed.
    pub(crate) fn run(&self, program: &str, args: &[&str]) -> String {
        let out = self.feed(program, args, "");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let told = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{program} {args:?}: {text}{told}");
        text
    }

    /// Runs a function in the namespace, outside of the group.
    pub(crate) fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        let netns = File::open(Path::new("/run/netns").join(&self.netns.0)).unwrap();
        std::thread::scope(|scope| {
            let enter = || {
                move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                function()
            };
            scope.spawn(enter).join().unwrap()
        })
    }

    /// Waits until a TCP port listens.
    pub(crate) fn ready(&self, port: u16) {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ready = self.inside(|| wait(|| TcpStream::connect(addr).is_ok()));
        assert!(ready, "nothing listens on {addr}: {}", self.log());
    }

    /// Waits until a program ends well in the group.
    pub(crate) fn until(&self, program: &str, args: &[&str]) {
        let done = wait(|| self.feed(program, args, "").status.success());
        assert!(done, "{program} {args:?} never ended well: {}", self.log());
    }

    /// Waits until a UDP port is bound: what comes for it is not refused.
    pub(crate) fn ready_udp(&self, port: u16) {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let bound = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(addr).unwrap();
            let _ = socket.send(b"?");
            sleep(Duration::from_millis(10));
            socket.send(b"?").is_ok()
        };
        assert!(self.inside(|| wait(bound)), "nothing is bound to {addr}: {}", self.log());
    }

    /// What was counted since the last look, once nothing more comes.
    pub(crate) fn counted(&mut self) -> Counted {
        let stop = AtomicBool::new(false);
        let mut all = Vec::new();
        let mut quiet = 0;
        while quiet < 3 {
            quiet += 1;
            for signal in self.agent.tick(&stop) {
                match signal {
                    Signal::Requests(requests) => {
                        quiet = 0;
                        all.push(*requests);
                    }
                    Signal::Loss(loss) => {
                        let reason = format!("{} {}", loss.collector, loss.reason);
                        *self.losses.entry(reason).or_default() += loss.count;
                    }
                    _ => {}
                }
            }
        }
        Counted(all)
    }

    /// What was [counted](Self::counted), where all that passed was read.
    pub(crate) fn read(&mut self) -> Result<Counted, Unread> {
        let counted = self.counted();
        let lost = |(reason, _): &(&String, &u64)| {
            reason.starts_with("payload ") && reason.ends_with("_bytes")
        };
        let unread: Vec<_> = self.losses.iter().filter(lost).collect();
        if unread.is_empty() { Ok(counted) } else { Err(Unread(format!("{unread:?}"))) }
    }

    /// What could not be seen so far, by collector and reason.
    pub(crate) fn losses(&self) -> &BTreeMap<String, u64> {
        &self.losses
    }
}

/// CPU time of a process, and of the children that it has reaped, nanoseconds.
pub(crate) fn cpu(process: &str) -> (u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let words: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |from: usize| words[from..from + 2].iter().map(|w| w.parse::<u64>().unwrap()).sum();
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let (own, reaped): (u64, u64) = (ticks(11), ticks(13));
    (own * tick, reaped * tick)
}

fn wait(mut condition: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + READY;
    while Instant::now() < until {
        if condition() {
            return true;
        }
        sleep(Duration::from_millis(50));
    }
    false
}

/// A process that is ended and reaped when dropped.
pub(crate) struct Process(Child);

impl Process {
    /// CPU time that it and its children have used, nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        std::iter::once(id).chain(children).map(|id| cpu(&id.to_string()).0).sum()
    }

    /// Waits until it has ended, and well.
    pub(crate) fn wait(mut self) {
        let status = self.0.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked to, a server ends its children too.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        for _ in 0..100 {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return;
            }
            sleep(Duration::from_millis(50));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A control group, removed when dropped, with what runs in it.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Result<Self, String> {
        let mount = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .map(PathBuf::from)
            .find(|mount| mount.join("cgroup.controllers").exists())
            .ok_or("no unified cgroup hierarchy")?;
        let dir = mount.join(name);
        fs::create_dir(&dir).map_err(|e| format!("cannot make {}: {e}", dir.display()))?;
        Ok(Self(dir))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            let left = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for pid in left.lines() {
                let _ = Command::new("kill").args(["-9", pid]).stderr(Stdio::null()).status();
            }
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    }
}

/// A network namespace with nothing but its loopback device, removed when dropped.
struct Netns(String);

impl Netns {
    fn new(name: &str) -> Result<Self, String> {
        ip(&["netns", "add", name])?;
        let netns = Self(name.to_owned());
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        Ok(netns)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.0]);
    }
}

fn ip(args: &[&str]) -> Result<(), String> {
    let out = Command::new("ip").args(args).output().map_err(|error| error.to_string())?;
    let why = String::from_utf8_lossy(&out.stderr);
    if out.status.success() { Ok(()) } else { Err(format!("ip {args:?}: {why}")) }
}
