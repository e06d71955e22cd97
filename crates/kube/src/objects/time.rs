use taproot_model::Timestamp;

/// Parses a Kubernetes time: RFC 3339 in UTC, `2026-11-20T21:29:47Z`, with up to
/// nine digits of a fraction. `None` for anything else, and before 1970.
///
/// The day number is reckoned as in H. Hinnant, "chrono-Compatible Low-Level
/// Date Algorithms" (`days_from_civil`).
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':')?;
    if !(1970..=2500).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 || fraction.len() > 9 {
        return None;
    }
    let nanos: u64 = format!("{fraction:0<9}").parse().ok()?;
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000_000 + nanos))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut next = || parts.next()?.parse().ok();
    let found = [next()?, next()?, next()?];
    parts.next().is_none().then_some(found)
}

fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_calendar() {
        let secs = |text| parse(text).unwrap().secs();
        assert_eq!(secs("1970-01-01T00:00:00Z"), 0);
        assert_eq!(secs("2000-02-29T12:34:56Z"), 951_827_696);
        assert_eq!(secs("2026-11-20T21:29:47Z"), 1_795_210_187);
        assert_eq!(parse("1970-01-01T00:00:01.25Z").unwrap().0, 1_250_000_000);
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "Z",
            "T",
            "2026-11-20",
            "2026-13-01T00:00:00Z",
            "2026-11-20T00:00:00+01:00",
            "2026-11-20T00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-11-20T00:00:00.1234567890Z",
            "2026-11-20T00:00:00.xZ",
            "99999999999999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
