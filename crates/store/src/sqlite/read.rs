//! All tables as one stream, by time.

use super::Fault;
use super::keys::{Key, Keys, TOUCH, nanos, timestamp};
use super::rows::{self, FlowSums, MetricSum, RequestSums, select};
use super::upkeep::TIERS;
use crate::codec;
use rusqlite::{Connection, Row, Rows, Statement};
use taproot_model::{Entity, Exemplar, Name, Signal, Span};

/// How a row of one table becomes a signal.
type Decode = fn(&Row<'_>, &mut Keys<'_>) -> Result<Signal, Fault>;

/// One table (and tier) being read, with its next signal taken out.
struct Cursor<'s> {
    rows: Rows<'s>,
    decode: Decode,
    next: Option<(i64, Signal)>,
}

/// Gives owners, then everything in `span` by time. Each table is read in its own
/// order, and the streams are merged: one signal of each is in memory.
pub(super) fn read(db: &Connection, span: Span, each: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
    let (from, to) = (nanos(span.from), nanos(span.to));
    entities(db, from, each)?;
    let mut keys = Keys::new(db);
    let plans = plans();
    let mut statements = plans
        .iter()
        .map(|(sql, _)| db.prepare(sql))
        .collect::<rusqlite::Result<Vec<Statement<'_>>>>()?;
    let mut cursors = Vec::with_capacity(plans.len());
    for (statement, (_, decode)) in statements.iter_mut().zip(&plans) {
        let mut cursor = Cursor { rows: statement.query([from, to])?, decode: *decode, next: None };
        cursor.advance(&mut keys)?;
        cursors.push(cursor);
    }
    while let Some(cursor) = earliest(&mut cursors) {
        if let Some((_, signal)) = cursor.advance(&mut keys)? {
            each(signal);
        }
    }
    Ok(())
}

impl Cursor<'_> {
    /// Takes the signal at hand and fetches the one after it.
    fn advance(&mut self, keys: &mut Keys<'_>) -> Result<Option<(i64, Signal)>, Fault> {
        let next = match self.rows.next()? {
            None => None,
            Some(row) => Some((row.get(0)?, (self.decode)(row, keys)?)),
        };
        Ok(std::mem::replace(&mut self.next, next))
    }
}

/// The cursor whose signal is oldest; `None` when all are at their end.
fn earliest<'a, 's>(cursors: &'a mut [Cursor<'s>]) -> Option<&'a mut Cursor<'s>> {
    cursors
        .iter_mut()
        .filter_map(|cursor| Some((cursor.next.as_ref()?.0, cursor)))
        .min_by_key(|(at, _)| *at)
        .map(|(_, cursor)| cursor)
}

/// What to read, and how.
fn plans() -> Vec<(String, Decode)> {
    let mut out: Vec<(String, Decode)> = Vec::new();
    for tier in 0..TIERS {
        out.push((select::<FlowSums>(tier), |row, keys| sums::<FlowSums>(row, keys)));
        out.push((select::<RequestSums>(tier), |row, keys| sums::<RequestSums>(row, keys)));
        out.push((select::<MetricSum>(tier), |row, keys| sums::<MetricSum>(row, keys)));
    }
    let exemplars = "SELECT at, series, path, first_byte, duration, request_bytes, \
                     response_bytes, stages, origin FROM exemplars \
                     WHERE at >= ?1 AND at < ?2 ORDER BY at, seq";
    out.push((exemplars.into(), exemplar));
    let events = "SELECT at, body FROM events WHERE at >= ?1 AND at < ?2 ORDER BY at, seq";
    out.push((events.into(), |row, _| Ok(codec::decode(blob(row, 1)?)?)));
    out
}

fn sums<S: rows::Sums>(row: &Row<'_>, keys: &mut Keys<'_>) -> Result<Signal, Fault> {
    let key = keys.get(row.get(1)?)?;
    rows::signal::<S>(row, &key)
}

fn exemplar(row: &Row<'_>, keys: &mut Keys<'_>) -> Result<Signal, Fault> {
    let key = keys.get(row.get(1)?)?;
    let Key::Exemplar(key) = key.as_ref() else {
        return Err(Fault::Damaged("an exemplar's series is of another table".into()));
    };
    let key = key.clone();
    let packed = |at: usize| row.get_ref(at)?.as_blob_or_null().map_err(rusqlite::Error::from);
    let (stages, origin) = (packed(7)?, packed(8)?);
    let number = |at: usize| row.get::<_, i64>(at).map(i64::cast_unsigned);
    Ok(Signal::Exemplar(Box::new(Exemplar {
        at: timestamp(row.get(0)?),
        edge: key.edge,
        protocol: key.protocol,
        method: key.method,
        path: Name::from(row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?),
        route: key.route,
        status: key.status,
        code: key.code,
        error: key.error,
        first_byte: number(3)?,
        duration: number(4)?,
        request_bytes: number(5)?,
        response_bytes: number(6)?,
        stages: stages.map(codec::decode).transpose()?,
        origin: origin.map(codec::decode).transpose()?,
    })))
}

/// The owners that were there at `from` or later, to the resolution of [`TOUCH`].
fn entities(db: &Connection, from: i64, each: &mut dyn FnMut(Signal)) -> Result<(), Fault> {
    let mut statement = db.prepare("SELECT body FROM entities WHERE seen >= ?1 ORDER BY id")?;
    let mut rows = statement.query([from.saturating_sub(TOUCH)])?;
    while let Some(row) = rows.next()? {
        let owner: Entity = codec::decode(blob(row, 0)?)?;
        each(Signal::Entity(Box::new(owner)));
    }
    Ok(())
}

fn blob<'r>(row: &'r Row<'_>, at: usize) -> Result<&'r [u8], Fault> {
    Ok(row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from)?)
}
