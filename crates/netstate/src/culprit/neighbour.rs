//! Hosts on the link: who does not answer, and whose hardware address is wrong.

use taproot_model::{Blame, Category};

use super::firewall::translation;
use crate::incident::Incident;
use crate::state::{Link, Neighbour, NetState, Reach};

/// The next host on the link did not answer.
pub(crate) fn silent(incident: &Incident<'_>) -> Option<Blame> {
    let (out, next) = incident.next()?;
    let device = incident.state.link_name(out);
    // A device without a carrier carries no question for the neighbour either.
    let earlier = super::device::not_ready(incident).or_else(|| dead_backend(incident));
    if earlier.is_some() {
        return earlier;
    }
    let entry = incident.state.neighbour(next).filter(|entry| entry.link == out);
    let known = entry.is_some_and(|entry| entry.reach == Reach::Failed);
    let role = if next == incident.to() { "" } else { ", the next router," };
    Some(Incident::blame(
        Category::Neighbour,
        format!("neighbour {next} dev {device} FAILED"),
        format!(
            "Nobody on the network of {device} answers to {next}{role}: the host is off, in \
             another network, or the address is wrong."
        ),
        format!(
            "Check that the host is up and has {next}; see ip neigh show dev {device} and \
             arping -I {device} {next}"
        ),
        known,
    ))
}

/// The silent host is where a service address leads.
fn dead_backend(incident: &Incident<'_>) -> Option<Blame> {
    let backend = incident.tuple.destination;
    let (state, chain, rule) = translation(incident, backend)?;
    let asked = incident.original.filter(|original| original.destination != backend).map_or_else(
        || "A service address".to_owned(),
        |o| format!("The service address {}", o.destination),
    );
    Some(Incident::blame(
        Category::Conntrack,
        format!("{}{}", chain.title_of(rule), incident.whereabouts(state)),
        format!(
            "{asked} leads to {backend}, and no host answers there: the pod behind it is gone."
        ),
        format!(
            "Take the dead endpoint out of the service (kubectl get endpointslices), or remove \
             the rule: {}",
            chain.removal_of(rule)
        ),
        true,
    ))
}

/// A frame came to a host that it was not meant for: somebody on the way has a
/// wrong hardware address for the next host.
pub(crate) fn wrong(incident: &Incident<'_>) -> Option<Blame> {
    let states: Vec<&NetState> = incident.everywhere().collect();
    states.iter().find_map(|holder| {
        let concerns = |entry: &&Neighbour| {
            entry.address == incident.to()
                || holder.routes.iter().any(|route| {
                    route.gateway == Some(entry.address) && route.to.contains(incident.to())
                })
        };
        holder.neighbours.iter().filter(concerns).find_map(|entry| {
            let owner = states.iter().find_map(|state| owner(state, entry))?;
            (!entry.hardware.is_empty() && owner.address != entry.hardware)
                .then(|| mistaken(incident, holder, entry, owner))
        })
    })
}

fn owner<'a>(state: &'a NetState, entry: &Neighbour) -> Option<&'a Link> {
    let address = state.addresses.iter().find(|own| own.prefix.address == entry.address)?;
    state.link(address.link).filter(|link| !link.address.is_empty())
}

fn mistaken(incident: &Incident<'_>, holder: &NetState, entry: &Neighbour, owner: &Link) -> Blame {
    let device = holder.link_name(entry.link);
    let place = incident.whereabouts(holder);
    let by_hand = if entry.reach == Reach::Permanent { " (entered by hand)" } else { "" };
    Incident::blame(
        Category::Neighbour,
        format!("neighbour {} dev {device} lladdr {}{place}", entry.address, entry.hardware_text()),
        format!(
            "Packets for {} are sent to the hardware address {}{by_hand}, but that host has {}; \
             so nobody takes them.",
            entry.address,
            entry.hardware_text(),
            owner.address_text()
        ),
        format!("Remove the wrong entry{place}: ip neigh del {} dev {device}", entry.address),
        true,
    )
}
