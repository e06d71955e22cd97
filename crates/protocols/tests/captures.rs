//! HTTP captures that others made, against tshark's counts and known answers.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::{NO_DATA, Tally, conversations, data};
use taproot_protocols::http1::{Answer, Record};
use taproot_testkit::skip;

const CUTS: [usize; 4] = [usize::MAX, 1024, 16, 1];

fn tally(path: &Path, cut: usize) -> Tally {
    conversations(path).iter().map(|one| Tally::of(&one.run(cut))).fold(
        Tally::default(),
        |sum, one| Tally {
            requests: sum.requests + one.requests,
            responses: sum.responses + one.responses,
            unseen: sum.unseen + one.unseen,
        },
    )
}

#[test]
fn known_answers_at_any_cut() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let known = [
        ("zeek/http/1000-requests-one-dropped-response.pcap.gz", 1000, 999),
        ("zeek/http/pipelined-requests.pcap", 5, 5),
        ("zeek/http/100-continue.pcap", 1, 2),
    ];
    for (name, requests, responses) in known {
        for cut in CUTS {
            let found = tally(&root.join(name), cut);
            assert_eq!((found.requests, found.responses), (requests, responses), "{name} at {cut}");
        }
    }
}

/// `METHOD path status` of the exchanges.
fn exchanges(records: &[Record]) -> Vec<String> {
    let describe = |record: &Record| {
        let Record::Exchange(one) = record else { return None };
        let status = match &one.answer {
            Answer::Response(response) => response.status.to_string(),
            Answer::Unanswered => "unanswered".into(),
            Answer::Unseen => "unseen".into(),
        };
        Some(format!("{} {} {status}", one.request.method.as_str(), one.request.path))
    };
    records.iter().filter_map(describe).collect()
}

/// Every HTTP capture that is present.
fn captures(root: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(root.join("tshark-oracle.json")).expect("the oracle");
    let oracle: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&text).expect("the oracle is JSON");
    let paths = oracle.keys().map(|name| root.join(name));
    paths.filter(|path| path.is_file()).collect()
}

#[test]
fn cuts_change_nothing_and_the_middle_invents_nothing() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let (mut compared, mut from_the_middle) = (0, 0);
    for path in captures(&root) {
        for mut conversation in conversations(&path) {
            let whole = exchanges(&conversation.run(usize::MAX));
            if whole.is_empty() {
                continue;
            }
            // Where bytes make no sense, the place is found again at the start of
            // a piece, so cutting pieces may hide what followed; it adds nothing.
            for cut in [1024, 16, 1] {
                let again = exchanges(&conversation.run(cut));
                let name = path.display();
                if conversation.is_sound() {
                    assert_eq!(again, whole, "{name} at {cut}");
                    compared += 1;
                }
            }
            let half = conversation.sent.len() / 2;
            conversation.sent.drain(..half);
            conversation.from_start = false;
            let known = |text: &String| {
                let request = text.rsplit_once(' ').map_or("", |(request, _)| request);
                whole.iter().any(|one| one == text || one.starts_with(request))
            };
            for text in exchanges(&conversation.run(usize::MAX)) {
                from_the_middle += 1;
                assert!(known(&text), "{}: {text} is not in {whole:?}", path.display());
            }
        }
    }
    println!("{compared} cut conversations, {from_the_middle} exchanges found from the middle");
    assert!(compared > 0 && from_the_middle > 0, "nothing was compared");
}

/// Captures whose counts differ from tshark's, with the reason.
const EXPLAINED: &[(&str, &str)] = &[
    ("suricata-verify/http-close-headers/input.pcap", "head without its blank line, then a close"),
    ("suricata-verify/http-connect/http-connect-fragmented/input.pcap", "HTTP in a tunnel"),
    ("suricata-verify/http-connect/http-connect-simple/input.pcap", "HTTP in a tunnel"),
    ("suricata-verify/http-gap-whole-body/input.pcap", "tshark stops at the gap"),
    ("suricata-verify/http-missing-protocol/input.pcap", "request line without a version"),
    ("suricata-verify/http-response-line/input.pcap", "tshark wants a handshake"),
    ("suricata-verify/http1-noint-status/input.pcap", "status 2XX is no status"),
    ("suricata-verify/tcp-urgp-01-oob/tcp-urgent1.pcap", "odd port; urgent data"),
    ("suricata-verify/tcp-urgp-02-drop-ips/tcp-urgent1.pcap", "odd port; urgent data"),
    ("suricata-verify/tcp-urgp-04-2byte-XY/tcp-urgent-2byte-XY.pcap", "odd port; urgent data"),
    ("zeek/http/261/variant-02-cl_uint64max.pcap", "smuggled: the body has no end"),
    ("zeek/http/261/variant-10-multi_value_te.pcap", "smuggled: the body has no end"),
    ("zeek/http/content-range-gap-skip.pcap", "tshark stops at the gap"),
    ("zeek/http/entity_gap2.pcap", "tshark stops at the gap"),
    ("zeek/http/http-09-content-length-confusion.pcap", "HTTP/0.9 request"),
    ("zeek/http/methods.pcap", "request lines without a target, or without a version"),
    ("zeek/http/no-uri.pcap", "request line without a target"),
    ("zeek/http/query-method-non-standard-port.pcap", "odd port; tshark lacks QUERY"),
    ("zeek/redis/oss-fuzz-473580107.pcap", "fuzzed Redis"),
    ("zeek/tcp/payload-synack.pcap", "request on a SYN-ACK, written by the accepting side"),
];

#[test]
fn counts_equal_tshark() {
    let Some(root) = data() else { skip!("{NO_DATA}") };
    let text = std::fs::read_to_string(root.join("tshark-oracle.json")).expect("the oracle");
    let oracle: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&text).expect("the oracle is JSON");
    let mut unexplained = Vec::new();
    let mut compared = 0;
    for (name, counts) in &oracle {
        let expected = |key: &str| counts.get(key).and_then(serde_json::Value::as_u64);
        let (requests, responses) =
            (expected("http.request.method"), expected("http.response.code"));
        let path = root.join(name);
        if (requests.is_none() && responses.is_none()) || !path.is_file() {
            continue;
        }
        let expected = (requests.unwrap_or(0), responses.unwrap_or(0));
        let found = tally(&path, usize::MAX);
        compared += 1;
        let same = (found.requests, found.responses) == expected;
        let reason = EXPLAINED.iter().find(|(known, _)| known == name).map(|(_, reason)| *reason);
        if !same {
            println!(
                "{name}: {}/{} ({} unseen), tshark {}/{}: {}",
                found.requests,
                found.responses,
                found.unseen,
                expected.0,
                expected.1,
                reason.unwrap_or("?")
            );
            if reason.is_none() {
                unexplained.push(name.clone());
            }
        }
    }
    println!("{compared} captures compared");
    assert!(compared > 0, "the oracle names no HTTP capture that is present");
    assert!(unexplained.is_empty(), "differ without a reason: {unexplained:?}");
}
