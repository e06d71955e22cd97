//! The adapters: one file a set, or one for sets of one form.

mod located;
mod loghub;
mod nezha;
mod petshop;
mod sockshop;

use crate::adapter::DataSet;

/// All sets, in the order in which they are listed and run.
pub fn all() -> Vec<Box<dyn DataSet>> {
    vec![
        Box::new(sockshop::SockShop),
        Box::new(petshop::PetShop),
        Box::new(nezha::TRAIN_TICKET),
        Box::new(nezha::ONLINE_BOUTIQUE),
        Box::new(loghub::Loghub),
    ]
}
