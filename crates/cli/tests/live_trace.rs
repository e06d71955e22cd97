//! `taproot trace` in a lab: one line says what happened, and the rest shows it.

mod common;

use common::{Shop, run, text};
use taproot_testkit::{guest_kernel, need_commands, need_root, skip};

/// Runs a trace that must succeed, and returns what it printed.
fn trace(shop: &Shop, args: &[&str]) -> String {
    let mut all = vec!["trace", "--lab", &shop.name];
    all.extend(args);
    let output = run(&all);
    let (out, err) = text(&output);
    assert!(output.status.success(), "{err}");
    out
}

#[test]
fn two_homes_and_an_answer_at_the_wrong_one() {
    need_root!();
    need_commands!("ip", "nft");
    // More than an emulated CPU can carry is dropped there for real.
    let slow = guest_kernel().is_some();
    let load: &[&str] = if slow { &["--rps", "5"] } else { &[] };
    let shop = match Shop::up("traced", load) {
        Ok(shop) => shop,
        Err(why) => skip!("no lab here: {why}"),
    };
    // What works is told as such, from pod to pod and through the service's address.
    let well = trace(&shop, &["--pod", "shop/gateway", "--for", "3s", "-o", "json"]);
    let lines: Vec<serde_json::Value> =
        well.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let summary = lines.last().expect("a summary");
    assert_eq!(summary["kind"], "summary");
    assert!(slow || summary["worst"] == "passed", "{summary}");
    let count = |name: &str| summary[name].as_u64().expect("a number");
    assert!(count("produced") > 100);
    assert_eq!(count("produced"), count("delivered") + count("ring_full") + count("over_budget"));

    let fault = run(&["lab", "fault", "wrong-route", "--name", &shop.name]);
    assert!(fault.status.success(), "{}", text(&fault).1);
    let args = ["--pod", "shop/reporter", "--service", "kubernetes", "--for", "8s", "--explain"];
    let told = trace(&shop, &args);
    let first = told.lines().next().expect("a verdict");
    assert!(first.starts_with("DROPPED"), "{told}");
    assert!(first.contains("pod shop/reporter at net1: IP_RPFILTER"), "{told}");
    for part in ["left pod shop/reporter by eth0", "object  route to", "dev eth0", "ip rule add"] {
        assert!(told.contains(part), "`{part}` is missing in:\n{told}");
    }
    let hops = told.lines().filter(|line| line.starts_with("  +")).count();
    assert!((4..=12).contains(&hops), "{hops} hops:\n{told}");
}

#[test]
fn bad_input_is_told_with_the_place_and_a_hint() {
    let refused = |args: &[&str]| {
        let output = run(args);
        assert!(!output.status.success());
        text(&output).1
    };
    let error = refused(&["trace", "tcp port http"]);
    assert!(error.contains("`http` is no port"), "{error}");
    assert!(error.contains("\n           ^ write a number"), "{error}");
    let error = refused(&["trace", "--netns", "no-such-netns-here"]);
    assert!(error.contains("`ip netns` lists names"), "{error}");
    let error = refused(&["trace", "--pod", "nonsense"]);
    assert!(error.contains("NAMESPACE/NAME"), "{error}");
}
