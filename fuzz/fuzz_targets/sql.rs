//! Statements in every dialect: nothing panics, nothing grows, and a string between
//! marks does not come out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taproot_protocols::sql::{Dialect, normalise};

fuzz_target!(|data: &[u8]| {
    for dialect in [Dialect::Postgres, Dialect::Mysql, Dialect::Cql] {
        let found = normalise(data, dialect);
        assert!(found.text.len() <= 3 * data.len() + 8);
        assert!(!found.text.chars().any(char::is_control));
        let mut marked = b"select 'SECRET".to_vec();
        marked.extend(data.iter().filter(|byte| !matches!(byte, b'\'' | b'\\')));
        marked.extend(b"SECRET' from t");
        let found = normalise(&marked, dialect);
        assert!(!found.text.contains("SECRET"));
    }
});
