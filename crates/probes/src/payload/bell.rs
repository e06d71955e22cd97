//! To be woken by the programs.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// Rings when the programs say so. Not for what is in the ring already: a level that is
/// looked at would end every wait as soon as a single record is there.
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new(ring: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        epoll::add(&epoll, ring, epoll::EventData::new_u64(0), flags)?;
        Ok(Self(epoll))
    }

    pub(super) fn wait(&self, at_most: Duration) -> io::Result<()> {
        let mut events = [const { MaybeUninit::uninit() }; 1];
        let at_most = Timespec::try_from(at_most).ok();
        match epoll::wait(&self.0, &mut events[..], at_most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
