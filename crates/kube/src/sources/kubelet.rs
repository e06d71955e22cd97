//! The kubelet: the pods of this node, and only those.

use super::Source;
use crate::directory::FactSource;
use crate::http::Http;
use crate::objects::Objects;
use crate::resolver::{HttpTarget, Job, Shared};
use taproot_model::Timestamp;

/// Asks the kubelet's `/pods`.
pub(super) struct Kubelet {
    target: HttpTarget,
}

impl Kubelet {
    pub(super) fn new(target: HttpTarget) -> Self {
        Self { target }
    }
}

impl Source for Kubelet {
    fn name(&self) -> &'static str {
        "kubelet"
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        // Made anew each time: authorities and token are rotated.
        let http = Http::new(&self.target).map_err(|why| why.to_string())?;
        let json = http.get("/pods", "application/json").map_err(|why| why.to_string())?;
        let objects = Objects::parse(&json).map_err(|why| format!("{}/pods: {why}", http.url()))?;
        let at = Timestamp::now();
        let pods = objects.pod_facts(at);
        let count = pods.len();
        shared.write().directory.merge_list(pods, FactSource::Kubelet, at);
        Ok(format!("{}: {count} pods", http.url()))
    }

    fn job(&mut self, shared: &Shared, job: &Job) -> bool {
        // The runtime is nearer; a kubelet is troubled only where there is none.
        matches!(job, Job::Container(_)) && shared.options.cri_socket.is_none()
    }
}
