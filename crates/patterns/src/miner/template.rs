//! A template: the words that stay, and holes for what varies.

use super::token::{Kind, Token};

/// One place of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The same in every line.
    Fixed { text: Box<str>, weak: bool },
    /// A value.
    Any,
}

/// A place, what its first token was, and whether white space stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) kind: Kind,
    pub(super) spaced: bool,
}

/// Takes a template from the tokens of its first line.
pub(super) fn slots(line: &[u8], tokens: &[Token]) -> Vec<Slot> {
    let slot = |token: &Token| {
        let place = if token.kind.is_value() {
            Place::Any
        } else {
            let text = String::from_utf8_lossy(&line[token.start as usize..token.end as usize]);
            Place::Fixed { text: text.into(), weak: token.kind == Kind::Weak }
        };
        Slot { place, kind: token.kind, spaced: token.spaced }
    };
    tokens.iter().map(slot).collect()
}

/// The template as text, with `<*>` for values.
pub(super) fn render(slots: &[Slot]) -> String {
    write(slots, |_| "<*>")
}

/// The template as text, with values named by what the first of them looked like.
pub(super) fn example(slots: &[Slot]) -> String {
    write(slots, |kind| match kind {
        Kind::Number => "<num>",
        Kind::Id => "<id>",
        Kind::Path => "<path>",
        Kind::Flag => "<bool>",
        Kind::Rest => "…",
        Kind::Word | Kind::Weak | Kind::Mark => "<word>",
    })
}

fn write(slots: &[Slot], value: impl Fn(Kind) -> &'static str) -> String {
    let mut text = String::new();
    for (index, slot) in slots.iter().enumerate() {
        if slot.spaced && index > 0 {
            text.push(' ');
        }
        match &slot.place {
            Place::Fixed { text: fixed, .. } => text.push_str(fixed),
            Place::Any => text.push_str(value(slot.kind)),
        }
    }
    text
}

/// A 64-bit hash that is fed word by word (the multiply-rotate of `FxHash`, with a
/// final mix); the seed is drawn per process so that no log can aim at collisions.
#[derive(Clone, Copy)]
pub(super) struct Hasher(u64);

impl Hasher {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(26) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        let mut last = [0; 8];
        let rest = chunks.remainder();
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last) ^ (bytes.len() as u64) << 56);
    }

    pub(super) fn finish(self) -> u64 {
        let mixed = (self.0 ^ self.0 >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ mixed >> 32
    }
}

/// What stands for a value in hashes.
const ANY: u64 = 0x5bd1_e995_0000_0001;

/// Hash of one place: equal for equal text or for two values.
fn place_hash(seed: u64, text: Option<&[u8]>, spaced: bool) -> u64 {
    let mut hasher = Hasher::new(seed ^ u64::from(spaced));
    match text {
        Some(text) => hasher.bytes(text),
        None => hasher.word(ANY),
    }
    hasher.finish()
}

/// Hash of a line's tokens, values being equal.
pub(super) fn shape(seed: u64, line: &[u8], tokens: &[Token]) -> u64 {
    let mut hasher = Hasher::new(seed);
    for token in tokens {
        if token.kind.is_value() {
            hasher.word(ANY ^ u64::from(token.spaced) << 40);
        } else {
            hasher.word(u64::from(token.spaced));
            hasher.bytes(&line[token.start as usize..token.end as usize]);
        }
    }
    hasher.finish()
}

/// Keys under which a template is found: as it is, with one place made a value, and
/// with all weak places made values. Sums of place hashes make each key O(1).
pub(super) struct Keys {
    total: u64,
    fixed: Vec<u64>,
    any: Vec<u64>,
    loose: u64,
}

impl Keys {
    pub(super) fn of(seed: u64, slots: &[Slot]) -> Self {
        // The index keeps permutations apart.
        let weigh = |index: usize, hash: u64| hash.wrapping_mul(2 * index as u64 + 1);
        let mut keys = Self {
            total: slots.len() as u64,
            fixed: Vec::with_capacity(slots.len()),
            any: Vec::with_capacity(slots.len()),
            loose: slots.len() as u64,
        };
        for (index, slot) in slots.iter().enumerate() {
            let any = weigh(index, place_hash(seed, None, slot.spaced));
            let (fixed, weak) = match &slot.place {
                Place::Fixed { text, weak } => {
                    (weigh(index, place_hash(seed, Some(text.as_bytes()), slot.spaced)), *weak)
                }
                Place::Any => (any, false),
            };
            keys.total = keys.total.wrapping_add(fixed);
            keys.loose = keys.loose.wrapping_add(if weak { any } else { fixed });
            keys.fixed.push(fixed);
            keys.any.push(any);
        }
        keys
    }

    /// The key of the template as it is.
    pub(super) fn exact(&self) -> u64 {
        self.total
    }

    /// The key with place `index` made a value.
    pub(super) fn without(&self, index: usize) -> u64 {
        self.total.wrapping_sub(self.fixed[index]).wrapping_add(self.any[index])
    }

    /// The key with all weak places made values.
    pub(super) fn loose(&self) -> u64 {
        self.loose
    }
}
