//! Finds the verb and the first table of a statement among its tokens.

use std::sync::Arc;

use super::lexer::Token;
use crate::exchange::Text;

const VERBS: [&str; 62] = [
    "ALTER",
    "ANALYZE",
    "BACKUP",
    "BATCH",
    "BEGIN",
    "CALL",
    "CHECKPOINT",
    "CLOSE",
    "CLUSTER",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISCARD",
    "DO",
    "DROP",
    "END",
    "EXECUTE",
    "EXPLAIN",
    "FETCH",
    "FLUSH",
    "GRANT",
    "HANDLER",
    "IMPORT",
    "INSERT",
    "INSTALL",
    "KILL",
    "LIST",
    "LISTEN",
    "LOAD",
    "LOCK",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PREPARE",
    "PURGE",
    "REFRESH",
    "REINDEX",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRUNCATE",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
];
/// More verbs that are looked up like the others.
const MORE: [&str; 6] = ["ABORT", "CHECK", "UNLISTEN", "VACUUM", "WITH", "XA"];

/// The verb as it is shown, or `None` when the word is none.
pub(super) fn verb(word: &[u8]) -> Option<&'static str> {
    let is = |known: &&&str| known.as_bytes().eq_ignore_ascii_case(word);
    VERBS.iter().chain(&MORE).find(is).copied()
}

/// What the next word may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The verb.
    Verb,
    /// A keyword that leads to a table.
    Lead,
    /// The table, or a word that stands before it.
    Table,
    /// More of the table, behind a dot or not.
    Rest,
    Nothing,
}

pub(super) struct Targets {
    next: Next,
    verb: Option<&'static str>,
    with: bool,
    depth: u32,
    /// Where the innermost SELECT or DELETE stands: its FROM leads to a table, a
    /// function's (`extract(day from x)`) does not.
    level: u32,
    table: Vec<u8>,
    dotted: bool,
}

impl Default for Targets {
    fn default() -> Self {
        Self {
            next: Next::Verb,
            verb: None,
            with: false,
            depth: 0,
            level: 0,
            table: Vec::new(),
            dotted: false,
        }
    }
}

impl Targets {
    pub(super) fn take(&mut self, token: &Token<'_>) {
        match token {
            Token::Sign(b'(') => {
                self.depth += 1;
                self.end_of_table();
            }
            Token::Sign(b')') => {
                self.depth = self.depth.saturating_sub(1);
                self.end_of_table();
            }
            // Only the first of several statements counts.
            Token::Sign(b';') if self.verb.is_some() => self.next = Next::Nothing,
            Token::Sign(b'.') if self.next == Next::Rest => self.dotted = true,
            Token::Word(word) => self.word(word),
            Token::Name(name) if matches!(self.next, Next::Table | Next::Rest) => self.part(name),
            _ => self.end_of_table(),
        }
    }

    fn word(&mut self, word: &[u8]) {
        match self.next {
            Next::Verb => self.verb(word),
            Next::Table if is_filler(word) => {}
            Next::Table if word.eq_ignore_ascii_case(b"SELECT") => self.lead(word),
            Next::Table | Next::Rest => self.part(word),
            Next::Lead => self.lead(word),
            Next::Nothing => {}
        }
    }

    fn verb(&mut self, word: &[u8]) {
        match verb(word) {
            Some("WITH") => self.with = true,
            Some(found) if self.with => {
                // Of a WITH, the statement behind the named queries counts.
                let statement =
                    matches!(found, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "MERGE");
                if statement && self.depth == 0 {
                    self.begin(found);
                }
            }
            Some(found) => self.begin(found),
            None if self.with => {}
            None => self.next = Next::Nothing,
        }
    }

    fn begin(&mut self, verb: &'static str) {
        self.verb = Some(verb);
        self.level = self.depth;
        self.next = match verb {
            "UPDATE" | "TRUNCATE" | "TABLE" | "COPY" | "CALL" | "DESC" | "DESCRIBE" | "LOCK"
            | "ANALYZE" | "VACUUM" => Next::Table,
            "SELECT" | "INSERT" | "DELETE" | "REPLACE" | "MERGE" | "CREATE" | "ALTER" | "DROP"
            | "EXPLAIN" | "BEGIN" | "SHOW" => Next::Lead,
            _ => Next::Nothing,
        };
    }

    /// Waits for the keyword before a table.
    fn lead(&mut self, word: &[u8]) {
        let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
        if is("SELECT") || is("DELETE") {
            self.level = self.depth;
            self.next = Next::Lead;
        } else if is("INTO")
            || is("TABLE")
            || is("USING")
            || (is("FROM") && self.depth == self.level)
            || (is("UPDATE") && self.verb != Some("CREATE"))
        {
            self.next = Next::Table;
        }
    }

    fn part(&mut self, part: &[u8]) {
        if self.next == Next::Rest && !self.dotted {
            self.next = Next::Nothing;
            return;
        }
        if self.dotted {
            self.table.push(b'.');
        }
        self.table.extend_from_slice(part);
        self.dotted = false;
        self.next = Next::Rest;
    }

    fn end_of_table(&mut self) {
        match self.next {
            Next::Rest => self.next = Next::Nothing,
            // FROM (SELECT ...: the table is inside.
            Next::Table => self.next = Next::Lead,
            _ => {}
        }
    }

    pub(super) fn finish(self) -> (Text, Option<Arc<str>>) {
        let fallback = if self.with { "WITH" } else { "_OTHER" };
        let table = (!self.table.is_empty()).then(|| crate::exchange::read::name(&self.table));
        (self.verb.unwrap_or(fallback).into(), table)
    }
}

/// Words that may stand between a keyword and the table.
fn is_filler(word: &[u8]) -> bool {
    const WORDS: [&str; 15] = [
        "IF",
        "NOT",
        "EXISTS",
        "ONLY",
        "INTO",
        "TABLE",
        "IGNORE",
        "LOW_PRIORITY",
        "DELAYED",
        "LATERAL",
        "FROM",
        "QUICK",
        "HIGH_PRIORITY",
        "VERBOSE",
        "TABLES",
    ];
    WORDS.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(word))
}
