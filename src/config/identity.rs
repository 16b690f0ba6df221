//! Who the device is.

use crate::ids::{ThingId, VendorThingId};
use crate::secret::Secret;

/// Who the device is when it onboards. (`wire` §4)
#[derive(Debug, Clone)]
pub enum Identity {
    /// By the id that its maker gave it; the first onboarding creates the thing.
    VendorThing {
        /// `vendorThingID`, unique per application.
        vendor_thing_id: VendorThingId,
        /// `thingPassword`: the one given at the first onboarding is required from then on.
        password: Secret<String>,
        /// `thingType`, at most 100 characters; ignored by the service when the thing exists already.
        thing_type: Option<String>,
        /// `firmwareVersion`, at most 100 characters.
        firmware_version: Option<String>,
        /// `thingProperties`: custom fields, at most 63 KB; names do not begin with `_`. Empty: not sent.
        thing_properties: serde_json::Map<String, serde_json::Value>,
    },
    /// By the id that the service gave it; the thing exists already.
    Thing {
        /// `thingID`.
        thing_id: ThingId,
        /// `thingPassword`.
        password: Secret<String>,
    },
}

impl Identity {
    /// A thing known by its maker's id, with nothing optional.
    pub fn vendor_thing(vendor_thing_id: VendorThingId, password: Secret<String>) -> Self {
        Self::VendorThing {
            vendor_thing_id,
            password,
            thing_type: None,
            firmware_version: None,
            thing_properties: serde_json::Map::new(),
        }
    }

    /// A thing known by the service's id.
    pub fn thing(thing_id: ThingId, password: Secret<String>) -> Self {
        Self::Thing { thing_id, password }
    }
}
