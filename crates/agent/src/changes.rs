//! What somebody changes: the networking of the node and of each pod, limits of
//! containers, what containers run.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use taproot_model::{Change, ChangeKind, Entity, Loss, Name, Signal, Timestamp};
use taproot_netstate::Watch;
use taproot_netstate::watch::{Author, Noted};

use crate::names::Names;

/// Programs whose start is remembered: those that change networks live for milliseconds.
const MOST_STARTS: usize = 256;
/// How long after its start a program that is gone by now is believed to have done it.
const RECENT: std::time::Duration = std::time::Duration::from_secs(10);
/// Namespaces listened to: two sockets each.
const MOST_NAMESPACES: usize = 512;

/// One namespace that is listened to.
struct Place {
    watch: Watch,
    owner: Arc<Entity>,
}

/// A program that was started.
struct Start {
    at: Timestamp,
    pid: u32,
    comm: Name,
}

/// Listens for changes in the namespaces of the scope.
#[derive(Default)]
pub(crate) struct Changes {
    places: HashMap<u64, Place>,
    starts: VecDeque<Start>,
    /// Why a namespace is not listened to, told once.
    refused: HashSet<u64>,
    overruns: u64,
    malformed: u64,
    unwatched: u64,
}

/// A namespace that should be listened to.
pub(crate) struct Wanted {
    /// Its inode.
    pub(crate) inode: u64,
    /// A file of it.
    pub(crate) path: PathBuf,
    /// Whose it is.
    pub(crate) owner: Arc<Entity>,
}

impl Changes {
    /// Remembers a program that was started.
    pub(crate) fn started(&mut self, pid: u32, comm: &str, at: Timestamp) {
        if self.starts.len() >= MOST_STARTS {
            self.starts.pop_front();
        }
        self.starts.push_back(Start { at, pid, comm: comm.into() });
    }

    /// Listens to these namespaces and to no others: a socket would keep the namespace
    /// of a pod that is gone.
    pub(crate) fn follow(&mut self, wanted: Vec<Wanted>) {
        let named: HashSet<u64> = wanted.iter().map(|w| w.inode).collect();
        self.places.retain(|inode, _| named.contains(inode));
        self.refused.retain(|inode| named.contains(inode));
        for Wanted { inode, path, owner } in wanted {
            if let Some(known) = self.places.get_mut(&inode) {
                known.owner = owner;
            } else if !self.refused.contains(&inode) {
                self.listen(inode, &path, owner);
            }
        }
    }

    fn listen(&mut self, inode: u64, path: &Path, owner: Arc<Entity>) {
        if self.places.len() >= MOST_NAMESPACES {
            self.refused.insert(inode);
            self.unwatched += 1;
            return;
        }
        match Watch::open(path) {
            // The file stands for another namespace by now.
            Ok(watch) if u64::from(watch.inode()) != inode => {}
            Ok(watch) => {
                self.places.insert(inode, Place { watch, owner });
            }
            Err(error) => {
                tracing::warn!(netns = %path.display(), %error, "changes in it are not seen");
                self.refused.insert(inode);
                self.unwatched += 1;
            }
        }
    }

    /// Tells what was changed since the last look.
    pub(crate) fn look(&mut self, at: Timestamp, names: &mut Names, out: &mut Vec<Signal>) {
        let Self { places, starts, overruns, malformed, .. } = self;
        for (inode, place) in places {
            let found = place.watch.drain();
            *overruns += found.overruns;
            *malformed += found.malformed;
            for noted in found.noted {
                names.tell(&place.owner, out);
                let by = noted.by.as_ref().and_then(|by| author(by, *inode, at, starts));
                out.push(signal(at, &place.owner, noted, by.unwrap_or_default()));
            }
        }
    }

    /// What was not seen since the last call, by reason.
    pub(crate) fn losses(&mut self) -> [(&'static str, u64); 3] {
        [
            ("netlink_overrun", std::mem::take(&mut self.overruns)),
            ("malformed", std::mem::take(&mut self.malformed)),
            ("netns_unwatched", std::mem::take(&mut self.unwatched)),
        ]
    }
}

fn signal(at: Timestamp, owner: &Entity, noted: Noted, by: Name) -> Signal {
    Signal::Change(Box::new(Change {
        at,
        entity: owner.id.clone(),
        kind: noted.kind,
        what: noted.what.into(),
        by,
        undo: noted.undo.into(),
    }))
}

/// Who did it, in words. The number of a netlink socket is a process id by custom only,
/// and one of the process' own namespace: it is believed if a process of that id lives in
/// the network namespace, or was started just before.
fn author(by: &Author, netns: u64, at: Timestamp, starts: &VecDeque<Start>) -> Option<Name> {
    let pid = by.pid;
    let name = by.name.clone().or_else(|| {
        let started = |s: &&Start| s.pid == pid && s.at <= at && s.at + RECENT >= at;
        let known = starts.iter().rfind(started).map(|s| s.comm.to_string());
        known.or_else(|| living(pid, netns))
    })?;
    Some(format!("{name} (pid {pid})").into())
}

/// The name of a process that lives in the namespace.
fn living(pid: u32, netns: u64) -> Option<String> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let link = std::fs::read_link(process.join("ns/net")).ok()?;
    let inside = link.to_str() == Some(&format!("net:[{netns}]"));
    let comm = std::fs::read_to_string(process.join("comm")).ok()?;
    inside.then(|| comm.trim().to_owned())
}

/// A limit of a container that differs from the one at the last look.
pub(crate) fn limit(
    at: Timestamp,
    owner: &Entity,
    what: &str,
    (before, now): (Option<String>, Option<String>),
) -> Option<Signal> {
    if before == now {
        return None;
    }
    let words = |limit: Option<String>| limit.unwrap_or_else(|| "none".to_owned());
    let what = format!("limit of {what} {} -> {}", words(before), words(now));
    Some(Signal::Change(Box::new(Change {
        at,
        entity: owner.id.clone(),
        kind: ChangeKind::Limit,
        what: what.into(),
        by: Name::default(),
        undo: Name::default(),
    })))
}

/// What was not seen, as signals.
pub(crate) fn lost(at: Timestamp, node: &Name, all: [(&'static str, u64); 3]) -> Vec<Signal> {
    let lost = |(reason, count): (&'static str, u64)| {
        let (entity, collector) = (node.clone(), "changes".into());
        Signal::Loss(Loss { at, entity, collector, reason: reason.into(), count })
    };
    all.into_iter().filter(|(_, count)| *count > 0).map(lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(seconds * 1_000_000_000)
    }

    #[test]
    fn a_number_is_an_author_only_where_such_a_program_was_started_just_before() {
        let mut changes = Changes::default();
        changes.started(u32::MAX, "ip", at(100));
        let by = |pid, name: Option<&str>| Author { pid, name: name.map(str::to_owned) };
        let who = |by: &Author, now| author(by, 1, now, &changes.starts).map(|n| n.to_string());
        let ip = by(u32::MAX, None);
        assert_eq!(who(&ip, at(101)), Some(format!("ip (pid {})", u32::MAX)));
        assert_eq!(who(&ip, at(200)), None, "long ago: the number may be another's");
        assert_eq!(who(&ip, at(99)), None, "it came later");
        assert_eq!(who(&by(u32::MAX - 1, None), at(101)), None, "nobody knows it");
        assert_eq!(
            who(&by(7, Some("nft")), at(200)).as_deref(),
            Some("nft (pid 7)"),
            "the kernel said so itself"
        );
        let own = std::process::id();
        assert_eq!(who(&by(own, None), at(101)), None, "it lives in another namespace");
        let here = std::fs::read_link("/proc/self/ns/net").unwrap();
        let here = here.to_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit());
        let found = author(&by(own, None), here.parse().unwrap(), at(101), &changes.starts);
        assert!(found.is_some_and(|name| name.contains(&own.to_string())));
    }

    #[test]
    fn starts_are_bounded() {
        let mut changes = Changes::default();
        for pid in 0..10_000 {
            changes.started(pid, "ip", at(1));
        }
        assert_eq!(changes.starts.len(), MOST_STARTS);
    }

    #[test]
    fn a_limit_is_a_change_once_it_differs() {
        let owner = Entity::default();
        let limit = |before: Option<&str>, now: Option<&str>| {
            let both = (before.map(str::to_owned), now.map(str::to_owned));
            limit(at(1), &owner, "CPU", both)
        };
        assert_eq!(limit(Some("1 CPU"), Some("1 CPU")), None);
        let Some(Signal::Change(change)) = limit(None, Some("0.1 CPU")) else { panic!("none") };
        assert_eq!(&*change.what, "limit of CPU none -> 0.1 CPU");
    }
}
