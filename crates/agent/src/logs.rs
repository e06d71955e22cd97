//! Container logs: tailed, mined for patterns, checked for gibberish, and the last
//! lines kept for the moment a container dies.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use taproot_model::{EntityId, Gibberish, LogPattern, LogSeverity, Name, Signal, Timestamp};
use taproot_patterns::gibberish::{self, Verdict};
use taproot_patterns::line::{Severity, cri, severity};
use taproot_patterns::miner::{Config, Miner, TemplateId};

/// Lines kept for the last words.
const LAST_WORDS: usize = 20;
/// Bytes read from one log per interval; the rest waits for the next one.
const READ_AT_ONCE: usize = 1 << 20;
/// Bytes kept of a line whose end has not come; what follows of a longer one is passed over.
const LONGEST: usize = 1 << 20;
/// A template is news only after the stream was followed for so long: before, all are.
const LEARNING: u64 = 20_000_000_000;
/// Bytes of an example line.
const EXAMPLE: usize = 240;

/// The log of one container.
pub(crate) struct Log {
    dir: PathBuf,
    file: Option<(PathBuf, File)>,
    /// Bytes of an unfinished line.
    rest: Vec<u8>,
    /// Whether `rest` is cut, and bytes are passed over until the line ends.
    passing: bool,
    last: VecDeque<String>,
    parts: cri::PartJoiner,
}

/// What one template did in one interval.
struct Seen {
    count: u64,
    new: bool,
    severity: LogSeverity,
    example: String,
}

/// Undecodable lines of one interval.
#[derive(Default)]
struct Broken {
    lines: u64,
    reason: Option<gibberish::Reason>,
    sample: String,
}

/// Templates of one service; instances share them, so that a restart is not news.
pub(crate) struct Book {
    miner: Miner,
    since: u64,
}

impl Book {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { miner: Miner::new(Config::default()), since: now.0 }
    }
}

impl Log {
    /// Follows a directory of `<restart count>.log` files. Lines written before are
    /// passed over unless `from_start` (the container is new).
    pub(crate) fn open(dir: PathBuf, from_start: bool) -> Self {
        let mut log = Self {
            dir,
            file: None,
            rest: Vec::new(),
            passing: false,
            last: VecDeque::new(),
            parts: cri::PartJoiner::new(64 << 10),
        };
        log.turn_page();
        if !from_start && let Some((_, file)) = &mut log.file {
            // Keep a little of the past for the last words.
            let end = file.seek(SeekFrom::End(0)).unwrap_or(0);
            let _ = file.seek(SeekFrom::Start(end));
        }
        log
    }

    /// Opens the newest file if there is one that is not open yet.
    fn turn_page(&mut self) -> bool {
        let Some(newest) = newest(&self.dir) else { return false };
        if self.file.as_ref().is_some_and(|(open, _)| *open == newest) {
            return false;
        }
        let Ok(file) = File::open(&newest) else { return false };
        self.file = Some((newest, file));
        self.rest.clear();
        self.passing = false;
        true
    }

    fn lines(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some((_, file)) = &mut self.file {
            // An unreadable log gives no lines; it is tried again next time.
            let _ = file.take(READ_AT_ONCE as u64).read_to_end(&mut bytes);
        }
        if bytes.is_empty() && self.turn_page() {
            return self.lines();
        }
        let mut new = &bytes[..];
        if self.passing {
            let end = new.iter().position(|&b| b == b'\n').unwrap_or(new.len());
            new = &new[end..];
            self.passing = new.is_empty();
        }
        self.rest.extend_from_slice(new);
        let mut lines: Vec<Vec<u8>> =
            self.rest.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect();
        self.rest = lines.pop().unwrap_or_default();
        if self.rest.len() > LONGEST {
            self.rest.truncate(LONGEST);
            self.passing = true;
        }
        lines
    }

    /// Reads what was written since the last time and tells it.
    pub(crate) fn read(
        &mut self,
        id: &EntityId,
        book: &mut Book,
        at: Timestamp,
        interval: u64,
        out: &mut Vec<Signal>,
    ) {
        let mut seen: HashMap<TemplateId, Seen> = HashMap::new();
        let mut broken = Broken::default();
        let mut total = 0;
        for line in self.lines() {
            let whole = match cri::parse(&line) {
                Some(parsed) => match self.parts.push(parsed) {
                    Some(whole) => whole.content,
                    None => continue,
                },
                None => line,
            };
            total += 1;
            self.remember(&whole);
            match gibberish::assess(&whole) {
                Verdict::Clean => note(&mut seen, book, &whole, at),
                Verdict::Suspicious { reason, sample, .. } => {
                    broken.lines += 1;
                    broken.reason.get_or_insert(reason);
                    broken.sample = sample;
                }
            }
        }
        tell(seen, book, id, at, interval, out);
        if let Some(reason) = broken.reason {
            out.push(Signal::Gibberish(Box::new(Gibberish {
                at,
                interval,
                entity: id.clone(),
                reason: words(reason),
                lines: broken.lines,
                of: total,
                sample: broken.sample.as_str().into(),
            })));
        }
    }

    fn remember(&mut self, line: &[u8]) {
        if self.last.len() == LAST_WORDS {
            self.last.pop_front();
        }
        let short = &line[..line.len().min(EXAMPLE)];
        self.last.push_back(escaped(short));
    }

    /// The last lines, oldest first.
    pub(crate) fn last_words(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }
}

fn note(seen: &mut HashMap<TemplateId, Seen>, book: &mut Book, line: &[u8], at: Timestamp) {
    let text = String::from_utf8_lossy(line);
    let found = book.miner.add(line, at.0);
    let warm = at.0.saturating_sub(book.since) > LEARNING;
    let entry = seen.entry(book.miner.resolve(found.template_id)).or_insert_with(|| Seen {
        count: 0,
        new: false,
        severity: level(severity(&text)),
        example: text.chars().take(EXAMPLE).collect(),
    });
    entry.count += 1;
    entry.new |= found.is_new && warm;
}

fn tell(
    seen: HashMap<TemplateId, Seen>,
    book: &Book,
    id: &EntityId,
    at: Timestamp,
    interval: u64,
    out: &mut Vec<Signal>,
) {
    let mut all: Vec<_> = seen.into_iter().collect();
    all.sort_by_key(|(template, _)| *template);
    for (template, seen) in all {
        let text = book.miner.template(template).unwrap_or_else(|| seen.example.clone());
        out.push(Signal::LogPattern(Box::new(LogPattern {
            at,
            interval,
            entity: id.clone(),
            template: text.into(),
            severity: seen.severity,
            count: seen.count,
            new: seen.new,
            example: seen.example.into(),
        })));
    }
}

fn level(severity: Option<Severity>) -> LogSeverity {
    match severity {
        None => LogSeverity::Unknown,
        Some(Severity::Trace | Severity::Debug) => LogSeverity::Debug,
        Some(Severity::Info) => LogSeverity::Info,
        Some(Severity::Warn) => LogSeverity::Warn,
        Some(Severity::Error) => LogSeverity::Error,
        Some(Severity::Fatal) => LogSeverity::Fatal,
    }
}

fn words(reason: gibberish::Reason) -> Name {
    use gibberish::Reason;
    Name::from(match reason {
        Reason::NulBytes => "NUL bytes",
        Reason::InvalidUtf8 => "invalid UTF-8",
        Reason::ReplacementCharacters => "replacement characters",
        Reason::ControlCharacters => "control characters",
        Reason::Mojibake => "wrong character set",
        Reason::MixedScripts => "mixed scripts",
    })
}

/// A line as text, bytes that are none as `\xNN`.
fn escaped(line: &[u8]) -> String {
    let mut out = String::new();
    for chunk in line.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() && c != '\t' {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// The log file with the highest restart count.
fn newest(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    entries
        .flatten()
        .filter_map(|e| {
            let name = e.file_name();
            let count: u64 = name.to_str()?.strip_suffix(".log")?.parse().ok()?;
            Some((count, e.path()))
        })
        .max()
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn read(log: &mut Log, book: &mut Book, at: u64) -> Vec<Signal> {
        let mut out = Vec::new();
        log.read(&"container:a".into(), book, Timestamp(at), 1, &mut out);
        out
    }

    #[test]
    fn follows_from_file_to_file_and_finds_gibberish() {
        let dir = tempfile::tempdir().unwrap();
        let line =
            |text: &[u8]| [b"2026-11-20T20:58:54.201291659Z stdout F ", text, b"\n"].concat();
        std::fs::write(dir.path().join("0.log"), line(b"INFO order 17 placed")).unwrap();
        let mut log = Log::open(dir.path().to_owned(), true);
        let mut book = Book::new(Timestamp(0));
        let first = read(&mut log, &mut book, 1);
        assert!(matches!(&first[0], Signal::LogPattern(p) if p.count == 1 && !p.new), "{first:?}");
        let mut file =
            std::fs::OpenOptions::new().append(true).open(dir.path().join("0.log")).unwrap();
        file.write_all(&line(b"\0\0\0\xff\xfe broken")).unwrap();
        let second = read(&mut log, &mut book, 2);
        assert!(
            matches!(&second[0], Signal::Gibberish(g) if g.lines == 1 && g.of == 1),
            "{second:?}"
        );
        std::fs::write(dir.path().join("1.log"), line(b"INFO started")).unwrap();
        let third = read(&mut log, &mut book, 3);
        assert!(matches!(&third[0], Signal::LogPattern(_)), "{third:?}");
        assert_eq!(log.last_words().len(), 3);
        assert!(log.last_words()[1].contains("\\u{0}") || log.last_words()[1].contains("\\x"));
    }

    #[test]
    fn a_line_without_an_end_costs_bounded_memory() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, vec![b'x'; 5 * LONGEST]).unwrap();
        let mut log = Log::open(dir.path().to_owned(), true);
        let mut book = Book::new(Timestamp(0));
        for at in 1..=6 {
            assert!(read(&mut log, &mut book, at).is_empty());
            assert!(log.rest.len() <= LONGEST, "{}", log.rest.len());
        }
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"xxx\nINFO all is well\n").unwrap();
        assert_eq!(read(&mut log, &mut book, 7).len(), 2);
        assert_eq!(log.last_words().last().map(String::as_str), Some("INFO all is well"));
    }

    #[test]
    fn half_a_line_waits_for_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, b"2026-11-20T20:58:54.201291659Z stdout F INFO ha").unwrap();
        let mut log = Log::open(dir.path().to_owned(), true);
        let mut book = Book::new(Timestamp(0));
        assert!(read(&mut log, &mut book, 1).is_empty());
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"lf done\n").unwrap();
        assert_eq!(read(&mut log, &mut book, 2).len(), 1);
        assert_eq!(log.last_words(), ["INFO half done"]);
    }
}
