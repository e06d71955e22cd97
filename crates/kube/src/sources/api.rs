//! The API server: services and their backends, owners, nodes, own pods.
//!
//! Lists are asked for with `resourceVersion=0`, which the API server answers
//! from its own cache without troubling etcd.

use super::Source;
use crate::directory::FactSource;
use crate::http::{Http, HttpError, METADATA_ONLY};
use crate::objects::{ObjectError, Objects};
use crate::resolver::{HttpTarget, Shared};
use std::time::Duration;
use taproot_model::Timestamp;

const JSON: &str = "application/json";

/// Services change seldom, and every node asks.
const SLOWER: u32 = 3;

/// Nodes and their addresses change more seldom still: one refresh in so many.
const NODES_EVERY: u32 = 20;

/// Asks the API server.
pub(super) struct ApiServer {
    target: HttpTarget,
    refreshes: u32,
}

/// Why one list is missing.
#[derive(Debug, thiserror::Error)]
enum ListError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

impl ApiServer {
    pub(super) fn new(target: HttpTarget) -> Self {
        Self { target, refreshes: 0 }
    }
}

impl Source for ApiServer {
    fn name(&self) -> &'static str {
        "api-server"
    }

    fn interval(&self, shared: &Shared) -> Duration {
        shared.options.refresh * SLOWER
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        let http = Http::new(&self.target).map_err(|why| why.to_string())?;
        let mut objects = Objects::default();
        let mut missing = Vec::new();
        let mut list = |kind: &str, path: &str, accept: &str| -> bool {
            let outcome = fetch(&http, &mut objects, kind, path, accept);
            let why = outcome.as_ref().err().map(ToString::to_string);
            missing.extend(why);
            outcome.is_ok()
        };
        // The first failure of all is most likely "no connection": ask no more.
        if !list("ServiceList", "/api/v1/services?resourceVersion=0", JSON) {
            return Err(missing.remove(0));
        }
        let node = encoded(&shared.options.node);
        let own = format!("/api/v1/pods?fieldSelector=spec.nodeName%3D{node}&resourceVersion=0");
        let slices = "/apis/discovery.k8s.io/v1/endpointslices?resourceVersion=0";
        let has_slices = list("EndpointSliceList", slices, JSON);
        list("ReplicaSetList", "/apis/apps/v1/replicasets?resourceVersion=0", METADATA_ONLY);
        let has_pods = list("PodList", &own, JSON);
        if self.refreshes.is_multiple_of(NODES_EVERY) {
            list("NodeList", "/api/v1/nodes?resourceVersion=0", JSON);
        }
        self.refreshes = self.refreshes.wrapping_add(1);
        take_in(shared, &objects, has_pods, has_slices);
        let (pods, services, slices) = objects.counts();
        let mut said =
            format!("{}: {pods} pods here, {services} services, {slices} slices", http.url());
        if !missing.is_empty() {
            said = format!("{said}; without {}", missing.join("; "));
        }
        Ok(said)
    }
}

fn fetch(
    http: &Http,
    objects: &mut Objects,
    kind: &str,
    path: &str,
    accept: &str,
) -> Result<(), ListError> {
    let json = http.get(path, accept)?;
    Ok(objects.add_as(kind, &json)?)
}

/// A list that is missing takes nothing away of what was known before.
fn take_in(shared: &Shared, objects: &Objects, has_pods: bool, has_slices: bool) {
    let mut state = shared.write();
    if has_pods {
        let at = Timestamp::now();
        state.directory.merge_list(objects.pod_facts(at), FactSource::ApiServer, at);
    }
    if has_slices {
        state.directory.set_services(objects.services());
    }
    state.directory.set_nodes(objects.node_addresses());
}

/// A value as it stands in a query: node names are DNS names, anything else is
/// escaped.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_cannot_change_the_query() {
        assert_eq!(encoded("n1.example"), "n1.example");
        assert_eq!(encoded("a&b=c"), "a%26b%3Dc");
    }
}
