//! The API and the page over a made-up shop, asked over real sockets.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

mod shop;

use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use taproot_model::Timestamp;
use taproot_server::{ServeError, Server, Watch, WorldState};
use taproot_store::{SqliteStore, StoreOptions};
use taproot_world::{Config, World};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server over a shop, and what stops it.
struct Running {
    addr: SocketAddr,
    state: Arc<WorldState>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
    _folder: TempDir,
}

async fn start(seconds: u64, trouble: bool) -> Running {
    let folder = TempDir::new().unwrap();
    let store = SqliteStore::open(&folder.path().join("db"), StoreOptions::default()).unwrap();
    let state = WorldState::new(World::new(Config::default()), Some(Box::new(store)), "0.1");
    if seconds > 0 {
        state.add(&shop::signals(Timestamp::now(), seconds, trouble)).unwrap();
    }
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let addr = server.addr();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        let _ = stopped.await;
    };
    let task = tokio::spawn(server.run(Arc::clone(&state) as _, shutdown));
    Running { addr, state, stop, task, _folder: folder }
}

/// Status, head and body of an answer.
async fn get_as(addr: SocketAddr, path: &str, host: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), head.to_lowercase(), body.into())
}

async fn get(running: &Running, path: &str) -> (u16, Value) {
    let (status, _, body) = get_as(running.addr, path, "127.0.0.1").await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_server_answers_everything_and_waits() {
    let running = start(0, false).await;
    let (status, health) = get(&running, "/api/v1/health").await;
    assert_eq!((status, &health["status"]), (200, &Value::from("waiting")));
    assert_eq!(health["newest"], Value::Null);
    for view in ["map", "services", "flows", "requests", "losses", "reports"] {
        let (status, body) = get(&running, &format!("/api/v1/{view}")).await;
        assert_eq!((status, &body["schema_version"]), (200, &Value::from(1)), "{view}");
    }
    let (status, body) = get(&running, "/api/v1/report").await;
    assert_eq!(status, 404);
    assert!(body["error"].as_str().unwrap().contains("no report yet"));
    let (status, body) = get(&running, "/api/v1/doctor").await;
    assert_eq!(status, 503);
    assert!(body["error"].as_str().unwrap().contains("taproot doctor"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_views_show_the_shop() {
    let running = start(120, true).await;
    let (_, health) = get(&running, "/api/v1/health").await;
    assert_eq!(health["status"], "ok");
    let (_, map) = get(&running, "/api/v1/map?last=2m").await;
    assert_eq!(map["edges"].as_array().unwrap().len(), 5);
    let bad: Vec<_> = map["anomalies"].as_array().unwrap().iter().collect();
    let inventory = bad.iter().find(|a| a["server"] == "shop/inventory").unwrap();
    assert_eq!(inventory["level"], "bad");
    assert!(bad.iter().all(|a| a["server"] != "shop/cache"), "the healthy edge is not painted");
    let (_, services) = get(&running, "/api/v1/services?last=1m").await;
    let rows = services["services"].as_array().unwrap();
    let cache = rows.iter().find(|s| s["service"] == "shop/cache").unwrap();
    let rate = cache["golden"]["rate"].as_f64().unwrap();
    assert!((60.0..120.0).contains(&rate), "{rate}");
    assert_eq!(cache["rate"].as_array().unwrap().len(), 60);
    let (_, losses) = get(&running, "/api/v1/losses").await;
    assert_eq!(losses["losses"][0]["count"], 17);
    let worst = &losses["coverage"][0];
    assert_eq!(worst["service"], "shop/product");
    let capture = &worst["capture"];
    let bytes = |name: &str| capture[name].as_u64().unwrap();
    let seconds = bytes("unknown_bytes") / 6_000;
    assert!(seconds > 50, "{capture}");
    assert_eq!(capture["unseen"]["ring_full_bytes"], 2_000 * seconds);
    assert_eq!(bytes("unwatched_bytes"), 2_000 * seconds);
    assert_eq!(bytes("socket_bytes"), bytes("parsed_bytes") + 10_000 * seconds);
    let ratio = bytes("parsed_bytes") as f64 / bytes("socket_bytes") as f64;
    assert!((worst["coverage"].as_f64().unwrap() - ratio).abs() < 1e-9);
    assert_eq!(bytes("unanswered"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_keeps_one_report_for_one_trouble() {
    let running = start(180, true).await;
    let mut watch = Watch::new();
    for _ in 0..3 {
        let report = watch.look(&running.state.world()).unwrap().expect("inventory fails");
        running.state.put_report(&report).unwrap();
    }
    let (_, reports) = get(&running, "/api/v1/reports").await;
    let reports = reports["reports"].as_array().unwrap();
    assert_eq!(reports.len(), 1);
    let id = reports[0]["id"].as_str().unwrap();
    let (status, report) = get(&running, &format!("/api/v1/reports/{id}")).await;
    assert_eq!(status, 200);
    assert!(report["report"]["verdict"]["class"].is_string());
    assert!(!report["text"].as_str().unwrap().is_empty());
    assert_eq!(get(&running, "/api/v1/reports/none").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_shop_has_no_report_and_nothing_red() {
    let running = start(180, false).await;
    let found = Watch::new().look(&running.state.world()).unwrap();
    assert_eq!(found, None);
    let (_, map) = get(&running, "/api/v1/map").await;
    assert_eq!(map["anomalies"], Value::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_in_prometheus_text() {
    let running = start(120, true).await;
    running.state.tell_coverage();
    let (status, head, text) = get_as(running.addr, "/metrics", "localhost").await;
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for expected in [
        "http_server_request_duration_seconds_count{service_namespace=\"shop\",service_name=\"cache\"",
        "service_peer_name=\"product\"",
        "error_type=\"503\"",
        "taproot_capture_lost_total{service_namespace=\"shop\",service_name=\"gateway\",\
         service_instance_id=\"container:shop/gateway\",k8s_pod_name=\"gateway-0\",\
         taproot_collector=\"http\",taproot_loss_reason=\"ring_full\"} 17",
        "taproot_capture_coverage_ratio{service_namespace=\"shop\",service_name=\"product\"",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let value = line.rsplit(' ').next().unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_say_what_to_ask_instead() {
    let running = start(1, false).await;
    let (status, body) = get(&running, "/api/v1/map?last=yesterday").await;
    assert_eq!(status, 400);
    assert!(body["error"].as_str().unwrap().contains("last=5m"));
    let (status, head, _) = get_as(running.addr, "/nothing", "127.0.0.1").await;
    assert_eq!(status, 404);
    assert!(head.contains("content-security-policy: default-src 'self'"), "{head}");
    let (status, _, body) = get_as(running.addr, "/api/v1/map", "evil.example").await;
    assert_eq!(status, 403);
    assert!(body.contains("localhost"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_told_even_if_somebody_holds_a_connection() {
    let running = start(1, false).await;
    let mut idle = TcpStream::connect(running.addr).await.unwrap();
    idle.write_all(b"GET /api/v1/map HTTP/1.1\r\nHost: 127").await.unwrap();
    running.stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), running.task).await;
    ended.expect("stopped in time").unwrap().unwrap();
    let again = Server::bind(running.addr).await;
    assert!(again.is_ok(), "the address is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let running = start(0, false).await;
    let error = Server::bind(running.addr).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse(_)));
    assert!(error.to_string().contains(&running.addr.to_string()));
}

/// The page in a real browser: what it made of the answers.
async fn in_browser(addr: SocketAddr) -> String {
    let profile = TempDir::new().unwrap();
    let flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"];
    let more = ["--disable-background-networking", "--virtual-time-budget=4000", "--dump-dom"];
    let mut browser = Command::new("chromium");
    browser.args(flags).args(more);
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.arg(format!("http://{addr}/"));
    let output = tokio::task::spawn_blocking(move || browser.output()).await.unwrap().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_draws_the_shop_and_runs_no_name_as_markup() {
    taproot_testkit::need_commands!("chromium");
    let running = start(180, true).await;
    let report = Watch::new().look(&running.state.world()).unwrap().unwrap();
    running.state.put_report(&report).unwrap();
    let dom = in_browser(running.addr).await;
    for want in ["inventory", "fail", "not seen: 17 by http", "class=\"edge bad\"", "Service"] {
        assert!(dom.contains(want), "{want} is missing in {dom}");
    }
    assert!(dom.contains(report.head.title.split('<').next().unwrap()), "the finding is shown");
    assert!(dom.contains("&lt;b&gt;accounts&lt;/b&gt;"), "a name is text");
    assert!(!dom.contains("<b>accounts"), "a name became markup");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_empty_page_says_it_waits() {
    taproot_testkit::need_commands!("chromium");
    let running = start(0, false).await;
    let dom = in_browser(running.addr).await;
    assert!(dom.contains("waiting for the first signals ..."), "{dom}");
    assert!(dom.contains("Nothing to judge yet."), "{dom}");
}
