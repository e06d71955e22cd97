//! Tunnels whose ends do not fit.

use taproot_model::{Blame, Category};

use crate::incident::Incident;
use crate::state::{Link, NetState, Vxlan};

/// No VXLAN device here has the packet's network id.
pub(crate) fn unknown_vni(incident: &Incident<'_>) -> Option<Blame> {
    let devices = |state: &NetState| -> Vec<(Link, Vxlan)> {
        state.links.iter().filter_map(|link| Some((link.clone(), link.vxlan?))).collect()
    };
    let here = devices(incident.state);
    let (own, own_id) = here.first()?;
    let known = |vni: u32| here.iter().any(|(_, vxlan)| vxlan.vni == vni);
    let sender = incident.others.iter().find_map(|state| {
        let found = devices(state).into_iter().find(|(_, vxlan)| !known(vxlan.vni))?;
        Some((state, found.1))
    });
    let theirs = sender.map_or_else(
        || "another id".to_owned(),
        |(state, vxlan)| format!("the id {} ({})", vxlan.vni, state.name),
    );
    let device = &own.name;
    Some(Incident::blame(
        Category::Tunnel,
        format!("vxlan {device} vni {}", own_id.vni),
        format!(
            "The packet came through the tunnel with {theirs}, but here {device} has the id {}: \
             no device takes it.",
            own_id.vni
        ),
        format!(
            "Make both ends equal; the id is fixed at creation: ip link del {device}; ip link add \
             {device} type vxlan id {} dstport {} ...",
            sender.map_or("ID".to_owned(), |(_, vxlan)| vxlan.vni.to_string()),
            own_id.port
        ),
        sender.is_some(),
    ))
}
