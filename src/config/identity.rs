//! Who the device is.

use crate::ids::{ThingId, VendorThingId};
use crate::secret::Secret;
use crate::thing_if::{OnboardingRequest, ThingIdentity, ThingOnboarding, ThingProfile};

/// Who the device is when it onboards. (`wire` §4)
#[derive(Debug, Clone)]
pub enum Identity {
    /// By the id that its maker gave it; the first onboarding creates the thing.
    VendorThing {
        /// `vendorThingID`, unique per application.
        vendor_thing_id: VendorThingId,
        /// `thingPassword`: the one given at the first onboarding is required from then on.
        password: Secret<String>,
        /// The optional fields.
        profile: ThingProfile,
    },
    /// By the id that the service gave it; the thing exists already.
    Thing {
        /// `thingID`.
        thing_id: ThingId,
        /// `thingPassword`.
        password: Secret<String>,
        /// The optional fields.
        profile: ThingProfile,
    },
}

impl Identity {
    /// A thing known by its maker's id, with nothing optional.
    pub fn vendor_thing(vendor_thing_id: VendorThingId, password: Secret<String>) -> Self {
        Self::VendorThing { vendor_thing_id, password, profile: ThingProfile::default() }
    }

    /// A thing known by the service's id, with nothing optional.
    pub fn thing(thing_id: ThingId, password: Secret<String>) -> Self {
        Self::Thing { thing_id, password, profile: ThingProfile::default() }
    }

    /// The thing's password.
    pub fn password(&self) -> &Secret<String> {
        match self {
            Self::VendorThing { password, .. } | Self::Thing { password, .. } => password,
        }
    }

    /// The request that onboards it, by itself.
    pub fn onboarding_request(&self) -> OnboardingRequest {
        let (thing, password, profile) = match self.clone() {
            Self::VendorThing { vendor_thing_id, password, profile } => {
                (ThingIdentity::VendorThing(vendor_thing_id), password, profile)
            }
            Self::Thing { thing_id, password, profile } => (ThingIdentity::Thing(thing_id), password, profile),
        };
        OnboardingRequest::ByThing(ThingOnboarding { thing, password, profile })
    }
}
