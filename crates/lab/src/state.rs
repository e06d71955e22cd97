//! The lab's own truth, as it lies in `<state>/lab.json`.
//!
//! This file is what others compare Taproot's findings with, and what an
//! identity resolver can read where there is no Kubernetes. It is rewritten
//! atomically at every change, so a reader sees either the old or the new one.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cgroup::Hierarchy;
use crate::error::{Error, Result};
use crate::faults::Undo;
use crate::options::Launcher;
use crate::process::ProcessId;

/// Version of the shape of `lab.json`; a reader refuses any other.
pub const VERSION: u32 = 1;

/// A whole lab. Times are nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lab {
    /// Shape version, [`VERSION`].
    pub version: u32,
    /// Name of the lab ("default" unless `--name` was given).
    pub name: String,
    /// Kubernetes-like namespace of every pod.
    pub namespace: String,
    /// True once every pod answers and the load generator runs.
    pub ready: bool,
    /// When `up` began.
    pub created_unix_ns: u64,
    /// The node all pods run on.
    pub node: Node,
    /// Cgroup under which everything of this lab lives, relative to each mount.
    pub cgroup_root: PathBuf,
    /// Cgroup hierarchies every container is a member of.
    pub hierarchies: Vec<Hierarchy>,
    /// How pods' programs are started.
    pub launcher: Launcher,
    /// The process that plays the kubelet.
    pub supervisor: Option<ProcessId>,
    /// Requests a second the load generator was asked for.
    pub requests_per_second: f64,
    /// CPU time the product service burns in each request, in microseconds.
    pub product_burn_us: u64,
    /// All pods, also ended ones.
    pub pods: Vec<Pod>,
    /// Service addresses.
    pub services: Vec<Service>,
    /// Who truly calls whom.
    pub edges: Vec<Edge>,
    /// The fault that is in force now.
    pub fault: Option<ActiveFault>,
    /// Faults that were in force and are cleared.
    pub past_faults: Vec<Truth>,
}

/// The node: a network namespace that holds the bridges and the service rules.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// Node name.
    pub name: String,
    /// Its network namespace.
    pub netns: Netns,
    /// Address of the node on the pod bridge.
    pub ip: Ipv4Addr,
    /// Pod bridge interface in the node's namespace.
    pub bridge: String,
}

/// A named network namespace.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Netns {
    /// Name below `/run/netns`.
    pub name: String,
    /// Inode number, as `/proc/<pid>/ns/net` shows it.
    pub inode: u64,
}

/// A pod with its one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pod {
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod uid (RFC 4122 text).
    pub uid: String,
    /// Name of the workload that owns the pod.
    pub workload: String,
    /// What the pod does: the word after `serve`.
    pub role: String,
    /// Node the pod runs on.
    pub node: String,
    /// True when the pod shares the node's network namespace.
    pub host_network: bool,
    /// Network namespace of the pod.
    pub netns: Netns,
    /// Interfaces of the pod, the one with the pod IP first.
    pub interfaces: Vec<Interface>,
    /// Pod-level cgroup path, relative to each hierarchy's mount.
    pub cgroup: PathBuf,
    /// Limits, set at pod and at container level.
    pub limits: Limits,
    /// TCP or UDP port the container listens on, if it serves.
    pub port: Option<u16>,
    /// The running (or last) container.
    pub container: Container,
    /// How often the container was started again.
    pub restarts: u32,
    /// Ended containers, oldest first.
    pub history: Vec<Termination>,
    /// Directory of the container's logs, `<state>/pods/<ns>_<pod>_<uid>/<container>`.
    pub log_dir: PathBuf,
    /// When the pod was created; 0 while it is still to come.
    pub started_unix_ns: u64,
    /// When the pod was deleted; none while it lives.
    pub ended_unix_ns: Option<u64>,
}

impl Pod {
    /// The pod IP: the address of its first interface.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.interfaces.first().map(|i| i.ip)
    }
}

/// One interface of a pod.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Interface {
    /// Name inside the pod.
    pub name: String,
    /// Address inside the pod.
    pub ip: Ipv4Addr,
    /// Name of the veth's other end in the node's namespace; empty for host network.
    pub host_side: String,
}

/// Limits of a pod.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub struct Limits {
    /// CPU quota in thousandths of a CPU; none means no quota.
    pub cpu_milli: Option<u32>,
    /// CPU request in thousandths of a CPU: gives cpu.shares or cpu.weight.
    pub cpu_request_milli: u32,
    /// Memory limit in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u32,
    /// `RLIMIT_NOFILE`, soft and hard.
    pub files: u64,
    /// The one CPU the container may run on; none means all.
    pub cpu: Option<u32>,
}

/// A container as a runtime would know it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Container {
    /// Container name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// Program that runs in it, for people.
    pub image: String,
    /// Cgroup path of the container, relative to each hierarchy's mount.
    pub cgroup: PathBuf,
    /// First process; none while the container is down.
    pub process: Option<ProcessId>,
    /// Log file being written.
    pub log_path: PathBuf,
    /// When this container was started.
    pub started_unix_ns: u64,
}

/// How a container ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Termination {
    /// Id of the container that ended.
    pub container_id: String,
    /// Its first process.
    pub pid: i32,
    /// Exit code; 128 + signal when a signal ended it.
    pub exit_code: i32,
    /// Signal that ended it.
    pub signal: Option<i32>,
    /// "Completed", "Error", "`OOMKilled`" or "Stopped" (by the lab itself).
    pub reason: String,
    /// When it was started.
    pub started_unix_ns: u64,
    /// When it ended.
    pub finished_unix_ns: u64,
}

/// A service address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Service {
    /// Service name.
    pub name: String,
    /// Virtual address.
    pub cluster_ip: Ipv4Addr,
    /// Virtual port.
    pub port: u16,
    /// "tcp" or "udp".
    pub transport: String,
    /// Pods behind it: name, address and port each.
    pub backends: Vec<Backend>,
}

/// One pod behind a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Backend {
    /// Pod name.
    pub pod: String,
    /// Pod address.
    pub ip: Ipv4Addr,
    /// Port the container listens on.
    pub port: u16,
}

/// One true edge: the caller opens connections to the callee.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Edge {
    /// Pod that calls.
    pub caller: String,
    /// Pod that answers.
    pub callee: String,
    /// Service name it is called by; none when the pod's own address is called.
    pub service: Option<String>,
    /// "http", "redis" or "dns".
    pub protocol: String,
}

/// What a fault truly is: the answer a diagnosis is compared with.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Truth {
    /// Fault name.
    pub fault: String,
    /// Cause class.
    pub class: String,
    /// What is guilty.
    pub culprit: Culprit,
    /// Who suffers first: for a resource fault the pod whose resource it is.
    pub victim: Option<String>,
    /// Service at which users see it; none when they see nothing.
    pub symptom: Option<String>,
    /// When it was injected.
    pub from_unix_ns: u64,
    /// When it was cleared.
    pub to_unix_ns: Option<u64>,
}

/// The guilty thing.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Culprit {
    /// Nothing is guilty.
    None,
    /// A pod.
    Pod {
        /// Its name.
        name: String,
    },
    /// The way from one pod to another.
    Link {
        /// Pod at whose side the way begins.
        from: String,
        /// Pod at whose side it ends.
        to: String,
    },
    /// The node itself.
    Node {
        /// Its name.
        name: String,
    },
}

/// A fault in force, with how it is undone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ActiveFault {
    /// Its truth.
    pub truth: Truth,
    /// Steps that undo it, to be taken last first.
    pub undo: Vec<Undo>,
}

impl Lab {
    /// Reads `<dir>/lab.json`.
    ///
    /// # Errors
    /// [`Error::NotUp`] when there is none, [`Error::State`] when it is damaged
    /// or of another version.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = file(dir);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NotUp { dir: dir.to_path_buf() });
            }
            Err(e) => return Err(Error::io("read", &path)(e)),
        };
        let bad = |detail: String| Error::State { path: path.clone(), detail };
        let lab: Self = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        if lab.version != VERSION {
            return Err(bad(format!("version {}, this one reads {VERSION}", lab.version)));
        }
        Ok(lab)
    }

    /// Finds a pod by name; of several with one name, the youngest.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods.iter().rev().find(|p| p.name == name)
    }

    /// Finds a service by name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.name == name)
    }

    pub(crate) fn pod_mut(&mut self, name: &str) -> Option<&mut Pod> {
        self.pods.iter_mut().rev().find(|p| p.name == name)
    }

    /// Writes `<dir>/lab.json` atomically.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        write_json(&file(dir), self)?;
        write_json(&crate::objects::path(dir), &crate::objects::objects(self))
    }
}

/// Changes `lab.json` under a lock: the supervisor and an injector may both write.
pub(crate) fn update<T>(dir: &Path, change: impl FnOnce(&mut Lab) -> T) -> Result<T> {
    let lock_path = dir.join("lab.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(Error::io("open", &lock_path))?;
    lock.lock().map_err(Error::io("lock", &lock_path))?;
    let mut lab = Lab::load(dir)?;
    let out = change(&mut lab);
    lab.save(dir)?;
    Ok(out)
}

/// Writes a value as JSON so that a reader never sees half of it.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec_pretty(value)
        .map_err(|e| Error::State { path: path.to_path_buf(), detail: e.to_string() })?;
    let part = path.with_extension("part");
    fs::write(&part, text).map_err(Error::io("write", &part))?;
    fs::rename(&part, path).map_err(Error::io("rename", &part))
}

fn file(dir: &Path) -> PathBuf {
    dir.join("lab.json")
}
