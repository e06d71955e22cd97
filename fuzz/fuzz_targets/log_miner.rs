//! Lines to templates: every line counted once, bounds kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_patterns::change::{Window, compare};
use taproot_patterns::line::{Joiner, JoinerLimits, cri, message};
use taproot_patterns::miner::{Config, Miner};

fuzz_target!(|data: &[u8]| {
    let config = Config { templates: 16, shapes: 64, tokens: 24, line_bytes: 256, values: 2 };
    let mut miner = Miner::new(config);
    let start = miner.snapshot();
    let mut joiner = Joiner::new(JoinerLimits::default());
    let mut lines = 0;
    let mut middle = start.clone();
    for (at, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let content = cri::parse(line).map_or(line, |found| found.content);
        let text = String::from_utf8_lossy(content);
        let _ = joiner.push(&text, at as u64);
        for bytes in [line, message(&text).text.as_bytes()] {
            let found = miner.add(bytes, at as u64);
            lines += 1;
            assert!(miner.len() <= config.templates);
            assert!(miner.template(found.template_id).is_some() || miner.len() == config.templates
                || miner.snapshot().losses.evicted_templates > 0);
        }
        if at == 8 {
            middle = miner.snapshot();
        }
    }
    let end = miner.snapshot();
    let counted: u64 = end.patterns.iter().map(|found| found.count).sum();
    assert_eq!(counted + end.losses.evicted_lines, lines, "every line is counted once");
    let before = Window::between(&start, &middle, 1_000_000_000);
    let after = Window::between(&middle, &end, 1_000_000_000);
    for change in compare(&before, &after, &end) {
        assert!(change.score.is_finite());
    }
});
