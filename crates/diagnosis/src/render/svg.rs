use taproot_model::{Span, Timestamp};

use super::Lines;
use crate::report::Report;

/// All lengths are in CSS pixels.
const WIDTH: f64 = 760.0;
const MARGIN: f64 = 20.0;
/// Of one line of text.
const LINE: f64 = 18.0;
const PLOT: f64 = 56.0;
const GAP: f64 = 16.0;
/// Characters of one line, in the fonts below: of the verdict, of all else.
const HEAD_COLUMNS: usize = 84;
const COLUMNS: usize = 108;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1b1f24}.head{font-weight:600;font-size:14px}\
.dim{fill:#59636e}.plot{fill:#f4f6f8}.bad{fill:#ffd8d3}.course{fill:none;stroke:#0b62c4;stroke-width:1.5;\
stroke-linejoin:round;stroke-linecap:round}.page{fill:#fff}";

/// One chart: what it shows, its course, and when that was out of its normal range.
struct Panel<'a> {
    text: &'a str,
    values: &'a [Option<f64>],
    trouble: Option<(Timestamp, Timestamp)>,
}

/// The courses behind the report as one self-contained SVG picture: what users feel, then
/// the evidence, each with the time of the trouble shaded. Without any course it holds the
/// verdict only.
pub fn svg(report: &Report) -> String {
    let end = report.span.to;
    let symptoms = report.symptoms.iter().map(|symptom| Panel {
        text: &symptom.text,
        values: &symptom.chart.values,
        trouble: Some((symptom.since, symptom.until.unwrap_or(end))),
    });
    let trouble = report.verdict.since.map(|since| (since, report.verdict.until.unwrap_or(end)));
    let evidence = report.evidence.iter().map(|evidence| Panel {
        text: &evidence.text,
        values: &evidence.chart.values,
        trouble,
    });
    let has_course = |panel: &Panel<'_>| panel.values.iter().flatten().any(|v| v.is_finite());
    let mut body = String::new();
    let mut at = MARGIN + LINE;
    for (nth, line) in folded(&report.verdict.headline, HEAD_COLUMNS).iter().enumerate() {
        at += if nth > 0 { LINE } else { 0.0 };
        write_text(&mut body, at, "head", line);
    }
    for panel in symptoms.chain(evidence).filter(has_course) {
        at = write_panel(&mut body, at + GAP, &panel, report.span);
    }
    let height = at + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\"><title>{}</title><style>{STYLE}</style>\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n",
        escaped(&report.verdict.headline)
    )
}

/// Writes a panel from `top` on and returns its lower end.
fn write_panel(out: &mut String, top: f64, panel: &Panel<'_>, span: Span) -> f64 {
    let mut at = top;
    for line in folded(panel.text, COLUMNS) {
        at += LINE;
        write_text(out, at, "", &line);
    }
    let (left, top, width) = (MARGIN, at + 6.0, WIDTH - 2.0 * MARGIN);
    out.line(format_args!(
        "<rect class=\"plot\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{PLOT}\"/>\n"
    ));
    let across = |t: Timestamp| left + width * share(t, span);
    if let Some((from, to)) = panel.trouble {
        let (from, to) = (across(from), across(to));
        out.line(format_args!(
            "<rect class=\"bad\" x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PLOT}\"/>\n",
            (to - from).max(1.0)
        ));
    }
    let course = course(panel.values, left, top, width);
    out.line(format_args!("<path class=\"course\" d=\"{course}\"/>\n"));
    let under = top + PLOT + LINE - 4.0;
    write_text(out, under, "dim", &span.from.clock());
    out.line(format_args!(
        "<text class=\"dim\" x=\"{}\" y=\"{under}\" text-anchor=\"end\">{} UTC</text>\n",
        left + width,
        escaped(&span.to.clock())
    ));
    under
}

/// Where a time lies in a span, 0 to 1.
fn share(at: Timestamp, span: Span) -> f64 {
    let whole = span.length().as_secs_f64().max(f64::MIN_POSITIVE);
    (at.since(span.from).as_secs_f64() / whole).clamp(0.0, 1.0)
}

/// The course as path data, from the lower of zero and the least value to the greatest; it
/// is interrupted where there is a gap, and a value between two gaps is a dot.
fn course(values: &[Option<f64>], left: f64, top: f64, width: f64) -> String {
    let finite = |v: &Option<f64>| v.filter(|v| v.is_finite());
    let present = || values.iter().filter_map(finite);
    let low = present().fold(0.0, f64::min);
    let high = present().fold(low, f64::max);
    let step = width / (values.len().saturating_sub(1).max(1)) as f64;
    let mut path = String::new();
    let mut is_drawing = false;
    for (nth, value) in values.iter().enumerate() {
        let Some(value) = finite(value) else {
            is_drawing = false;
            continue;
        };
        // Halved first: the difference of two finite values may not be finite.
        let up =
            if high > low { (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0) } else { 0.0 };
        let (x, y) = (left + step * nth as f64, top + PLOT - 2.0 - (PLOT - 4.0) * up);
        let (mark, dot) = if is_drawing { ('L', "") } else { ('M', "h0") };
        path.line(format_args!("{mark}{x:.1} {y:.1}{dot}"));
        is_drawing = true;
    }
    path
}

fn write_text(out: &mut String, y: f64, class: &str, text: &str) {
    out.line(format_args!(
        "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{}</text>\n",
        escaped(text)
    ));
}

/// A text in lines that fit the picture; a longer word is cut.
fn folded(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word: String = word.chars().take(columns).collect();
        let length = |text: &str| text.chars().count();
        let Some(last) = lines.last_mut() else { break };
        if last.is_empty() {
            *last = word;
        } else if length(last) + 1 + length(&word) <= columns {
            last.push(' ');
            last.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

/// Text that comes from observed programs must not become markup, nor a character that
/// XML 1.0 does not allow.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push(char::REPLACEMENT_CHARACTER),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_interrupt_a_course_and_its_highest_value_is_at_the_top() {
        let values = [Some(0.0), Some(2.0), None, Some(f64::NAN), Some(1.0)];
        let path = course(&values, 0.0, 0.0, 40.0);
        assert_eq!(path, "M0.0 54.0h0L10.0 2.0M40.0 28.0h0");
        assert_eq!(course(&[], 0.0, 0.0, 40.0), "");
        let huge = course(&[Some(f64::MAX), Some(f64::MIN)], 0.0, 0.0, 40.0);
        assert_eq!(huge, "M0.0 2.0h0L40.0 54.0");
        assert_eq!(course(&[Some(3.0)], 0.0, 0.0, 40.0), "M0.0 2.0h0");
    }

    #[test]
    fn text_of_others_is_no_markup() {
        assert_eq!(
            escaped("</text><script>\"a\"&\u{7}\n"),
            "&lt;/text&gt;&lt;script&gt;&quot;a&quot;&amp;\u{fffd} "
        );
    }

    #[test]
    fn long_texts_are_folded() {
        let lines = folded(&format!("{} {}", "word ".repeat(60), "x".repeat(500)), COLUMNS);
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= COLUMNS));
        assert_eq!(folded("", COLUMNS), [""]);
    }
}
