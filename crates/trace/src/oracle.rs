//! The state of the namespaces on a packet's way, asked for what is at fault.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};

use taproot_model::{Blame, Step};
use taproot_netstate::{Incident, NetState, explain};
use taproot_probes::trace::Event;

use crate::judge::Oracle;
use crate::owner;
use crate::path::Path;

/// Reads namespaces when a packet did not arrive, each once.
#[derive(Debug, Default)]
pub struct Namespaces {
    proc_root: PathBuf,
    files: BTreeMap<u32, PathBuf>,
    before: Vec<NetState>,
    after: RefCell<BTreeMap<u32, Option<NetState>>>,
}

impl Namespaces {
    /// Finds the namespaces of this machine: named ones below `named` (`/run/netns`)
    /// and those of processes in `proc_root` (`/proc`).
    pub fn find(proc_root: &FilePath, named: &FilePath) -> Self {
        let mut files = BTreeMap::new();
        let processes = entries(proc_root).map(|path| path.join("ns/net"));
        // A name outlives the processes, so it goes first.
        for path in entries(named).chain(processes) {
            if let Ok(meta) = fs::metadata(&path) {
                files.entry(meta.ino() as u32).or_insert(path);
            }
        }
        Self { proc_root: proc_root.to_owned(), files, ..Self::default() }
    }

    /// Inode and file of each.
    pub fn files(&self) -> impl Iterator<Item = (u32, &FilePath)> {
        self.files.iter().map(|(inode, path)| (*inode, path.as_path()))
    }

    /// Reads these namespaces now, before the packets: what moves until the end (a
    /// rule's counter) is then proof. One that cannot be read is left out.
    pub fn remember(&mut self, inodes: impl IntoIterator<Item = u32>) {
        for inode in inodes {
            self.before.extend(self.read(inode));
        }
    }

    fn read(&self, inode: u32) -> Option<NetState> {
        let path = self.files.get(&inode)?;
        NetState::read(path)
            .map_err(|error| tracing::debug!(%error, inode, "a namespace cannot be read"))
            .ok()
    }

    /// The state after the packets, read when first asked for.
    fn after(&self, inode: u32) -> Option<NetState> {
        if let Some(known) = self.after.borrow().get(&inode) {
            return known.clone();
        }
        let state = self.read(inode);
        self.after.borrow_mut().insert(inode, state.clone());
        state
    }
}

impl Namespaces {
    /// The namespaces that a path passes, before the packets where they were
    /// remembered, and after.
    pub fn on(&self, path: &Path) -> Vec<NetState> {
        let passed: BTreeSet<u32> =
            path.hops.iter().filter_map(|event| event.hop.place.netns).collect();
        let before = self.before.iter().filter(|state| passed.contains(&state.inode)).cloned();
        before.chain(passed.iter().filter_map(|inode| self.after(*inode))).collect()
    }
}

impl Oracle for Namespaces {
    fn blame(&self, path: &Path, at: &Event) -> Option<Blame> {
        let inode = at.hop.place.netns?;
        let mut passed: BTreeSet<u32> =
            path.hops.iter().filter_map(|event| event.hop.place.netns).collect();
        passed.insert(inode);
        let after: Vec<NetState> =
            passed.into_iter().filter_map(|netns| self.after(netns)).collect();
        let mut incident = Incident::at(&at.hop, at.outer.as_ref(), &self.before, &after)?;
        incident.mark = at.mark;
        if incident.came_in == 0 {
            incident.came_in = came_in(path, at);
        }
        let group = owner(&self.proc_root, at, &incident)
            .and_then(|pid| owner::control_group(&self.proc_root, pid));
        incident.control_group = group.as_deref();
        Some(explain(&incident))
    }
}

/// The process at this end of the packet's way, looked for only where programs on
/// control groups may have judged the packet.
fn owner(proc_root: &FilePath, at: &Event, incident: &Incident<'_>) -> Option<u32> {
    if incident.state.programs.is_empty() {
        return None;
    }
    let netns = incident.state.inode;
    if at.own_socket {
        return owner::sender(proc_root, at.hop.socket.as_ref()?, netns);
    }
    let tcp = incident.tuple.protocol == 6;
    let waiting = incident.state.sockets_at(tcp, incident.tuple.destination);
    waiting.first().and_then(|socket| owner::holder(proc_root, u64::from(socket.inode), netns))
}

/// The device by which the packet came into the namespace where it ended; 0 where
/// it was made there.
fn came_in(path: &Path, at: &Event) -> u32 {
    if at.hop.place.came_in != 0 {
        return at.hop.place.came_in;
    }
    let before = path.hops.iter().take_while(|event| event.hop.at <= at.hop.at);
    let arrived = before.filter(|event| {
        event.hop.step == Step::Received && event.hop.place.netns == at.hop.place.netns
    });
    arrived.last().map_or(0, |event| event.hop.place.ifindex)
}

fn entries(folder: &FilePath) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
