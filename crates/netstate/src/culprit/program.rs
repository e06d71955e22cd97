//! BPF programs and traffic-control filters that refuse packets.

use taproot_model::{Blame, Category};

use crate::incident::Incident;
use crate::state::Attached;

/// A traffic-control filter at the packet's device.
pub(crate) fn filter(incident: &Incident<'_>, ingress: bool) -> Option<Blame> {
    let state = incident.state;
    let out = incident.next().map_or(0, |(out, _)| out);
    let devices = [incident.device, if ingress { incident.came_in } else { out }];
    let filters = || state.filters.iter().filter(|filter| filter.ingress == ingress);
    let here = filters().find(|filter| devices.contains(&filter.link));
    let filter = here.or_else(|| filters().next().filter(|_| filters().count() == 1))?;
    let device = state.link_name(filter.link);
    let way = if ingress { "ingress" } else { "egress" };
    let side = if ingress { "in" } else { "out" };
    let alone = filters().filter(|other| other.link == filter.link).count() == 1;
    Some(Incident::blame(
        Category::Program,
        format!("tc filter {} pref {} dev {device} {way}", filter.kind, filter.preference),
        format!(
            "A traffic-control filter ({}) drops packets on their way {side} at {device}.",
            filter.kind
        ),
        format!(
            "Look at it: tc filter show dev {device} {way}; remove it: tc filter del dev {device} \
             {way} pref {}",
            filter.preference
        ),
        alone,
    ))
}

/// An XDP program at the packet's device.
pub(crate) fn xdp(incident: &Incident<'_>) -> Option<Blame> {
    let state = incident.state;
    let has = |link: &&crate::state::Link| link.xdp.is_some();
    let mut named = [incident.device, incident.came_in].into_iter().filter_map(|i| state.link(i));
    let link = named.find(has).or_else(|| {
        let mut all = state.links.iter().filter(has);
        all.next().filter(|_| all.next().is_none())
    })?;
    let (name, id) = (&link.name, link.xdp?);
    Some(Incident::blame(
        Category::Program,
        format!("XDP program {id} dev {name}"),
        format!("An XDP program on {name} drops packets before the network stack sees them."),
        format!(
            "Ask its owner (bpftool prog show id {id}); remove it: ip link set dev {name} xdp off"
        ),
        true,
    ))
}

/// A program attached to the control group of the process at this end, or to one
/// above it.
pub(crate) fn control_group(incident: &Incident<'_>, egress: bool) -> Option<Blame> {
    let concerned: Vec<&Attached> = incident
        .state
        .programs
        .iter()
        .filter(|program| program.egress == egress)
        .filter(|program| incident.control_group.is_none_or(|own| covers(&program.group, own)))
        .collect();
    // The closest group says most about the process.
    let program = concerned.iter().max_by_key(|program| program.group.len())?;
    let direction = if egress { "send" } else { "receive" };
    Some(Incident::blame(
        Category::Program,
        format!("cgroup program {} ({}) at {}", program.name, program.id, program.group),
        format!(
            "A BPF program on the control group {} refuses packets that its processes {direction}.",
            program.group
        ),
        format!(
            "Ask its owner (often a network policy agent or systemd IPAddressDeny); see bpftool \
             prog show id {} and bpftool cgroup tree",
            program.id
        ),
        concerned.len() == 1,
    ))
}

/// Whether a control group is another or above it.
fn covers(group: &str, own: &str) -> bool {
    let rest = own.strip_prefix(group.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_program_concerns_its_group_and_those_below() {
        assert!(covers("/", "/a/b") && covers("/a", "/a/b") && covers("/a/b", "/a/b"));
        assert!(!covers("/a/b", "/a") && !covers("/a", "/ab"));
    }
}
