//! To which backend a connection to a service address went.

use super::Resolver;
use super::shared::{Shared, lock};
use crate::conntrack::{Conntrack, ConntrackError, Entry, Tuple};
use crate::netns;
use std::path::PathBuf;

impl Resolver {
    /// The tracked connection that began with this tuple: its
    /// [`Entry::server`] is the backend behind a service address.
    ///
    /// `netns` (inode or learnt cookie) says in whose tables to look; `None`
    /// looks where services are translated: in the node's namespace and those of
    /// [`super::Options::nat_namespaces`]. `Ok(None)` when no table has it; ask
    /// early, an entry goes a while after its connection.
    pub fn nat_lookup(
        &self,
        netns: Option<u64>,
        original: &Tuple,
    ) -> Result<Option<Entry>, ConntrackError> {
        if let Some(netns) = netns {
            let Some(path) = self.namespace_path(self.inode(netns)) else { return Ok(None) };
            // Not kept: an open line would keep a dead pod's namespace alive.
            return Conntrack::open_in(&path)?.lookup(original);
        }
        let mut lines = lock(&self.shared.nat);
        if lines.is_none() {
            *lines = Some(open_all(&self.shared)?);
        }
        for line in lines.iter_mut().flatten() {
            match line.lookup(original) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(why) => {
                    *lines = None;
                    return Err(why);
                }
            }
        }
        Ok(None)
    }

    /// Where a namespace can be entered: by name, or through a process in it.
    fn namespace_path(&self, inode: u64) -> Option<PathBuf> {
        let options = &self.shared.options;
        let by_pid = |pid: u32| options.proc_root.join(format!("{pid}/ns/net"));
        if self.shared.node_netns == Some(inode) {
            return Some(by_pid(options.node_pid));
        }
        netns::named(&options.run_root.join("netns")).remove(&inode)
    }
}

fn open_all(shared: &Shared) -> Result<Vec<Conntrack>, ConntrackError> {
    let options = &shared.options;
    let node = options.proc_root.join(format!("{}/ns/net", options.node_pid));
    std::iter::once(&node)
        .chain(&options.nat_namespaces)
        .map(|path| Conntrack::open_in(path))
        .collect()
}
