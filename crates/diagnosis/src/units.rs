//! Figures as people say them.

use taproot_model::metric;

/// A duration in seconds: `350 µs`, `12 ms`, `3.4 s`, `2 min 5 s`.
pub(crate) fn time(seconds: f64) -> String {
    // The sum of nothing is -0.0, which would print its sign.
    let s = seconds.max(0.0) + 0.0;
    if s < 0.000_999_5 {
        format!("{:.0} µs", s * 1e6)
    } else if s < 0.009_95 {
        format!("{:.1} ms", s * 1e3)
    } else if s < 0.999_5 {
        format!("{:.0} ms", s * 1e3)
    } else if s < 9.95 {
        format!("{s:.1} s")
    } else if s < 119.5 {
        format!("{s:.0} s")
    } else {
        format!("{} min {} s", (s / 60.0) as u64, (s % 60.0) as u64)
    }
}

/// A share from 0 to 1: `0.4 %`, `37 %`.
pub(crate) fn percent(share: f64) -> String {
    let p = share * 100.0 + 0.0;
    // Less than would be shown, on the other side of zero.
    let p = if (-0.5..0.0).contains(&p) { 0.0 } else { p };
    if p > 0.0 && p < 9.95 { format!("{p:.1} %") } else { format!("{p:.0} %") }
}

/// A plain number without false precision: `0.42`, `7.5`, `132`.
pub(crate) fn number(value: f64) -> String {
    let value = value + 0.0;
    let size = value.abs();
    if size >= 99.5 || (value.fract() == 0.0 && size < 1e15) {
        format!("{value:.0}")
    } else if size >= 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Bytes: `512 B`, `64.0 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = value.max(0.0);
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{value:.0} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A value of a metric in its unit, where its name tells that.
pub(crate) fn quantity(metric: &str, value: f64) -> String {
    if matches!(metric, metric::MEMORY_USAGE | metric::MEMORY_LIMIT) {
        bytes(value)
    } else if metric.split(['.', ' ']).any(|word| word == "time") {
        format!("{} a second", time(value))
    } else {
        number(value)
    }
}

/// ` (before: 3.1 ms)`, ` (before: none)`, or nothing without a past.
pub(crate) fn was(before: Option<f64>, words: impl Fn(f64) -> String) -> String {
    match before {
        None => String::new(),
        Some(b) if b > 0.0 => format!(" (before: {})", words(b)),
        Some(_) => " (before: none)".to_owned(),
    }
}

/// How many times `before` went into `after`: `4.2 times`.
pub(crate) fn times(before: f64, after: f64) -> String {
    if before <= 0.0 {
        return "from nothing".to_owned();
    }
    let ratio = after / before;
    if ratio >= 9.95 { format!("{ratio:.0} times") } else { format!("{ratio:.1} times") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_as_people_say_them() {
        assert_eq!(time(0.000_35), "350 µs");
        assert_eq!(quantity(metric::MEMORY_USAGE, 1_048_576.0), "1.0 MiB");
        assert_eq!(quantity(metric::CPU_TIME, 0.5), "500 ms a second");
        assert_eq!(quantity("carts_lat_99", 0.5), "0.50");
        assert_eq!(time(0.004_2), "4.2 ms");
        assert_eq!(time(0.35), "350 ms");
        assert_eq!(time(73.2), "73 s");
        assert_eq!(time(125.0), "2 min 5 s");
        assert_eq!(time(-0.0), "0 µs");
        assert_eq!(was(Some(-0.0), time), " (before: none)");
        assert_eq!(percent(0.004), "0.4 %");
        assert_eq!(percent(0.37), "37 %");
        assert_eq!(bytes(64.0 * 1024.0 * 1024.0), "64.0 MiB");
        assert_eq!(number(132.0), "132");
        assert_eq!(times(0.0, 3.0), "from nothing");
    }
}
