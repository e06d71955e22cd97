//! Reports: few, whole, looked up by id or time.

use super::keys::{nanos, timestamp};
use crate::{Report, ReportHead};
use rusqlite::{Connection, OptionalExtension, Row, params};
use taproot_model::{Name, Span};

pub(super) fn put(db: &Connection, report: &Report) -> rusqlite::Result<()> {
    let head = &report.head;
    db.prepare_cached(
        "INSERT OR REPLACE INTO reports (id, at, service, title, text, json) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        head.id.as_str(),
        nanos(head.at),
        head.service.as_str(),
        head.title.as_str(),
        report.text,
        report.json
    ])
    .map(drop)
}

pub(super) fn list(db: &Connection, span: Span) -> rusqlite::Result<Vec<ReportHead>> {
    db.prepare_cached(
        "SELECT id, at, service, title FROM reports WHERE at >= ?1 AND at < ?2 \
         ORDER BY at DESC, id",
    )?
    .query_map([nanos(span.from), nanos(span.to)], head)?
    .collect()
}

pub(super) fn get(db: &Connection, id: &str) -> rusqlite::Result<Option<Report>> {
    db.prepare_cached("SELECT id, at, service, title, text, json FROM reports WHERE id = ?1")?
        .query_row([id], |row| {
            Ok(Report { head: head(row)?, text: row.get(4)?, json: row.get(5)? })
        })
        .optional()
}

fn head(row: &Row<'_>) -> rusqlite::Result<ReportHead> {
    let name = |at: usize| row.get::<_, String>(at).map(Name::from);
    Ok(ReportHead { id: name(0)?, at: timestamp(row.get(1)?), service: name(2)?, title: name(3)? })
}
