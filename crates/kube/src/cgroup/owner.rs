use serde::Serialize;
use taproot_model::Name;

/// What the path of a control group says about its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A container, in a pod or on its own.
    Container(ContainerRef),
    /// The group of a whole pod: limits and throttling exist there too.
    Pod(PodRef),
    /// A systemd unit, with its suffix: `nginx.service`.
    Unit(Name),
    /// A login session of a user.
    Session(SessionRef),
    /// None of these: processes must be told by their name.
    None,
}

/// A container, as its control group names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef {
    /// The full id.
    pub id: Name,
    /// The program that made it, as far as the path tells.
    pub runtime: Runtime,
    /// The pod around it.
    pub pod: Option<PodRef>,
}

/// A pod, as its control group names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// `k8s.pod.uid`. For a static pod this is the hash of its manifest.
    pub uid: Name,
    /// Quality of service class.
    pub qos: Qos,
}

/// A login session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// The scope: `session-3.scope`.
    pub scope: Name,
    /// Numeric user id, when the path has it.
    pub uid: Option<u32>,
}

/// Container runtimes that mark their control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// containerd through the CRI.
    Containerd,
    /// CRI-O.
    CriO,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Not told by the path.
    Unknown,
}

/// `PodQOSClass` of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Qos {
    /// Requests equal limits.
    Guaranteed,
    /// Some requests or limits.
    Burstable,
    /// None.
    BestEffort,
}

/// How much an owner tells; see [`super::Membership::owner`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    None,
    Session,
    Unit,
    Pod,
    Container,
}

impl Owner {
    /// Reads the owner off the path of a group.
    ///
    /// Understands the cgroupfs driver (`/kubepods/burstable/pod<uid>/<id>`),
    /// the systemd driver (`/kubepods.slice/.../cri-containerd-<id>.scope`, uid
    /// with `_` for `-`), and their mixture (`<slice>:cri-containerd:<id>`).
    /// When containers are nested (a node of kind is one), the LAST pod and id
    /// win; groups that a container makes for itself belong to it.
    pub fn of(path: &str) -> Self {
        let mut pod: Option<PodRef> = None;
        let mut container: Option<(Name, Runtime)> = None;
        let mut qos = Qos::Guaranteed;
        for part in path.split('/').flat_map(|component| component.split(':')) {
            qos = qos_of(part).unwrap_or(qos);
            if let Some(uid) = pod_uid(part) {
                pod = Some(PodRef { uid, qos });
                container = None;
            } else if let Some(found) = container_id(part, pod.is_some()) {
                container = Some(found);
            } else if part == "kubepods" || part == "kubepods.slice" {
                qos = Qos::Guaranteed;
                pod = None;
            }
        }
        match (container, pod) {
            (Some((id, runtime)), pod) => Self::Container(ContainerRef { id, runtime, pod }),
            (None, Some(pod)) => Self::Pod(pod),
            (None, None) => unit_or_session(path),
        }
    }

    pub(super) fn rank(&self) -> Rank {
        match self {
            Self::Container(_) => Rank::Container,
            Self::Pod(_) => Rank::Pod,
            Self::Unit(_) => Rank::Unit,
            Self::Session(_) => Rank::Session,
            Self::None => Rank::None,
        }
    }
}

fn qos_of(part: &str) -> Option<Qos> {
    match part.trim_end_matches(".slice").rsplit('-').next()? {
        "burstable" => Some(Qos::Burstable),
        "besteffort" => Some(Qos::BestEffort),
        _ if part.starts_with("kubepods-burstable-") => Some(Qos::Burstable),
        _ if part.starts_with("kubepods-besteffort-") => Some(Qos::BestEffort),
        _ if part.starts_with("kubepods-pod") => Some(Qos::Guaranteed),
        _ => None,
    }
}

/// The uid in `pod<uid>` or `kubepods[-qos]-pod<uid>.slice`. A uid is a UUID,
/// or for static pods 32 hexadecimal digits.
fn pod_uid(part: &str) -> Option<Name> {
    let uid = match part.strip_suffix(".slice") {
        Some(slice) => slice.strip_prefix("kubepods")?.rsplit_once("-pod")?.1.replace('_', "-"),
        None => part.strip_prefix("pod")?.to_owned(),
    };
    let hex = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|&b| b == b'-').count();
    (hex >= 8 && hex + dashes == uid.len()).then(|| Name::from(uid))
}

/// The container id in one component of a path.
fn container_id(part: &str, in_pod: bool) -> Option<(Name, Runtime)> {
    const PREFIXES: [(&str, Runtime); 4] = [
        ("cri-containerd-", Runtime::Containerd),
        ("crio-", Runtime::CriO),
        ("docker-", Runtime::Docker),
        ("libpod-", Runtime::Podman),
    ];
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (id, runtime) = PREFIXES
        .iter()
        .find_map(|(prefix, runtime)| Some((part.strip_prefix(prefix)?, *runtime)))
        .unwrap_or((part, Runtime::Unknown));
    // Monitors (`crio-conmon-<id>`) are the runtime's own: their id part is no
    // plain number. A bare number is an id only where nothing else can stand.
    let digits = if in_pod || runtime != Runtime::Unknown { 12 } else { 64 };
    let is_id = id.len() >= digits && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then(|| (Name::from(id), runtime))
}

fn unit_or_session(path: &str) -> Owner {
    let mut parts = path.split('/').rev();
    if let Some(unit) = parts.clone().find(|part| part.ends_with(".service")) {
        return Owner::Unit(unit.into());
    }
    let is_session =
        |part: &&str| part.strip_suffix(".scope").is_some_and(|name| name.starts_with("session-"));
    let Some(scope) = parts.find(is_session) else { return Owner::None };
    let uid = path
        .split('/')
        .find_map(|part| part.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok());
    Owner::Session(SessionRef { scope: scope.into(), uid })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: &str = "94fe1c41304cefee06bc5bd1f130dd8a3f4d05eacfb7727b3ec3ebccc0b4bb48";
    const OUTER: &str = "1111111111111111111111111111111111111111111111111111111111111111";
    const UID: &str = "d74a5805-9909-49be-a558-34239aa74ca9";
    const UID_: &str = "d74a5805_9909_49be_a558_34239aa74ca9";

    fn container(path: &str) -> (String, Runtime, Option<(String, Qos)>) {
        match Owner::of(path) {
            Owner::Container(c) => {
                (c.id.to_string(), c.runtime, c.pod.map(|p| (p.uid.to_string(), p.qos)))
            }
            other => panic!("{path}: {other:?}"),
        }
    }

    fn pod(qos: Qos) -> (String, Qos) {
        (UID.to_owned(), qos)
    }

    #[test]
    fn cgroupfs_driver() {
        use Runtime::Unknown;
        for (path, qos) in [
            (format!("/kubepods/pod{UID}/{ID}"), Qos::Guaranteed),
            (format!("/kubepods/burstable/pod{UID}/{ID}"), Qos::Burstable),
            (format!("/k8s-n0/kubepods/besteffort/pod{UID}/{ID}"), Qos::BestEffort),
            (format!("/../kubepods/burstable/pod{UID}/{ID}/init.scope"), Qos::Burstable),
            (format!("/kubepods/pod{UID}/{ID}/system.slice/x.service"), Qos::Guaranteed),
        ] {
            assert_eq!(container(&path), (ID.to_owned(), Unknown, Some(pod(qos))), "{path}");
        }
    }

    #[test]
    fn systemd_driver() {
        let slice = "/kubepods.slice/kubepods-burstable.slice";
        let in_slice = format!("{slice}/kubepods-burstable-pod{UID_}.slice");
        let expected = |runtime| (ID.to_owned(), runtime, Some(pod(Qos::Burstable)));
        for (scope, runtime) in [
            ("cri-containerd", Runtime::Containerd),
            ("crio", Runtime::CriO),
            ("docker", Runtime::Docker),
        ] {
            let path = format!("{in_slice}/{scope}-{ID}.scope");
            assert_eq!(container(&path), expected(runtime), "{path}");
        }
        let guaranteed =
            format!("/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container");
        assert_eq!(
            container(&guaranteed),
            (ID.to_owned(), Runtime::CriO, Some(pod(Qos::Guaranteed)))
        );
        let mixed = format!(
            "/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}"
        );
        assert_eq!(
            container(&mixed),
            (ID.to_owned(), Runtime::Unknown, Some(pod(Qos::BestEffort)))
        );
    }

    #[test]
    fn containers_without_a_pod() {
        assert_eq!(container(&format!("/docker/{ID}")), (ID.to_owned(), Runtime::Unknown, None));
        let scope = format!("/system.slice/docker-{ID}.scope");
        assert_eq!(container(&scope), (ID.to_owned(), Runtime::Docker, None));
        let podman = format!("/machine.slice/libpod-{ID}.scope/container");
        assert_eq!(container(&podman), (ID.to_owned(), Runtime::Podman, None));
    }

    #[test]
    fn the_last_id_wins_when_nested() {
        let kind = format!("/docker/{OUTER}/kubelet/kubepods/burstable/pod{UID}/{ID}");
        assert_eq!(container(&kind), (ID.to_owned(), Runtime::Unknown, Some(pod(Qos::Burstable))));
        let pod_level = format!("/docker/{OUTER}/kubelet/kubepods/pod{UID}");
        assert_eq!(
            Owner::of(&pod_level),
            Owner::Pod(PodRef { uid: UID.into(), qos: Qos::Guaranteed })
        );
        let kubelet = format!("/docker/{OUTER}/system.slice/kubelet.service");
        assert_eq!(container(&kubelet), (OUTER.to_owned(), Runtime::Unknown, None));
        let in_pod = format!("/kubepods/burstable/pod0000-11112222/{OUTER}/kubepods/pod{UID}/{ID}");
        assert_eq!(container(&in_pod).2, Some(pod(Qos::Guaranteed)), "quality of the inner pod");
    }

    #[test]
    fn static_pods_have_a_hash_for_uid() {
        let path = "/kubepods/burstable/pod0123456789abcdef0123456789abcdef";
        let Owner::Pod(pod) = Owner::of(path) else { panic!("no pod") };
        assert_eq!(&*pod.uid, "0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn units_sessions_and_the_rest() {
        let user = "/user.slice/user-1000.slice";
        let unit = |name: &str| Owner::Unit(name.into());
        assert_eq!(Owner::of("/system.slice/nginx.service"), unit("nginx.service"));
        assert_eq!(
            Owner::of("/system.slice/system-pg.slice/pg@14.service/x"),
            unit("pg@14.service")
        );
        let app = format!("{user}/user@1000.service/app.slice/web.service");
        assert_eq!(Owner::of(&app), unit("web.service"));
        let session = SessionRef { scope: "session-3.scope".into(), uid: Some(1000) };
        assert_eq!(Owner::of(&format!("{user}/session-3.scope")), Owner::Session(session));
        for path in ["/", "", "/init.scope", "/process_api/e62cb816c33f171cadf4ad165b37aaa6"] {
            assert_eq!(Owner::of(path), Owner::None, "{path}");
        }
        let monitor = format!("/system.slice/crio-conmon-{ID}.scope");
        assert_eq!(Owner::of(&monitor), Owner::None, "the monitor is not the container");
        assert_eq!(Owner::of("/podium/pods/pod-x"), Owner::None);
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_panic(path in "(/[a-z0-9_.:@é-]{0,70}){0,6}") {
            let _ = Owner::of(&path);
        }

        #[test]
        fn both_drivers_say_the_same(uid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id in "[0-9a-f]{64}") {
            let under = uid.replace('-', "_");
            let fs = container(&format!("/kubepods/besteffort/pod{uid}/{id}"));
            let systemd = container(&format!("/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{under}.slice/crio-{id}.scope"));
            prop_assert_eq!(fs.0, systemd.0);
            prop_assert_eq!(fs.2, systemd.2);
        }
    }
}
