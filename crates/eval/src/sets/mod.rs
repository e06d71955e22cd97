//! The adapters: one file a set, or one for sets of one form.

mod loghub;

use crate::adapter::DataSet;

/// All sets, in the order in which they are listed and run.
pub fn all() -> Vec<Box<dyn DataSet>> {
    vec![Box::new(loghub::Loghub)]
}
