//! Container logs as a CRI runtime writes them:
//! `2026-11-20T20:58:54.201291659Z stdout F text`, `P` for a part of a line
//! longer than [`MAX_LINE`] bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest piece of a line in one record (containerd's default).
pub const MAX_LINE: usize = 16 * 1024;

/// Copies one stream of a container into its log file until the stream ends.
///
/// # Errors
/// What reading the pipe or writing the file gave.
pub(crate) fn copy(mut from: impl Read, stream: &str, to: &Arc<Mutex<File>>) -> io::Result<()> {
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = [0_u8; 8192];
    loop {
        let n = from.read(&mut chunk)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        pending.extend_from_slice(&chunk[..n]);
        let records = take_records(&mut pending, stream, now, n == 0);
        if !records.is_empty() {
            to.lock().unwrap_or_else(PoisonError::into_inner).write_all(&records)?;
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// Takes whole lines (and over-long parts; at the end also the rest) off
/// `pending` and gives them as records.
fn take_records(pending: &mut Vec<u8>, stream: &str, now: Duration, end: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let rest = &pending[at..];
        let line_end = rest.iter().position(|b| *b == b'\n');
        match line_end {
            Some(n) if n <= MAX_LINE => {
                record(&mut out, stream, now, 'F', &rest[..n]);
                at += n + 1;
            }
            _ if rest.len() > MAX_LINE => {
                record(&mut out, stream, now, 'P', &rest[..MAX_LINE]);
                at += MAX_LINE;
            }
            _ if end && !rest.is_empty() => {
                record(&mut out, stream, now, 'P', rest);
                at = pending.len();
            }
            _ => break,
        }
    }
    pending.drain(..at);
    out
}

fn record(out: &mut Vec<u8>, stream: &str, at: Duration, tag: char, text: &[u8]) {
    out.extend_from_slice(rfc3339(at).as_bytes());
    out.extend_from_slice(format!(" {stream} {tag} ").as_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339 in UTC with nanoseconds. The date is reckoned from the day number
/// as in H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
pub fn rfc3339(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since_epoch.subsec_nanos()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |s, n| rfc3339(Duration::new(s, n));
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(at(951_827_696, 789), "2000-02-29T12:34:56.000000789Z");
        assert_eq!(at(1_795_208_334, 201_291_659), "2026-11-20T20:58:54.201291659Z");
    }

    #[test]
    fn lines_become_records_and_halves_wait() {
        let mut pending = b"one\ntw".to_vec();
        let out = take_records(&mut pending, "stdout", Duration::ZERO, false);
        assert_eq!(out, b"1970-01-01T00:00:00.000000000Z stdout F one\n");
        assert_eq!(pending, b"tw");
        let out = take_records(&mut pending, "stderr", Duration::ZERO, true);
        assert_eq!(out, b"1970-01-01T00:00:00.000000000Z stderr P tw\n");
    }

    #[test]
    fn long_lines_are_cut_and_no_byte_is_lost() {
        let mut line = vec![0xff_u8; MAX_LINE + 10];
        line.push(b'\n');
        let out = take_records(&mut line, "stdout", Duration::ZERO, false);
        let text: Vec<&[u8]> = out.split(|b| *b == b'\n').collect();
        let head = "1970-01-01T00:00:00.000000000Z stdout P ".len();
        assert_eq!(text[0].len(), head + MAX_LINE);
        assert_eq!(text[1].len(), head + 10);
        assert!(text[1].starts_with(b"1970-01-01T00:00:00.000000000Z stdout F "));
    }
}
