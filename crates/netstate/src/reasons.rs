//! Words for the kernel's drop reasons, for people who do not know the kernel.
//!
//! The table covers the core reasons of Linux 6.1, 6.12 and 6.18 and those of
//! `openvswitch` and `mac80211`. Names stay while their numbers move from kernel
//! to kernel, so the table knows names only.

use std::collections::HashMap;
use std::sync::LazyLock;

use taproot_model::Category;

/// Reason, category, what happened, what to do; separated by tabs.
const TABLE: &str = include_str!("reasons.tsv");

static WORDS: LazyLock<HashMap<&'static str, Words>> =
    LazyLock::new(|| TABLE.lines().filter_map(row).collect());

/// What a drop reason means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What class of thing it is about.
    pub category: Category,
    /// What happened, in one sentence.
    pub what: &'static str,
    /// What to do, in one sentence.
    pub advice: &'static str,
}

/// Said of a reason that is newer than this table.
const UNKNOWN: Words = Words {
    category: Category::Unknown,
    what: "The kernel dropped the packet for a reason that Taproot has no words for yet.",
    advice: "Look the reason's name up in include/net/dropreason-core.h of the kernel's source.",
};

/// The words for a reason; its prefix may be there or not.
pub fn lookup(reason: &str) -> Option<Words> {
    WORDS.get(plain(reason)).copied()
}

/// The words for a reason, or the sentence for unknown ones.
pub fn words(reason: &str) -> Words {
    lookup(reason).unwrap_or(UNKNOWN)
}

/// A reason without the prefixes of its enum.
fn plain(reason: &str) -> &str {
    let reason = reason.trim_start_matches('_');
    reason.strip_prefix("SKB_DROP_REASON_").unwrap_or(reason)
}

fn row(line: &'static str) -> Option<(&'static str, Words)> {
    if line.starts_with('#') {
        return None;
    }
    let mut cells = line.split('\t');
    let (reason, category) = (cells.next()?, category(cells.next()?)?);
    Some((reason, Words { category, what: cells.next()?, advice: cells.next()? }))
}

fn category(word: &str) -> Option<Category> {
    Some(match word {
        "firewall" => Category::Firewall,
        "routing" => Category::Routing,
        "sysctl" => Category::Sysctl,
        "neighbour" => Category::Neighbour,
        "device" => Category::Device,
        "queue" => Category::Queue,
        "socket" => Category::Socket,
        "conntrack" => Category::Conntrack,
        "program" => Category::Program,
        "tunnel" => Category::Tunnel,
        "packet" => Category::Packet,
        "unknown" => Category::Unknown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_whole() {
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let (reason, words) = row(line).unwrap_or_else(|| panic!("not a row: {line}"));
            for sentence in [words.what, words.advice] {
                assert!(sentence.ends_with('.') || sentence.contains(": "), "{reason}: {sentence}");
                assert!(sentence.len() > 10, "{reason}: {sentence}");
            }
            assert_eq!(line.split('\t').count(), 4, "{line}");
        }
        let rows = TABLE.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(WORDS.len(), rows, "no reason twice");
    }

    #[test]
    fn prefixes_do_not_matter_and_the_unknown_is_admitted() {
        assert_eq!(words("SKB_DROP_REASON_XDP"), words("XDP"));
        assert_eq!(words("___RX_DROP_U_DUP"), words("RX_DROP_U_DUP"));
        assert_eq!(lookup("NEWER_THAN_US"), None);
        assert_eq!(words("NEWER_THAN_US").category, Category::Unknown);
    }
}
