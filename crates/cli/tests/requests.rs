//! `taproot requests` and `top` over a recorded run of the lab: filters, lines, order.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{run, text};
use serde_json::Value;

const RECORDING: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/packet-loss-1.taproot");

fn out(args: &[&str]) -> String {
    let output = run(&[args, &["--replay", RECORDING]].concat());
    let (stdout, stderr) = text(&output);
    assert!(output.status.success(), "{args:?}: {stderr}");
    stdout
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&out(&[args, &["-o", "json"]].concat())).unwrap()
}

fn rows(args: &[&str], name: &str) -> Vec<Value> {
    json(args)[name].as_array().unwrap().clone()
}

#[test]
fn filters_choose_routes_and_requests() {
    let all = rows(&["requests"], "routes");
    let errors = rows(&["requests", "--status", "error"], "routes");
    let fine = rows(&["requests", "--status", "ok"], "routes");
    assert!(!errors.is_empty() && !fine.is_empty());
    assert_eq!(errors.len() + fine.len(), all.len());
    assert!(errors.iter().all(|row| row["error"] == true));
    for class in ["2xx", ">=500", "unanswered"] {
        for row in rows(&["requests", "--status", class], "routes") {
            let status = row["status"].as_u64();
            let fits = match class {
                "2xx" => status.is_some_and(|s| (200..300).contains(&s)),
                ">=500" => status.is_some_and(|s| s >= 500),
                _ => status.is_none(),
            };
            assert!(fits, "{class}: {row}");
        }
    }
    let redis = rows(&["requests", "--protocol", "redis"], "routes");
    assert!(redis.iter().all(|row| row["protocol"] == "redis"));
    let slow = rows(&["requests", "--latency", ">20ms"], "exemplars");
    assert!(slow.iter().all(|row| row["duration"].as_f64().unwrap() > 0.02));
    let other = rows(&["requests", "--latency", "<=20ms"], "exemplars");
    assert_eq!(slow.len() + other.len(), rows(&["requests"], "exemplars").len());
}

#[test]
fn a_pod_and_a_service_choose_by_their_ends() {
    for row in rows(&["requests", "--service", "shop/product"], "exemplars") {
        let ends = [&row["client_service"], &row["server_service"]];
        assert!(ends.iter().any(|end| **end == "shop/product"), "{row}");
    }
    let all = rows(&["requests"], "exemplars");
    let pod = all[0]["server"].as_str().unwrap().to_owned();
    let of_pod = rows(&["requests", "--pod", &pod], "exemplars");
    assert!(!of_pod.is_empty());
    assert!(of_pod.iter().all(|row| row["client"] == *pod || row["server"] == *pod));
}

#[test]
fn followed_requests_are_a_line_each_in_order() {
    let lines = out(&["requests", "--follow", "-o", "json"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), json(&["requests"])["exemplars"].as_array().unwrap().len());
    assert!(rows.is_sorted_by_key(|row| row["at"].as_u64().unwrap()));
    let text = out(&["requests", "--follow"]);
    assert_eq!(text.lines().count(), rows.len());
    let first = text.lines().next().unwrap();
    assert!(
        first.contains(" > ") && first.contains(rows[0]["method"].as_str().unwrap()),
        "{first}"
    );
}

#[test]
fn top_is_sorted_as_asked() {
    let sorted = |by: &str, figure: &dyn Fn(&Value) -> Option<f64>, up: bool| {
        let rows = rows(&["top", "--sort", by], "rows");
        let known: Vec<f64> = rows.iter().map_while(figure).collect();
        let right = if up { known.is_sorted() } else { known.is_sorted_by(|a, b| a >= b) };
        assert!(right, "{by}: {known:?}");
        // Who has no figure stands behind all who have one.
        assert!(rows.iter().skip(known.len()).all(|row| figure(row).is_none()), "{by}");
        known.len()
    };
    let p99 = |row: &Value| {
        let at = |end: &str| row["inbound"][end]["p99"].as_f64();
        at("server_latency").or(at("client_latency"))
    };
    let of = |row: &Value, name: &str| row["inbound"][name].as_f64();
    assert!(sorted("rate", &|row| of(row, "rate"), false) > 1);
    assert!(sorted("errors", &|row| of(row, "error_ratio"), false) > 1);
    assert!(sorted("p99", &p99, false) > 0);
    sorted("coverage", &|row| row["coverage"].as_f64(), true);
    assert!(sorted("memory", &|row| row["memory"].as_f64(), false) > 1);
}
