//! `v1.Node`.

use super::Metadata;
use serde::Deserialize;
use std::net::IpAddr;
use taproot_model::Name;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    metadata: Metadata,
    status: Status,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    addresses: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    address: String,
}

impl Node {
    /// Its addresses, each with its name.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (IpAddr, Name)> {
        let addresses = self.status.addresses.iter().filter_map(|a| a.address.parse().ok());
        addresses.map(|ip| (ip, self.metadata.name.clone()))
    }
}
