//! The tables, and how an older file becomes one of today.

use rusqlite::{Connection, OptionalExtension, Transaction};

/// `PRAGMA application_id` of our files: "TAPR".
const APPLICATION: i64 = 0x5441_5052;

/// The steps from each schema to the next. A released step is never changed;
/// a new one is added at the end.
const MIGRATIONS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// The same for a reader, who may not change the file: views of its own connection, from
/// the first schema on.
const VIEWS: &[&str] = &["CREATE TEMP VIEW exemplars AS \
                          SELECT *, NULL AS stages, NULL AS origin FROM main.exemplars"];

/// The schema this program reads and writes.
pub(super) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Empty,
    /// A store of this schema, perhaps a newer one than [`NEWEST`].
    Schema(i64),
    /// The tables of another program.
    Foreign,
}

/// Looks at a file without changing it.
pub(super) fn look(db: &Connection) -> rusqlite::Result<Found> {
    let number = |pragma: &str| db.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id")?;
    let version = number("PRAGMA user_version")?;
    let table = db.query_row("SELECT 1 FROM sqlite_schema LIMIT 1", [], |_| Ok(())).optional()?;
    Ok(match (application, version, table) {
        (APPLICATION, version, _) if version > 0 => Found::Schema(version),
        (0, 0, None) => Found::Empty,
        _ => Found::Foreign,
    })
}

/// Brings a file from schema `from` to the newest, in one transaction.
pub(super) fn migrate(tx: &Transaction<'_>, from: i64) -> rusqlite::Result<()> {
    for step in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "application_id", APPLICATION)?;
    tx.pragma_update(None, "user_version", NEWEST)
}

/// Lets this connection see a file of schema `from` as one of the newest.
pub(super) fn view(db: &Connection, from: i64) -> rusqlite::Result<()> {
    let older = usize::try_from(from).unwrap_or(1).saturating_sub(1);
    VIEWS.iter().skip(older).try_for_each(|view| db.execute_batch(view))
}
