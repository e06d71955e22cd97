//! Processes that begin, end and are killed, and the cgroups they live in.
//!
//! Node-wide and metadata only. Events come through a small ring as they happen:
//! a pod that lives for one second has left its cgroup's path, its program and its
//! exit code before any periodic look would have found it.

mod event;
mod mains;

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use libbpf_rs::{Link, RingBuffer, RingBufferBuilder};

use crate::pressure::Lost;
use crate::pressure::counters::LostCounters;
use crate::{Error, Off, Result, attach_all, load_tolerant};

pub use event::{Event, Exit, Kind, Process, Sender};
use mains::Mains;

mod skeleton {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/lifecycle.skel.rs"));
}

/// Names of `enum event_lost`, in its order.
const LOST: &[&str] = &["ring_full"];

/// The lifecycle collector.
pub struct Lifecycle {
    ring: RingBuffer<'static>,
    arrived: Receiver<event::Raw>,
    unreadable: u64,
    mains: Mains,
    lost: LostCounters,
    off: Vec<Off>,
    _links: Vec<Link>,
    skel: skeleton::LifecycleSkel<'static>,
}

impl Lifecycle {
    /// Loads and attaches. `unified` is the mount point of the unified cgroup
    /// hierarchy, scanned once for the first process of every cgroup there is.
    ///
    /// # Errors
    /// When none of the programs runs here; one alone is left out ([`Self::off`]).
    pub fn start(unified: Option<&Path>) -> Result<Self> {
        let (skel, mut off) =
            load_tolerant("lifecycle", &[], skeleton::LifecycleSkelBuilder::default, |_| Ok(()))?;
        let (sender, arrived) = channel();
        let mut builder = RingBufferBuilder::new();
        builder
            .add(&skel.maps.events, move |bytes| {
                // The receiver lives as long as the ring; a failed send loses nothing.
                let _ = sender.send(event::Raw::new(bytes));
                0
            })
            .map_err(Error::bpf("reading the lifecycle ring"))?;
        let ring = builder.build().map_err(Error::bpf("reading the lifecycle ring"))?;
        let attached = attach_all(&skel, &[]);
        off.extend(attached.off);
        if attached.links.is_empty() {
            let why = off.first().map_or_else(String::new, |o| o.why.clone());
            return Err(Error::NothingLoads { collector: "lifecycle", why });
        }
        // After attaching: a process that begins in between is seen twice, not never.
        let mains = unified.map(Mains::scan).unwrap_or_default();
        Ok(Self {
            ring,
            arrived,
            unreadable: 0,
            mains,
            lost: LostCounters::new(LOST),
            off,
            _links: attached.links,
            skel,
        })
    }

    /// Programs that do not run here, and why.
    pub fn off(&self) -> &[Off] {
        &self.off
    }

    /// Waits for events, at most this long, and returns those that came, in order
    /// of their arrival.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<Event>> {
        self.ring.poll(timeout).map_err(Error::bpf("waiting for lifecycle events"))?;
        self.ring.consume().map_err(Error::bpf("reading lifecycle events"))?;
        let mut events = Vec::new();
        for raw in self.arrived.try_iter() {
            match Event::decode(&raw) {
                Some(event) => events.extend(self.mains.follow(event)),
                None => self.unreadable += 1,
            }
        }
        Ok(events)
    }

    /// A file descriptor that becomes readable when events wait, for a poll loop.
    pub fn ring_fd(&self) -> i32 {
        self.ring.epoll_fd()
    }

    /// What was lost since the last call.
    pub fn lost(&mut self) -> Result<Vec<Lost>> {
        let mut lost = self.lost.read(&self.skel.maps.events_lost)?;
        let count = std::mem::take(&mut self.unreadable);
        if count > 0 {
            lost.push(Lost { reason: "unreadable_record", count });
        }
        Ok(lost)
    }
}
