//! Rolling up and forgetting, in bounded steps.

use super::Fault;
use super::append::{Meta, insert_sums};
use super::keys::{Keys, TABLES, TOUCH, nanos};
use super::rows::{FlowSums, MetricSum, OWN, Place, RequestSums, Sums, place, select};
use crate::Upkeep;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;
use taproot_model::Timestamp;

/// Resolutions a table of sums is kept in: as it came, 10 s, 5 min.
pub(super) const TIERS: usize = 3;

/// Width of a tier's rows, nanoseconds; those of tier 0 are as the agent made them.
const WIDTH: [i64; TIERS] = [0, 10_000_000_000, 300_000_000_000];

/// Rows one call of [`run`] rolls up or forgets before it returns, so that the
/// writer is never away from its batches for long.
const STEP: u64 = 20_000;

/// Rows forgotten in one transaction.
const SLICE: u64 = 5_000;

/// Free pages given back to the file system in one call: 2 MiB.
const VACUUM_PAGES: u32 = 512;

/// How long, and how much, is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Rows as they came (about 1 s); then they are merged into rows of 10 s.
    pub fine: Duration,
    /// Rows of 10 s; then they are merged into rows of 5 min.
    pub middle: Duration,
    /// Rows of 5 min.
    pub coarse: Duration,
    /// Single requests.
    pub exemplars: Duration,
    /// Everything that happens rather than accumulates.
    pub events: Duration,
    /// Reports.
    pub reports: Duration,
    /// Bytes in use in the file. Above it the oldest is forgotten: rows of 10 s,
    /// then single requests, rows of 5 min and events. The last 15 minutes as
    /// they came, which a live diagnosis reads, go last.
    pub max_bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        let days = |n: u64| Duration::from_secs(n * 86_400);
        Self {
            fine: Duration::from_mins(15),
            middle: days(1),
            coarse: days(30),
            exemplars: days(1),
            events: days(30),
            reports: days(90),
            max_bytes: 1 << 30,
        }
    }
}

/// Rows that are forgotten together: a table, of sums with its tier.
#[derive(Clone, Copy, Debug)]
struct Part {
    table: &'static str,
    tier: Option<usize>,
}

/// A tier of all tables of sums.
fn tier(tier: usize) -> [Part; 3] {
    let of = |table| Part { table, tier: Some(tier) };
    [of("flows"), of("requests"), of("metrics")]
}

const EXEMPLARS: Part = Part { table: "exemplars", tier: None };
const EVENTS: Part = Part { table: "events", tier: None };

/// One step: rolls up, expires, keeps to the size, gives space back.
pub(super) fn run(db: &mut Connection, keep: &Retention, now: Timestamp) -> Result<Upkeep, Fault> {
    let mut done = Upkeep::default();
    roll_up_all(db, keep, now, &mut done)?;
    expire(db, keep, now, &mut done)?;
    evict(db, keep.max_bytes, &mut done)?;
    if done.expired + done.evicted > 0 {
        forget_unused_keys(db)?;
    }
    vacuum(db)?;
    Ok(done)
}

fn roll_up_all(
    db: &mut Connection,
    keep: &Retention,
    now: Timestamp,
    done: &mut Upkeep,
) -> Result<(), Fault> {
    for (tier, age) in [(0, keep.fine), (1, keep.middle)] {
        let before = nanos(now - age);
        while roll_up::<FlowSums>(db, tier, before, done)?
            | roll_up::<RequestSums>(db, tier, before, done)?
            | roll_up::<MetricSum>(db, tier, before, done)?
        {
            if done.rolled_up >= STEP {
                done.pending = true;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Merges the oldest whole interval of a tier into rows of the next one, if all
/// of it is before `before`. Returns whether there was one.
///
/// Rows carry the end of their interval, so the coarse interval ending at `e`
/// takes those in `(e - width, e]`.
fn roll_up<S: Sums>(
    db: &mut Connection,
    tier: usize,
    before: i64,
    done: &mut Upkeep,
) -> Result<bool, Fault> {
    let width = WIDTH[tier + 1];
    let part = Part { table: S::TABLE, tier: Some(tier) };
    let Some(oldest) = part.oldest(db)? else { return Ok(false) };
    let end = interval_end(oldest, width);
    if end > before {
        return Ok(false);
    }
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let (rows, merged) = merged::<S>(&tx, tier, end - width, end)?;
    let sql = format!("DELETE FROM {} WHERE tier = ?1 AND at > ?2 AND at <= ?3", S::TABLE);
    tx.prepare_cached(&sql)?.execute(params![tier as i64, end - width, end])?;
    let mut meta = Meta::load(&tx)?;
    for (series, (interval, sums)) in &merged {
        meta.seq += 1;
        let interval = if *interval == 0 { 0 } else { width.max(*interval) };
        insert_sums(&tx, tier as i64 + 1, end, meta.seq, *series, interval, sums)?;
    }
    meta.save(&tx)?;
    tx.commit()?;
    done.rolled_up += rows;
    done.into += merged.len() as u64;
    Ok(true)
}

/// The end of the interval of `width` that holds `at`.
fn interval_end(at: i64, width: i64) -> i64 {
    at.saturating_add(width - 1) / width * width
}

/// Rows of one interval by series: how many they were, and for each series the
/// longest interval and the sums.
type Merged<S> = (u64, BTreeMap<i64, (i64, S)>);

fn merged<S: Sums>(db: &Connection, tier: usize, after: i64, end: i64) -> Result<Merged<S>, Fault> {
    let mut keys = Keys::new(db);
    let mut statement = db.prepare_cached(&select::<S>(tier))?;
    let mut rows = statement.query([after + 1, end + 1])?;
    let (mut n, mut out) = (0, BTreeMap::new());
    while let Some(row) = rows.next()? {
        let Place { series, interval, .. } = place(row)?;
        let sums = S::from_row(row, OWN)?;
        n += 1;
        match out.entry(series) {
            Entry::Vacant(free) => drop(free.insert((interval, sums))),
            Entry::Occupied(mut taken) => {
                let (longest, so_far): &mut (i64, S) = taken.get_mut();
                *longest = interval.max(*longest);
                so_far.merge(&sums, keys.get(series)?.as_ref());
            }
        }
    }
    Ok((n, out))
}

fn expire(
    db: &mut Connection,
    keep: &Retention,
    now: Timestamp,
    done: &mut Upkeep,
) -> Result<(), Fault> {
    let [flows, requests, metrics] = tier(TIERS - 1);
    let ages = [
        (flows, keep.coarse),
        (requests, keep.coarse),
        (metrics, keep.coarse),
        (EXEMPLARS, keep.exemplars),
        (EVENTS, keep.events),
        (Part { table: "reports", tier: None }, keep.reports),
    ];
    for (part, age) in ages {
        let before = nanos(now - age);
        let cut = part.nth(db, SLICE)?.map_or(before, |at| at.min(before));
        done.expired += part.forget(db, cut)?;
        done.pending |= part.oldest(db)?.is_some_and(|at| at <= before);
    }
    Ok(())
}

/// Forgets the oldest until what is left fits, see [`Retention::max_bytes`].
fn evict(db: &mut Connection, max_bytes: u64, done: &mut Upkeep) -> Result<(), Fault> {
    let order: [&[Part]; 5] = [&tier(1), &[EXEMPLARS], &tier(2), &[EVENTS], &tier(0)];
    let mut evicted = 0;
    while bytes_used(db)? > max_bytes {
        if evicted >= STEP {
            done.pending = true;
            break;
        }
        let forgotten = evict_slice(db, &order)?;
        if forgotten == 0 {
            break;
        }
        evicted += forgotten;
    }
    done.evicted += evicted;
    Ok(())
}

/// One slice of the first group that holds anything, cut at one time for all its tables.
fn evict_slice(db: &mut Connection, order: &[&[Part]]) -> Result<u64, Fault> {
    for group in order {
        let mut cut = i64::MAX;
        for part in *group {
            cut = part.nth(db, SLICE)?.map_or(cut, |at| at.min(cut));
        }
        let mut forgotten = 0;
        for part in *group {
            forgotten += part.forget(db, cut)?;
        }
        if forgotten > 0 {
            return Ok(forgotten);
        }
    }
    Ok(0)
}

impl Part {
    fn filter(self) -> String {
        self.tier.map_or_else(|| "TRUE".into(), |tier| format!("tier = {tier}"))
    }

    /// Time of the oldest row.
    fn oldest(self, db: &Connection) -> Result<Option<i64>, Fault> {
        self.nth(db, 0)
    }

    /// Time of the `n`th oldest row, counted from 0.
    fn nth(self, db: &Connection, n: u64) -> Result<Option<i64>, Fault> {
        let (table, filter) = (self.table, self.filter());
        let sql = format!("SELECT at FROM {table} WHERE {filter} ORDER BY at LIMIT 1 OFFSET {n}");
        Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get(0)).optional()?)
    }

    /// Forgets the rows up to and including time `cut`.
    fn forget(self, db: &Connection, cut: i64) -> Result<u64, Fault> {
        let sql = format!("DELETE FROM {} WHERE {} AND at <= ?1", self.table, self.filter());
        Ok(db.prepare_cached(&sql)?.execute([cut])? as u64)
    }

    fn count(self, db: &Connection) -> Result<u64, Fault> {
        let sql = format!("SELECT count(*) FROM {} WHERE {}", self.table, self.filter());
        Ok(db.prepare_cached(&sql)?.query_row([], |row| row.get::<_, i64>(0))?.cast_unsigned())
    }
}

/// Forgets series and owners that no row is left of. They were seen at most
/// [`TOUCH`] before their last row, which a roll-up may have moved to the end of
/// its interval.
fn forget_unused_keys(db: &Connection) -> Result<(), Fault> {
    let slack = TOUCH + WIDTH[TIERS - 1] + 1;
    let mut oldest_of_all: Option<i64> = None;
    for (kind, table) in TABLES.iter().copied().chain(["events"]).enumerate() {
        let sql = format!("SELECT min(at) FROM {table}");
        let Some(oldest) = db.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))? else {
            continue;
        };
        oldest_of_all = Some(oldest_of_all.map_or(oldest, |at| at.min(oldest)));
        db.prepare_cached("DELETE FROM series WHERE kind = ?1 AND seen < ?2")?
            .execute(params![kind as i64, oldest.saturating_sub(slack)])?;
    }
    if let Some(oldest) = oldest_of_all {
        db.prepare_cached("DELETE FROM entities WHERE seen < ?1")?
            .execute([oldest.saturating_sub(slack)])?;
    }
    Ok(())
}

/// Bytes of the file that hold something.
pub(super) fn bytes_used(db: &Connection) -> Result<u64, Fault> {
    let number = |pragma: &str| db.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let pages = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    Ok((pages * number("PRAGMA page_size")?).cast_unsigned())
}

fn vacuum(db: &Connection) -> Result<(), Fault> {
    let mut statement = db.prepare(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Every table (and tier), its name for people, how many rows, and the oldest time.
pub(super) fn census(db: &Connection) -> Result<Vec<(String, u64, Option<i64>)>, Fault> {
    let tiers = (0..TIERS).zip(["1s", "10s", "5min"]);
    let sums = tiers.flat_map(|(n, label)| {
        tier(n).into_iter().map(move |part| (format!("{} {label}", part.table), part))
    });
    let rest = [EXEMPLARS, EVENTS, Part { table: "reports", tier: None }];
    sums.chain(rest.into_iter().map(|part| (part.table.to_string(), part)))
        .map(|(name, part)| Ok((name, part.count(db)?, part.oldest(db)?)))
        .collect()
}
