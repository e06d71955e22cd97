//! The socket of the container runtime.

use super::Source;
use crate::cri::{Asked, Cri};
use crate::directory::FactSource;
use crate::netns;
use crate::resolver::{Job, Shared};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use taproot_model::{Name, Timestamp};

/// Pause while containers are known by their id alone: a sandbox is listed only
/// once its network is set up.
const EAGER: Duration = Duration::from_millis(250);

/// How often a container is asked after that the runtime does not list; it may
/// belong to another runtime.
const MAX_TRIES: u32 = 40;

/// Asks the runtime for its pods.
pub(super) struct CriSource {
    socket: PathBuf,
    client: Option<Cri>,
    version: String,
    asked: Asked,
    tries: HashMap<Name, u32>,
}

impl CriSource {
    pub(super) fn new(socket: PathBuf) -> Self {
        let (version, asked) = (String::new(), Asked::default());
        Self { socket, client: None, version, asked, tries: HashMap::new() }
    }

    /// Counts how often each container that has no name yet was asked after.
    fn count_tries(&mut self, nameless: Vec<Name>) {
        let before = std::mem::take(&mut self.tries);
        let count = |id: Name| {
            let tries = before.get(&id).map_or(1, |tries| tries + 1);
            (id, tries)
        };
        self.tries = nameless.into_iter().map(count).collect();
    }
}

impl Source for CriSource {
    fn name(&self) -> &'static str {
        "cri"
    }

    fn interval(&self, shared: &Shared) -> Duration {
        let eager = self.tries.values().any(|tries| *tries < MAX_TRIES);
        if eager { EAGER.min(shared.options.refresh) } else { shared.options.refresh }
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        let place = self.socket.display().to_string();
        let failed = |why: &dyn std::fmt::Display| format!("{place}: {why}");
        let client = match self.client.take() {
            Some(client) => client,
            None => Cri::new(&self.socket).map_err(|why| failed(&why))?,
        };
        let client = self.client.insert(client);
        if self.version.is_empty() {
            self.version = client.version().map_err(|why| failed(&why))?;
        }
        let proc_root = &shared.options.proc_root;
        let node = shared.node_netns;
        let own_netns = |pid| netns::of_pid(proc_root, pid).ok().filter(|ns| Some(*ns) != node);
        let pods = client.pods(&mut self.asked, own_netns).map_err(|why| failed(&why))?;
        let count = pods.len();
        let nameless = {
            let mut state = shared.write();
            state.directory.merge_list(pods, FactSource::Cri, Timestamp::now());
            state.directory.nameless()
        };
        self.count_tries(nameless);
        Ok(format!("{place}: {}, {count} pods", self.version))
    }

    fn job(&mut self, _shared: &Shared, job: &Job) -> bool {
        matches!(job, Job::Container(_))
    }
}
