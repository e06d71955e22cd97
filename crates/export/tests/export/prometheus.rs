//! What `/metrics` says, read by Prometheus' own tool.

use crate::shop;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use taproot_export::{Limits, Registry, prometheus};
use taproot_testkit::need_commands;

fn text() -> String {
    let mut registry = Registry::new(Limits::default(), "1.2.3");
    registry.observe(&shop::signals());
    prometheus::text(&registry.families())
}

#[test]
fn promtool_finds_nothing_wrong() {
    need_commands!("promtool");
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(text().as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    // 3 is for advice about names, which here are OpenTelemetry's; 1 is for broken text.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{said}");
}

#[test]
fn every_series_is_there_once_and_under_its_type() {
    let text = text();
    let mut series = BTreeSet::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(series.insert(name.to_owned()), "{name} stands twice");
            assert!(name.starts_with(&family), "{name} stands under {family}");
        }
    }
    for expected in [
        "http_server_request_duration_seconds_count{service_namespace=\"shop\",service_name=\"cart\"",
        "db_client_operation_duration_seconds_bucket{service_namespace=\"shop\",service_name=\"gateway\"",
        "taproot_capture_lost_total{service_instance_id=\"node:n1\"",
        "taproot_tcp_failed_connections_total{",
        "taproot_tls_server_name=\"shop.test\",taproot_role=\"client\",server_port=\"8443\",\
         service_peer_name=\"cart\",service_peer_namespace=\"shop\"} 1801396800",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}
