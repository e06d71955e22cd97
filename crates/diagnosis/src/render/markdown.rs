use super::{Lines, packets, since, slices, spark, sure, suspected, way};
use crate::report::{Alternative, Report};
use crate::units;

fn list(out: &mut String, title: &str, lines: impl IntoIterator<Item = String>) {
    let mut lines = lines.into_iter().peekable();
    if lines.peek().is_none() {
        return;
    }
    out.line(format_args!("## {title}\n\n"));
    for line in lines {
        out.line(format_args!("- {line}\n"));
    }
    out.push('\n');
}

/// Text that comes from observed programs must not become markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn with_chart(text: &str, values: &[Option<f64>]) -> String {
    let chart = spark(values);
    if chart.is_empty() { plain(text) } else { format!("{} `{chart}`", plain(text)) }
}

fn told(other: &Alternative) -> String {
    format!("**{}** ({}): {}", other.class, units::percent(other.score), plain(&other.headline))
}

/// The report as Markdown, for a ticket or a chat.
pub fn markdown(report: &Report) -> String {
    let verdict = &report.verdict;
    let predicted = if verdict.predicted { " (predicted)" } else { "" };
    let mut out = format!("# {}{predicted}\n\n**{}**\n\n", verdict.class, plain(&verdict.headline));
    let time = since(report);
    let time = if time.is_empty() { time } else { format!("{time}; ") };
    out.line(format_args!(
        "{time}{} ({})\n\n",
        sure(verdict.confidence),
        units::percent(verdict.confidence)
    ));
    let symptoms = report.symptoms.iter();
    list(&mut out, "What users feel", symptoms.map(|s| with_chart(&s.text, &s.chart.values)));
    let hops = report.walk.iter().flat_map(|w| &w.hops).map(|h| plain(&h.words));
    list(&mut out, "The way", way(report).map(|w| plain(&w)).into_iter().chain(hops));
    let parts = slices::lines(&report.breakdowns);
    list(&mut out, "Which requests", parts.iter().map(|line| plain(line)));
    let traced = report.traces.iter().flat_map(packets);
    list(&mut out, "What its packets tell", traced.map(|line| plain(&line)));
    let evidence = report.evidence.iter();
    list(
        &mut out,
        "Why",
        evidence.map(|e| format!("{} (`{}`)", with_chart(&e.text, &e.chart.values), e.signal)),
    );
    let suspects = report.suspects.iter();
    list(&mut out, "By figures alone", suspects.map(|s| plain(&suspected(s))));
    list(&mut out, "What follows from it", report.effects.iter().map(|e| plain(e)));
    let ruled_out = report.ruled_out.iter();
    list(&mut out, "Ruled out", ruled_out.map(|r| format!("**{}**: {}", r.class, plain(&r.text))));
    list(&mut out, "What to do", report.advice.fix.iter().map(|f| plain(f)));
    if !report.advice.commands.is_empty() {
        let commands = report.advice.commands.join("\n");
        out.line(format_args!("## To confirm\n\n```sh\n{commands}\n```\n\n"));
    }
    list(&mut out, "Other causes that fit", report.alternatives.iter().map(told));
    list(&mut out, "Elsewhere", report.elsewhere.iter().map(told));
    list(&mut out, "What could not be seen", report.blind.iter().map(|b| plain(&b.text)));
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
