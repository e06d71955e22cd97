//! One pass over a line that counts everything a verdict needs.

/// Occurrences of one kind of offence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) count: usize,
    pub(super) first: usize,
    last: usize,
}

impl Tally {
    fn add(&mut self, count: usize, at: usize) {
        if self.count == 0 {
            self.first = at;
        }
        self.count += count;
        self.last = count;
    }

    /// The tally of replacement characters in bytes.
    pub(super) fn bytes(self) -> usize {
        self.count * '\u{fffd}'.len_utf8()
    }

    /// Without the last occurrence.
    pub(super) fn minus_tail(self) -> Self {
        Self { count: self.count - self.last, ..self }
    }
}

/// What was counted in a line.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) characters: usize,
    pub(super) nul: Tally,
    pub(super) invalid: Tally,
    pub(super) replacement: Tally,
    pub(super) control: Tally,
    pub(super) mojibake: Tally,
    pub(super) switches: Tally,
    /// The line ends inside a character that is right so far.
    pub(super) cut_at_end: bool,
    /// The only control character so far, or `None` once there were two kinds.
    separator: Option<char>,
    letters: usize,
    scripts: u16,
}

/// Coarse families of letters; a language uses one, besides Latin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    Latin,
    Greek,
    Cyrillic,
    Hebrew,
    Arabic,
    Indic,
    Thai,
    Ethiopic,
    Hangul,
    Cjk,
    Private,
    Other,
}

/// What Windows-1252 makes of bytes 80 to 9F, without closing quotes and dashes.
const WINDOWS_1252: &str = "€‚ƒ„†‡‰Š‹ŒŽ‘“•™š›œžŸ";

/// Where a terminal sequence is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Outside,
    Begun,
    /// Between `ESC [` and its final byte.
    Control,
    /// Between `ESC ]` and BEL or ST.
    Command,
}

impl Scan {
    pub(super) fn of(line: &[u8]) -> Self {
        let mut scan = Self::default();
        let mut state = State { escape: Escape::Outside, before: [' '; 2], script: None };
        let mut at = 0;
        for chunk in line.utf8_chunks() {
            for (offset, character) in chunk.valid().char_indices() {
                scan.character(character, at + offset, &mut state);
            }
            at += chunk.valid().len();
            let invalid = chunk.invalid().len();
            if invalid > 0 {
                scan.invalid.add(invalid, at);
                scan.cut_at_end = at + invalid == line.len() && chunk.invalid()[0] >= 0xc2;
            }
            at += invalid;
        }
        scan
    }

    /// Whether the control characters are one separator between fields, as in FIX.
    pub(super) fn controls_separate(&self) -> bool {
        let separator = matches!(self.separator, Some('\u{1}' | '\u{1c}'..='\u{1f}'));
        separator && self.control.count * 3 < self.characters
    }

    /// Whether letters of many scripts stand side by side.
    pub(super) fn scripts_are_mixed(&self) -> bool {
        let scripts = self.scripts.count_ones();
        scripts >= 4 && self.switches.count * 4 >= self.letters
            || self.scripts & (1 << Script::Private as u16) != 0 && self.switches.count >= 4
    }

    fn character(&mut self, character: char, at: usize, state: &mut State) {
        self.characters += 1;
        if state.in_sequence(character) {
            return;
        }
        match character {
            '\0' => self.nul.add(1, at),
            '\t' | '\n' | '\r' | '\u{8}' | '\u{b}' | '\u{c}' | ' '..='~' => {}
            '\u{1b}' => state.escape = Escape::Begun,
            '\u{fffd}' => self.replacement.add(1, at),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' => self.control(character, at),
            _ => self.beyond_ascii(character, at, state),
        }
        self.letter(character, at, state);
        state.before = [state.before[1], character];
    }

    fn control(&mut self, character: char, at: usize) {
        self.separator = if self.control.count == 0 { Some(character) } else { self.separator }
            .filter(|known| *known == character);
        self.control.add(1, at);
    }

    fn beyond_ascii(&mut self, character: char, at: usize, state: &State) {
        let [second, first] = state.before;
        let wrong_table = match (second, first) {
            // UTF-8 read as Latin-1 or Windows-1252: C3 and C2 lead most of it. What may
            // follow a capital letter in honest text (closing quotes) is left out.
            (_, 'Ã' | 'Â') => {
                matches!(character, '\u{a0}'..='\u{bf}') && !matches!(character, '»' | '«')
                    || first == 'Ã' && WINDOWS_1252.contains(character)
            }
            (_, 'â') => character == '€',
            // U+FFFD in UTF-8 read as GBK.
            ('锟', '斤') => character == '拷',
            _ => false,
        };
        if wrong_table {
            let start = at - first.len_utf8();
            self.mojibake.add(at + character.len_utf8() - start, start);
        }
    }

    fn letter(&mut self, character: char, at: usize, state: &mut State) {
        let script = script(character);
        let Some(found) = script else {
            if character == ' ' {
                state.script = None;
            }
            return;
        };
        self.letters += 1;
        self.scripts |= 1 << found as u16;
        if state.script.is_some_and(|before| before != found) {
            self.switches.add(1, at);
        }
        state.script = script;
    }
}

struct State {
    escape: Escape,
    before: [char; 2],
    script: Option<Script>,
}

impl State {
    /// Whether the character belongs to a terminal sequence (ECMA-48).
    // The table reads by state; arms that do the same are not the same rule.
    #[allow(clippy::match_same_arms)]
    fn in_sequence(&mut self, character: char) -> bool {
        self.escape = match (self.escape, character) {
            (Escape::Outside, _) => return false,
            (Escape::Begun, '[') => Escape::Control,
            (Escape::Begun, ']' | 'P' | '_' | '^') => Escape::Command,
            (Escape::Begun, ' '..='/') => Escape::Begun,
            (Escape::Begun, '0'..='~') => Escape::Outside,
            (Escape::Control, ' '..='?') => Escape::Control,
            (Escape::Control, '@'..='~') | (Escape::Command, '\u{7}') => Escape::Outside,
            (Escape::Command, '\u{1b}') => Escape::Begun,
            (Escape::Command, ' '..) => Escape::Command,
            // Not a sequence after all: the character is judged by itself.
            _ => {
                self.escape = Escape::Outside;
                return false;
            }
        };
        true
    }
}

/// The script of a letter; `None` for digits, punctuation, marks and symbols.
fn script(character: char) -> Option<Script> {
    let code = u32::from(character);
    Some(match code {
        0x41..=0x5a | 0x61..=0x7a | 0xc0..=0xd6 | 0xd8..=0xf6 | 0xf8..=0x24f | 0x1e00..=0x1eff => {
            Script::Latin
        }
        0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
        0x400..=0x52f => Script::Cyrillic,
        0x590..=0x5ff => Script::Hebrew,
        0x600..=0x6ff | 0x750..=0x77f | 0x8a0..=0x8ff | 0xfb50..=0xfdff | 0xfe70..=0xfeff => {
            Script::Arabic
        }
        0x900..=0xdff => Script::Indic,
        0xe00..=0xeff => Script::Thai,
        0x1200..=0x139f => Script::Ethiopic,
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
        0x3040..=0x30ff
        | 0x3400..=0x4dbf
        | 0x4e00..=0x9fff
        | 0xf900..=0xfaff
        | 0xff66..=0xff9d
        | 0x2_0000..=0x3_ffff => Script::Cjk,
        0xe000..=0xf8ff | 0xf_0000..=0x10_ffff => Script::Private,
        0x530..=0x58f
        | 0x700..=0x74f
        | 0x780..=0x89f
        | 0x10a0..=0x10ff
        | 0x13a0..=0x1cff
        | 0xa000..=0xabff => Script::Other,
        _ => return None,
    })
}
