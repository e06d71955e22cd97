//! What is known of Kafka's APIs: their names, and where topic and error stand.

use crate::exchange::read::Reader;

/// Highest API number and version taken for one.
pub(super) const MOST_API: i16 = 92;
pub(super) const MOST_VERSION: i16 = 20;

const NAMES: [&str; 69] = [
    "Produce",
    "Fetch",
    "ListOffsets",
    "Metadata",
    "LeaderAndIsr",
    "StopReplica",
    "UpdateMetadata",
    "ControlledShutdown",
    "OffsetCommit",
    "OffsetFetch",
    "FindCoordinator",
    "JoinGroup",
    "Heartbeat",
    "LeaveGroup",
    "SyncGroup",
    "DescribeGroups",
    "ListGroups",
    "SaslHandshake",
    "ApiVersions",
    "CreateTopics",
    "DeleteTopics",
    "DeleteRecords",
    "InitProducerId",
    "OffsetForLeaderEpoch",
    "AddPartitionsToTxn",
    "AddOffsetsToTxn",
    "EndTxn",
    "WriteTxnMarkers",
    "TxnOffsetCommit",
    "DescribeAcls",
    "CreateAcls",
    "DeleteAcls",
    "DescribeConfigs",
    "AlterConfigs",
    "AlterReplicaLogDirs",
    "DescribeLogDirs",
    "SaslAuthenticate",
    "CreatePartitions",
    "CreateDelegationToken",
    "RenewDelegationToken",
    "ExpireDelegationToken",
    "DescribeDelegationToken",
    "DeleteGroups",
    "ElectLeaders",
    "IncrementalAlterConfigs",
    "AlterPartitionReassignments",
    "ListPartitionReassignments",
    "OffsetDelete",
    "DescribeClientQuotas",
    "AlterClientQuotas",
    "DescribeUserScramCredentials",
    "AlterUserScramCredentials",
    "Vote",
    "BeginQuorumEpoch",
    "EndQuorumEpoch",
    "DescribeQuorum",
    "AlterPartition",
    "UpdateFeatures",
    "Envelope",
    "FetchSnapshot",
    "DescribeCluster",
    "DescribeProducers",
    "BrokerRegistration",
    "BrokerHeartbeat",
    "UnregisterBroker",
    "DescribeTransactions",
    "ListTransactions",
    "AllocateProducerIds",
    "ConsumerGroupHeartbeat",
];

/// The name of an API.
pub(super) fn name(api: i16) -> &'static str {
    usize::try_from(api).ok().and_then(|api| NAMES.get(api)).copied().unwrap_or("_OTHER")
}

pub(super) const PRODUCE: i16 = 0;
const FETCH: i16 = 1;

/// From which version an API writes lengths as varints ("flexible versions").
fn flexible_from(api: i16) -> Option<i16> {
    match api {
        PRODUCE | 3 => Some(9),
        FETCH => Some(12),
        10 | 18 => Some(3),
        11 => Some(6),
        12..=14 => Some(4),
        22 | 36 => Some(2),
        17 => Some(i16::MAX),
        _ => None,
    }
}

/// Whether that version is flexible; `None` for an API whose bodies are not read.
pub(super) fn is_flexible(api: i16, version: i16) -> Option<bool> {
    flexible_from(api).map(|from| version >= from)
}

/// What is read of a request's body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Body<'a> {
    /// The first topic.
    pub(super) topic: Option<&'a [u8]>,
    /// No response will come (`acks=0`).
    pub(super) silent: bool,
}

/// Reads the body of a request, its header behind it.
pub(super) fn request<'a>(api: i16, version: i16, mut body: Reader<'a>) -> Body<'a> {
    let flexible = is_flexible(api, version) == Some(true);
    let mut found = Body::default();
    let read = |body: &mut Reader<'a>, found: &mut Body<'a>| {
        match api {
            PRODUCE => {
                if version >= 3 {
                    string(body, flexible)?;
                }
                found.silent = body.i16()? == 0;
                body.take(4)?;
            }
            FETCH => {
                if version < 15 {
                    body.take(4)?;
                }
                body.take(8)?;
                let more = [(3, 4), (4, 1), (7, 8)];
                body.take(more.iter().filter(|(from, _)| version >= *from).map(|(_, n)| n).sum())?;
                // From version 13 on a topic is a number.
                if version >= 13 {
                    return None;
                }
            }
            _ => return None,
        }
        if array(body, flexible)? > 0 {
            found.topic = string(body, flexible);
        }
        Some(())
    };
    // What is missing at the end stays unknown.
    let _ = read(&mut body, &mut found);
    found
}

/// The first error of a response's body; `None` where it is not known to have one.
pub(super) fn error(api: i16, version: i16, mut body: Reader<'_>) -> Option<i16> {
    let flexible = is_flexible(api, version)?;
    // The header of flexible responses ends with tags, but for ApiVersions.
    if flexible && api != 18 {
        tags(&mut body)?;
    }
    let throttle = match api {
        FETCH | 12 | 10 | 13 | 14 => version >= 1,
        11 => version >= 2,
        22 => true,
        _ => false,
    };
    if throttle {
        body.take(4)?;
    }
    match api {
        PRODUCE => {
            array(&mut body, flexible).filter(|topics| *topics > 0)?;
            string(&mut body, flexible)?;
            array(&mut body, flexible).filter(|partitions| *partitions > 0)?;
            body.take(4)?;
            body.i16()
        }
        FETCH if version < 7 => None,
        10 if version >= 4 => None,
        FETCH | 10..=14 | 17 | 18 | 22 | 36 => body.i16(),
        _ => None,
    }
}

/// An unsigned varint.
fn varint(body: &mut Reader<'_>) -> Option<u32> {
    let mut number = 0_u32;
    for shift in (0..28).step_by(7) {
        let byte = body.u8()?;
        number |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// A string; null is empty.
fn string<'a>(body: &mut Reader<'a>, flexible: bool) -> Option<&'a [u8]> {
    let length =
        if flexible { varint(body)?.checked_sub(1) } else { u32::try_from(body.i16()?).ok() };
    body.take(length.unwrap_or(0) as usize)
}

fn array(body: &mut Reader<'_>, flexible: bool) -> Option<u32> {
    if flexible { varint(body)?.checked_sub(1) } else { u32::try_from(body.i32()?).ok() }
}

/// Tagged fields, stepped over.
pub(super) fn tags(body: &mut Reader<'_>) -> Option<()> {
    for _ in 0..varint(body)? {
        varint(body)?;
        let length = varint(body)?;
        body.take(length as usize)?;
    }
    Some(())
}
