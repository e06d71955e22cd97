//! The message inside a structured line.

use std::borrow::Cow;

use serde_json::Value;

use super::severity::{Severity, severity};

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// The text to take a template of.
    pub text: Cow<'a, str>,
    /// The severity the line states.
    pub severity: Option<Severity>,
}

/// Longest line that is read as JSON, in bytes.
const LONGEST_JSON: usize = 64 << 10;

/// Keys that hold the message, and the level, in the order they are tried.
const MESSAGE_KEYS: [&str; 7] = ["message", "msg", "@message", "log", "event", "text", "body"];
const LEVEL_KEYS: [&str; 7] =
    ["level", "severity", "lvl", "log.level", "loglevel", "severity_text", "@level"];

/// Takes the message out of JSON and logfmt lines; any other line is its own
/// message. The text keeps its tokens; only what frames it goes.
pub fn message(line: &str) -> Message<'_> {
    let trimmed = line.trim_start();
    if trimmed.starts_with('{')
        && trimmed.len() <= LONGEST_JSON
        && let Some(found) = json(trimmed)
    {
        return found;
    }
    let severity = severity(line);
    let text = if severity.is_some() { logfmt(line) } else { None };
    Message { text: text.unwrap_or(Cow::Borrowed(line)), severity }
}

fn json(line: &str) -> Option<Message<'static>> {
    let Value::Object(fields) = serde_json::from_str(line).ok()? else { return None };
    let text = MESSAGE_KEYS.iter().find_map(|key| fields.get(*key)?.as_str());
    let level = LEVEL_KEYS.iter().find_map(|key| level(fields.get(*key)?));
    let text = if let Some(text) = text {
        text.lines().next().unwrap_or_default().to_owned()
    } else {
        // No message: what the object is like is its pattern.
        let mut keys: Vec<_> = fields.keys().map(String::as_str).collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    let severity = level.or_else(|| severity(&text));
    Some(Message { text: Cow::Owned(text), severity })
}

fn level(value: &Value) -> Option<Severity> {
    match value {
        Value::String(word) => Severity::from_word(word),
        Value::Number(number) => Severity::from_number(number.as_u64()?),
        _ => None,
    }
}

/// The value of `msg=` in a line of `key=value` pairs.
fn logfmt(line: &str) -> Option<Cow<'_, str>> {
    let at = line.find("msg=")?;
    if at > 0 && line.as_bytes()[at - 1] != b' ' {
        return None;
    }
    let value = &line[at + 4..];
    let Some(quoted) = value.strip_prefix('"') else {
        return value.split(' ').next().filter(|word| !word.is_empty()).map(Cow::Borrowed);
    };
    let mut escaped = false;
    let end = quoted.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })?;
    let inner = &quoted[..end];
    Some(if inner.contains('\\') {
        Cow::Owned(inner.replace("\\\"", "\""))
    } else {
        Cow::Borrowed(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_messages() {
        let found = message(r#"{"level":"error","ts":1,"msg":"cannot \"open\" file","n":3}"#);
        assert_eq!((&*found.text, found.severity), ("cannot \"open\" file", Some(Severity::Error)));
        let found = message(r#"{"level":30,"msg":"ok"}"#);
        assert_eq!(found.severity, Some(Severity::Info));
        let found = message(r#"{"b":1,"a":2}"#);
        assert_eq!(&*found.text, "a b");
        let found = message(r#"{"log":"ERROR first\n  at second"}"#);
        assert_eq!((&*found.text, found.severity), ("ERROR first", Some(Severity::Error)));
    }

    #[test]
    fn logfmt_messages() {
        let found = message(r#"level=warn ts=1 msg="disk \"a\" full" free=3"#);
        assert_eq!((&*found.text, found.severity), ("disk \"a\" full", Some(Severity::Warn)));
        assert_eq!(&*message("level=info msg=started").text, "started");
        assert_eq!(&*message("level=info msg=\"cut off").text, "level=info msg=\"cut off");
    }

    #[test]
    fn other_lines_stay() {
        for line in ["{not json", "plain text", "", "{}{}", "[1,2]"] {
            assert_eq!(message(line).text, line);
        }
    }
}
