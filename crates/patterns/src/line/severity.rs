//! How bad a line says it is.

use serde::{Deserialize, Serialize};

/// Severity in OpenTelemetry's six ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Finest detail.
    Trace,
    /// For debugging.
    Debug,
    /// Something happened.
    Info,
    /// Something may be wrong.
    Warn,
    /// Something failed.
    Error,
    /// The program cannot go on.
    Fatal,
}

impl Severity {
    /// OpenTelemetry's `SeverityNumber` (the lowest of the range).
    pub fn number(self) -> u8 {
        self as u8 * 4 + 1
    }

    /// OpenTelemetry's short name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
        }
    }

    /// From a level word of any common logger, in any case.
    pub fn from_word(word: &str) -> Option<Self> {
        const WORDS: [(&str, Severity); 29] = [
            ("trace", Severity::Trace),
            ("finest", Severity::Trace),
            ("verbose", Severity::Trace),
            ("trc", Severity::Trace),
            ("debug", Severity::Debug),
            ("dbg", Severity::Debug),
            ("debu", Severity::Debug),
            ("fine", Severity::Debug),
            ("info", Severity::Info),
            ("inf", Severity::Info),
            ("information", Severity::Info),
            ("informational", Severity::Info),
            ("notice", Severity::Info),
            ("warn", Severity::Warn),
            ("warning", Severity::Warn),
            ("wrn", Severity::Warn),
            ("error", Severity::Error),
            ("err", Severity::Error),
            ("erro", Severity::Error),
            ("severe", Severity::Error),
            ("failure", Severity::Error),
            ("fatal", Severity::Fatal),
            ("critical", Severity::Fatal),
            ("crit", Severity::Fatal),
            ("panic", Severity::Fatal),
            ("dpanic", Severity::Fatal),
            ("alert", Severity::Fatal),
            ("emerg", Severity::Fatal),
            ("emergency", Severity::Fatal),
        ];
        if !(3..=13).contains(&word.len()) {
            return None;
        }
        WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, found)| *found)
    }

    /// From a numeric level as pino and bunyan write it (10 to 60).
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            10..20 => Self::Trace,
            20..30 => Self::Debug,
            30..40 => Self::Info,
            40..50 => Self::Warn,
            50..60 => Self::Error,
            60..70 => Self::Fatal,
            _ => return None,
        })
    }
}

/// How far into a line its level is looked for, in bytes and words.
const HEAD: usize = 160;
const WORDS: usize = 10;

/// The severity a line of text states: klog's first letter, `level=`, or a level
/// word near the start that looks like one (upper case, in brackets, or before a
/// colon). A word inside a sentence ("no error found") is not one.
pub fn severity(line: &str) -> Option<Severity> {
    let head = &line[..line.floor_char_boundary(HEAD)];
    klog(head).or_else(|| syslog(head)).or_else(|| words(head))
}

/// `I1120 20:58:54.201291       1 main.go:12] text`
fn klog(head: &str) -> Option<Severity> {
    let bytes = head.as_bytes();
    let shape = bytes.len() > 9 && bytes[1..5].iter().all(u8::is_ascii_digit) && bytes[5] == b' ';
    match bytes.first() {
        Some(b'I') if shape => Some(Severity::Info),
        Some(b'W') if shape => Some(Severity::Warn),
        Some(b'E') if shape => Some(Severity::Error),
        Some(b'F') if shape => Some(Severity::Fatal),
        _ => None,
    }
}

/// `<PRI>` of RFC 5424: the low three bits are the severity.
fn syslog(head: &str) -> Option<Severity> {
    let (number, _) = head.strip_prefix('<')?.split_once('>')?;
    let priority: u8 = number.parse().ok().filter(|priority| *priority < 192)?;
    Some(match priority & 7 {
        0..=2 => Severity::Fatal,
        3 => Severity::Error,
        4 => Severity::Warn,
        5 | 6 => Severity::Info,
        _ => Severity::Debug,
    })
}

fn words(head: &str) -> Option<Severity> {
    let starts = |character: char| character.is_whitespace() || "|[(\"=:,".contains(character);
    let mut at = 0;
    for word in head.split(starts).take(WORDS * 3) {
        let start = at;
        // White space may be wider than a byte (U+3000 in Chinese and Japanese text).
        at += word.len();
        at += head[at..].chars().next().map_or(0, char::len_utf8);
        let bare = word.trim_end_matches([']', ')', '"', '|', '>', '-']);
        let Some(found) = Severity::from_word(bare) else { continue };
        let before = head[..start].chars().next_back();
        let after = head[start + bare.len()..].chars().next();
        let upper = bare.bytes().all(|byte| byte.is_ascii_uppercase());
        let bracketed = matches!(before, Some('[' | '(')) && matches!(after, Some(']' | ')'));
        let labelled = after == Some(':') && (start == 0 || found >= Severity::Warn);
        let assigned = is_level_key(&head[..start]);
        if upper || bracketed || labelled || assigned {
            return Some(found);
        }
    }
    None
}

/// Whether text ends in `level=`, `lvl=`, `severity=` or the like.
fn is_level_key(before: &str) -> bool {
    let before = before.trim_end_matches('"');
    let Some(key) = before.strip_suffix(['=', ':']) else { return false };
    let key = key.trim_end_matches('"');
    ["level", "lvl", "severity", "loglevel"].iter().any(|known| {
        key.len() >= known.len()
            && key.is_char_boundary(key.len() - known.len())
            && key[key.len() - known.len()..].eq_ignore_ascii_case(known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_stated_levels() {
        for (line, expected) in [
            ("2026-11-20 20:58:54,201 ERROR [main] c.e.Shop: boom", Severity::Error),
            ("2026/11/20 20:58:54 [error] 12#12: *1 open() failed", Severity::Error),
            ("time=2026-11-20T20:58:54Z level=warning msg=\"slow\"", Severity::Warn),
            ("ts=1 level=\"debug\" msg=x", Severity::Debug),
            ("I1120 20:58:54.201291       1 main.go:12] started", Severity::Info),
            ("E1120 20:58:54.201291       1 main.go:12] failed", Severity::Error),
            ("<3>kernel: out of memory", Severity::Error),
            ("ERROR:root:failed", Severity::Error),
            ("error: cannot open file", Severity::Error),
            ("[WARN] disk nearly full", Severity::Warn),
            ("INFO: listening", Severity::Info),
            ("20:58:54 [main] FATAL app - bye", Severity::Fatal),
        ] {
            assert_eq!(severity(line), Some(expected), "{line}");
        }
    }

    #[test]
    fn wide_white_space_is_white_space() {
        assert_eq!(severity("起動\u{3000}ERROR\u{3000}失敗"), Some(Severity::Error));
        assert_eq!(severity("\u{85}\u{85}info"), None);
        assert_eq!(severity("a\u{85}level=\u{2003}warn [error]\u{85}"), Some(Severity::Error));
    }

    #[test]
    fn words_in_sentences_are_not_levels() {
        for line in
            ["no error found", "the info desk is open", "", "Erroneous", "debugging on", "é<"]
        {
            assert_eq!(severity(line), None, "{line}");
        }
    }

    #[test]
    fn numbers_follow_opentelemetry() {
        assert_eq!(Severity::Trace.number(), 1);
        assert_eq!(Severity::Error.number(), 17);
        assert_eq!(Severity::from_number(50), Some(Severity::Error));
        assert_eq!(Severity::from_number(7), None);
    }
}
