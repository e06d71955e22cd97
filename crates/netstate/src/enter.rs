//! Doing something inside a network namespace, from outside.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{Error, Result};

/// Runs a task on a thread of its own inside the namespace behind a file such as
/// `/proc/<pid>/ns/net` or `/run/netns/<name>`. The caller stays where it is.
pub fn inside<T: Send>(netns: &Path, task: impl FnOnce() -> T + Send) -> Result<T> {
    let refused = |source: io::Error| Error::Enter { path: netns.to_owned(), source };
    let file = File::open(netns).map_err(refused)?;
    let entered = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok::<T, io::Error>(task())
            })
            .join()
    });
    entered.map_err(|_| Error::Thread)?.map_err(refused)
}

/// The inode of the calling thread's namespace, 0 where `/proc` does not say.
pub(crate) fn inode() -> u32 {
    std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |meta| meta.ino() as u32)
}
