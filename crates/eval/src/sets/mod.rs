//! The adapters: one file a set, or one for sets of one form.

mod lab;
mod located;
mod loghub;
mod nab;
mod nab_score;
mod nezha;
mod petshop;
mod rootcausebench;
mod slices;
mod slices_rs;
mod sockshop;
mod tcpd;
mod tvdiag;

use crate::adapter::DataSet;

/// All sets, in the order in which they are listed and run.
pub fn all() -> Vec<Box<dyn DataSet>> {
    vec![
        Box::new(sockshop::SockShop),
        Box::new(petshop::PetShop),
        Box::new(nezha::TRAIN_TICKET),
        Box::new(nezha::ONLINE_BOUTIQUE),
        Box::new(tvdiag::SOCK_SHOP),
        Box::new(tvdiag::GAIA),
        Box::new(rootcausebench::RootCauseBench),
        Box::new(loghub::Loghub),
        Box::new(slices::Rs),
        Box::new(slices::RiskLoc { name: "riskloc_S" }),
        Box::new(slices::RiskLoc { name: "riskloc_L" }),
        Box::new(nab::Nab),
        Box::new(tcpd::Tcpd),
        Box::new(lab::LabRuns),
    ]
}
