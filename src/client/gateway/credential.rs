//! What the onboarding of an end node leaves behind.

use crate::ids::{AccessToken, AppId, ThingId, VendorThingId};
use crate::secret::Secret;

/// All that a gateway needs to speak for an end node without onboarding it again. (`wire` §4)
#[derive(Debug, Clone)]
pub struct NodeCredential {
    /// The application.
    pub app_id: AppId,
    /// The gateway behind which it was onboarded.
    pub gateway: ThingId,
    /// The node, as the service names it.
    pub thing_id: ThingId,
    /// The node, as its maker names it.
    pub vendor_thing_id: VendorThingId,
    /// The node's own token.
    pub access_token: Secret<AccessToken>,
}

impl NodeCredential {
    /// Whether there is room for only one of the two: they are of one thing, or of one maker's id in an application.
    pub fn is_of_same_node(&self, other: &Self) -> bool {
        self.app_id == other.app_id
            && (self.thing_id == other.thing_id || self.vendor_thing_id == other.vendor_thing_id)
    }
}
