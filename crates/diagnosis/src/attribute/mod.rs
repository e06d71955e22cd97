//! Dimension attribution: which slices of labels (a route, a pod and a version, any
//! combination) explain that a sum, a count, a share or a mean is not what was
//! expected, as a table of parts that add up to the whole change.
//!
//! A *leaf* is one combination of all labels with what was seen and what was
//! expected. Each leaf says how far it moved, in units of the noise of this very
//! table ([`table`]); a slice of leaves is worth its likelihood ratio of "all moved
//! by one amount" against "none moved", the expectation-based scan statistic
//! (Neill 2009, after Kulldorff 1997), less the price of naming it. All slices of
//! all subsets of dimensions are scanned ([`lattice`]), the best is taken, split
//! where only some of its values moved, widened where its neighbours moved too
//! ([`search`]), its leaves are set aside, and the scan starts over. At the end a
//! slice that does not stand out from what the unexplained leaves do is dropped.
//!
//! Nothing here knows a unit: scaling all values changes nothing but the values.

mod lattice;
mod parts;
mod search;
mod table;

pub use parts::{Attribution, Label, Part, Rest};
pub use table::{AttributeError, Leaf, MAX_DIMENSIONS, Measure, Table};

/// How sure, how coarse. The same for every table.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Log-likelihood that a slice must gain beyond the logarithm of the number of
    /// slices it was chosen from.
    pub price: f64,
    /// A neighbour moved when it moved by this share of the slice's own shift.
    pub alike: f64,
    /// A slice is widened when neighbours with this share of the weight moved,
    pub neighbours: f64,
    /// and the wider slice keeps this share of the evidence of the narrow one,
    pub kept: f64,
    /// and this share of the evidence of the neighbours that moved.
    pub diluted: f64,
    /// Most slices in one answer.
    pub most: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { price: 7.0, alike: 0.1, neighbours: 0.25, kept: 0.6, diluted: 0.5, most: 16 }
    }
}

/// Explains the change of a table. Parts come strongest first; there are none when
/// nothing stands out from the noise.
pub fn attribute(table: &Table, settings: &Settings) -> Attribution {
    let slices = search::slices(table, settings);
    parts::add_up(table, slices)
}

#[cfg(test)]
mod tests;
