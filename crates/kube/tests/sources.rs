//! Sources that answer, refuse, and go away.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its stage fails")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use taproot_kube::{HttpTarget, Options, Resolver, SourceState, SourceStatus};
use taproot_model::Timestamp;
use taproot_testkit::need_commands;

const PODS: &str = include_str!("fixtures/kubelet-pods.json");
const CLUSTER: &str = include_str!("fixtures/cluster-list.json");

/// A server that answers by path, to those who have the token; stops when dropped.
struct Server {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(pages: Vec<(&'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                answer(stream, &pages);
            }
        });
        Self { addr, stop, thread: Some(thread) }
    }

    fn target(&self, token_file: &Path) -> HttpTarget {
        HttpTarget {
            url: format!("http://{}", self.addr),
            token_file: Some(token_file.to_owned()),
            ca_file: None,
            insecure: false,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.addr);
        self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: TcpStream, pages: &[(&str, String)]) {
    let lines: Vec<String> = BufReader::new(stream.try_clone().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .collect();
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let allowed =
        lines.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer sesame"));
    let page = pages.iter().find(|(prefix, _)| path.starts_with(prefix));
    let (status, body) = match page {
        _ if !allowed => ("401 Unauthorized", ""),
        Some((_, body)) => ("200 OK", body.as_str()),
        None => ("403 Forbidden", ""),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn quick() -> Options {
    Options { node: "n1".into(), refresh: Duration::from_millis(100), ..Options::default() }
}

fn status(resolver: &Resolver, name: &str) -> SourceStatus {
    resolver.status().into_iter().find(|source| source.name == name).unwrap()
}

fn wait_for(resolver: &Resolver, name: &str, state: SourceState) -> SourceStatus {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let status = status(resolver, name);
        if status.state == state {
            return status;
        }
        assert!(Instant::now() < limit, "{name} never gets {state:?}: {status:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn owner(resolver: &Resolver, ip: &str) -> Option<String> {
    let ip: IpAddr = ip.parse().unwrap();
    resolver.resolve_addr(None, ip, 8080, Timestamp::now()).map(|entity| entity.service.to_string())
}

#[test]
fn a_kubelet_that_goes_away_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "sesame\n").unwrap();
    let server = Server::start(vec![("/pods", PODS.to_owned())]);
    let resolver = Resolver::start(Options { kubelet: Some(server.target(&token)), ..quick() });
    let answered = wait_for(&resolver, "kubelet", SourceState::Ok);
    assert!(answered.detail.contains("3 pods"), "{}", answered.detail);
    assert_eq!(owner(&resolver, "10.1.0.5").as_deref(), Some("bank/ledger"));

    drop(server);
    let failing = wait_for(&resolver, "kubelet", SourceState::Failing);
    assert!(failing.last_ok.is_some() && failing.failures > 0);
    assert_eq!(owner(&resolver, "10.1.0.5").as_deref(), Some("bank/ledger"), "still known");
}

#[test]
fn a_refused_token_says_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "wrong").unwrap();
    let server = Server::start(vec![("/pods", PODS.to_owned())]);
    let resolver = Resolver::start(Options { kubelet: Some(server.target(&token)), ..quick() });
    let failing = wait_for(&resolver, "kubelet", SourceState::Failing);
    assert!(
        failing.detail.contains("401") && failing.detail.contains("ClusterRole"),
        "{}",
        failing.detail
    );
    fs::write(&token, "sesame").unwrap();
    wait_for(&resolver, "kubelet", SourceState::Ok);
}

/// The items of one kind of the mixed list, as a list of that kind.
fn list_of(kind: &str) -> String {
    let all: serde_json::Value = serde_json::from_str(CLUSTER).unwrap();
    let items: Vec<_> =
        all["items"].as_array().unwrap().iter().filter(|item| item["kind"] == kind).collect();
    serde_json::json!({ "kind": format!("{kind}List"), "items": items }).to_string()
}

#[test]
fn the_api_server_names_services_and_pods_elsewhere_even_if_it_forbids_some() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "sesame").unwrap();
    let metadata_only =
        list_of("ReplicaSet").replace("ReplicaSetList", "PartialObjectMetadataList");
    let server = Server::start(vec![
        ("/api/v1/services", list_of("Service")),
        ("/apis/discovery.k8s.io/v1/endpointslices", list_of("EndpointSlice")),
        ("/apis/apps/v1/replicasets", metadata_only),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&", PODS.to_owned()),
    ]);
    let resolver = Resolver::start(Options { api_server: Some(server.target(&token)), ..quick() });
    let answered = wait_for(&resolver, "api-server", SourceState::Ok);
    assert!(
        answered.detail.contains("without") && answered.detail.contains("/api/v1/nodes"),
        "{}",
        answered.detail
    );
    assert_eq!(owner(&resolver, "10.1.1.9").as_deref(), Some("bank/ledger"));
    let service = resolver.service_for("10.96.3.7".parse().unwrap(), 80).unwrap();
    assert_eq!((&*service.name, service.backends.len()), ("ledger", 2));
    assert_eq!(resolver.services().len(), 3);
    let ledger =
        resolver.resolve_addr(None, "10.1.0.5".parse().unwrap(), 8080, Timestamp::now()).unwrap();
    assert_eq!(&*ledger.workload_kind, "Rollout", "from the metadata of replica sets");
}

/// One line of a watch: a warning about a pod.
fn warning(pod: &str, uid: &str) -> String {
    let event = serde_json::json!({"type": "ADDED", "object": {
        "kind": "Event",
        "metadata": {"name": "e1", "uid": "e1", "resourceVersion": "12"},
        "involvedObject": {"kind": "Pod", "namespace": "bank", "name": pod, "uid": uid},
        "reason": "BackOff", "message": "Back-off", "type": "Warning",
        "lastTimestamp": "2026-11-20T21:31:00Z"
    }});
    format!("{event}\n")
}

#[test]
fn warnings_of_the_cluster_are_told_once_and_only_of_pods_that_are_here() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "sesame").unwrap();
    let pods: serde_json::Value = serde_json::from_str(PODS).unwrap();
    let of = |field: &str| pods["items"][0]["metadata"][field].as_str().unwrap().to_owned();
    let (name, uid) = (of("name"), of("uid"));
    let lines = warning("elsewhere-1", "nobody") + &warning(&name, &uid).replace("e1", "e2");
    let server = Server::start(vec![
        ("/api/v1/services", list_of("Service")),
        ("/api/v1/pods", PODS.to_owned()),
        ("/api/v1/events?fieldSelector=type%3DWarning&watch=1", lines),
        (
            "/api/v1/events?fieldSelector=type%3DWarning&limit=1",
            r#"{"kind":"EventList","metadata":{"resourceVersion":"11"},"items":null}"#.into(),
        ),
    ]);
    let resolver = Resolver::start(Options { api_server: Some(server.target(&token)), ..quick() });
    wait_for(&resolver, "api-server", SourceState::Ok);
    let limit = Instant::now() + Duration::from_secs(10);
    let mut told = Vec::new();
    while told.is_empty() && Instant::now() < limit {
        told = resolver.drain_events();
        std::thread::sleep(Duration::from_millis(10));
    }
    let [(owner, event)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((owner.pod.as_str(), event.reason.as_str()), (name.as_str(), "BackOff"));
    // The watch goes on, and says the same again.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(resolver.drain_events().len(), 0);
    assert_eq!(status(&resolver, "cluster-events").state, SourceState::Ok);
}

#[test]
fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pods.json");
    fs::write(&file, "{\"kind\":\"Pizza\"}").unwrap();
    let resolver = Resolver::start(Options { pods_file: Some(file.clone()), ..quick() });
    let events = status(&resolver, "cluster-events");
    assert_eq!((events.state, events.detail.as_str()), (SourceState::Off, "no API server"));
    let failing = wait_for(&resolver, "pods-file", SourceState::Failing);
    assert!(
        failing.detail.contains("pods.json") && failing.detail.contains("Pizza"),
        "{}",
        failing.detail
    );
    fs::write(&file, PODS).unwrap();
    wait_for(&resolver, "pods-file", SourceState::Ok);
    assert_eq!(owner(&resolver, "10.1.0.5").as_deref(), Some("bank/ledger"));
    fs::remove_file(&file).unwrap();
    wait_for(&resolver, "pods-file", SourceState::Failing);
    assert_eq!(owner(&resolver, "10.1.0.5").as_deref(), Some("bank/ledger"));
}

#[test]
fn without_any_cluster_processes_and_the_node_have_names() {
    let resolver = Resolver::start(quick());
    for name in ["cri", "kubelet", "api-server", "pods-file"] {
        assert_eq!(status(&resolver, name).state, SourceState::Off, "{name}");
    }
    let mut child = Command::new("sleep").arg("30").stdin(Stdio::null()).spawn().unwrap();
    // The kernel lets the parent go on a moment before it renames the child.
    let comm = format!("/proc/{}/comm", child.id());
    while fs::read_to_string(&comm).unwrap() != "sleep\n" {
        std::thread::yield_now();
    }
    let entity = resolver.resolve_pid(child.id());
    // In a container or a unit this test is that container or unit.
    if entity.id.starts_with("process:") {
        assert_eq!((&*entity.service, &*entity.node), ("sleep", "n1"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(resolver.resolve_pid(child.id()).id, entity.id, "known a moment ago");
    assert_eq!(&*resolver.resolve_pid(u32::MAX).id, "node:n1");
    let changes = resolver.drain_changes();
    assert!(changes.iter().any(|change| &*change.id == "node:n1"));
}

/// A server with a certificate of its own authority, by openssl.
struct TlsServer(Child);

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const CERTIFICATES: &str = r"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.crt
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=kubelet -keyout tls.key -out tls.csr
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' > ext
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out tls.crt
";

fn tls_server(folder: &Path) -> (TlsServer, String) {
    let made = Command::new("sh")
        .args(["-ec", CERTIFICATES])
        .current_dir(folder)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    fs::write(folder.join("pods"), PODS).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("openssl")
        .args(["s_server", "-WWW", "-quiet", "-cert", "tls.crt", "-key", "tls.key", "-accept"])
        .arg(format!("127.0.0.1:{port}"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (TlsServer(child), format!("https://127.0.0.1:{port}"))
}

#[test]
fn certificates_are_checked_unless_expressly_not() {
    need_commands!("openssl");
    let folder = tempfile::tempdir().unwrap();
    let (_server, url) = tls_server(folder.path());
    let target = |ca: Option<&str>, insecure| HttpTarget {
        url: url.clone(),
        token_file: None,
        ca_file: ca.map(|name| folder.path().join(name)),
        insecure,
    };
    let with = |target| Resolver::start(Options { kubelet: Some(target), ..quick() });
    wait_for(&with(target(Some("ca.crt"), false)), "kubelet", SourceState::Ok);
    wait_for(&with(target(None, true)), "kubelet", SourceState::Ok);
    let refused = wait_for(&with(target(None, false)), "kubelet", SourceState::Failing);
    assert!(refused.detail.contains("signs its own certificate"), "{}", refused.detail);
    let none = wait_for(&with(target(Some("pods"), false)), "kubelet", SourceState::Failing);
    assert!(none.detail.contains("no certificate in it"), "{}", none.detail);
}
