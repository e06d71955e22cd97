//! Values made of several tokens: lists, dates, request lines. Each rule looks at
//! the last few tokens only, so that the pass stays linear.

use super::token::{Kind, Token};

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const DAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

/// Folds the token that was just pushed into those before it, where they are one
/// value.
pub(super) fn fold(line: &[u8], tokens: &mut Vec<Token>) {
    let Some((last, before)) = tokens.split_last() else { return };
    let end = last.end;
    let keep = match last.kind {
        Kind::Mark => {
            empty_brackets(line, tokens);
            return;
        }
        Kind::Number | Kind::Id | Kind::Path => list(line, before, *last)
            .or_else(|| date(line, before, *last))
            .or_else(|| request(line, before, *last)),
        Kind::Word | Kind::Weak | Kind::Flag | Kind::Rest => None,
    };
    if let Some(keep) = keep {
        tokens.truncate(keep + 1);
        tokens[keep].end = end;
        tokens[keep].kind = tokens[keep].kind.max_value();
    }
}

fn text<'a>(line: &'a [u8], token: &Token) -> &'a [u8] {
    &line[token.start as usize..token.end as usize]
}

/// `1,2,3`, and like-named things side by side: `blk_1 blk_2`. Returns the index
/// of the token to extend.
fn list(line: &[u8], before: &[Token], last: Token) -> Option<usize> {
    let index = before.len();
    if let [.., value, comma] = before
        && !last.spaced
        && !comma.spaced
        && value.kind.is_value()
        && text(line, comma) == b","
    {
        return Some(index - 2);
    }
    let named = |token: &Token| {
        let text = text(line, token);
        (token.kind == Kind::Id && text[0].is_ascii_alphabetic()).then(|| text.get(..4))?
    };
    let previous = before.last()?;
    (last.spaced && named(previous).is_some() && named(previous) == named(&last)).then(|| index - 1)
}

/// `2026-11-20 20:58:54`, `Sun Jul 10 03:55:15 2005`.
fn date(line: &[u8], before: &[Token], last: Token) -> Option<usize> {
    if !last.spaced {
        return None;
    }
    let index = before.len();
    let previous = before.last()?;
    let (text_before, now) = (text(line, previous), text(line, &last));
    let is_year = now.len() == 4 && now.iter().all(u8::is_ascii_digit);
    if is_year && text_before.contains(&b':') && text_before[0].is_ascii_alphabetic() {
        return (previous.kind != Kind::Path).then(|| index - 1);
    }
    if !is_clock(now) {
        return None;
    }
    let joints = text_before.iter().filter(|byte| matches!(byte, b'-' | b'/')).count();
    if joints == 2 && text_before.iter().any(u8::is_ascii_digit) && text_before.len() <= 11 {
        return Some(index - 1);
    }
    let day = text_before.len() <= 2 && text_before.iter().all(u8::is_ascii_digit);
    let month = index.checked_sub(2)?;
    if !day || !MONTHS.iter().any(|name| text(line, &before[month]) == *name) {
        return None;
    }
    let weekday = month.checked_sub(1).filter(|at| {
        before[month].spaced && DAYS.iter().any(|name| text(line, &before[*at]) == *name)
    });
    Some(weekday.unwrap_or(month))
}

/// `20:58:54`, perhaps with a fraction.
fn is_clock(text: &[u8]) -> bool {
    text.len() >= 7
        && text[0].is_ascii_digit()
        && text.iter().filter(|byte| matches!(byte, b':')).count() == 2
}

/// A path and the protocol behind it: `/a/b HTTP/1.1`.
fn request(line: &[u8], before: &[Token], last: Token) -> Option<usize> {
    let previous = before.last()?;
    let joined =
        last.spaced && previous.kind == Kind::Path && text(line, &last).starts_with(b"HTTP/");
    joined.then(|| before.len() - 1)
}

/// Brackets that stand alone and hold nothing hold a missing value: ` ()`. Those
/// of a call, `clear()`, do not stand alone.
fn empty_brackets(line: &[u8], tokens: &mut Vec<Token>) {
    let [.., open, close] = tokens.as_slice() else { return };
    let (open, close) = (*open, *close);
    let empty = matches!((text(line, &open), text(line, &close)), (b"(", b")") | (b"[", b"]"));
    if empty && open.spaced && !close.spaced {
        let value = Token { start: close.start, end: close.start, kind: Kind::Id, spaced: false };
        tokens.insert(tokens.len() - 1, value);
    }
}
