//! Route templates of any target; the limiter's bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::redact;
use taproot_protocols::route::{RouteLimiter, RouteLimits, template};

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let mut limiter = RouteLimiter::new(RouteLimits { values: 4, nodes: 32 });
    for target in text.lines() {
        let route = template(target);
        assert!(!route.contains('?'), "queries are never kept");
        assert!(route.matches('/').count() <= 13, "routes are bounded in depth");
        assert!(route.len() <= 13 * 512, "routes are bounded in length");
        limiter.route(target);
        assert!(redact::target(target, 64).len() <= 64);
    }
});
