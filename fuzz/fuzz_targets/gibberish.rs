//! Verdicts on any bytes: printable ASCII is clean, NUL never is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_patterns::gibberish::{Monitor, Verdict, assess};

fuzz_target!(|data: &[u8]| {
    let mut monitor = Monitor::default();
    for (at, line) in data.split(|byte| *byte == b'\n').enumerate() {
        match assess(line) {
            Verdict::Clean => assert!(!line.contains(&0) || line.contains(&0x1b)),
            Verdict::Suspicious { share, sample, .. } => {
                assert!(line.iter().any(|byte| !(b' '..=b'~').contains(byte)));
                assert!(share > 0.0 && share <= 1.0);
                assert!(!sample.is_empty() && sample.len() <= 64);
            }
        }
        let _ = monitor.observe(line, at as u64);
    }
    let report = monitor.report();
    assert!((0.0..=1.0).contains(&report.recent_share));
});
