//! `v1.Event`, of `core` and of `events.k8s.io`.

use super::{Metadata, parse_time};
use serde::{Deserialize, Deserializer};
use taproot_model::{Name, Timestamp};

/// What the cluster says happened to an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFact {
    /// Its own uid: one that happens again keeps it, with a later time.
    pub uid: Name,
    /// When it happened last.
    pub at: Timestamp,
    /// To what.
    pub object: EventObject,
    /// `Normal` or `Warning`.
    pub severity: Name,
    /// Machine-readable reason (`BackOff`).
    pub reason: Name,
    /// Text.
    pub message: Name,
}

/// The object of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventObject {
    /// Its kind (`Pod`, `ReplicaSet`, `Node`).
    pub kind: Name,
    /// Its namespace; empty for a node.
    pub namespace: Name,
    /// Its name.
    pub name: Name,
    /// Its uid.
    pub uid: Name,
    /// The container of a pod that it is about; empty for the pod as a whole.
    pub container: Name,
}

/// As the API server writes it: the fields of both groups.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    metadata: Metadata,
    /// `regarding` in `events.k8s.io`.
    #[serde(alias = "regarding")]
    involved_object: Reference,
    #[serde(deserialize_with = "or_empty")]
    reason: Name,
    /// `note` in `events.k8s.io`.
    #[serde(alias = "note", deserialize_with = "or_empty")]
    message: Name,
    #[serde(rename = "type", deserialize_with = "or_empty")]
    severity: Name,
    #[serde(alias = "deprecatedFirstTimestamp")]
    first_timestamp: Option<String>,
    #[serde(alias = "deprecatedLastTimestamp")]
    last_timestamp: Option<String>,
    #[serde(rename = "eventTime")]
    time: Option<String>,
    series: Option<Series>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reference {
    kind: Name,
    namespace: Name,
    name: Name,
    uid: Name,
    field_path: Name,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Series {
    last_observed_time: Option<String>,
}

/// The Go encoder writes what is not set as null.
fn or_empty<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
    Ok(Option::<Name>::deserialize(from)?.unwrap_or_default())
}

impl Event {
    /// What it says; `None` without a time or an object.
    pub(super) fn fact(&self) -> Option<EventFact> {
        let series = self.series.as_ref().and_then(|s| s.last_observed_time.as_deref());
        let times = [
            series,
            self.last_timestamp.as_deref(),
            self.time.as_deref(),
            self.first_timestamp.as_deref(),
            self.metadata.creation_timestamp.as_deref(),
        ];
        let at = times.into_iter().flatten().find_map(parse_time)?;
        let of = &self.involved_object;
        // `spec.containers{nginx}`
        let container = of.field_path.split_once('{').and_then(|(_, rest)| rest.strip_suffix('}'));
        let object = EventObject {
            kind: of.kind.clone(),
            namespace: of.namespace.clone(),
            name: of.name.clone(),
            uid: of.uid.clone(),
            container: container.map(Name::from).unwrap_or_default(),
        };
        (!object.name.is_empty()).then(|| EventFact {
            uid: self.metadata.uid.clone(),
            at,
            object,
            severity: self.severity.clone(),
            reason: self.reason.clone(),
            message: self.message.clone(),
        })
    }
}

/// One line of a watch.
#[derive(Debug)]
pub(crate) enum Watched {
    /// An event that is new, or happened again.
    Event(Option<EventFact>),
    /// Nothing of interest.
    Nothing,
    /// The watch cannot go on from where it was.
    Expired,
}

/// Reads one line of a watch of events; the version from which to go on, with what it says.
pub(crate) fn watched(line: &[u8]) -> Result<(Name, Watched), serde_json::Error> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        #[serde(default)]
        object: serde_json::Value,
    }
    let line: Line = serde_json::from_slice(line)?;
    if line.kind == "ERROR" {
        return Ok((Name::default(), Watched::Expired));
    }
    let version = line.object.pointer("/metadata/resourceVersion").and_then(|v| v.as_str());
    let version = version.map(Name::from).unwrap_or_default();
    let said = match line.kind.as_str() {
        "ADDED" | "MODIFIED" => {
            Watched::Event(serde_json::from_value::<Event>(line.object)?.fact())
        }
        _ => Watched::Nothing,
    };
    Ok((version, said))
}

/// The version of a list, from which a watch begins.
pub(crate) fn list_version(json: &[u8]) -> Result<Name, serde_json::Error> {
    #[derive(Deserialize)]
    struct List {
        metadata: ListMeta,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ListMeta {
        resource_version: Name,
    }
    Ok(serde_json::from_slice::<List>(json)?.metadata.resource_version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Objects;

    const CORE: &str = r#"{"kind":"EventList","metadata":{"resourceVersion":"9"},"items":[
        {"metadata":{"uid":"e1","creationTimestamp":"2026-11-20T21:29:50Z"},
         "involvedObject":{"kind":"Pod","namespace":"shop","name":"web-1","uid":"u1",
                           "fieldPath":"spec.containers{nginx}"},
         "reason":"BackOff","message":"Back-off restarting","type":"Warning","eventTime":null,
         "firstTimestamp":"2026-11-20T21:29:50Z","lastTimestamp":"2026-11-20T21:31:00Z","count":4},
        {"metadata":{"uid":"e2"},"involvedObject":{"kind":"Pod","namespace":"shop","name":"web-2"},
         "reason":"Scheduled","message":"assigned","type":"Normal","source":{},
         "firstTimestamp":null,"lastTimestamp":null,"eventTime":"2026-11-20T21:29:48.608447Z"},
        {"metadata":{"uid":"e3"},"involvedObject":{},"reason":null,"message":null}]}"#;

    #[test]
    fn an_event_of_core_says_when_it_happened_last_and_to_which_container() {
        let objects = Objects::parse(CORE.as_bytes()).unwrap();
        let facts = objects.events();
        assert_eq!(facts.len(), 2, "one has no object: {facts:?}");
        let [scheduled, backing_off] = &facts[..] else { panic!("oldest first") };
        assert_eq!(backing_off.object.container.as_str(), "nginx");
        assert_eq!(Some(backing_off.at), parse_time("2026-11-20T21:31:00Z"));
        assert_eq!(backing_off.reason.as_str(), "BackOff");
        assert_eq!(Some(scheduled.at), parse_time("2026-11-20T21:29:48.608447Z"));
        assert_eq!(list_version(CORE.as_bytes()).unwrap().as_str(), "9");
    }

    #[test]
    fn a_watch_tells_events_bookmarks_and_its_end() {
        let line = br#"{"type":"ADDED","object":{"apiVersion":"events.k8s.io/v1","kind":"Event",
            "metadata":{"resourceVersion":"41","uid":"e"},"reason":"FailedMount","note":"no volume",
            "type":"Warning","regarding":{"kind":"Node","name":"n1"},
            "deprecatedLastTimestamp":"2026-11-20T21:29:50Z",
            "series":{"count":3,"lastObservedTime":"2026-11-20T21:30:00.5Z"}}}"#;
        let (version, Watched::Event(Some(fact))) = watched(line).unwrap() else {
            panic!("no event")
        };
        assert_eq!((version.as_str(), fact.message.as_str()), ("41", "no volume"));
        assert_eq!(Some(fact.at), parse_time("2026-11-20T21:30:00.5Z"));
        let bookmark = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"50"}}}"#;
        let (version, said) = watched(bookmark).unwrap();
        assert!(version.as_str() == "50" && matches!(said, Watched::Nothing));
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#;
        assert!(matches!(watched(gone).unwrap().1, Watched::Expired));
        assert!(watched(b"{").is_err());
    }
}
