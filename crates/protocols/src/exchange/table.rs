//! Pairs answers that carry the number of their request.

use std::collections::HashMap;
use std::hash::Hash;

use super::call::{Call, Outcome};
use crate::protocol::Side;

/// Most requests that may wait for their answers on one connection.
const MOST: usize = 8192;

/// The calls of one connection that wait for their answers, by number. `X` is
/// what else the protocol must remember of one.
#[derive(Debug)]
pub(crate) struct Table<K, X = ()> {
    waiting: HashMap<K, (Call, X)>,
    server_closed: bool,
}

impl<K, X> Default for Table<K, X> {
    fn default() -> Self {
        Self { waiting: HashMap::new(), server_closed: false }
    }
}

impl<K: Hash + Eq + Ord + Copy, X> Table<K, X> {
    /// A request comes. One that waited under the same number was answered
    /// unseen: numbers are used again only after the answer.
    pub(crate) fn ask(&mut self, key: K, call: Call, more: X, records: &mut Vec<Call>) {
        if self.server_closed {
            records.push(call);
            return;
        }
        if self.waiting.len() >= MOST {
            self.flush(&Outcome::Unseen, records);
        }
        if let Some((mut old, _)) = self.waiting.insert(key, (call, more)) {
            old.outcome = Outcome::Unseen;
            records.push(old);
        }
    }

    /// Whether a call waits under that number.
    pub(crate) fn contains(&self, key: K) -> bool {
        self.waiting.contains_key(&key)
    }

    /// The call under that number, if it began before `time`.
    pub(crate) fn get(&mut self, key: K, time: u64) -> Option<&mut (Call, X)> {
        self.waiting.get_mut(&key).filter(|(call, _)| call.times.start <= time)
    }

    /// Takes out the call under that number, if it began before `time`.
    pub(crate) fn take(&mut self, key: K, time: u64) -> Option<(Call, X)> {
        self.get(key, time)?;
        self.waiting.remove(&key)
    }

    /// Takes out the calls under some numbers, in the order of these.
    pub(crate) fn take_all(&mut self, hit: impl Fn(&K) -> bool) -> Vec<Call> {
        let mut found: Vec<_> = self.waiting.extract_if(|key, _| hit(key)).collect();
        found.sort_unstable_by_key(|(key, _)| *key);
        found.into_iter().map(|(_, (call, _))| call).collect()
    }

    /// Ends calls that began before `time` as unanswered.
    pub(crate) fn expire(&mut self, time: u64, records: &mut Vec<Call>) {
        let old = self.waiting.extract_if(|_, (call, _)| call.times.start < time);
        let mut old: Vec<_> = old.collect();
        old.sort_unstable_by_key(|(key, _)| *key);
        records.extend(old.into_iter().map(|(_, (call, _))| call));
    }

    /// Bytes were lost, and numbers are never used again: what waits may still be
    /// answered, but if it is not, its answer may have been among them.
    pub(crate) fn doubt(&mut self) {
        for (call, _) in self.waiting.values_mut() {
            call.outcome = Outcome::Unseen;
        }
    }

    /// Bytes were lost: any answer may have been among them, and numbers may have
    /// been used again meanwhile.
    pub(crate) fn lost(&mut self, records: &mut Vec<Call>) {
        self.flush(&Outcome::Unseen, records);
    }

    /// `side` closed. Calls end when the answering side does.
    pub(crate) fn closed(&mut self, side: Side, records: &mut Vec<Call>) {
        self.server_closed |= side == Side::Server;
        if self.server_closed {
            self.flush(&Outcome::Unanswered, records);
        }
    }

    /// In the order of the numbers, so that the result does not depend on hashes.
    fn flush(&mut self, outcome: &Outcome, records: &mut Vec<Call>) {
        let mut all: Vec<_> = self.waiting.drain().collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        for (_, (mut call, _)) in all {
            if call.outcome == Outcome::Unanswered {
                call.outcome = outcome.clone();
            }
            records.push(call);
        }
    }
}
