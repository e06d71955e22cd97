//! The statement that wrote a log line, where the line names it.

/// The place in the source that a line names: `Name#12`, or `file.ext:12`. It tells
/// statements apart better than any text can; `None` where a line names none.
pub fn statement(line: &str) -> Option<&str> {
    line.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | ',')).find(|word| {
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let name = |text: &str| {
            text.bytes().any(|b| b.is_ascii_alphabetic()) && !text.contains(['=', ':', '#'])
        };
        let class = |(left, right): (&str, &str)| name(left) && number(right);
        let file = |(left, right): (&str, &str)| {
            let extension = left.rsplit_once('.').map_or("", |(_, extension)| extension);
            (1..=5).contains(&extension.len())
                && extension.bytes().all(|b| b.is_ascii_lowercase())
                && class((left, right))
                && !left.contains("//")
        };
        word.rsplit_once('#').is_some_and(class) || word.rsplit_once(':').is_some_and(file)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_source_are_found() {
        let found = [
            (
                "16:57:13.950 INFO  t.s.TravelServiceImpl#532 [Get Route]",
                Some("t.s.TravelServiceImpl#532"),
            ),
            ("E0102 10:00:00.1 7 server.go:118] no route", None),
            ("E0102 10:00:00.1 7 server.go:118 no route", Some("server.go:118")),
            ("order #12 was placed", None),
            ("dial tcp 10.0.0.1:443", None),
            ("see http://shop.io:80 at 12:30", None),
            ("", None),
        ];
        for (line, place) in found {
            assert_eq!(statement(line), place, "{line}");
        }
    }
}
