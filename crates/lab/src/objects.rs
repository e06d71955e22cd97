//! The lab's pods and services as Kubernetes objects, as `kubectl get -o json`
//! writes them: whoever can read a cluster can read the lab.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::cri::rfc3339;
use crate::state::{Lab, Pod, Service, Termination};

/// Name of the file beside `lab.json`.
pub const FILE: &str = "objects.json";

/// Where the objects of a lab lie.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE)
}

/// A `List` of all pods, services and endpoint slices.
pub(crate) fn objects(lab: &Lab) -> Value {
    // A pod that is still to come is not in the cluster yet.
    let mut items: Vec<Value> =
        lab.pods.iter().filter(|p| p.started_unix_ns > 0).map(pod).collect();
    for service in &lab.services {
        items.push(service_object(service, &lab.namespace));
        items.push(slice(service, lab));
    }
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn time(unix_ns: u64) -> String {
    rfc3339(Duration::from_nanos(unix_ns))
}

fn pod(pod: &Pod) -> Value {
    let ips: Vec<Value> = pod.interfaces.iter().map(|i| json!({ "ip": i.ip })).collect();
    let phase = if pod.ended_unix_ns.is_some() { "Succeeded" } else { "Running" };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod.name,
            "namespace": pod.namespace,
            "uid": pod.uid,
            "labels": { "app": pod.workload },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "Deployment", "name": pod.workload,
                "uid": pod.uid, "controller": true
            }],
        },
        "spec": {
            "nodeName": pod.node,
            "hostNetwork": pod.host_network,
            "containers": [{
                "name": pod.container.name,
                "image": pod.container.image,
                "ports": pod.port.map(|p| vec![json!({ "containerPort": p })]).unwrap_or_default(),
            }],
        },
        "status": {
            "phase": phase,
            "podIP": pod.ip().map(|ip| ip.to_string()).unwrap_or_default(),
            "podIPs": ips,
            "startTime": time(pod.started_unix_ns),
            "containerStatuses": [status(pod)],
        },
    })
}

fn status(pod: &Pod) -> Value {
    let running = pod.container.process.is_some() && pod.ended_unix_ns.is_none();
    let state = if running {
        json!({ "running": { "startedAt": time(pod.container.started_unix_ns) } })
    } else {
        json!({ "waiting": { "reason": "CrashLoopBackOff" } })
    };
    json!({
        "name": pod.container.name,
        "image": pod.container.image,
        "containerID": format!("containerd://{}", pod.container.id),
        "restartCount": pod.restarts,
        "state": state,
        "lastState": pod.history.last().map_or_else(|| json!({}), terminated),
    })
}

fn terminated(end: &Termination) -> Value {
    json!({ "terminated": {
        "containerID": format!("containerd://{}", end.container_id),
        "exitCode": end.exit_code,
        "reason": end.reason,
        "startedAt": time(end.started_unix_ns),
        "finishedAt": time(end.finished_unix_ns),
    }})
}

fn service_object(service: &Service, namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": service.name, "namespace": namespace },
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service.cluster_ip,
            "clusterIPs": [service.cluster_ip],
            "ports": [{ "port": service.port, "protocol": service.transport.to_uppercase() }],
        },
    })
}

fn slice(service: &Service, lab: &Lab) -> Value {
    let uid = |name: &str| lab.pod(name).map(|p| p.uid.clone()).unwrap_or_default();
    let ports: BTreeSet<u16> = service.backends.iter().map(|b| b.port).collect();
    let ports: Vec<Value> = ports
        .iter()
        .map(|port| json!({ "port": port, "protocol": service.transport.to_uppercase() }))
        .collect();
    let endpoints: Vec<Value> = service
        .backends
        .iter()
        .map(|b| {
            json!({
                "addresses": [b.ip],
                "conditions": { "ready": true },
                "nodeName": lab.node.name,
                "targetRef": {
                    "kind": "Pod", "name": b.pod, "namespace": lab.namespace, "uid": uid(&b.pod)
                },
            })
        })
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {
            "name": format!("{}-lab", service.name),
            "namespace": lab.namespace,
            "labels": { "kubernetes.io/service-name": service.name },
        },
        "endpoints": endpoints,
        "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout;
    use crate::options::{Launcher, Options};

    #[test]
    fn every_address_belongs_to_one_living_pod() {
        let options = Options { extras: true, ..Options::new(Launcher::new("/bin/true", &[])) };
        let lab = layout::lab(&options.names().unwrap(), &options, Vec::new()).unwrap();
        let list = objects(&lab);
        let items = list["items"].as_array().unwrap();
        let kind = |kind: &str| items.iter().filter(|i| i["kind"] == kind).count();
        assert_eq!(kind("Pod"), lab.pods.len() - 1, "the second job is still to come");
        assert_eq!(kind("Service"), lab.services.len());
        let ips: Vec<_> = items.iter().filter_map(|i| i["status"]["podIP"].as_str()).collect();
        let unique: BTreeSet<_> = ips.iter().collect();
        assert_eq!(unique.len(), ips.len(), "{ips:?}");
    }
}
