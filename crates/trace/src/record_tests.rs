use proptest::prelude::*;
use taproot_model::{Category, Drop, Step};

use super::*;
use crate::judge::judge;
use crate::render::{Beside, Style, json_lines, text};
use crate::testing::{A, B, hop, sent};

/// Somebody who knows everything.
struct Sage;

impl Names for Sage {
    fn place(&self, netns: u32) -> Option<String> {
        Some(format!("pod shop/{}", if netns == A { "client" } else { "server" }))
    }

    fn address(&self, address: SocketAddr) -> Option<String> {
        (address.port() == 80).then(|| "service shop/web".to_owned())
    }
}

impl Oracle for Sage {
    fn blame(&self, _: &Path, at: &Event) -> Option<Blame> {
        Some(Blame {
            category: Category::Firewall,
            object: format!("rule at {}", at.hop.at.0),
            because: "it says drop".to_owned(),
            advice: "take it away".to_owned(),
            proved: true,
        })
    }
}

fn dropped(at: u64) -> Event {
    let drop = Drop {
        reason: "NETFILTER_DROP".into(),
        function: "nf_hook_slow".into(),
        stack: Vec::new(),
        netfilter: None,
    };
    hop(at, Step::Dropped(drop), B, "eth0")
}

fn recording() -> (Trace, Vec<Verdict>, Recording) {
    let events = vec![dropped(30), sent(10), hop(20, Step::Received, B, "eth0")];
    let account = Account { produced: 4, delivered: 3, ring_full: 1, ..Account::default() };
    let trace = Trace::assemble(events.clone(), account);
    let verdicts = judge(&trace, &Sage, &Sage);
    let expected = vec![Expectation {
        netns: B,
        path: 0,
        hop: 1,
        expected: vec!["is taken by a socket".to_owned()],
        observed: "was stopped".to_owned(),
        agrees: Some(false),
        doubts: Vec::new(),
    }];
    let made = Recording::new(events, &trace, &verdicts, &Sage, expected);
    (trace, verdicts, made)
}

fn bytes(recording: &Recording) -> Vec<u8> {
    let mut out = Vec::new();
    recording.write(&mut out).expect("memory takes it");
    out
}

#[test]
fn what_is_read_tells_the_same_as_what_was_seen() {
    let (trace, verdicts, made) = recording();
    let read = Recording::read(bytes(&made).as_slice()).expect("readable");
    assert_eq!(read, made);
    let again = read.trace();
    assert_eq!(again, trace);
    let judged = judge(&again, &read, &read);
    assert_eq!(judged, verdicts);
    let beside = Beside { expected: made.expected(), diff: None };
    let style = Style { all_hops: true, explain: true };
    let live = text(&trace, &verdicts, &Sage, style, beside);
    assert_eq!(text(&again, &judged, &read, style, beside), live);
    for part in ["pod shop/server", "service shop/web", "rule at 30", "hops lost"] {
        assert!(live.contains(part), "{live}");
    }
    let live = json_lines(&trace, &verdicts, &Sage, beside).expect("JSON");
    assert_eq!(json_lines(&again, &judged, &read, beside).expect("JSON"), live);
}

#[test]
fn other_files_and_newer_ones_are_refused_in_words() {
    let error = |bytes: &[u8]| Recording::read(bytes).expect_err("refused").to_string();
    assert!(error(b"").contains("--record"));
    assert!(error(b"\x7fELF, and so on and on").contains("no recorded trace"));
    let mut newer = bytes(&recording().2);
    newer[8] = 9;
    assert!(error(&newer).contains("format 9"));
}

proptest! {
    #[test]
    fn damage_is_seen(at in 12usize..400, flip in 1u8..=255, cut in 0usize..400) {
        let (_, _, made) = recording();
        let whole = bytes(&made);
        let mut flipped = whole.clone();
        let at = at.min(whole.len() - 1);
        flipped[at] ^= flip;
        if let Ok(read) = Recording::read(flipped.as_slice()) {
            prop_assert_eq!(read, made, "a bit that says nothing");
        }
        let cut = cut.min(whole.len() - 1);
        prop_assert!(Recording::read(&whole[..cut]).is_err());
    }
}
