//! Joins stack traces and other continuations to the line that began them.

/// Bounds of a [`Joiner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinerLimits {
    /// Most continuation lines counted to one event; more begin a new one.
    pub lines: usize,
    /// Most bytes of the first line that are kept.
    pub head: usize,
    /// Longest pause between lines of one event, in nanoseconds.
    pub pause: u64,
}

impl Default for JoinerLimits {
    fn default() -> Self {
        Self { lines: 512, head: 16 << 10, pause: 1_000_000_000 }
    }
}

/// A line with its continuations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Time of the first line in nanoseconds.
    pub time: u64,
    /// The first line.
    pub head: String,
    /// How many lines continued it.
    pub continuations: usize,
    /// The exception that a traceback ends with or was caused by, if any: the last
    /// such line.
    pub cause: Option<String>,
}

/// Joins the lines of one stream in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct Joiner {
    limits: JoinerLimits,
    open: Option<Event>,
    last: u64,
    /// In a Python traceback, whose last line is not indented.
    traceback: bool,
    /// In a Go panic, whose frames are not indented.
    goroutine: bool,
}

impl Joiner {
    /// A joiner with bounds.
    pub fn new(limits: JoinerLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes in a line; returns the event before it, if the line begins a new one.
    pub fn push(&mut self, line: &str, time: u64) -> Option<Event> {
        let late = time.saturating_sub(self.last) > self.limits.pause;
        self.last = self.last.max(time);
        if !late && self.continues(line) {
            return None;
        }
        self.traceback = line.starts_with("Traceback (most recent call last)");
        self.goroutine = line.starts_with("panic: ") || line.starts_with("fatal error: ");
        let head = &line[..line.floor_char_boundary(self.limits.head)];
        let event = Event { time, head: head.to_owned(), continuations: 0, cause: None };
        self.open.replace(event)
    }

    /// The event that is still open, for when the stream pauses or ends.
    pub fn flush(&mut self) -> Option<Event> {
        self.traceback = false;
        self.goroutine = false;
        self.open.take()
    }

    /// Counts the line to the open event if it continues it.
    fn continues(&mut self, line: &str) -> bool {
        let Some(event) = &mut self.open else { return false };
        if event.continuations >= self.limits.lines {
            return false;
        }
        let indented = line.starts_with([' ', '\t']) || line.is_empty();
        let framed = is_frame(line) || (self.goroutine && is_goroutine(line));
        if line.starts_with("Traceback (most recent call last)") {
            self.traceback = true;
        } else if self.traceback && !indented {
            // The line that names the exception ends the traceback.
            self.traceback = false;
            event.cause = Some(cut(line, self.limits.head));
        } else if !indented && !framed {
            return false;
        }
        if let Some(cause) = line.strip_prefix("Caused by: ") {
            event.cause = Some(cut(cause, self.limits.head));
        }
        event.continuations += 1;
        true
    }
}

fn cut(line: &str, limit: usize) -> String {
    line[..line.floor_char_boundary(limit)].to_owned()
}

/// Lines of traces that loggers print without indentation.
fn is_frame(line: &str) -> bool {
    const STARTS: [&str; 8] = [
        "at ",
        "Caused by: ",
        "Suppressed: ",
        "During handling of the above",
        "The above exception was",
        "stack backtrace:",
        "note: run with `RUST_BACKTRACE",
        "... ",
    ];
    STARTS.iter().any(|start| line.starts_with(start)) || matches!(line, "}" | "]" | ")" | "};")
}

/// `goroutine 1 [running]:`, `main.main()`, `exit status 2`
fn is_goroutine(line: &str) -> bool {
    line.starts_with("goroutine ")
        || line.starts_with("created by ")
        || line.starts_with("[signal ")
        || (line.ends_with(')') && line.contains('(') && !line.contains(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(lines: &[&str]) -> Vec<Event> {
        let mut joiner = Joiner::new(JoinerLimits::default());
        let mut found: Vec<_> = lines
            .iter()
            .enumerate()
            .filter_map(|(at, line)| joiner.push(line, at as u64))
            .collect();
        found.extend(joiner.flush());
        found
    }

    #[test]
    fn java() {
        let found = events(&[
            "ERROR request failed",
            "java.lang.IllegalStateException: boom",
            "\tat com.shop.Cart.add(Cart.java:12)",
            "Caused by: java.io.IOException: closed",
            "\t... 3 more",
            "INFO next",
        ]);
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].head, "java.lang.IllegalStateException: boom");
        assert_eq!(found[1].continuations, 3);
        assert_eq!(found[1].cause.as_deref(), Some("java.io.IOException: closed"));
    }

    #[test]
    fn python() {
        let found = events(&[
            "ERROR:root:failed",
            "Traceback (most recent call last):",
            "  File \"a.py\", line 1, in <module>",
            "    boom()",
            "ValueError: boom",
            "INFO:root:next",
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].continuations, found[0].cause.as_deref()),
            (4, Some("ValueError: boom"))
        );
    }

    #[test]
    fn go() {
        let found = events(&[
            "panic: boom",
            "",
            "goroutine 1 [running]:",
            "main.main()",
            "\t/src/main.go:4 +0x39",
            "2026/11/20 20:58:54 started",
        ]);
        assert_eq!((found.len(), found[0].continuations), (2, 4));
    }

    #[test]
    fn a_pause_or_too_many_lines_begin_anew() {
        let mut joiner = Joiner::new(JoinerLimits { lines: 2, ..JoinerLimits::default() });
        assert_eq!(joiner.push("head", 0), None);
        assert!(joiner.push("  late", 2_000_000_000).is_some());
        assert_eq!(joiner.push("  1", 2_000_000_000), None);
        assert_eq!(joiner.push("  2", 2_000_000_000), None);
        assert!(joiner.push("  3", 2_000_000_000).is_some());
    }
}
