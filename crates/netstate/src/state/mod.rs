//! Everything that decides over packets in one network namespace, read at once.

mod held;
pub(crate) mod links;
pub(crate) mod neighbours;
mod prefix;
mod programs;
pub(crate) mod queues;
pub(crate) mod routes;
mod sockets;
pub(crate) mod sysctls;

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use held::{Held, held_by};
pub use links::{BridgePort, Link, Vxlan};
pub use neighbours::{Address, Neighbour, Reach};
pub use prefix::{NotAPrefix, Prefix};
pub use programs::Attached;
pub use queues::{Filter, Queue};
pub(crate) use routes::ask_kernel;
pub use routes::{LOCAL_TABLE, Lookup, MAIN_TABLE, PolicyAction, Route, RouteKind, Rule};
pub use sockets::Waiting;
pub use sysctls::Sysctls;

use crate::firewall::Firewall;
use crate::{Result, enter};

/// The networking of one network namespace at one moment.
///
/// The parts are read one after another, so a change in between can show in one
/// and not in another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// How people call the namespace: a name or a path.
    pub name: String,
    /// Its inode, as `/proc/<pid>/ns/net` shows it.
    pub inode: u32,
    /// Its devices.
    pub links: Vec<Link>,
    /// Its addresses.
    pub addresses: Vec<Address>,
    /// Its policy rules, first asked first.
    pub rules: Vec<Rule>,
    /// Its routes, of all tables.
    pub routes: Vec<Route>,
    /// What it knows of its neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Its switches.
    pub sysctls: Sysctls,
    /// The queues of its devices.
    pub queues: Vec<Queue>,
    /// The filters of traffic control at its devices.
    pub filters: Vec<Filter>,
    /// Its sockets that wait for packets.
    pub sockets: Vec<Waiting>,
    /// BPF programs on the node's control groups that judge packets.
    pub programs: Vec<Attached>,
    /// Its packet filter rules, with their counters.
    pub firewall: Firewall,
}

impl NetState {
    /// Reads the namespace behind a file such as `/proc/<pid>/ns/net` or
    /// `/run/netns/<name>`.
    pub fn read(netns: &Path) -> Result<Self> {
        let mut state = enter::inside(netns, Self::here)??;
        state.name = match netns.strip_prefix("/run/netns") {
            Ok(name) => name.display().to_string(),
            Err(_) => netns.display().to_string(),
        };
        Ok(state)
    }

    /// Reads the calling thread's namespace.
    pub fn here() -> Result<Self> {
        let links = links::read()?;
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let sysctls = sysctls::read(&names);
        let queues = queues::read_queues()?;
        let mut filters = Vec::new();
        for queue in queues.iter().filter(|queue| queue.holder) {
            filters.extend(queues::read_filters(queue.link)?);
        }
        Ok(Self {
            name: String::new(),
            inode: enter::inode(),
            addresses: neighbours::read_addresses()?,
            rules: routes::read_rules()?,
            routes: routes::read_routes()?,
            neighbours: neighbours::read_neighbours()?,
            sockets: sockets::read()?,
            firewall: Firewall::here(),
            programs: programs::read(),
            links,
            sysctls,
            queues,
            filters,
        })
    }

    /// A device by its number.
    pub fn link(&self, index: u32) -> Option<&Link> {
        self.links.iter().find(|link| link.index == index)
    }

    /// A device by its name.
    pub fn link_named(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of a device, or its number where it is gone.
    pub fn link_name(&self, index: u32) -> String {
        self.link(index).map_or_else(|| format!("device {index}"), |link| link.name.clone())
    }

    /// Whether an address is one of this namespace's own.
    pub fn owns(&self, address: IpAddr) -> bool {
        let loopback = match address {
            IpAddr::V4(v4) => v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_loopback(),
        };
        loopback || self.addresses.iter().any(|own| own.prefix.address == address)
    }

    /// What is known of a neighbour.
    pub fn neighbour(&self, address: IpAddr) -> Option<&Neighbour> {
        self.neighbours.iter().find(|neighbour| neighbour.address == address)
    }

    /// Sockets to which a packet would come.
    pub fn sockets_at(&self, tcp: bool, to: std::net::SocketAddr) -> Vec<&Waiting> {
        self.sockets.iter().filter(|socket| socket.takes(tcp, to)).collect()
    }
}
