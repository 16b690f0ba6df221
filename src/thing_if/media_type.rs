//! Media types of bodies. Clients spell them in more than one case, so they are compared with [`is`]. (`wire` §2.1)

/// `application/json`: states, commands, action results, triggers, and every answer over MQTT. (`wire` §5)
pub const JSON: &str = "application/json";

/// The six onboarding requests. (`wire` §4)
pub const ONBOARDING_WITH_VENDOR_THING_ID_BY_THING: &str =
    "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";
/// See [`ONBOARDING_WITH_VENDOR_THING_ID_BY_THING`].
pub const ONBOARDING_WITH_THING_ID_BY_THING: &str = "application/vnd.kii.OnboardingWithThingIDByThing+json";
/// See [`ONBOARDING_WITH_VENDOR_THING_ID_BY_THING`].
pub const ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER: &str =
    "application/vnd.kii.OnboardingWithVendorThingIDByOwner+json";
/// See [`ONBOARDING_WITH_VENDOR_THING_ID_BY_THING`].
pub const ONBOARDING_WITH_THING_ID_BY_OWNER: &str = "application/vnd.kii.OnboardingWithThingIDByOwner+json";
/// See [`ONBOARDING_WITH_VENDOR_THING_ID_BY_THING`].
pub const ONBOARDING_END_NODE_WITH_GATEWAY_THING_ID: &str =
    "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";
/// See [`ONBOARDING_WITH_VENDOR_THING_ID_BY_THING`].
pub const ONBOARDING_END_NODE_WITH_GATEWAY_VENDOR_THING_ID: &str =
    "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json";

/// PUT states of a thing with traits: every alias. (`wire` §5)
pub const MULTIPLE_TRAIT_STATE: &str = "application/vnd.kii.MultipleTraitState+json";
/// PATCH states of a thing with traits: some fields of some aliases. (`wire` §5)
pub const MULTIPLE_TRAIT_STATE_PATCH: &str = "application/vnd.kii.MultipleTraitStatePatch+json";
/// PUT the state of one alias. (`wire` §5)
pub const TRAIT_STATE: &str = "application/vnd.kii.TraitState+json";
/// POST states with their times of origin, each a whole state. (`wire` §5)
pub const STATE_BULK_UPLOAD_REQUEST: &str = "application/vnd.kii.StateBulkUploadRequest+json";
/// POST states with their times of origin, each a patch. (`wire` §5)
pub const STATE_PATCH_BULK_UPLOAD_REQUEST: &str = "application/vnd.kii.StatePatchBulkUploadRequest+json";
/// Query the history of one alias. (`wire` §5)
pub const TRAIT_STATE_QUERY_REQUEST: &str = "application/vnd.kii.TraitStateQueryRequest+json";
/// POST a command with traits. (`wire` §5)
pub const COMMAND_CREATION_REQUEST: &str = "application/vnd.kii.CommandCreationRequest+json";
/// PUT action results with traits. (`wire` §5)
pub const COMMAND_RESULTS_UPDATE_REQUEST: &str = "application/vnd.kii.CommandResultsUpdateRequest+json";
/// PUT a thing's firmware version. (`wire` §5)
pub const THING_FIRMWARE_VERSION_UPDATE_REQUEST: &str = "application/vnd.kii.ThingFirmwareVersionUpdateRequest+json";
/// PUT a thing's type. (`wire` §5)
pub const THING_TYPE_UPDATE_REQUEST: &str = "application/vnd.kii.ThingTypeUpdateRequest+json";

/// Log in over HTTP. (`wire` §5)
pub const OAUTH_TOKEN_REQUEST: &str = "application/vnd.kii.OauthTokenRequest+json";
/// Install MQTT push over HTTP, and its answers. (`wire` §5)
pub const INSTALLATION_CREATION_REQUEST: &str = "application/vnd.kii.InstallationCreationRequest+json";
/// See [`INSTALLATION_CREATION_REQUEST`].
pub const INSTALLATION_CREATION_RESPONSE: &str = "application/vnd.kii.InstallationCreationResponse+json";
/// See [`INSTALLATION_CREATION_REQUEST`].
pub const INSTALLATION_RETRIEVAL_RESPONSE: &str = "application/vnd.kii.InstallationRetrievalResponse+json";
/// See [`INSTALLATION_CREATION_REQUEST`].
pub const INSTALLATIONS_RETRIEVAL_RESPONSE: &str = "application/vnd.kii.InstallationsRetrievalResponse+json";
/// The endpoint of an installation. (`wire` §5)
pub const MQTT_ENDPOINT_RESPONSE: &str = "application/vnd.kii.MQTTEndpointResponse+json";
/// The endpoint of an installation that is not ready: 503 with Retry-After. (`wire` §5)
pub const MQTT_ENDPOINT_NOT_READY_EXCEPTION: &str = "application/vnd.kii.MQTTEndpointNotReadyException+json";

/// The media type of a Content-Type value: what stands before a `;`, without surrounding white space.
pub fn essence(content_type: &[u8]) -> &[u8] {
    content_type.split(|b| *b == b';').next().unwrap_or_default().trim_ascii()
}

/// Whether a Content-Type value names `media_type`: letter case and parameters such as `;charset=UTF-8` do not count.
///
/// ```
/// use thingif::thing_if::media_type;
/// assert!(media_type::is(b"Application/JSON; charset=UTF-8", media_type::JSON));
/// assert!(!media_type::is(b"application/json-patch", media_type::JSON));
/// ```
pub fn is(content_type: impl AsRef<[u8]>, media_type: &str) -> bool {
    essence(content_type.as_ref()).eq_ignore_ascii_case(media_type.as_bytes())
}

/// Whether a Content-Type value names JSON: [`JSON`] itself or any type that ends in `+json`.
pub fn is_json(content_type: impl AsRef<[u8]>) -> bool {
    let essence = essence(content_type.as_ref());
    let suffix = essence.len().checked_sub(5).map(|at| &essence[at..]);
    essence.eq_ignore_ascii_case(JSON.as_bytes()) || suffix.is_some_and(|s| s.eq_ignore_ascii_case(b"+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_onboarding_are_the_same_type() {
        let lower = "application/vnd.kii.onboardingWithVendorThingIDByThing+json";
        assert!(is(lower, ONBOARDING_WITH_VENDOR_THING_ID_BY_THING));
        assert!(is(" application/json ;charset=UTF-8", JSON));
        assert!(!is(lower, ONBOARDING_WITH_THING_ID_BY_THING));
        assert!(!is("", JSON));
    }

    #[test]
    fn any_json_suffix_is_json() {
        assert!(is_json("application/vnd.c1k9.mydata+JSON; v=1"));
        assert!(is_json("application/json"));
        assert!(!is_json("json"));
        assert!(!is_json("text/plain;x=+json"));
    }
}
