//! What connections say inside of TLS.
//!
//! Probes sit on the functions of TLS libraries that take and give plaintext, in the
//! processes of the chosen control groups and nowhere else: OpenSSL and `BoringSSL`
//! (shared or built in, with symbols or without), `GnuTLS`, Go's `crypto/tls`, and rustls with its symbols. What passes
//! there is told in the ring of [`crate::payload`] as [`Plain`](crate::payload::Plain),
//! under the number of the connection that carries it. See `tls.bpf.c`.
//!
//! | module | what it does |
//! |---|---|
//! | `processes` | who is in a group, which files they run |
//! | `elf`, `targets`, `golang`, `rustls` | where in a file the functions are |
//! | `builtin`, `code`, `numbers` | ... of a program without symbols |
//! | `frame` | where in a function a probe costs least |
//! | `attach` | programs onto these places |
//! | `survey` | what there is, whether observed or not |

mod attach;
mod builtin;
mod code;
mod elf;
mod frame;
mod golang;
mod numbers;
mod part;
mod processes;
mod rustls;
mod survey;
mod targets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use libbpf_rs::{Link, MapCore, MapFlags, MapHandle};

use crate::payload::Verdict;
use crate::{Error, Off, Result, from_bytes, load_tolerant};
pub use survey::survey;

use processes::{FileId, Mapped, everybody, is_root, mapped, members};
use targets::Targets;

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/tls.skel.rs"));
}

/// Reasons of `enum tls_loss`, in its order. What they count is part of the name.
pub const LOSSES: [&str; 6] = [
    "plaintext_ring_full_bytes",
    "plaintext_too_long_bytes",
    "plaintext_not_copied_bytes",
    "plaintext_without_connection_bytes",
    "no_memory_calls",
    "no_memory_sessions",
];

/// Pauses between two looks at what a process runs: libraries are loaded late.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_mins(1));

/// A process of the chosen groups.
struct Process {
    due: Instant,
    pause: Duration,
    uses: BTreeSet<FileId>,
}

/// Programs on a file, for one process or for everybody.
struct Attachment {
    users: BTreeSet<u32>,
    path: String,
    _links: Vec<Link>,
}

/// A file that has TLS in it, and how it is observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// Its path, as one of the processes sees it.
    pub path: String,
    /// Processes in scope that run it.
    pub processes: usize,
    /// Why its plaintext is not seen; `None` where it is.
    pub why_not: Option<String>,
}

/// Says what is wanted of the plaintext of connections. May be used from another thread.
#[derive(Debug)]
pub struct Verdicts(MapHandle);

impl Verdicts {
    /// Says what is wanted of what the connection with that number carries.
    ///
    /// # Errors
    /// When the kernel has no room for it.
    pub fn decide(&self, id: u64, verdict: Verdict) -> Result<()> {
        self.0
            .update(&id.to_ne_bytes(), &verdict.number().to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::bpf("deciding on plaintext"))
    }

    /// Takes back what was said.
    pub fn forget(&self, id: u64) {
        // Mostly nothing was said: then there is nothing to delete.
        let _ = self.0.delete(&id.to_ne_bytes());
    }
}

/// The running collector. Dropping it detaches and unloads everything.
pub struct TlsCollector {
    skel: skeleton::TlsSkel<'static>,
    groups: BTreeSet<PathBuf>,
    /// What was found in files.
    known: HashMap<FileId, Rc<Targets>>,
    processes: BTreeMap<u32, Process>,
    /// By file, and process where not everybody is observed.
    attached: BTreeMap<(FileId, Option<u32>), Attachment>,
    /// Files that could not be attached to, why, and by whom they are run.
    refused: BTreeMap<FileId, (Library, BTreeSet<u32>)>,
    /// The programs that see which sockets are used, while any library is attached to.
    joins: Vec<Link>,
    off: Vec<Off>,
    lost: Vec<u64>,
}

impl TlsCollector {
    /// Loads the programs, which write into the ring of a payload collector; nothing is
    /// observed until a group is [added](Self::watch) and [looked through](Self::scan).
    ///
    /// # Errors
    /// When the kernel refuses the programs.
    pub fn start(records: &OwnedFd) -> Result<Self> {
        let (skel, off) = load_tolerant(
            "tls",
            &["tls_enter", "tls_leave", "tls_done"],
            skeleton::TlsSkelBuilder::default,
            |open| {
                let ring = open.maps.records.reuse_fd(records.as_fd());
                ring.map_err(Error::bpf("sharing the payload ring"))
            },
        )?;
        Ok(Self {
            skel,
            groups: BTreeSet::new(),
            known: HashMap::new(),
            processes: BTreeMap::new(),
            attached: BTreeMap::new(),
            refused: BTreeMap::new(),
            joins: Vec::new(),
            off,
            lost: vec![0; LOSSES.len()],
        })
    }

    /// A handle to say what is wanted of connections.
    ///
    /// # Errors
    /// When there is no room for another file descriptor.
    pub fn verdicts(&self) -> Result<Verdicts> {
        let map = MapHandle::try_from(&self.skel.maps.plain_verdicts);
        map.map(Verdicts).map_err(Error::bpf("the verdicts on plaintext"))
    }

    /// Observes the processes of a control group (of the unified hierarchy) and of all
    /// below it, from the next [look](Self::scan) on. Of the root everybody's use of a
    /// file is observed at once; of other groups that of each process.
    pub fn watch(&mut self, group: &Path) {
        self.groups.insert(group.to_owned());
    }

    /// Stops observing a control group, from the next look on.
    pub fn unwatch(&mut self, group: &Path) {
        self.groups.remove(group);
    }

    /// Looks again at what a process runs, at the next look: it has just begun to run
    /// something else.
    pub fn hint(&mut self, process: u32) {
        if let Some(known) = self.processes.get_mut(&process) {
            known.due = Instant::now();
            known.pause = PAUSES.0;
        }
    }

    /// Finds processes that came and went and libraries that were loaded, and attaches
    /// and detaches accordingly. New processes are looked at at once and again after
    /// half a second, a second, and so on up to a minute.
    pub fn scan(&mut self) {
        let mut present = BTreeSet::new();
        let all = self.groups.iter().any(|group| is_root(group));
        if all {
            everybody(&mut present);
        } else {
            self.groups.iter().for_each(|group| members(group, &mut present));
        }
        let gone: Vec<u32> =
            self.processes.keys().filter(|pid| !present.contains(pid)).copied().collect();
        for process in gone {
            self.leave(process);
        }
        let now = Instant::now();
        for process in present {
            let known = self.processes.entry(process).or_insert_with(|| Process {
                due: now,
                pause: PAUSES.0,
                uses: BTreeSet::new(),
            });
            if known.due <= now {
                known.due = now + known.pause;
                known.pause = (known.pause * 2).min(PAUSES.1);
                self.look(process, all);
            }
        }
        self.join();
    }

    /// Every file with TLS in it that a process in scope runs.
    pub fn libraries(&self) -> Vec<Library> {
        let mut by_file = BTreeMap::<&FileId, Library>::new();
        for ((id, _), attachment) in &self.attached {
            let library = by_file.entry(id).or_insert_with(|| Library {
                path: attachment.path.clone(),
                processes: 0,
                why_not: None,
            });
            library.processes += attachment.users.len();
        }
        by_file
            .into_values()
            .chain(self.refused.values().map(|(library, _)| library.clone()))
            .collect()
    }

    /// Programs that do not run here, and why.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Everything that could not be told since the last call: reason and amount.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn losses(&mut self) -> Result<Vec<(&'static str, u64)>> {
        let mut out = Vec::new();
        for (index, reason) in LOSSES.iter().enumerate() {
            let slots = self
                .skel
                .maps
                .tls_losses
                .lookup_percpu(&(index as u32).to_ne_bytes(), MapFlags::ANY)
                .map_err(Error::bpf("reading losses of TLS"))?;
            let total: u64 =
                slots.iter().flatten().filter_map(|bytes| from_bytes::<u64>(bytes)).sum();
            let new = total.saturating_sub(self.lost[index]);
            self.lost[index] = total;
            if new > 0 {
                out.push((*reason, new));
            }
        }
        Ok(out)
    }

    /// Looks at what a process runs now.
    fn look(&mut self, process: u32, all: bool) {
        let files = mapped(process);
        let running: BTreeSet<&FileId> = files.iter().map(|file| &file.id).collect();
        let Some(known) = self.processes.get(&process) else { return };
        let dropped: Vec<FileId> =
            known.uses.iter().filter(|id| !running.contains(id)).cloned().collect();
        for id in &dropped {
            self.drop_use(process, id);
        }
        for file in &files {
            self.use_file(process, file, all);
        }
    }

    fn use_file(&mut self, process: u32, file: &Mapped, all: bool) {
        let Some(targets) = self.targets(file) else { return };
        if let Some(why) = &targets.why_not {
            self.refuse(process, file, why);
        }
        if targets.is_empty() {
            return;
        }
        let key = (file.id.clone(), (!all).then_some(process));
        if let Some(attachment) = self.attached.get_mut(&key) {
            attachment.users.insert(process);
        } else {
            let Some((_, way)) = file.open() else { return };
            let whose = key.1.map_or(-1, u32::cast_signed);
            match attach::attach(&self.skel.progs, way, whose, &targets) {
                Ok(links) => {
                    tracing::debug!(path = file.path, process, "plaintext is observed");
                    let users = BTreeSet::from([process]);
                    let attachment = Attachment { users, path: file.path.clone(), _links: links };
                    self.attached.insert(key, attachment);
                }
                Err(error) => return self.refuse(process, file, &error.to_string()),
            }
        }
        if let Some(known) = self.processes.get_mut(&process) {
            known.uses.insert(file.id.clone());
        }
    }

    fn refuse(&mut self, process: u32, file: &Mapped, why: &str) {
        let (library, users) = self.refused.entry(file.id.clone()).or_insert_with(|| {
            tracing::info!(path = file.path, why, "its plaintext is not seen");
            let library =
                Library { path: file.path.clone(), processes: 0, why_not: Some(why.to_owned()) };
            (library, BTreeSet::new())
        });
        users.insert(process);
        library.processes = users.len();
        if let Some(known) = self.processes.get_mut(&process) {
            known.uses.insert(file.id.clone());
        }
    }

    /// What a file has, looked for once.
    fn targets(&mut self, file: &Mapped) -> Option<Rc<Targets>> {
        if let Some(known) = self.known.get(&file.id) {
            return Some(Rc::clone(known));
        }
        let (opened, _) = file.open()?;
        let found = Rc::new(Targets::find(opened));
        self.known.insert(file.id.clone(), Rc::clone(&found));
        Some(found)
    }

    /// A process is gone.
    fn leave(&mut self, process: u32) {
        let Some(known) = self.processes.remove(&process) else { return };
        for id in &known.uses {
            self.drop_use(process, id);
        }
    }

    /// A process runs a file no more; the last one takes the programs off.
    fn drop_use(&mut self, process: u32, id: &FileId) {
        for whose in [None, Some(process)] {
            let key = (id.clone(), whose);
            if let Some(attachment) = self.attached.get_mut(&key) {
                attachment.users.remove(&process);
                if attachment.users.is_empty() {
                    self.attached.remove(&key);
                }
            }
        }
        if let Some((library, users)) = self.refused.get_mut(id) {
            users.remove(&process);
            library.processes = users.len();
            if users.is_empty() {
                self.refused.remove(id);
            }
        }
        if let Some(known) = self.processes.get_mut(&process) {
            known.uses.remove(id);
        }
        let used = self.attached.keys().any(|(other, _)| other == id);
        if !used && !self.refused.contains_key(id) {
            self.known.remove(id); // its number may come to mean another file
        }
    }

    /// Sees which sockets are used, as long as there are calls to see it in.
    fn join(&mut self) {
        if self.attached.is_empty() {
            self.joins.clear();
        } else if self.joins.is_empty() {
            let programs = &self.skel.progs;
            let sockets = [&programs.tls_sent, &programs.tls_received];
            let told = sockets.iter().all(|program| program.autoload());
            let joins = if told { &sockets[..] } else { &[&programs.tls_syscall][..] };
            for program in joins {
                match program.attach() {
                    Ok(link) => self.joins.push(link),
                    Err(error) => tracing::warn!(%error, "connections of TLS are not told"),
                }
            }
        }
    }
}
