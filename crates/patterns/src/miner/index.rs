//! Finds the template of a line, and the templates that should be one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::template::{Keys, Place, Slot};

/// Keys are mixed hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

pub(super) type Map<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// Most templates with several learned values that are tried for one line.
const MOST_TRIED: usize = 64;

/// Where templates are found by their keys.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By exact key.
    exact: Map<u64>,
    /// By key with all weak places open.
    loose: Map<Vec<u64>>,
    /// By key with one place open.
    siblings: Map<Vec<u64>>,
    /// By length: those with values, for lines that differ in several places.
    open: HashMap<usize, Vec<u64>>,
}

impl Index {
    /// The template that a line fits.
    pub(super) fn find<'a>(
        &self,
        slots: &[Slot],
        keys: &Keys,
        template: impl Fn(u64) -> &'a Vec<Slot>,
    ) -> Option<u64> {
        if let Some(id) = self.exact.get(&keys.exact()) {
            return Some(*id);
        }
        let fixed = (0..slots.len()).filter(|index| can_vary(&slots[*index]));
        for index in fixed {
            if let Some(id) = self.exact.get(&keys.without(index)) {
                return Some(*id);
            }
        }
        let open = self.open.get(&slots.len())?;
        open.iter().rev().take(MOST_TRIED).copied().find(|id| fits(template(*id), slots))
    }

    pub(super) fn insert(&mut self, id: u64, slots: &[Slot], keys: &Keys) {
        // Where another has the key already, `group` will make them one.
        self.exact.entry(keys.exact()).or_insert(id);
        self.loose.entry(keys.loose()).or_default().push(id);
        for (index, slot) in slots.iter().enumerate() {
            if can_vary(slot) {
                self.siblings.entry(keys.without(index)).or_default().push(id);
            }
        }
        if slots.iter().filter(|slot| slot.place == Place::Any).count() > 1 {
            self.open.entry(slots.len()).or_default().push(id);
        }
    }

    pub(super) fn remove(&mut self, id: u64, slots: &[Slot], keys: &Keys) {
        if self.exact.get(&keys.exact()) == Some(&id) {
            self.exact.remove(&keys.exact());
        }
        forget(&mut self.loose, keys.loose(), id);
        for (index, slot) in slots.iter().enumerate() {
            if can_vary(slot) {
                forget(&mut self.siblings, keys.without(index), id);
            }
        }
        if let Some(open) = self.open.get_mut(&slots.len()) {
            open.retain(|other| *other != id);
        }
    }

    /// Templates that should be one with `id`, itself included.
    pub(super) fn group(
        &self,
        id: u64,
        slots: &[Slot],
        keys: &Keys,
        values: usize,
    ) -> Option<Vec<u64>> {
        // The same text after a merge.
        if let Some(&other) = self.exact.get(&keys.exact())
            && other != id
        {
            return Some(vec![id, other]);
        }
        if let Some(group) = self.loose.get(&keys.loose())
            && group.len() > 1
            && has_anchor(slots)
        {
            return Some(group.clone());
        }
        let needed = needed(slots, values);
        for (index, slot) in slots.iter().enumerate() {
            if !can_vary(slot) {
                continue;
            }
            if let Some(&other) = self.exact.get(&keys.without(index)) {
                return Some(vec![id, other]);
            }
            if let Some(group) = self.siblings.get(&keys.without(index))
                && group.len() >= needed
            {
                return Some(group.clone());
            }
        }
        None
    }
}

/// How many different words make a place a value: many where little else tells
/// the lines apart ("VM started"), few where much is equal. Never where nothing is.
fn needed(slots: &[Slot], values: usize) -> usize {
    // The place itself is one of them.
    let words = slots.iter().filter(|slot| can_vary(slot)).count().saturating_sub(1);
    match words {
        0 => usize::MAX,
        1..=4 => values << (5 - words),
        _ => values,
    }
}

fn forget(map: &mut Map<Vec<u64>>, key: u64, id: u64) {
    if let Some(group) = map.get_mut(&key) {
        group.retain(|other| *other != id);
        if group.is_empty() {
            map.remove(&key);
        }
    }
}

/// Whether a place may become a value: words may, punctuation may not.
fn can_vary(slot: &Slot) -> bool {
    match &slot.place {
        Place::Fixed { text, .. } => {
            text.bytes().any(|byte| byte.is_ascii_alphanumeric() || byte > 127)
        }
        Place::Any => false,
    }
}

/// Whether a template has a word besides its weak places to be known by.
fn has_anchor(slots: &[Slot]) -> bool {
    let anchor =
        |slot: &Slot| matches!(&slot.place, Place::Fixed { weak: false, .. }) && can_vary(slot);
    slots.iter().any(anchor)
}

fn fits(template: &[Slot], line: &[Slot]) -> bool {
    template.len() == line.len()
        && template.iter().zip(line).all(|(mine, theirs)| {
            mine.spaced == theirs.spaced
                && (mine.place == theirs.place || (mine.place == Place::Any && can_vary(theirs)))
        })
}
