//! `taproot trace` in a lab: one line says what happened, and the rest shows it.

mod common;
mod pcapng;
mod routed;

use common::{Shop, run, taproot, text};
use routed::Routed;
use serde_json::Value;
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
    let lines: Vec<Value> =
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
    let expected = told.split_once("\nExpected of routes").expect("an expectation").1;
    assert!(expected.contains("  pod shop/reporter: "), "{told}");
}

/// A bed whose router drops what goes to port 81, and the lines of a trace of both ports.
fn one_port_filtered(flags: &[&str]) -> Result<(Routed, std::process::Output), String> {
    let bed = Routed::new()?;
    bed.run("node", "nft add table ip fw")?;
    let hook = "{ type filter hook forward priority 0 ; }";
    bed.run("node", &format!("nft 'add chain ip fw forward {hook}'"))?;
    bed.run("node", "nft add rule ip fw forward tcp dport 81 drop")?;
    let filter = "tcp and host 10.78.2.2 and (port 80 or port 81)";
    let mut trace = taproot(&[&["trace", filter, "--for", "5s"], flags].concat());
    let output = bed.traced(&mut trace);
    assert!(output.status.success(), "{}", text(&output).1);
    Ok((bed, output))
}

/// The lines of one kind.
fn lines(output: &std::process::Output, kind: &str) -> Vec<Value> {
    let all = text(output).0;
    let all = all.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    all.filter(|line| line["kind"] == kind).collect()
}

#[test]
fn two_flows_part_at_the_rule_and_the_rule_was_to_be_expected() {
    need_root!();
    need_commands!("ip", "nft", "sysctl");
    let (bed, output) = match one_port_filtered(&["--diff", "--explain", "-o", "json"]) {
        Ok(done) => done,
        Err(why) => skip!("{why}"),
    };
    let (paths, diffs) = (lines(&output, "path"), lines(&output, "diff"));
    let [diff] = diffs.as_slice() else { panic!("one comparison: {diffs:?}") };
    let index = |value: &Value| value.as_u64().expect("an index") as usize;
    let hop = |side: &str, before: usize| {
        &paths[index(&diff[side]["path"])]["hops"][index(&diff[side]["hop"]) - before]
    };
    // Up to the router's forward hook they go together.
    let (works, fails) = (hop("works", 0), hop("fails", 0));
    let node = bed.inode("node");
    assert_eq!(works["tuple"]["destination"], "10.78.2.2:80");
    assert_eq!(works["step"], "queued", "{works}");
    assert_eq!((&works["place"]["netns"], &works["place"]["device"]), (&node.into(), &"s0".into()));
    assert_eq!(fails["tuple"]["destination"], "10.78.2.2:81");
    assert_eq!(fails["step"]["dropped"]["reason"], "NETFILTER_DROP", "{fails}");
    assert_eq!(fails["step"]["dropped"]["netfilter"], "FORWARD", "{fails}");
    assert_eq!(fails["place"]["netns"], node);
    let together = hop("fails", 1);
    assert_eq!(together["place"]["netns"], node, "they part within the router: {together}");
    assert!(index(&diff["together"]) >= 3, "sent, received, routed: {diff}");

    let verdict = &lines(&output, "verdict")[0];
    assert_eq!(verdict["outcome"], "dropped");
    assert_eq!(verdict["blame"]["category"], "firewall", "{verdict}");
    let expected = lines(&output, "expected");
    let of = |who: &str| {
        let inode = bed.inode(who);
        expected.iter().find(|line| line["netns"] == inode).expect(who)
    };
    assert_eq!((&of("client")["agrees"], &of("node")["agrees"]), (&true.into(), &true.into()));
    let rule = of("node")["expected"].to_string();
    assert!(rule.contains("nft ip fw forward handle"), "{rule}");
    assert!(expected.iter().all(|line| line["path"] == verdict["path"]), "{expected:?}");
}

#[test]
fn a_capture_holds_every_hop_with_its_words() {
    need_root!();
    need_commands!("ip", "nft", "sysctl");
    let (bed, output) = match one_port_filtered(&["-o", "pcapng"]) {
        Ok(done) => done,
        Err(why) => skip!("{why}"),
    };
    let capture = pcapng::read(&output.stdout);
    assert!(capture.about.ends_with(" 0 lost."), "{}", capture.about);
    let place = |device: &str, who: &str| format!("{device} in netns {}", bed.name(who));
    for name in [place("eth0", "client"), place("c0", "node"), place("s0", "node")] {
        assert!(capture.interfaces.contains(&name), "no {name} among {:?}", capture.interfaces);
    }
    assert!(capture.packets.is_sorted_by_key(|packet| packet.at));
    for packet in &capture.packets {
        assert_eq!(packet.data[0], 0x45, "IPv4 without options");
        assert_eq!(packet.data[9], 6, "TCP");
    }
    let dropped: Vec<_> = capture
        .packets
        .iter()
        .filter(|p| p.comment.contains(": DROPPED: NETFILTER_DROP"))
        .collect();
    assert!(!dropped.is_empty());
    let c0 = place("c0", "node");
    assert!(dropped.iter().all(|packet| capture.interfaces[packet.interface] == c0));
    assert!(dropped.iter().all(|packet| packet.data[22..24] == [0, 81]), "to port 81 only");
    let told = dropped.iter().filter(|p| p.comment.contains("nft ip fw forward handle"));
    assert_eq!(told.count(), 1, "the verdict stands at the packet that shows it");
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
