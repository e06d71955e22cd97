//! Debian's Prometheus scrapes `/metrics`, and answers questions about it.
#![allow(clippy::unwrap_used, reason = "a test that panics fails, which is what is wanted")]

#[path = "shop/mod.rs"]
mod shop;

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use taproot_model::Timestamp;
use taproot_server::{Server, WorldState};
use taproot_testkit::need_commands;
use taproot_world::{Config, World};
use tempfile::TempDir;

/// Ends the program also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn get(addr: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// The value of the only series that a question finds.
fn ask(addr: SocketAddr, question: &str) -> Option<f64> {
    let escaped = question.bytes().fold(String::new(), |out, byte| out + &format!("%{byte:02X}"));
    let answer: Value =
        serde_json::from_str(&get(addr, &format!("/api/v1/query?query={escaped}"))?).ok()?;
    match answer["data"]["result"].as_array()?.as_slice() {
        [one] => one["value"][1].as_str()?.parse().ok(),
        _ => None,
    }
}

fn prometheus(folder: &TempDir, scraped: SocketAddr) -> (Running, SocketAddr) {
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n- job_name: \
         taproot\n  static_configs: [{{targets: ['{scraped}']}}]\n"
    );
    std::fs::write(&config, text).unwrap();
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let program = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={addr}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Running(program), addr)
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_prometheus_takes_every_series() {
    need_commands!("prometheus");
    let state = WorldState::new(World::new(Config::default()), None, "0.1");
    state.add(&shop::signals(Timestamp::now(), 60, true)).unwrap();
    state.tell_coverage();
    let server = Server::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let scraped = server.addr();
    tokio::spawn(server.run(state, std::future::pending()));
    let found = tokio::task::spawn_blocking(move || {
        let folder = TempDir::new().unwrap();
        let (_running, addr) = prometheus(&folder, scraped);
        let end = Instant::now() + Duration::from_mins(1);
        while ask(addr, "up{job='taproot'}") != Some(1.0) {
            assert!(
                Instant::now() < end,
                "nothing was scraped: {:?}",
                get(addr, "/api/v1/targets")
            );
            std::thread::sleep(Duration::from_millis(250));
        }
        let text = get(scraped, "/metrics").unwrap();
        let sent = text.lines().filter(|line| !line.starts_with('#')).count();
        let taken = ask(addr, "scrape_samples_post_metric_relabeling{job='taproot'}");
        let p50 = ask(
            addr,
            "histogram_quantile(0.5, sum by (le) (http_server_request_duration_seconds_bucket\
             {service_name='cache'}))",
        );
        (sent, taken, p50)
    });
    let (sent, taken, p50) = found.await.unwrap();
    assert_eq!(taken, Some(sent as f64));
    // Cache answers in 0.6 to 1.5 ms; the first bound is 5 ms.
    assert!(p50.is_some_and(|p50| p50 > 0.0 && p50 <= 0.005), "{p50:?}");
}
