//! The rows, a file for each resource.

mod commands;
mod differing;
mod end_nodes;
mod not_built;
mod objects;
mod onboarding;
mod paths;
mod profiles;
mod push;
mod states;
mod thing_status;
mod things;
mod triggers;
mod users;

pub(crate) use differing::{DIFFERING, Differing};

use crate::case::{Case, Place};
use crate::cloud_support::{BY_OWNER, BY_THING};

/// Cases that happen in one world, in their order.
pub(crate) struct Group {
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    /// What there is before: cases too, which count for nothing.
    pub(crate) setup: &'static [Case],
    pub(crate) cases: &'static [&'static [Case]],
}

const fn group(name: &'static str, setup: &'static [Case], cases: &'static [&'static [Case]]) -> Group {
    Group { name, place: Place::Usual, setup, cases }
}

/// The whole table.
pub(crate) const TABLE: &[Group] = &[
    group("paths", &[LAMP, FREE], &[paths::PATHS]),
    group("states", &[LAMP, FREE], &[states::STATES]),
    group("states without traits", &[NEW_THING], &[states::FLAT]),
    group("states with traits", &[NEW_THING], &[states::TRAITS]),
    group("history", &[NEW_THING], &[states::HISTORY]),
    group("bulks", &[NEW_THING], &[states::BULKS]),
    group("commands", &[LAMP, FREE, COMMAND], &[commands::COMMANDS]),
    group("commands with traits", &[LAMP], &[commands::WITH_TRAITS]),
    group("triggers", &[LAMP, FAN, HOURLY], &[triggers::TRIGGERS, triggers::REFUSED]),
    group("onboarding", &[LAMP, FREE], &[onboarding::ONBOARDING]),
    group(
        "end nodes",
        &[GATEWAY, GATEWAY_2, ANNS_LAMP, BOBS, BULB],
        &[
            end_nodes::ONBOARDING,
            profiles::ONBOARDING,
            end_nodes::LISTED,
            profiles::FIRMWARE_AND_TYPE,
            end_nodes::UNPAIRING,
        ],
    ),
    group("end nodes of Kii Cloud", &[GATEWAY, GATEWAY_2, ANNS_LAMP, BOBS, BULB], &[end_nodes::KII_CLOUD]),
    group("sign-up", &[LAMP], &[users::SIGN_UP]),
    group("users", &[LAMP], &[users::USERS]),
    group("things", &[LAMP, KETTLE], &[things::THINGS, things::DELETION]),
    group("disabled things", &[LAMP], &[thing_status::STATUSES]),
    group("not built", &[LAMP], &[not_built::NOT_BUILT]),
    group("installations", &[LAMP], &[push::INSTALLATIONS]),
    group("subscriptions", &[LAMP], &[push::SUBSCRIPTIONS]),
    group("topics", &[LAMP], &[push::TOPICS]),
    group("objects", &[LAMP], &[objects::OBJECTS, objects::REFUSED]),
    group("objects in every scope", &[LAMP], &[objects::SCOPES]),
    Group { name: "closed", place: Place::Closed, setup: &[LAMP], cases: &[paths::CLOSED] },
    Group { name: "broken", place: Place::Broken, setup: &[LAMP], cases: &[paths::BROKEN] },
];

const J: &str = "application/json";
const BT: &str = BY_THING;
const BO: &str = BY_OWNER;
const BTI: &str = "application/vnd.kii.OnboardingWithThingIDByThing+json";
const BOI: &str = "application/vnd.kii.OnboardingWithThingIDByOwner+json";
const BY_ID: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";
const BY_VENDOR: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayVendorThingID+json";
const MULTI: &str = "application/vnd.kii.MultipleTraitState+json";
const PATCH: &str = "application/vnd.kii.MultipleTraitStatePatch+json";
const TRAIT: &str = "application/vnd.kii.TraitState+json";
const BULK: &str = "application/vnd.kii.StateBulkUploadRequest+json";
const BULK_PATCH: &str = "application/vnd.kii.StatePatchBulkUploadRequest+json";
const QUERY: &str = "application/vnd.kii.TraitStateQueryRequest+json";
const TRAITS: &str = "application/vnd.kii.CommandCreationRequest+json";
const TRAIT_RESULTS: &str = "application/vnd.kii.CommandResultsUpdateRequest+json";
const FIRMWARE: &str = "application/vnd.kii.ThingFirmwareVersionUpdateRequest+json";
const TYPE: &str = "application/vnd.kii.ThingTypeUpdateRequest+json";
const POST: &str = "POST /thing-if/apps/{APP}/onboardings";

/// An answer to an onboarding.
const ENDPOINT: &str = r#"{"accessToken":"*","thingID":"*","mqttEndpoint":{"installationID":"*","username":"*","password":"*","mqttTopic":"*","host":"broker.example","portTCP":1883,"portSSL":8883,"portWS":12470,"portWSS":12473,"ttl":2147483647}}"#;

#[rustfmt::skip]
mod setup {
    use super::*;

    /// Ann's, with its installation.
    pub(crate) const LAMP: Case = (POST, "Bearer $ann", BO, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp","owner":"USER:{ann}"}"#, 200, r#"{"accessToken":"=$lamp","thingID":"={TH}","mqttEndpoint":{"installationID":"={LAMPS}","username":"*","password":"*","mqttTopic":"*","host":"*","portTCP":"*","portSSL":"*","portWS":"*","portWSS":"*","ttl":"*"}}"#);
    /// Nobody's.
    pub(super) const FREE: Case = (POST, "$key", BT, r#"{"vendorThingID":"free","thingPassword":"secret of free"}"#, 200, r#"{"accessToken":"=$free","thingID":"={FREE}","mqttEndpoint":"*"}"#);
    /// Nobody's, and without a state.
    pub(super) const NEW_THING: Case = (POST, "$key", BT, r#"{"vendorThingID":"new","thingPassword":"secret of new"}"#, 200, r#"{"accessToken":"=$thing","thingID":"={TH}","mqttEndpoint":"*"}"#);
    /// Ann's and Bob's.
    pub(super) const FAN: Case = (POST, "Bearer $ann", BO, r#"{"vendorThingID":"fan","thingPassword":"secret of fan","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"=$fan","thingID":"={FAN}","mqttEndpoint":"*"}"#);
    pub(super) const KETTLE: Case = (POST, "Bearer $bob", BO, r#"{"vendorThingID":"kettle","thingPassword":"secret of kettle","owner":"user:{bob}"}"#, 200, r#"{"accessToken":"=$kettle","thingID":"={KETTLE}","mqttEndpoint":"*"}"#);
    pub(super) const GATEWAY: Case = (POST, "Bearer $ann", BO, r#"{"vendorThingID":"gateway","thingPassword":"secret of gateway","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"=$gw","thingID":"={GW}","mqttEndpoint":"*"}"#);
    pub(super) const GATEWAY_2: Case = (POST, "Bearer $ann", BO, r#"{"vendorThingID":"gateway-2","thingPassword":"secret of gateway-2","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"=$gw2","thingID":"={GW2}","mqttEndpoint":"*"}"#);
    /// Behind nothing.
    pub(super) const ANNS_LAMP: Case = (POST, "Bearer $ann", BO, r#"{"vendorThingID":"lamp","thingPassword":"secret of lamp","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"=$lamp","thingID":"={LAMP}","mqttEndpoint":"*"}"#);
    pub(super) const BOBS: Case = (POST, "Bearer $bob", BO, r#"{"vendorThingID":"bobs","thingPassword":"secret of bobs","owner":"user:{bob}"}"#, 200, r#"{"accessToken":"=$bobs","thingID":"={BOBS}","mqttEndpoint":"*"}"#);
    /// Behind Ann's first gateway.
    pub(super) const BULB: Case = (POST, "Bearer $ann", BY_ID, r#"{"gatewayThingID":"{GW}","endNodeVendorThingID":"bulb","endNodePassword":"secret of bulb","owner":"user:{ann}"}"#, 200, r#"{"accessToken":"=$en","endNodeThingID":"={EN}"}"#);
    pub(super) const COMMAND: Case = ("POST {tgt}/commands", "Bearer $ann", J, r#"{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}},{"dim":{"to":1}}]}"#, 201, r#"{"commandID":"={CID}"}"#);
    pub(super) const HOURLY: Case = ("POST {tgt}/triggers", "Bearer $ann", J, r#"{"command":{"issuer":"user:{ann}","schema":"S","schemaVersion":1,"actions":[{"on":{}}]},"predicate":{"eventSource":"SCHEDULE","schedule":"0 * * * *"}}"#, 201, r#"{"triggerID":"={T}"}"#);
}
pub(crate) use setup::LAMP;
use setup::*;
