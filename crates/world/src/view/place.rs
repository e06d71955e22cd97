use serde::Serialize;
use taproot_model::trace::{self, Place};

/// A request's place among others. Identities are small hexadecimal digits, as in W3C's
/// `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceRow {
    /// Its trace; `null` where nothing tells this request from others.
    pub trace_id: Option<String>,
    /// Its record at this end; `null` likewise.
    pub span_id: Option<String>,
    /// The span that caused it, or `unknown`: no cause is proved.
    pub parent: String,
}

impl PlaceRow {
    pub(super) fn of(place: Option<Place>) -> Self {
        let parent = place.and_then(|place| place.parent);
        Self {
            trace_id: place.map(|place| trace::hex(&place.trace)),
            span_id: place.map(|place| trace::hex(&place.span)),
            parent: parent.map_or_else(|| "unknown".into(), |span| trace::hex(&span)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proved_is_unknown() {
        let nobody = PlaceRow::of(None);
        assert_eq!((nobody.trace_id, nobody.span_id), (None, None));
        assert_eq!(nobody.parent, "unknown");
        let root = Place { trace: [0xab; 16], span: [1; 8], parent: None };
        let told = PlaceRow::of(Some(root));
        assert_eq!(told.trace_id, Some("ab".repeat(16)));
        assert_eq!((told.span_id, told.parent), (Some("01".repeat(8)), "unknown".into()));
        let child = PlaceRow::of(Some(Place { parent: Some([2; 8]), ..root }));
        assert_eq!(child.parent, "02".repeat(8));
    }
}
