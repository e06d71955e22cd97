//! The container runtime interface's log format:
//! `2026-11-20T20:58:54.201291659Z stdout F text`, where the tag `P` marks a part
//! of a longer line (runtimes cut at 16 KiB).

use serde::{Deserialize, Serialize};

/// Which of a container's streams wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a CRI log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CriLine<'a> {
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// Which stream wrote it.
    pub stream: Stream,
    /// Whether the next line of this stream continues it.
    pub partial: bool,
    /// What the container wrote.
    pub content: &'a [u8],
}

/// Reads one line (without its line end). `None` when it is not in CRI format.
pub fn parse(line: &[u8]) -> Option<CriLine<'_>> {
    let (time, rest) = split_space(line)?;
    let (stream, rest) = split_space(rest)?;
    // An empty line may end at its tag.
    let (tags, content) = split_space(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags are separated by colons; the first says partial or full.
    let partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(CriLine { time: timestamp(time)?, stream, partial, content })
}

fn split_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b' ', bytes)?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

/// An RFC 3339 time with any number of fractional digits, as nanoseconds since
/// the Unix epoch; `None` before 1970 and after 2554.
pub fn timestamp(text: &[u8]) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (clock, rest) = rest.split_at_checked(9)?;
    let [_, _, _, _, b'-', _, _, b'-', _, _] = date else { return None };
    let [b'T' | b't', _, _, b':', _, _, b':', _, _] = clock else { return None };
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    let (hour, minute, second) =
        (number(&clock[1..3])?, number(&clock[4..6])?, number(&clock[7..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = u64::try_from(seconds - offset(zone)?).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

/// Nanoseconds of `.123`, and what follows.
fn fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else { return Some((0, text)) };
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return None;
    }
    let places = digits[..length].iter().map(|digit| digit - b'0').chain(std::iter::repeat(0));
    let nanos = places.take(9).fold(0, |sum, digit| sum * 10 + u64::from(digit));
    Some((nanos, &digits[length..]))
}

/// Seconds east of UTC: `Z` or `+08:00`.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let seconds = number(&[*h0, *h1])? * 3600 + number(&[*m0, *m1])? * 60;
            Some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

/// Days since the Unix epoch in the Gregorian calendar, after Howard Hinnant's
/// `days_from_civil`: years begin in March so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// A whole line, joined from its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Nanoseconds since the Unix epoch of the first part.
    pub time: u64,
    /// Which stream wrote it.
    pub stream: Stream,
    /// What the container wrote.
    pub content: Vec<u8>,
    /// Bytes beyond the joiner's limit, not kept.
    pub dropped: u64,
}

/// Joins partial lines of one container, per stream, within a bound.
#[derive(Debug, Clone)]
pub struct PartJoiner {
    limit: usize,
    parts: [Option<Whole>; 2],
}

impl PartJoiner {
    /// Keeps at most `limit` bytes of a line.
    pub fn new(limit: usize) -> Self {
        Self { limit, parts: [None, None] }
    }

    /// Takes in a line; returns a whole one when it is complete.
    pub fn push(&mut self, line: CriLine<'_>) -> Option<Whole> {
        let slot = &mut self.parts[line.stream as usize];
        let whole = slot.get_or_insert_with(|| Whole {
            time: line.time,
            stream: line.stream,
            content: Vec::new(),
            dropped: 0,
        });
        let room = self.limit.saturating_sub(whole.content.len()).min(line.content.len());
        whole.content.extend_from_slice(&line.content[..room]);
        whole.dropped += (line.content.len() - room) as u64;
        if line.partial { None } else { slot.take() }
    }

    /// What is still incomplete, for when the file ends.
    pub fn flush(&mut self) -> impl Iterator<Item = Whole> + '_ {
        self.parts.iter_mut().filter_map(Option::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line() {
        let line = parse(b"2026-11-20T20:58:54.201291659Z stdout F two  words").expect("a line");
        assert_eq!(line.time, 1_795_208_334_201_291_659);
        assert_eq!((line.stream, line.partial), (Stream::Stdout, false));
        assert_eq!(line.content, b"two  words");
    }

    #[test]
    fn zones_fractions_and_empty_lines() {
        let time = |text: &[u8]| timestamp(text).expect("a time");
        assert_eq!(time(b"1970-01-01T00:00:00Z"), 0);
        assert_eq!(time(b"1970-01-01T08:00:00.5+08:00"), 500_000_000);
        assert_eq!(time(b"2000-02-29T00:00:00.0000000019Z"), 951_782_400_000_000_001);
        assert_eq!(parse(b"1970-01-01T00:00:00Z stderr F").expect("a line").content, b"");
        assert_eq!(parse(b"1970-01-01T00:00:00Z stderr F ").expect("a line").content, b"");
    }

    #[test]
    fn refuses_other_lines() {
        for line in [
            &b""[..],
            b"hello world",
            b"2026-11-20T20:58:54Z stdlog F x",
            b"2026-11-20T20:58:54Z stdout X x",
            b"2026-13-20T20:58:54Z stdout F x",
            b"2026-11-20 20:58:54Z stdout F x",
            b"2026-11-20T20:58:54.Z stdout F x",
            b"1969-12-31T23:59:59Z stdout F x",
            b"9999-12-31T23:59:59Z stdout F x",
        ] {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn joins_parts_per_stream_within_the_limit() {
        let mut joiner = PartJoiner::new(6);
        let mut push = |text: &[u8]| joiner.push(parse(text).expect("a line"));
        assert_eq!(push(b"1970-01-01T00:00:01Z stdout P abc"), None);
        let other = push(b"1970-01-01T00:00:02Z stderr F x").expect("a whole line");
        assert_eq!(other.content, b"x");
        let whole = push(b"1970-01-01T00:00:03Z stdout F defgh").expect("a whole line");
        assert_eq!((whole.time, whole.dropped), (1_000_000_000, 2));
        assert_eq!(whole.content, b"abcdef");
        assert_eq!(push(b"1970-01-01T00:00:04Z stdout P tail"), None);
        assert_eq!(joiner.flush().count(), 1);
    }
}
