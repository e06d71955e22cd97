//! A batch becomes rows, in one transaction.

use super::Fault;
use super::keys::{Ids, Key, nanos};
use super::rows::{FlowSums, MetricSum, RequestSums, Sums, insert};
use crate::codec;
use rusqlite::types::Value;
use rusqlite::{Connection, params, params_from_iter};
use taproot_model::{EntityId, Exemplar, Signal, Timestamp};

/// What the store knows about itself: the row of table `meta`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    /// Number of the last row; rows of one time stay in the order they came.
    pub(super) seq: i64,
    /// Time of the newest signal.
    pub(super) newest: i64,
    /// Signals ever appended.
    pub(super) appended: i64,
}

impl Meta {
    pub(super) fn load(db: &Connection) -> rusqlite::Result<Self> {
        db.prepare_cached("SELECT seq, newest, appended FROM meta")?.query_row([], |row| {
            Ok(Self { seq: row.get(0)?, newest: row.get(1)?, appended: row.get(2)? })
        })
    }

    pub(super) fn save(&self, db: &Connection) -> rusqlite::Result<()> {
        db.prepare_cached("UPDATE meta SET seq = ?1, newest = ?2, appended = ?3")?
            .execute(params![self.seq, self.newest, self.appended])
            .map(drop)
    }
}

/// Writes a batch. The caller holds the transaction.
pub(super) fn append(db: &Connection, ids: &mut Ids, signals: &[Signal]) -> Result<(), Fault> {
    let mut meta = Meta::load(db)?;
    let newest = signals.iter().filter_map(Signal::at).max().map_or(0, nanos);
    meta.newest = meta.newest.max(newest);
    // A batch of owners alone, before anything else, has no time of its own.
    let known = if meta.newest > 0 { meta.newest } else { nanos(Timestamp::now()) };
    for signal in signals {
        meta.seq += 1;
        let at = signal.at().map_or(known, nanos);
        put(&Row { db, at, seq: meta.seq }, ids, signal)?;
        ids.touch(db, signal, at)?;
    }
    meta.appended += signals.len() as i64;
    Ok(meta.save(db)?)
}

/// A row to be.
struct Row<'db> {
    db: &'db Connection,
    at: i64,
    seq: i64,
}

fn put(row: &Row<'_>, ids: &mut Ids, signal: &Signal) -> Result<(), Fault> {
    match signal {
        Signal::Entity(s) => ids.entity(row.db, s, row.at),
        Signal::Flow(s) => {
            let series = ids.series(row.db, &Key::flow(s), row.at)?;
            row.sums(series, s.interval, &FlowSums::of(s))
        }
        Signal::Requests(s) => {
            let series = ids.series(row.db, &Key::requests(s), row.at)?;
            row.sums(series, s.interval, &RequestSums::of(s))
        }
        Signal::Metric(s) => {
            let series = ids.series(row.db, &Key::metric(s), row.at)?;
            row.sums(series, s.interval, &MetricSum(s.value))
        }
        Signal::Exemplar(s) => {
            let series = ids.series(row.db, &Key::exemplar(s), row.at)?;
            row.exemplar(series, s)
        }
        Signal::Lifecycle(s) => row.event("lifecycle", &s.entity, signal),
        Signal::SyscallFailure(s) => row.event("syscall_failure", &s.entity, signal),
        Signal::LogPattern(s) => row.event("log_pattern", &s.entity, signal),
        Signal::Gibberish(s) => row.event("gibberish", &s.entity, signal),
        Signal::Change(s) => row.event("change", &s.entity, signal),
        Signal::ClusterEvent(s) => row.event("cluster_event", &s.entity, signal),
        Signal::Loss(s) => row.event("loss", &s.entity, signal),
    }
}

impl Row<'_> {
    fn sums<S: Sums>(&self, series: i64, interval: u64, sums: &S) -> Result<(), Fault> {
        insert_sums(self.db, 0, self.at, self.seq, series, interval.cast_signed(), sums)
    }

    fn exemplar(&self, series: i64, s: &Exemplar) -> Result<(), Fault> {
        let counts = [s.first_byte, s.duration, s.request_bytes, s.response_bytes];
        let [first_byte, duration, request, response] = counts.map(u64::cast_signed);
        let stages = s.stages.as_ref().map(codec::encode).transpose()?;
        let origin = s.origin.as_ref().map(codec::encode).transpose()?;
        self.db
            .prepare_cached(
                "INSERT INTO exemplars (at, seq, series, path, first_byte, duration, \
                 request_bytes, response_bytes, stages, origin) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                self.at,
                self.seq,
                series,
                s.path.as_str(),
                first_byte,
                duration,
                request,
                response,
                stages,
                origin
            ])?;
        Ok(())
    }

    fn event(&self, kind: &str, entity: &EntityId, signal: &Signal) -> Result<(), Fault> {
        let body = codec::encode(signal)?;
        self.db
            .prepare_cached(
                "INSERT INTO events (at, seq, kind, entity, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![self.at, self.seq, kind, entity.as_str(), body])?;
        Ok(())
    }
}

/// One row into a table of sums.
pub(super) fn insert_sums<S: Sums>(
    db: &Connection,
    tier: i64,
    at: i64,
    seq: i64,
    series: i64,
    interval: i64,
    sums: &S,
) -> Result<(), Fault> {
    let mut values: Vec<Value> = [tier, at, seq, series, interval].map(Value::Integer).into();
    values.extend(sums.values()?);
    db.prepare_cached(&insert::<S>())?.execute(params_from_iter(values))?;
    Ok(())
}
