//! Finds out which hooks work here by loading and attaching one tiny program per kind.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, OpenObject, ProgramMut};

use crate::{Error, Result, silence_libbpf};

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/hooks.skel.rs"));
}

/// One kind of hook and whether it works on the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Name of the kind (`tp_btf`, `fentry`, `cgroup_skb`, ...).
    pub kind: &'static str,
    /// What Taproot uses it for.
    pub purpose: &'static str,
    /// Why it does not work; `None` when it does.
    pub refused: Option<String>,
}

/// Kind, program, purpose.
const KINDS: &[(&str, &str, &str)] = &[
    ("tp_btf", "hook_tp_btf", "typed tracepoints: flows, scheduler, lifecycle"),
    ("raw_tp", "hook_raw_tp", "raw tracepoints: failing system calls, cgroups"),
    ("tracepoint", "hook_tracepoint", "perf tracepoints: fallback"),
    ("fentry", "hook_fentry", "function entry: finer packet path"),
    ("fexit", "hook_fexit", "function return: verdicts on the packet path"),
    ("kprobe", "hook_kprobe", "kernel probes: finer packet path on older kernels"),
    ("kprobe.multi", "hook_kprobe_multi", "many functions at once: deep packet path"),
    ("uprobe", "hook_uprobe", "functions of programs: TLS plaintext"),
    ("iter/tcp", "hook_iter_tcp", "connections that exist at start"),
    ("cgroup_skb", "hook_cgroup_skb", "requests at the socket's edge"),
    ("sock_ops", "hook_sock_ops", "TCP events of a control group"),
    ("tc (tcx)", "hook_tc", "packets at a device"),
    ("xdp", "hook_xdp", "packets at a driver"),
    ("netfilter", "hook_netfilter", "which firewall chain dropped a packet"),
    ("lsm", "hook_lsm", "security hooks (not used)"),
    ("sk_storage", "hook_sk_storage", "state that lives with a socket"),
    ("task_storage", "hook_task_storage", "state that lives with a thread"),
    ("ring buffer", "hook_ring_buffer", "events to user space"),
];

/// Tries every kind of hook.
///
/// `cgroup2` is the mount point of the unified hierarchy, where there is one.
/// Everything is detached again before this returns; the tiny programs count
/// nothing and see nothing.
pub fn probe_hooks(cgroup2: Option<&Path>) -> Vec<Hook> {
    silence_libbpf();
    KINDS
        .iter()
        .map(|&(kind, program, purpose)| Hook {
            kind,
            purpose,
            refused: try_hook(program, cgroup2).err().map(|e| e.to_string()),
        })
        .collect()
}

/// Why a kind of hook does not work here; none where it does.
pub(crate) fn refusal(program: &str) -> Option<String> {
    silence_libbpf();
    try_hook(program, None).err().map(|error| error.to_string())
}

fn try_hook(program: &str, cgroup2: Option<&Path>) -> Result<()> {
    let mut storage = MaybeUninit::<OpenObject>::uninit();
    let mut open = skeleton::HooksSkelBuilder::default()
        .open(&mut storage)
        .map_err(Error::bpf("opening the probe"))?;
    for mut candidate in open.open_object_mut().progs_mut() {
        let wanted = candidate.name() == program;
        candidate.set_autoload(wanted);
    }
    let loaded = open.load().map_err(Error::bpf("load refused"))?;
    let wanted = loaded
        .object()
        .progs_mut()
        .find(|p| p.name() == program)
        .ok_or_else(|| Error::Invalid(format!("no program {program}")))?;
    attach(program, &wanted, cgroup2).map(drop)
}

/// Attaches where the kind needs a target; libbpf knows the others by section.
fn attach(name: &str, program: &ProgramMut<'_>, cgroup2: Option<&Path>) -> Result<Option<Link>> {
    let refused = || Error::bpf("attach refused");
    let link = match name {
        "hook_cgroup_skb" | "hook_sock_ops" => {
            let path = cgroup2
                .ok_or_else(|| Error::Invalid("no cgroup2 hierarchy is mounted".to_owned()))?;
            let group = ProbeGroup::make(path)?;
            program.attach_cgroup(group.dir.as_raw_fd()).map_err(refused())?
        }
        // Loading is the proof here: attaching needs a device or a table of the
        // machine, which a look-around must not touch.
        "hook_tc" | "hook_xdp" | "hook_netfilter" => return Ok(None),
        "hook_uprobe" => program
            .attach_uprobe(false, -1, "/proc/self/exe", executable_offset()?)
            .map_err(refused())?,
        _ => program.attach().map_err(refused())?,
    };
    Ok(Some(link))
}

/// A function of our own for the uprobe to sit on.
#[inline(never)]
extern "C" fn landmark() -> u32 {
    std::hint::black_box(7)
}

/// File offset of [`landmark`]: where the tried uprobe sits.
fn executable_offset() -> Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(Error::io("/proc/self/maps"))?;
    let address = landmark as extern "C" fn() -> u32 as usize;
    maps.lines()
        .find_map(|line| offset_in(line, address))
        .ok_or_else(|| Error::Invalid("this program's own code is not mapped".to_owned()))
}

/// The file offset of an address, if a line of `/proc/self/maps` covers it.
fn offset_in(line: &str, address: usize) -> Option<usize> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let offset = usize::from_str_radix(words.nth(1)?, 16).ok()?;
    (start..end).contains(&address).then(|| address - start + offset)
}

/// An empty control group to attach to, so that no process is touched by the try.
struct ProbeGroup {
    path: std::path::PathBuf,
    dir: File,
}

impl ProbeGroup {
    fn make(root: &Path) -> Result<Self> {
        let path = root.join(format!("taproot-doctor-{}", std::process::id()));
        let what = path.display().to_string();
        std::fs::create_dir(&path).map_err(Error::io(what.clone()))?;
        match File::open(&path) {
            Ok(dir) => Ok(Self { path, dir }),
            Err(error) => {
                let _ = std::fs::remove_dir(&path);
                Err(Error::io(what)(error))
            }
        }
    }
}

impl Drop for ProbeGroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.path);
    }
}
