//! A file with Kubernetes objects: of a lab, or saved with `kubectl`.

use super::Source;
use crate::directory::FactSource;
use crate::objects::Objects;
use crate::resolver::Shared;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use taproot_model::Timestamp;

/// How often the file is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// Reads a file whenever it changes.
pub(super) struct PodsFile {
    path: PathBuf,
    read: Option<(SystemTime, u64)>,
    said: String,
}

impl PodsFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, read: None, said: String::new() }
    }

    fn load(&self, shared: &Shared) -> Result<String, String> {
        let json = fs::read(&self.path).map_err(|why| self.complain(&why))?;
        let objects = Objects::parse(&json).map_err(|why| self.complain(&why))?;
        let (pods, services, _) = objects.counts();
        shared.happened(objects.events());
        let mut state = shared.write();
        let at = Timestamp::now();
        state.directory.merge_list(objects.pod_facts(at), FactSource::File, at);
        state.directory.set_services(objects.services());
        state.directory.set_nodes(objects.node_addresses());
        Ok(format!("{}: {pods} pods, {services} services", self.path.display()))
    }

    fn complain(&self, why: &dyn std::fmt::Display) -> String {
        format!("{}: {why}", self.path.display())
    }
}

impl Source for PodsFile {
    fn name(&self) -> &'static str {
        "pods-file"
    }

    fn interval(&self, shared: &Shared) -> Duration {
        INTERVAL.min(shared.options.refresh)
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        let meta = fs::metadata(&self.path).map_err(|why| self.complain(&why))?;
        let version = (meta.modified().unwrap_or(SystemTime::UNIX_EPOCH), meta.len());
        if self.read != Some(version) {
            self.said = self.load(shared)?;
            self.read = Some(version);
        }
        Ok(self.said.clone())
    }
}
