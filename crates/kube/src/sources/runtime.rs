//! The state files that container runtimes keep of running containers.
//!
//! They exist before the first process of a container runs, and reading one
//! takes no answer from any daemon: this is what names a container that lives
//! for a moment.

use super::Source;
use crate::directory::FactSource;
use crate::facts::{ContainerFact, PodFact};
use crate::resolver::{Job, Options, Shared};
use crate::workload;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use taproot_model::Name;

/// Reads state files below the node's `/run` and `/var/lib`.
pub(super) struct RuntimeState {
    /// Folders of containerd's namespaces: `<folder>/<namespace>/<id>/config.json`.
    containerd: PathBuf,
    /// CRI-O and Podman: `<folder>/<id>/userdata/config.json`.
    containers: PathBuf,
    /// Docker: `<folder>/<id>/config.v2.json`.
    docker: PathBuf,
}

impl RuntimeState {
    pub(super) fn new(options: &Options) -> Self {
        let host = options.run_root.parent().unwrap_or(Path::new("/"));
        Self {
            containerd: options.run_root.join("containerd/io.containerd.runtime.v2.task"),
            containers: options.run_root.join("containers/storage/overlay-containers"),
            docker: host.join("var/lib/docker/containers"),
        }
    }

    /// Looks a container up; `None` when no runtime has a file on it.
    fn look_up(&self, id: &str) -> Option<PodFact> {
        let namespaces = fs::read_dir(&self.containerd).into_iter().flatten().flatten();
        let specs = namespaces
            .map(|namespace| namespace.path().join(id).join("config.json"))
            .chain([self.containers.join(id).join("userdata/config.json")]);
        let spec =
            specs.filter_map(|path| fs::read(path).ok()).find_map(|json| from_spec(id, &json));
        spec.or_else(|| {
            from_docker(id, &fs::read(self.docker.join(id).join("config.v2.json")).ok()?)
        })
    }
}

impl Source for RuntimeState {
    fn name(&self) -> &'static str {
        "runtime"
    }

    fn refresh(&mut self, shared: &Shared) -> Result<String, String> {
        let nameless = shared.read().directory.nameless();
        let found: Vec<PodFact> = nameless.iter().filter_map(|id| self.look_up(id)).collect();
        let count = found.len();
        let mut state = shared.write();
        for fact in found {
            state.directory.merge(fact, FactSource::Runtime);
        }
        Ok(format!("state files named {count} of {} nameless containers", nameless.len()))
    }

    fn job(&mut self, shared: &Shared, job: &Job) -> bool {
        if let Job::Container(id) = job
            && let Some(fact) = self.look_up(id)
        {
            shared.write().directory.merge(fact, FactSource::Runtime);
        }
        false
    }
}

/// An OCI runtime specification, as far as it tells who the container is.
#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: BTreeMap<String, Name>,
    #[serde(default)]
    hostname: Name,
}

/// Reads the annotations that containerd's CRI plugin and CRI-O leave in the
/// specification of a container.
fn from_spec(id: &str, json: &[u8]) -> Option<PodFact> {
    let spec: Spec = serde_json::from_slice(json).ok()?;
    let get = |keys: [&str; 2]| {
        keys.iter().find_map(|key| spec.annotations.get(*key)).cloned().unwrap_or_default()
    };
    let kind = get(["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"]);
    let sandbox = kind.as_str() == "sandbox";
    let pod = get(["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]);
    let name = get(["io.kubernetes.cri.container-name", "io.kubernetes.container.name"]);
    let image = get(["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName"]);
    let labels = spec
        .annotations
        .get("io.kubernetes.cri-o.Labels")
        .and_then(|json| serde_json::from_str::<BTreeMap<Name, Name>>(json).ok())
        .unwrap_or_default();
    let alone = if pod.is_empty() && name.is_empty() { spec.hostname.clone() } else { name };
    let container = ContainerFact {
        id: Name::from(id),
        name: if sandbox { Name::default() } else { alone },
        image,
        sandbox,
        ..ContainerFact::default()
    };
    Some(PodFact {
        uid: get(["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"]),
        namespace: get(["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
        workload: workload::of_labels(&pod, &labels),
        name: pod,
        labels,
        containers: vec![container],
        ..PodFact::default()
    })
}

/// Docker's own file on a container.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerConfig {
    name: String,
    config: DockerSettings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct DockerSettings {
    image: Name,
    labels: Option<BTreeMap<Name, Name>>,
}

fn from_docker(id: &str, json: &[u8]) -> Option<PodFact> {
    let docker: DockerConfig = serde_json::from_slice(json).ok()?;
    let container = ContainerFact {
        id: Name::from(id),
        name: Name::from(docker.name.trim_start_matches('/')),
        image: docker.config.image,
        ..ContainerFact::default()
    };
    let labels = docker.config.labels.unwrap_or_default();
    Some(PodFact { labels, containers: vec![container], ..PodFact::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(root: &Path) -> RuntimeState {
        RuntimeState::new(&Options { run_root: root.join("run"), ..Options::default() })
    }

    fn write(path: PathBuf, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn containerd_tells_container_and_sandbox() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("run/containerd/io.containerd.runtime.v2.task/k8s.io");
        write(
            folder.join("c1/config.json"),
            r#"{"ociVersion":"1.2.1","annotations":{
            "io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.image-name":"localhost/app:1","io.kubernetes.cri.sandbox-name":"api-0",
            "io.kubernetes.cri.sandbox-namespace":"bank","io.kubernetes.cri.sandbox-uid":"u-1"}}"#,
        );
        write(
            folder.join("s1/config.json"),
            r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox",
            "io.kubernetes.cri.sandbox-name":"api-0","io.kubernetes.cri.sandbox-namespace":"bank",
            "io.kubernetes.cri.sandbox-uid":"u-1"}}"#,
        );
        let state = reader(root.path());
        let fact = state.look_up("c1").unwrap();
        assert_eq!((&*fact.uid, &*fact.name, &*fact.namespace), ("u-1", "api-0", "bank"));
        assert_eq!(
            (&*fact.containers[0].name, &*fact.containers[0].image),
            ("app", "localhost/app:1")
        );
        assert!(state.look_up("s1").unwrap().containers[0].sandbox);
        assert_eq!(state.look_up("c2"), None);
    }

    #[test]
    fn docker_and_plain_containers_have_a_name() {
        let root = tempfile::tempdir().unwrap();
        write(
            root.path().join("var/lib/docker/containers/d1/config.v2.json"),
            r#"{"ID":"d1","Name":"/shop-db","Config":{"Image":"postgres:16","Labels":null}}"#,
        );
        write(
            root.path().join("run/containers/storage/overlay-containers/p1/userdata/config.json"),
            r#"{"hostname":"p1short","annotations":{}}"#,
        );
        let state = reader(root.path());
        let docker = state.look_up("d1").unwrap();
        assert!(docker.uid.is_empty());
        assert_eq!(&*docker.containers[0].name, "shop-db");
        assert_eq!(&*state.look_up("p1").unwrap().containers[0].name, "p1short");
    }

    #[test]
    fn broken_files_are_no_answer() {
        let root = tempfile::tempdir().unwrap();
        write(root.path().join("var/lib/docker/containers/d1/config.v2.json"), "{\"Name\":");
        write(
            root.path().join("run/containers/storage/overlay-containers/d1/userdata/config.json"),
            "7",
        );
        assert_eq!(reader(root.path()).look_up("d1"), None);
    }
}
