//! What rows are about, kept once: series and owners.

use super::Fault;
use crate::codec;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::rc::Rc;
use taproot_model::{
    Edge, Entity, EntityId, Exemplar, Flow, Metric, MetricKind, Name, Protocol, Requests, Signal,
    Timestamp, Transport,
};

/// How stale `seen` may be, nanoseconds: it is written once an hour at most.
pub(super) const TOUCH: i64 = 3_600_000_000_000;

/// Entries a cache holds before it starts afresh.
const CACHE: usize = 1 << 16;

/// The part of a signal that does not change from interval to interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Key {
    Flow { edge: Edge, transport: Transport },
    Requests(RequestsKey),
    Metric { entity: EntityId, name: Name, attribute: Name, kind: MetricKind },
    Exemplar(RequestsKey),
}

/// Everything of [`Requests`] but its sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct RequestsKey {
    pub(super) edge: Edge,
    pub(super) protocol: Protocol,
    pub(super) method: Name,
    pub(super) route: Name,
    pub(super) status: u16,
    /// Left out where empty, so that older keys stay the same bytes.
    #[serde(default, skip_serializing_if = "Name::is_empty")]
    pub(super) code: Name,
    pub(super) error: bool,
}

impl Key {
    pub(super) fn flow(flow: &Flow) -> Self {
        Self::Flow { edge: flow.edge.clone(), transport: flow.transport }
    }

    pub(super) fn requests(requests: &Requests) -> Self {
        Self::Requests(RequestsKey {
            edge: requests.edge.clone(),
            protocol: requests.protocol,
            method: requests.method.clone(),
            route: requests.route.clone(),
            status: requests.status,
            code: requests.code.clone(),
            error: requests.error,
        })
    }

    pub(super) fn exemplar(exemplar: &Exemplar) -> Self {
        Self::Exemplar(RequestsKey {
            edge: exemplar.edge.clone(),
            protocol: exemplar.protocol,
            method: exemplar.method.clone(),
            route: exemplar.route.clone(),
            status: exemplar.status,
            code: exemplar.code.clone(),
            error: exemplar.error,
        })
    }

    pub(super) fn metric(metric: &Metric) -> Self {
        Self::Metric {
            entity: metric.entity.clone(),
            name: metric.name.clone(),
            attribute: metric.attribute.clone(),
            kind: metric.kind,
        }
    }

    /// The number of its table, for the column `series.kind`.
    fn kind(&self) -> i64 {
        match self {
            Self::Flow { .. } => 0,
            Self::Requests(_) => 1,
            Self::Metric { .. } => 2,
            Self::Exemplar(_) => 3,
        }
    }
}

/// The tables behind the numbers of [`Key::kind`], in order.
pub(super) const TABLES: [&str; 4] = ["flows", "requests", "metrics", "exemplars"];

/// The writer's memory of ids. It must be [cleared](Self::clear) when a
/// transaction that gave ids out is rolled back.
#[derive(Debug, Default)]
pub(super) struct Ids {
    series: HashMap<Vec<u8>, (i64, i64)>,
    entities: HashMap<EntityId, i64>,
}

impl Ids {
    pub(super) fn clear(&mut self) {
        self.series.clear();
        self.entities.clear();
    }

    /// The id of a series, which is made when new.
    pub(super) fn series(&mut self, db: &Connection, key: &Key, at: i64) -> Result<i64, Fault> {
        let bytes = codec::encode(key)?;
        if let Some(&(id, seen)) = self.series.get(&bytes)
            && at.saturating_sub(seen) < TOUCH
        {
            return Ok(id);
        }
        let id = db
            .prepare_cached(
                "INSERT INTO series (kind, seen, key) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (kind, key) DO UPDATE SET seen = max(seen, excluded.seen) \
                 RETURNING id",
            )?
            .query_row(params![key.kind(), at, bytes], |row| row.get(0))?;
        if self.series.len() >= CACHE {
            self.series.clear();
        }
        self.series.insert(bytes, (id, at));
        Ok(id)
    }

    /// Keeps an owner, or what is new about it.
    pub(super) fn entity(&mut self, db: &Connection, owner: &Entity, at: i64) -> Result<(), Fault> {
        db.prepare_cached(
            "INSERT INTO entities (id, seen, body) VALUES (?1, ?2, ?3) \
             ON CONFLICT (id) DO UPDATE SET seen = max(seen, excluded.seen), body = excluded.body",
        )?
        .execute(params![owner.id.as_str(), at, codec::encode(owner)?])?;
        self.entities.insert(owner.id.clone(), at);
        Ok(())
    }

    /// Notes that the owners of a signal are still there.
    pub(super) fn touch(&mut self, db: &Connection, signal: &Signal, at: i64) -> Result<(), Fault> {
        for owner in owners(signal).into_iter().flatten() {
            if self.entities.get(owner).is_some_and(|&seen| at.saturating_sub(seen) < TOUCH) {
                continue;
            }
            db.prepare_cached("UPDATE entities SET seen = max(seen, ?2) WHERE id = ?1")?
                .execute(params![owner.as_str(), at])?;
            if self.entities.len() >= CACHE {
                self.entities.clear();
            }
            self.entities.insert(owner.clone(), at);
        }
        Ok(())
    }
}

/// The owners a signal names.
fn owners(signal: &Signal) -> [Option<&EntityId>; 2] {
    match signal {
        Signal::Flow(s) => both_ends(&s.edge),
        Signal::Requests(s) => both_ends(&s.edge),
        Signal::Exemplar(s) => both_ends(&s.edge),
        Signal::Entity(s) => [Some(&s.id), None],
        Signal::Metric(s) => [Some(&s.entity), None],
        Signal::Lifecycle(s) => [Some(&s.entity), s.sender.as_ref()],
        Signal::SyscallFailure(s) => [Some(&s.entity), None],
        Signal::LogPattern(s) => [Some(&s.entity), None],
        Signal::Gibberish(s) => [Some(&s.entity), None],
        Signal::Change(s) => [Some(&s.entity), None],
        Signal::ClusterEvent(s) => [Some(&s.entity), None],
        Signal::Loss(s) => [Some(&s.entity), None],
    }
}

fn both_ends(edge: &Edge) -> [Option<&EntityId>; 2] {
    [Some(&edge.client.entity), Some(&edge.server.entity)]
}

/// A reader's memory of what ids stand for.
pub(super) struct Keys<'db> {
    db: &'db Connection,
    known: HashMap<i64, Rc<Key>>,
}

impl<'db> Keys<'db> {
    pub(super) fn new(db: &'db Connection) -> Self {
        Self { db, known: HashMap::new() }
    }

    /// What a series is about.
    pub(super) fn get(&mut self, id: i64) -> Result<Rc<Key>, Fault> {
        if let Some(key) = self.known.get(&id) {
            return Ok(Rc::clone(key));
        }
        let bytes: Option<Vec<u8>> = self
            .db
            .prepare_cached("SELECT key FROM series WHERE id = ?1")?
            .query_row([id], |row| row.get(0))
            .optional()?;
        let bytes = bytes.ok_or_else(|| Fault::Damaged(format!("series {id} is missing")))?;
        let key: Rc<Key> = Rc::new(codec::decode(&bytes)?);
        if self.known.len() >= CACHE {
            self.known.clear();
        }
        self.known.insert(id, Rc::clone(&key));
        Ok(key)
    }
}

/// A time as SQLite keeps it. Times after the year 2262 do not fit and become the last that does.
pub(super) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// A time as SQLite kept it.
pub(super) fn timestamp(nanos: i64) -> Timestamp {
    Timestamp(nanos.max(0) as u64)
}
