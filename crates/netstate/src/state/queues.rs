//! Queues at the devices (qdiscs) and the filters that hang there.

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcMessage, TcStats2};
use netlink_sys::protocols::NETLINK_ROUTE;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::netlink::{absent, dump};

/// Parents of filters on the way in and out (`TC_H_CLSACT | TC_H_MIN_*`).
pub(crate) const INGRESS: u32 = 0xffff_fff2;
pub(crate) const EGRESS: u32 = 0xffff_fff3;
/// The queue that holds them (`TC_H_INGRESS`, `TC_H_CLSACT`).
const CLSACT: u32 = 0xffff_fff1;

/// A queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The device, by number.
    pub link: u32,
    /// What kind of queue (`pfifo`, `fq_codel`, `tbf`...).
    pub kind: String,
    /// Its number as `tc` writes it (`8001:`).
    pub handle: u32,
    /// Whether it only holds filters and queues nothing.
    pub holder: bool,
    /// Packets that it dropped.
    pub drops: u64,
    /// Packets that it held at the time.
    pub length: u64,
}

/// A filter of traffic control.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// The device, by number.
    pub link: u32,
    /// Whether it judges what comes in (otherwise what goes out).
    pub ingress: bool,
    /// What kind (`bpf`, `u32`, `flower`, `matchall`...).
    pub kind: String,
    /// Its preference: the lowest is asked first.
    pub preference: u32,
}

/// All queues of the calling thread's namespace.
pub(crate) fn read_queues() -> Result<Vec<Queue>> {
    Ok(read_messages()?.iter().map(queue).collect())
}

/// The same, with where each hangs.
pub(crate) fn read_messages() -> Result<Vec<TcMessage>> {
    let question = RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default());
    let answers = match dump(NETLINK_ROUTE, "queues", question) {
        Err(error) if absent(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let message = |answer| match answer {
        RouteNetlinkMessage::NewQueueDiscipline(message) => Some(message),
        _ => None,
    };
    Ok(answers.into_iter().filter_map(message).collect())
}

pub(crate) fn queue(message: &TcMessage) -> Queue {
    let mut queue = Queue {
        link: message.header.index.cast_unsigned(),
        handle: u32::from(message.header.handle),
        holder: u32::from(message.header.parent) == CLSACT,
        ..Queue::default()
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => queue.kind.clone_from(kind),
            TcAttribute::Stats2(parts) => {
                for part in parts {
                    if let TcStats2::Queue(stats) = part {
                        queue.drops = u64::from(stats.drops);
                        queue.length = u64::from(stats.qlen);
                    }
                }
            }
            _ => {}
        }
    }
    queue
}

/// The filters on the way in and out of one device.
pub(crate) fn read_filters(link: u32) -> Result<Vec<Filter>> {
    let mut found = Vec::new();
    for (parent, ingress) in [(INGRESS, true), (EGRESS, false)] {
        let mut message = TcMessage::with_index(link.cast_signed());
        message.header.parent = parent.into();
        let question = RouteNetlinkMessage::GetTrafficFilter(message);
        let answers = match dump(NETLINK_ROUTE, "filters", question) {
            Err(error) if absent(&error) => continue,
            other => other?,
        };
        for answer in answers {
            if let RouteNetlinkMessage::NewTrafficFilter(message) = answer {
                found.push(filter(&message, link, ingress));
            }
        }
    }
    // The kernel lists the head of a preference and each of its filters.
    found.dedup();
    Ok(found)
}

pub(crate) fn filter(message: &TcMessage, link: u32, ingress: bool) -> Filter {
    let kind = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    // Upper half: preference; lower half: protocol.
    let preference = message.header.info >> 16;
    Filter { link, ingress, kind: kind.unwrap_or_default(), preference }
}
