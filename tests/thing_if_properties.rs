//! The JSON bodies by properties: whatever arrives, reading ends in a value or in an error that shows no value.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use thingif::mqtt::Scheme;
use thingif::thing_if::{
    ActionResultsUpdate, BulkStates, CommandPush, CommandRequest, Credential, EndNodeOnboardingAnswer, ErrorBody,
    InstallationRequest, MqttEndpoint, OnboardingAnswer, OnboardingRequest, Principal, Push, State, TraitStates,
    TriggerRequest, TtlField, json as dialect, media_type,
};

/// Names that some body has, so that generated objects come close to real ones.
const NAMES: [&str; 24] = [
    "accessToken",
    "actionResults",
    "actions",
    "appID",
    "commandID",
    "deviceType",
    "endNodeThingID",
    "errorCode",
    "host",
    "issuer",
    "mqttEndpoint",
    "mqttTopic",
    "owner",
    "password",
    "portSSL",
    "portTCP",
    "predicate",
    "schema",
    "thingID",
    "thingPassword",
    "ttl",
    "userName",
    "username",
    "vendorThingID",
];

const ONBOARDING: [&str; 6] = [
    media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_THING,
    media_type::ONBOARDING_WITH_THING_ID_BY_THING,
    media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER,
    media_type::ONBOARDING_WITH_THING_ID_BY_OWNER,
    media_type::ONBOARDING_END_NODE_WITH_GATEWAY_THING_ID,
    media_type::ONBOARDING_END_NODE_WITH_GATEWAY_VENDOR_THING_ID,
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[a-zA-Z0-9._-]{1,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 8, |inner| {
        let name = prop_oneof![4 => prop::sample::select(&NAMES[..]).prop_map(String::from), 1 => ".{0,6}"];
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((name, inner), 0..12).prop_map(|pairs| pairs.into_iter().collect::<Value>()),
        ]
    })
}

fn read_as_everything(body: &[u8]) {
    let _ = OnboardingAnswer::from_json(body);
    let _ = EndNodeOnboardingAnswer::from_json(body);
    let _ = MqttEndpoint::from_json(body);
    let _ = Credential::from_json(body);
    let _ = ErrorBody::from_json(body);
    let _ = CommandPush::from_json(body);
    let _ = ActionResultsUpdate::from_json(body);
    let _ = InstallationRequest::from_json(body);
    let _ = TriggerRequest::from_json(body);
    let _ = State::from_json(body);
    let _ = TraitStates::from_json(body);
    let _ = dialect::from_slice::<BulkStates>(body);
    let _ = Push::from_json(body);
    for content_type in [media_type::JSON, media_type::COMMAND_CREATION_REQUEST] {
        let _ = CommandRequest::from_body(content_type.as_bytes(), body);
    }
    for content_type in ONBOARDING {
        let _ = OnboardingRequest::from_body(content_type.as_bytes(), body);
    }
}

/// Replaces the value of one field of a complete body, anywhere in it.
fn spoil(body: &mut Value, at: usize, with: Value) {
    fn fields<'a>(map: &'a mut Map<String, Value>, found: &mut Vec<&'a mut Value>) {
        for value in map.values_mut() {
            match value {
                Value::Object(inner) => fields(inner, found),
                leaf => found.push(leaf),
            }
        }
    }
    let mut found = Vec::new();
    fields(body.as_object_mut().expect("an object"), &mut found);
    let count = found.len();
    *found.swap_remove(at % count) = with;
}

fn credential(port: Option<u16>, ttl: Option<i64>, text: &str) -> Value {
    json!({ "appID": "a1", "thingID": "th.1", "accessToken": "t0k3n", "mqttEndpoint": { "installationID": text,
        "username": text, "password": text, "mqttTopic": "me", "host": "h", "portTCP": port, "ttl": ttl } })
}

proptest! {
    #[test]
    fn any_json_is_read_without_a_panic(value in value()) {
        read_as_everything(value.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        read_as_everything(&bytes);
    }

    #[test]
    fn bytes_that_are_nearly_right_are_read_without_a_panic(cut in 0usize..400, flip in any::<u8>()) {
        let mut body = credential(Some(1883), Some(1), "x").to_string().into_bytes();
        let at = cut % body.len();
        body[at] ^= flip;
        read_as_everything(&body);
        body.truncate(at);
        read_as_everything(&body);
    }

    #[test]
    fn an_error_never_shows_what_it_found(at in 0usize..32, number in 1_000_000_007i64..9_000_000_000) {
        for secret in [json!(number), json!(format!("pass {number}")), json!([number]), json!({ "x": number })] {
            let mut bodies = vec![credential(Some(1883), Some(1), "x")];
            bodies.push(json!({ "vendorThingID": "v", "thingID": "th.1", "thingPassword": "p", "owner": "user:u",
                "thingType": "t", "firmwareVersion": "1", "layoutPosition": "GATEWAY", "gatewayThingID": "th.2",
                "gatewayVendorThingID": "g", "endNodeVendorThingID": "e", "endNodePassword": "p",
                "dataGroupingInterval": "1_HOUR", "thingProperties": {} }));
            for body in &mut bodies {
                spoil(body, at, secret.clone());
                let body = body.to_string();
                let mut errors = Vec::new();
                errors.extend(Credential::from_json(&body).err());
                errors.extend(OnboardingAnswer::from_json(body.as_bytes()).err());
                for content_type in ONBOARDING {
                    errors.extend(OnboardingRequest::from_body(content_type.as_bytes(), body.as_bytes()).err());
                }
                for error in errors {
                    let shown = format!("{error} {error:?}");
                    prop_assert!(!shown.contains(&number.to_string()), "{}", shown);
                }
            }
        }
    }

    #[test]
    fn a_credential_survives_being_stored(
        port in prop::option::of(1u16..), ttl in prop::option::of(any::<i64>()), text in ".{0,40}",
    ) {
        let given = Credential::from_json(credential(port, ttl, &text).to_string()).expect("complete");
        let stored = given.to_json_exposed();
        let again = Credential::from_json(&stored).expect("its own form");
        prop_assert_eq!(again.to_json_exposed(), stored);
        prop_assert_eq!(again.endpoint.password.expose(), &text);
        prop_assert_eq!((again.endpoint.port(Scheme::Mqtt), again.endpoint.ttl), (port, ttl));
        for field in [TtlField::Ttl, TtlField::XMqttTtl] {
            let body = given.endpoint.to_json_exposed(field).to_string();
            let read = MqttEndpoint::from_json(body.as_bytes()).expect("its own form");
            prop_assert_eq!((read.ttl, &read.username), (ttl, &text));
        }
    }

    #[test]
    fn a_principal_is_read_back_as_written(kind in "[uU][sS][eE][rR]|group|THING", id in "[A-Za-z0-9_-]{1,200}") {
        let principal: Principal = format!("{kind}:{id}").parse().expect("valid");
        prop_assert_eq!(principal.to_string(), format!("{}:{id}", kind.to_lowercase()));
        prop_assert_eq!(principal.to_string().parse::<Principal>(), Ok(principal));
    }
}
