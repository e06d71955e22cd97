use super::{Lines, packets, since, slices, spark, sure, suspected, way};
use crate::fault::Class;
use crate::report::{Alternative, Report};
use crate::units;

/// Columns of the terminal that the text is folded to.
const WIDTH: usize = 96;
/// Width of the label at the left.
const LABEL: usize = 14;
/// Causes ruled out on the first screen; all of them if nothing is wrong.
const RULED_OUT: usize = 4;
/// Evidence lines of the first screen.
const FIRST: usize = 5;

/// Folds `text` to the width, every line but the first indented by `indent`.
fn fold(text: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in words(text) {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(&word);
        column += length;
    }
    out
}

/// The words of a text; a unit stays with its number.
fn words(text: &str) -> Vec<String> {
    const UNITS: [&str; 10] = ["%", "µs", "ms", "s", "min", "B", "KiB", "MiB", "GiB", "TiB"];
    let mut out: Vec<String> = Vec::new();
    for word in text.split(' ') {
        let unit = UNITS.contains(&word.trim_end_matches([',', ';', '.', ')', ':']));
        match out.last_mut().filter(|last| unit && last.ends_with(|c: char| c.is_ascii_digit())) {
            Some(last) => {
                last.push(' ');
                last.push_str(word);
            }
            None => out.push(word.to_owned()),
        }
    }
    out
}

/// A block: the label beside the first line, a dot before each.
fn block(out: &mut String, label: &str, lines: impl IntoIterator<Item = String>) {
    let mut label = label;
    for line in lines {
        out.line(format_args!("{label:<LABEL$}· {}\n", fold(&line, LABEL + 2)));
        label = "";
    }
    if label.is_empty() {
        out.push('\n');
    }
}

/// Commands are never folded: they are there to be copied.
fn commands(out: &mut String, lines: &[String]) {
    let mut label = "To confirm";
    for line in lines {
        out.line(format_args!("{label:<LABEL$}$ {line}\n"));
        label = "";
    }
    if label.is_empty() {
        out.push('\n');
    }
}

fn with_chart(text: &str, values: &[Option<f64>]) -> String {
    let chart = spark(values);
    if chart.is_empty() { text.to_owned() } else { format!("{text} {chart}") }
}

fn other(other: &Alternative) -> String {
    format!("{} ({}): {}", other.class, units::percent(other.score), other.headline)
}

fn head(report: &Report) -> String {
    let verdict = &report.verdict;
    let mut title = verdict.class.id().to_uppercase();
    if verdict.predicted {
        title += " (predicted)";
    }
    let mut out = format!("{title}\n{}\n", fold(&verdict.headline, 0));
    let mut line = Vec::new();
    let time = since(report);
    if !time.is_empty() {
        line.push(time);
    }
    line.push(format!("{} ({})", sure(verdict.confidence), units::percent(verdict.confidence)));
    let culprit = verdict.culprit.as_ref();
    if let Some(node) = culprit.and_then(|c| c.node.as_ref()) {
        line.push(format!("node {node}"));
    }
    out.line(format_args!("{}\n\n", fold(&line.join("; "), 0)));
    out
}

/// The report as plain text: what to know and do on the first screen, the rest below.
pub fn text(report: &Report) -> String {
    let mut out = head(report);
    let felt = report.symptoms.iter().take(2);
    block(&mut out, "Users feel", felt.map(|s| with_chart(&s.text, &s.chart.values)));
    block(&mut out, "The way", way(report));
    block(&mut out, "Most of it", slices::lines(&report.breakdowns));
    let first = report.evidence.iter().take(FIRST);
    block(&mut out, "Its packets", report.traces.iter().flat_map(packets));
    block(&mut out, "Because", first.map(|e| with_chart(&e.text, &e.chart.values)));
    let well = matches!(report.verdict.class, Class::Healthy | Class::LoadGrew);
    let told = if well { report.ruled_out.len() } else { RULED_OUT };
    let out_of = report.ruled_out.iter().take(told);
    block(
        &mut out,
        if well { "Checked" } else { "Not" },
        out_of.map(|r| format!("{}: {}", r.class, r.text)),
    );
    block(&mut out, "What to do", report.advice.fix.iter().cloned());
    commands(&mut out, &report.advice.commands);
    out += &details(report, told);
    out
}

fn details(report: &Report, told: usize) -> String {
    let mut out = String::new();
    let hops = report.walk.iter().flat_map(|w| &w.hops);
    block(&mut out, "Step by step", hops.map(|h| h.words.clone()));
    let symptoms = report.symptoms.iter().skip(2);
    block(&mut out, "Also felt", symptoms.map(|s| with_chart(&s.text, &s.chart.values)));
    let evidence = report.evidence.iter().skip(FIRST);
    block(&mut out, "More figures", evidence.map(|e| with_chart(&e.text, &e.chart.values)));
    block(&mut out, "By figures", report.suspects.iter().map(suspected));
    block(&mut out, "It follows", report.effects.iter().cloned());
    let ruled_out = report.ruled_out.iter().skip(told);
    block(&mut out, "Nor", ruled_out.map(|r| format!("{}: {}", r.class, r.text)));
    block(&mut out, "Or else", report.alternatives.iter().map(other));
    block(&mut out, "Elsewhere", report.elsewhere.iter().map(other));
    block(&mut out, "Not seen", report.blind.iter().map(|b| b.text.clone()));
    if let Some(page) =
        report.advice.page.as_ref().filter(|_| report.verdict.class != Class::Unknown)
    {
        out.line(format_args!("{:<LABEL$}{page}\n", "More about it"));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
