//! Finds lines whose bytes are not text: what a process writes when its buffers,
//! descriptors or encodings are broken.
//!
//! [`assess`] judges one line; [`Monitor`] follows a stream and says since when
//! and how much. Text in any language, colour codes, JSON, base64, hex dumps and
//! progress bars are text. What is not: NUL bytes, invalid UTF-8, replacement
//! characters, control characters, text decoded with the wrong table, and letters
//! of many scripts thrown together.

mod monitor;
mod scan;

pub use monitor::{Monitor, Onset, Report};

use scan::Scan;
use serde::{Deserialize, Serialize};

/// Why a line is not text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Zero bytes: a hole in a file, a cleared buffer, UTF-16.
    NulBytes,
    /// Bytes that are no UTF-8: another encoding, or no text at all.
    InvalidUtf8,
    /// U+FFFD: something before us replaced what it could not decode.
    ReplacementCharacters,
    /// Control characters that are neither white space nor terminal sequences.
    ControlCharacters,
    /// UTF-8 that was decoded with the wrong table and encoded again.
    Mojibake,
    /// Letters of many scripts within words: valid, but nobody's language.
    MixedScripts,
}

/// What [`assess`] thinks of a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Text.
    Clean,
    /// Not text.
    Suspicious {
        /// Why (the first that holds, in the order of [`Reason`]).
        reason: Reason,
        /// Offending bytes over all bytes, 0 to 1.
        share: f32,
        /// The first offending bytes, escaped, at most 64 characters.
        sample: String,
    },
}

impl Verdict {
    /// Whether the line is text.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Clean)
    }
}

/// A line that a log pipeline cut may end inside a character; shorter ones end so
/// only when something is broken. Docker and containerd cut at 16 KiB, some
/// libraries at 4 KiB.
const SHORTEST_CUT_LINE: usize = 4000;

/// Judges one line (without its line end), in one or two passes over its bytes.
pub fn assess(line: &[u8]) -> Verdict {
    // Most lines: branch-free and vectorised.
    if line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return Verdict::Clean;
    }
    let scan = Scan::of(line);
    let Some((reason, count, first)) = judge(line, &scan) else { return Verdict::Clean };
    Verdict::Suspicious {
        reason,
        share: (count as f32 / line.len() as f32).min(1.0),
        sample: sample(&line[first..]),
    }
}

fn judge(line: &[u8], scan: &Scan) -> Option<(Reason, usize, usize)> {
    let cut_at_end = scan.cut_at_end && line.len() >= SHORTEST_CUT_LINE;
    let invalid = if cut_at_end { scan.invalid.minus_tail() } else { scan.invalid };
    let characters = scan.characters.max(1);
    let rare = |count: usize| count < 3 && count * 50 < characters;
    if scan.nul.count > 0 {
        return Some((Reason::NulBytes, scan.nul.count, scan.nul.first));
    }
    if invalid.count > 0 {
        return Some((Reason::InvalidUtf8, invalid.count, invalid.first));
    }
    if !rare(scan.replacement.count) {
        return Some((
            Reason::ReplacementCharacters,
            scan.replacement.bytes(),
            scan.replacement.first,
        ));
    }
    if !scan.controls_separate() && !rare(scan.control.count) {
        return Some((Reason::ControlCharacters, scan.control.count, scan.control.first));
    }
    if scan.mojibake.count > 0 {
        return Some((Reason::Mojibake, scan.mojibake.count, scan.mojibake.first));
    }
    if scan.scripts_are_mixed() {
        return Some((Reason::MixedScripts, scan.switches.count, scan.switches.first));
    }
    None
}

fn sample(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(16) {
        text.extend(byte.escape_ascii().map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(line: &[u8]) -> Option<Reason> {
        match assess(line) {
            Verdict::Clean => None,
            Verdict::Suspicious { reason, .. } => Some(reason),
        }
    }

    #[test]
    fn text_is_clean() {
        let base64 = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9".repeat(20);
        for line in [
            "",
            "GET /index.html 200 12ms",
            "连接数据库失败：超时，正在重试（第3次）",
            "データベースへの接続に失敗しました。再試行します。",
            "데이터베이스 연결에 실패했습니다",
            "فشل الاتصال بقاعدة البيانات، إعادة المحاولة",
            "שגיאת חיבור למסד הנתונים",
            "Ошибка подключения к базе данных: timeout после 30 секунд",
            "Σφάλμα σύνδεσης με τη βάση δεδομένων",
            "डेटाबेस से कनेक्ट नहीं हो सका",
            "การเชื่อมต่อฐานข้อมูลล้มเหลว",
            "Le café coûte 3 € à l’aéroport — «CAFÉ» fermé, 20 °C",
            "Größe überschritten: Straße, Äpfel, naïve façade, SÃO PAULO, IRMÃ",
            "Deploy done 🚀🎉 👩‍👩‍👧‍👦 🇩🇪 ✅ ❌ → ok",
            "\u{1b}[32mINFO\u{1b}[0m listening on \u{1b}[1;34m:8080\u{1b}[0m",
            "\u{1b}]0;title\u{7}prompt\u{1b}[K",
            "{\"level\":\"info\",\"msg\":\"caf\\u00e9 \\u0000\",\"n\":1}",
            "downloading  10%\rdownloading  20%\rdownloading 100%",
            "progress |\u{8}/\u{8}-\u{8}\\\u{8}|",
            "[████████░░░░░░░░] 50% ▏▎▍▌▋▊▉ ┌──┐│x│└──┘ ★ ± µs ∑ λ",
            "00000000  7f 45 4c 46 02 01 01 00  |.ELF....|",
            "8=FIX.4.2\u{1}9=65\u{1}35=A\u{1}49=CLIENT\u{1}56=SERVER\u{1}34=177\u{1}",
            "\u{feff}first line with a byte order mark",
            "at com.example.Foo$Bar.baz(Foo.java:12)\twith\ttabs",
            "価格 ¥1,200 (USD 8.00) を Иван Петров が確認 OK",
            &base64,
        ] {
            assert_eq!(reason(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn what_is_not_text_is_found() {
        for (line, expected) in [
            (&b"abc\0\0\0def"[..], Reason::NulBytes),
            (b"h\0e\0l\0l\0o\0", Reason::NulBytes),
            (b"caf\xe9 ferm\xe9", Reason::InvalidUtf8),
            ("数据库连".as_bytes().split_at(11).0, Reason::InvalidUtf8),
            (b"ok \xe6\x95 \xe6 \x95\xb0 tail", Reason::InvalidUtf8),
            (b"\xff\xfe\x80\x81", Reason::InvalidUtf8),
            ("a\u{fffd}b\u{fffd}c\u{fffd}".as_bytes(), Reason::ReplacementCharacters),
            (b"\x01\x02\x03\x04abc\x05\x06", Reason::ControlCharacters),
            ("cafÃ© fermÃ©".as_bytes(), Reason::Mojibake),
            ("Itâ€™s broken".as_bytes(), Reason::Mojibake),
            ("锟斤拷锟斤拷".as_bytes(), Reason::Mojibake),
            ("æ\u{95}°æ\u{8d}®åº\u{93}".as_bytes(), Reason::ControlCharacters),
            ("дعаξשк한дبλगжתอ".as_bytes(), Reason::MixedScripts),
        ] {
            assert_eq!(reason(line), Some(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_pipeline_may_cut_inside_a_character() {
        let long = "数".repeat(6000);
        assert_eq!(reason(&long.as_bytes()[..16_384]), None);
        assert_eq!(reason(&long.as_bytes()[..10]), Some(Reason::InvalidUtf8));
    }

    #[test]
    fn a_verdict_shows_what_and_how_much() {
        let Verdict::Suspicious { share, sample, .. } = assess(b"ab\0\0") else {
            panic!("NUL bytes are not text");
        };
        assert!((share - 0.5).abs() < 1e-6);
        assert_eq!(sample, "\\x00\\x00");
    }

    proptest! {
        #[test]
        fn random_bytes_are_found(line in prop::collection::vec(any::<u8>(), 40..400)) {
            prop_assert!(!assess(&line).is_clean());
        }

        #[test]
        fn printable_ascii_is_clean(line in "[ -~\t]{0,200}") {
            prop_assert!(assess(line.as_bytes()).is_clean());
        }

        #[test]
        fn one_script_is_clean(
            line in prop_oneof!["[\u{4e00}-\u{9fa5}a-z0-9 ，。]{0,60}", "[а-яА-Яa-z0-9 .,]{0,60}",
                "[\u{3041}-\u{3093}\u{30a1}-\u{30f3}\u{4e00}-\u{6000}]{0,60}", "[\u{621}-\u{64a} 0-9]{0,60}"]
        ) {
            prop_assert!(assess(line.as_bytes()).is_clean(), "{line}");
        }

        #[test]
        fn latin1_among_ascii_is_found(text in "[a-z ]{0,40}", bytes in prop::collection::vec(0xc0_u8..=0xff, 1..4)) {
            let mut line = text.into_bytes();
            for byte in bytes { line.extend([byte, b' ']); }
            prop_assert!(!assess(&line).is_clean());
        }
    }
}
