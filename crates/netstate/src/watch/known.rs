//! What is known of a namespace, so that a message that repeats it is no change and one
//! that differs says from what to what.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use crate::Result;
use crate::netlink::Raw;
use crate::state::{Link, Prefix, Reach, Sysctls, links, neighbours, queues, routes, sysctls};

use super::{Noted, words};

/// Routes whose former state is kept; a router of the Internet has more, whose changes
/// are then told without what was before.
const MOST_ROUTES: usize = 4096;

/// A route's place: its table, destination and metric.
pub(super) type RouteKey = (u32, Prefix, u32);

/// A device, and whether it came while it was watched.
#[derive(Clone, Debug)]
pub(super) struct KnownLink {
    pub(super) link: Link,
    /// Made while it was watched, and not switched on yet.
    pub(super) fresh: bool,
}

/// The namespace as it was last told.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) links: HashMap<u32, KnownLink>,
    pub(super) addresses: HashSet<(u32, Prefix)>,
    /// Neighbours entered by hand, with their hardware addresses.
    pub(super) permanent: HashMap<(u32, IpAddr), String>,
    pub(super) routes: HashMap<RouteKey, String>,
    /// Queues: device and parent, with kind and handle.
    pub(super) queues: HashMap<(u32, u32), (String, u32)>,
    pub(super) sysctls: Sysctls,
    /// A switch that was set for all devices at this look: each of them tells it, too.
    pub(super) set_for_all: Option<(u8, u16, i32)>,
}

impl Known {
    /// Reads the calling thread's namespace.
    pub(super) fn here() -> Result<Self> {
        let found = links::read()?;
        let names: Vec<&str> = found.iter().map(|link| link.name.as_str()).collect();
        let mut known = Self { sysctls: sysctls::read(&names), ..Self::default() };
        for link in found {
            known.links.insert(link.index, KnownLink { link, fresh: false });
        }
        known.addresses =
            neighbours::read_addresses()?.into_iter().map(|a| (a.link, a.prefix)).collect();
        for entry in neighbours::read_neighbours()? {
            if entry.reach == Reach::Permanent {
                known.permanent.insert((entry.link, entry.address), entry.hardware_text());
            }
        }
        for route in routes::read_routes()?.iter().take(MOST_ROUTES) {
            let text = words::route(route, known.device(route.out).as_deref());
            known.routes.insert((route.table, route.to, route.metric), text);
        }
        for message in queues::read_messages()? {
            known.note_queue(&message);
        }
        Ok(known)
    }

    /// A new look begins.
    pub(super) fn begin(&mut self) {
        self.set_for_all = None;
    }

    /// Takes in one message.
    ///
    /// # Errors
    /// When it is of a kind that is read, and cannot be.
    pub(super) fn take(
        &mut self,
        message: &Raw<'_>,
        out: &mut Vec<Noted>,
    ) -> std::result::Result<(), super::route::Unreadable> {
        super::route::take(self, message, out)
    }

    /// The name of a device; `None` where there is none.
    pub(super) fn device(&self, index: Option<u32>) -> Option<String> {
        let index = index?;
        let known = self.links.get(&index);
        Some(known.map_or_else(|| format!("if{index}"), |known| known.link.name.clone()))
    }

    /// Remembers a route; what was at its place before.
    pub(super) fn remember(&mut self, key: RouteKey, text: String) -> Option<String> {
        if self.routes.len() >= MOST_ROUTES && !self.routes.contains_key(&key) {
            return None;
        }
        self.routes.insert(key, text)
    }
}
