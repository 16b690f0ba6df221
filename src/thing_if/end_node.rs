//! End nodes: things behind a gateway. (`wire` §5)

use serde::{Deserialize, Serialize};

use super::{InvalidBody, json};
use crate::ids::{ThingId, VendorThingId};

/// The answer to `GET /things/{GW}/end-nodes`. (`wire` §5)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndNodes {
    /// One page.
    pub results: Vec<ListedEndNode>,
    /// Given back as `paginationKey` for the next page; absent on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_pagination_key: Option<String>,
}

/// An end node as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListedEndNode {
    /// `thingID`
    #[serde(rename = "thingID")]
    pub thing_id: ThingId,
    /// `vendorThingID`
    #[serde(rename = "vendorThingID")]
    pub vendor_thing_id: VendorThingId,
}

impl EndNodes {
    /// Reads the body of a 200.
    ///
    /// # Errors
    /// [`InvalidBody`] when it is not JSON or an entry lacks an id.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidBody> {
        json::from_slice(body)
    }
}

/// The body of `PUT /things/{GW}/end-nodes/{EN}/connection`. (`wire` §3, §5)
///
/// ```
/// use thingif::thing_if::EndNodeConnection;
/// assert_eq!(serde_json::to_string(&EndNodeConnection { online: true })?, r#"{"online":true}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNodeConnection {
    /// Whether the gateway can reach the node.
    pub online: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_and_the_last_page() {
        let page = br#"{"results":[{"thingID":"th.1","vendorThingID":"v1","more":1}],"nextPaginationKey":"k"}"#;
        let page = EndNodes::from_json(page).expect("a page");
        assert_eq!((page.results[0].thing_id.as_str(), page.results[0].vendor_thing_id.as_str()), ("th.1", "v1"));
        assert_eq!(page.next_pagination_key.as_deref(), Some("k"));
        let last = EndNodes::from_json(br#"{"results":[]}"#).expect("the last page");
        assert_eq!(last, EndNodes { results: Vec::new(), next_pagination_key: None });
        assert!(EndNodes::from_json(br#"{"results":[{"thingID":"th.1"}]}"#).is_err());
    }
}
