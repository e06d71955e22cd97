//! A node: containerd with runc and CNI plugins in mount, network and host name
//! namespaces of its own, and in a control group of its own. Nothing of it
//! outlives the value: killing the group's processes ends its namespaces.

use super::cri::{Client, ContainerConfig, Dns, Id1, LinuxSandbox, SandboxConfig, SandboxMetadata};
use std::collections::HashMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use taproot_kube::Options;

/// Programs that a node needs, from Debian's containerd, runc, busybox-static,
/// util-linux and iproute2.
pub(crate) const COMMANDS: [&str; 7] =
    ["containerd", "ctr", "runc", "busybox", "unshare", "ip", "tar"];

/// Where Debian's containernetworking-plugins puts its programs.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

const IMAGE: &str = "taproot.test/tiny:1";

pub(crate) struct Node {
    containerd: Child,
    /// Control group, relative to every hierarchy's mount point.
    group: String,
    folder: tempfile::TempDir,
    client: Client,
}

/// A pod that runs.
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) sandbox: String,
    pub(crate) container: String,
    /// Path of the container's control group.
    pub(crate) group: String,
}

/// All mount points of control group hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_cgroup = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let points = mounts.lines().filter(is_cgroup).filter_map(|line| line.split(' ').nth(4));
    points.map(PathBuf::from).collect()
}

impl Node {
    /// Starts a node whose pods get addresses of `10.77.0.0/24` in turn, from a
    /// pool of `addresses`.
    pub(crate) fn start(name: &str, addresses: u8) -> Self {
        let group = format!("taproot-kube-{}-{name}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        write_image(folder.path());
        write_config(folder.path(), addresses);
        let containerd = spawn(folder.path(), &group);
        let socket = run_of(containerd.id()).join("containerd/containerd.sock");
        let node = Self { containerd, group, client: Client::new(&socket), folder };
        node.wait_until_up(&socket);
        let import = Command::new("ctr")
            .args(["-n", "k8s.io", "-a"])
            .arg(&socket)
            .args(["images", "import", "--snapshotter", "native"])
            .arg(node.folder.path().join("image.tar"))
            .output()
            .unwrap();
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        node
    }

    fn wait_until_up(&self, socket: &Path) {
        let limit = Instant::now() + Duration::from_secs(30);
        while !(socket.exists() && self.client.is_up()) {
            assert!(Instant::now() < limit, "containerd does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What a resolver of this node looks at.
    pub(crate) fn options(&self) -> Options {
        let run_root = run_of(self.containerd.id());
        Options {
            node: "test-node".into(),
            node_pid: self.containerd.id(),
            cri_socket: Some(run_root.join("containerd/containerd.sock")),
            run_root,
            refresh: Duration::from_secs(1),
            ..Options::default()
        }
    }

    /// Path of the node's control group, for instance to watch it.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Runs a pod of one container as a kubelet would, labels and all.
    pub(crate) fn run(&self, name: &str, uid: &str, command: &[&str]) -> Pod {
        let parent = format!("/{}/kubepods/besteffort/pod{uid}", self.group);
        let owned = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let identity = [
            ("io.kubernetes.pod.name", name),
            ("io.kubernetes.pod.namespace", "live"),
            ("io.kubernetes.pod.uid", uid),
        ];
        let mut labels = owned(&identity);
        labels.insert("pod-template-hash".into(), "5d4f8c7b9".into());
        let config = SandboxConfig {
            metadata: Some(SandboxMetadata {
                name: name.into(),
                uid: uid.into(),
                namespace: "live".into(),
            }),
            hostname: name.into(),
            dns: Some(Dns { servers: vec!["10.77.0.1".into()] }),
            labels,
            linux: Some(LinuxSandbox { cgroup_parent: parent.clone() }),
        };
        let sandbox = self.client.run_sandbox(&config);
        let mut labels = owned(&identity);
        labels.insert("io.kubernetes.container.name".into(), "main".into());
        let container = ContainerConfig {
            metadata: Some(Id1 { name: "main".into() }),
            image: Some(Id1 { name: IMAGE.into() }),
            command: command.iter().map(|&word| word.to_owned()).collect(),
            labels,
        };
        let container = self.client.start_container(&sandbox, container, &config);
        Pod { uid: uid.into(), group: format!("{parent}/{container}"), sandbox, container }
    }

    pub(crate) fn remove(&self, pod: &Pod) {
        self.client.remove_sandbox(&pod.sandbox);
    }

    /// Ends the node, and returns what is left of it: groups and its folder.
    pub(crate) fn stop(self) -> Vec<PathBuf> {
        let (group, folder) = (self.group.clone(), self.folder.path().to_owned());
        drop(self);
        let mut left: Vec<PathBuf> =
            hierarchies().iter().map(|mount| mount.join(&group)).filter(|p| p.exists()).collect();
        left.extend(folder.exists().then_some(folder));
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(&group)).map(PathBuf::from));
        left
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let mounts = hierarchies();
        let limit = Instant::now() + Duration::from_secs(10);
        loop {
            let alive: Vec<String> =
                mounts.iter().flat_map(|mount| processes(&mount.join(&self.group))).collect();
            if alive.is_empty() || Instant::now() > limit {
                break;
            }
            for pid in alive {
                let _ = Command::new("kill").args(["-9", &pid]).stderr(Stdio::null()).status();
            }
            let _ = self.containerd.try_wait();
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.containerd.wait();
        for mount in &mounts {
            remove_group(&mount.join(&self.group));
        }
    }
}

/// The `/run` that processes of the node see.
fn run_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root/run"))
}

/// Starts containerd in namespaces and a group of its own. The shell moves
/// itself into the group before it becomes containerd, so that all shims and
/// containers are in it too.
fn spawn(folder: &Path, group: &str) -> Child {
    let join: Vec<String> = hierarchies().iter().map(|mount| join_group(mount, group)).collect();
    let script = format!(
        "set -e\n{}mount -t tmpfs tmpfs /run\nmkdir -p /var/lib/containerd /run/containerd\n\
         mount -t tmpfs tmpfs /var/lib/containerd\nip link set lo up\n\
         exec containerd -c {}/config.toml\n",
        join.concat(),
        folder.display()
    );
    let log = fs::File::create(folder.join("log")).unwrap();
    Command::new("unshare")
        .args(["-m", "-n", "-u", "--propagation", "private", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap()
}

/// Shell commands that make a group in one hierarchy and enter it. A v1 cpuset
/// takes no process before it has CPUs and memory nodes.
fn join_group(mount: &Path, group: &str) -> String {
    let own = mount.join(group).join("node");
    let (own, mount) = (own.display(), mount.display());
    format!(
        "mkdir -p {own}\nfor f in cpuset.cpus cpuset.mems; do \
         if [ -e {mount}/$f ] && [ -e {own}/$f ]; then \
         cat {mount}/$f > {own}/../$f; cat {mount}/$f > {own}/$f; fi; done\n\
         echo $$ > {own}/cgroup.procs\n"
    )
}

fn write_config(folder: &Path, addresses: u8) {
    let cni = folder.join("cni");
    fs::create_dir_all(&cni).unwrap();
    let config = format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{}"
"#,
        cni.display()
    );
    fs::write(folder.join("config.toml"), config).unwrap();
    let last = 1 + addresses;
    let network = format!(
        r#"{{"cniVersion":"0.4.0","name":"pods","plugins":[{{"type":"bridge","bridge":"cni0",
        "isGateway":true,"ipMasq":false,"ipam":{{"type":"host-local","dataDir":"/run/ipam","ranges":
        [[{{"subnet":"10.77.0.0/24","rangeStart":"10.77.0.2","rangeEnd":"10.77.0.{last}"}}]],
        "routes":[{{"dst":"0.0.0.0/0"}}]}}}}]}}"#
    );
    fs::write(cni.join("10-pods.conflist"), network).unwrap();
}

/// Writes an image with nothing but busybox, in the format of `docker save`: it
/// serves as the pause image, too.
fn write_image(folder: &Path) {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/busybox","sleep","1000000"]},
        "rootfs":{"type":"layers","diff_ids":["sha256:DIGEST"]}}"#;
    let manifest =
        format!(r#"[{{"Config":"config.json","RepoTags":["{IMAGE}"],"Layers":["layer.tar"]}}]"#);
    let image = folder.join("image");
    fs::create_dir_all(image.join("root/bin")).unwrap();
    let busybox = taproot_testkit::command_path("busybox").unwrap();
    fs::copy(busybox, image.join("root/bin/busybox")).unwrap();
    for name in ["sh", "sleep", "nc"] {
        std::os::unix::fs::symlink("busybox", image.join("root/bin").join(name)).unwrap();
    }
    fs::write(image.join("manifest.json"), manifest).unwrap();
    fs::write(image.join("config.in"), config).unwrap();
    let script = "tar -C root -cf layer.tar . && sum=$(sha256sum layer.tar | cut -d' ' -f1) && \
                  sed s/DIGEST/$sum/ config.in > config.json && \
                  tar -cf ../image.tar manifest.json config.json layer.tar";
    let made = Command::new("sh").args(["-ec", script]).current_dir(&image).status().unwrap();
    assert!(made.success());
}

/// Processes in a group and the groups below it.
fn processes(group: &Path) -> Vec<String> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<String> = own.lines().map(str::to_owned).collect();
    for child in children(group) {
        found.extend(processes(&child));
    }
    found
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

fn remove_group(group: &Path) {
    for child in children(group) {
        remove_group(&child);
    }
    for _ in 0..50 {
        if fs::remove_dir(group).is_ok() || !group.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
