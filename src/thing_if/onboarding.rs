//! Onboarding: the requests that a service reads and a device or owner writes. (`wire` §4)

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{InvalidBody, Principal, media_type, open_text};
use crate::ids::{FirmwareVersion, ThingId, ThingType, VendorThingId};
use crate::secret::Secret;

/// A thing, by its maker's id or by the service's.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ThingIdentity {
    /// `vendorThingID`: the first onboarding creates the thing.
    VendorThing(VendorThingId),
    /// `thingID`: the thing exists already.
    Thing(ThingId),
}

/// What may be said of a thing at onboarding; every field is optional, and a thing that exists keeps its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ThingProfile {
    /// `thingType`.
    pub thing_type: Option<ThingType>,
    /// `firmwareVersion`.
    pub firmware_version: Option<FirmwareVersion>,
    /// `layoutPosition`; the service takes `STANDALONE` when absent.
    pub layout_position: Option<LayoutPosition>,
    /// `thingProperties`: custom fields, at most 63 KB as JSON; no name begins with `_`.
    pub thing_properties: Option<Map<String, Value>>,
    /// `dataGroupingInterval`.
    pub data_grouping_interval: Option<DataGroupingInterval>,
}

/// The most that custom fields may take as JSON, in bytes: 63 KB.
pub const MAX_THING_PROPERTIES_LEN: usize = 63 * 1024;

/// Where a thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LayoutPosition {
    /// `GATEWAY`
    Gateway,
    /// `STANDALONE`
    Standalone,
    /// `ENDNODE`; one client writes `END_NODE`, which is read as well.
    EndNode,
}

impl LayoutPosition {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            LayoutPosition::Gateway => "GATEWAY",
            LayoutPosition::Standalone => "STANDALONE",
            LayoutPosition::EndNode => "ENDNODE",
        }
    }
}

impl TryFrom<String> for LayoutPosition {
    type Error = ();

    fn try_from(text: String) -> Result<Self, ()> {
        match text.as_str() {
            "GATEWAY" => Ok(LayoutPosition::Gateway),
            "STANDALONE" => Ok(LayoutPosition::Standalone),
            "ENDNODE" | "END_NODE" => Ok(LayoutPosition::EndNode),
            _ => Err(()),
        }
    }
}

open_text! {
    /// How the history of states is grouped.
    DataGroupingInterval {
        OneMinute = "1_MINUTE",
        FifteenMinutes = "15_MINUTES",
        ThirtyMinutes = "30_MINUTES",
        OneHour = "1_HOUR",
        TwelveHours = "12_HOURS",
    }
}

/// The body of `POST /thing-if/apps/{APP}/onboardings`; its kind is told by the media type alone.
#[derive(Debug, Clone)]
pub enum OnboardingRequest {
    /// By the thing itself, on the default broker or over HTTP; answered with an
    /// [`OnboardingAnswer`](super::OnboardingAnswer).
    ByThing(ThingOnboarding),
    /// By its owner, with the owner's user token; answered alike.
    ByOwner {
        /// The thing.
        thing: ThingOnboarding,
        /// A user or a group.
        owner: Principal,
    },
    /// By a gateway's owner, for a thing behind it; answered with an
    /// [`EndNodeOnboardingAnswer`](super::EndNodeOnboardingAnswer), without an endpoint of its own.
    EndNode(EndNodeOnboarding),
}

/// The thing that is onboarded.
#[derive(Debug, Clone)]
pub struct ThingOnboarding {
    /// Which thing.
    pub thing: ThingIdentity,
    /// `thingPassword`: the one given first is required from then on.
    pub password: Secret<String>,
    /// The optional fields.
    pub profile: ThingProfile,
}

/// The end node that is onboarded, and its gateway.
#[derive(Debug, Clone)]
pub struct EndNodeOnboarding {
    /// `gatewayThingID` or `gatewayVendorThingID`.
    pub gateway: ThingIdentity,
    /// `endNodeVendorThingID`.
    pub vendor_thing_id: VendorThingId,
    /// `endNodePassword`.
    pub password: Secret<String>,
    /// `owner`: a user or a group.
    pub owner: Principal,
    /// `endNodeThingType`.
    pub thing_type: Option<ThingType>,
    /// `endNodeFirmwareVersion`.
    pub firmware_version: Option<FirmwareVersion>,
    /// `endNodeThingProperties`.
    pub thing_properties: Option<Map<String, Value>>,
}

impl OnboardingRequest {
    /// Reads the body that came with `content_type`.
    ///
    /// # Errors
    /// [`InvalidBody::MediaType`] when the type is none of the six; else the first field that is missing or wrong.
    pub fn from_body(content_type: &[u8], body: &[u8]) -> Result<Self, InvalidBody> {
        let is = |known: &str| media_type::is(content_type, known);
        if is(media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_THING) {
            ThingOnboarding::read(&mut Fields::parse(body)?, true).map(Self::ByThing)
        } else if is(media_type::ONBOARDING_WITH_THING_ID_BY_THING) {
            ThingOnboarding::read(&mut Fields::parse(body)?, false).map(Self::ByThing)
        } else if is(media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER) {
            Self::read_by_owner(&mut Fields::parse(body)?, true)
        } else if is(media_type::ONBOARDING_WITH_THING_ID_BY_OWNER) {
            Self::read_by_owner(&mut Fields::parse(body)?, false)
        } else if is(media_type::ONBOARDING_END_NODE_WITH_GATEWAY_THING_ID) {
            EndNodeOnboarding::read(&mut Fields::parse(body)?, false).map(Self::EndNode)
        } else if is(media_type::ONBOARDING_END_NODE_WITH_GATEWAY_VENDOR_THING_ID) {
            EndNodeOnboarding::read(&mut Fields::parse(body)?, true).map(Self::EndNode)
        } else {
            Err(InvalidBody::MediaType)
        }
    }

    fn read_by_owner(fields: &mut Fields, by_vendor_id: bool) -> Result<Self, InvalidBody> {
        let thing = ThingOnboarding::read(fields, by_vendor_id)?;
        Ok(Self::ByOwner { thing, owner: read_owner(fields)? })
    }

    /// The media type that tells its kind.
    pub fn media_type(&self) -> &'static str {
        use ThingIdentity::{Thing, VendorThing};
        match self {
            Self::ByThing(ThingOnboarding { thing: VendorThing(_), .. }) => {
                media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_THING
            }
            Self::ByThing(ThingOnboarding { thing: Thing(_), .. }) => media_type::ONBOARDING_WITH_THING_ID_BY_THING,
            Self::ByOwner { thing: ThingOnboarding { thing: VendorThing(_), .. }, .. } => {
                media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER
            }
            Self::ByOwner { thing: ThingOnboarding { thing: Thing(_), .. }, .. } => {
                media_type::ONBOARDING_WITH_THING_ID_BY_OWNER
            }
            Self::EndNode(EndNodeOnboarding { gateway: VendorThing(_), .. }) => {
                media_type::ONBOARDING_END_NODE_WITH_GATEWAY_VENDOR_THING_ID
            }
            Self::EndNode(EndNodeOnboarding { gateway: Thing(_), .. }) => {
                media_type::ONBOARDING_END_NODE_WITH_GATEWAY_THING_ID
            }
        }
    }

    /// The wire form, password included; absent fields are left out.
    pub fn to_json_exposed(&self) -> Value {
        let mut map = Map::new();
        match self {
            Self::ByThing(thing) => thing.write(&mut map),
            Self::ByOwner { thing, owner } => {
                thing.write(&mut map);
                map.insert("owner".into(), owner.to_string().into());
            }
            Self::EndNode(end_node) => end_node.write(&mut map),
        }
        Value::Object(map)
    }
}

impl ThingOnboarding {
    fn read(fields: &mut Fields, by_vendor_id: bool) -> Result<Self, InvalidBody> {
        let thing = if by_vendor_id {
            ThingIdentity::VendorThing(fields.required("vendorThingID", VENDOR_THING_ID)?)
        } else {
            ThingIdentity::Thing(fields.required("thingID", "a thing id")?)
        };
        Ok(Self {
            thing,
            password: read_password(fields, "thingPassword")?,
            profile: ThingProfile {
                thing_type: fields.optional("thingType", THING_TYPE)?,
                firmware_version: fields.optional("firmwareVersion", FIRMWARE_VERSION)?,
                layout_position: fields.optional("layoutPosition", "GATEWAY, STANDALONE or ENDNODE")?,
                thing_properties: read_properties(fields, "thingProperties")?,
                data_grouping_interval: match fields.text("dataGroupingInterval")?.as_deref() {
                    None => None,
                    Some(text) => match DataGroupingInterval::from(text) {
                        DataGroupingInterval::Other(_) => {
                            return Err(fields.wrong("dataGroupingInterval", "a known interval"));
                        }
                        known => Some(known),
                    },
                },
            },
        })
    }

    fn write(&self, map: &mut Map<String, Value>) {
        match &self.thing {
            ThingIdentity::VendorThing(id) => map.insert("vendorThingID".into(), id.as_str().into()),
            ThingIdentity::Thing(id) => map.insert("thingID".into(), id.as_str().into()),
        };
        map.insert("thingPassword".into(), self.password.expose().as_str().into());
        let profile = &self.profile;
        insert(map, "thingType", profile.thing_type.as_ref().map(ThingType::as_str));
        insert(map, "firmwareVersion", profile.firmware_version.as_ref().map(FirmwareVersion::as_str));
        insert(map, "layoutPosition", profile.layout_position.map(LayoutPosition::as_str));
        insert(map, "thingProperties", profile.thing_properties.clone());
        insert(map, "dataGroupingInterval", profile.data_grouping_interval.as_ref().map(DataGroupingInterval::as_str));
    }
}

impl EndNodeOnboarding {
    fn read(fields: &mut Fields, by_vendor_id: bool) -> Result<Self, InvalidBody> {
        let gateway = if by_vendor_id {
            ThingIdentity::VendorThing(fields.required("gatewayVendorThingID", VENDOR_THING_ID)?)
        } else {
            ThingIdentity::Thing(fields.required("gatewayThingID", "a thing id")?)
        };
        Ok(Self {
            gateway,
            vendor_thing_id: fields.required("endNodeVendorThingID", VENDOR_THING_ID)?,
            password: read_password(fields, "endNodePassword")?,
            owner: read_owner(fields)?,
            thing_type: fields.optional("endNodeThingType", THING_TYPE)?,
            firmware_version: fields.optional("endNodeFirmwareVersion", FIRMWARE_VERSION)?,
            thing_properties: read_properties(fields, "endNodeThingProperties")?,
        })
    }

    fn write(&self, map: &mut Map<String, Value>) {
        match &self.gateway {
            ThingIdentity::VendorThing(id) => map.insert("gatewayVendorThingID".into(), id.as_str().into()),
            ThingIdentity::Thing(id) => map.insert("gatewayThingID".into(), id.as_str().into()),
        };
        map.insert("endNodeVendorThingID".into(), self.vendor_thing_id.as_str().into());
        map.insert("endNodePassword".into(), self.password.expose().as_str().into());
        map.insert("owner".into(), self.owner.to_string().into());
        insert(map, "endNodeThingType", self.thing_type.as_ref().map(ThingType::as_str));
        insert(map, "endNodeFirmwareVersion", self.firmware_version.as_ref().map(FirmwareVersion::as_str));
        insert(map, "endNodeThingProperties", self.thing_properties.clone());
    }
}

const VENDOR_THING_ID: &str = "1 to 200 characters of A-Z a-z 0-9 . _ -";
const THING_TYPE: &str = "1 to 100 characters of A-Z a-z 0-9 . _ -";
const FIRMWARE_VERSION: &str = THING_TYPE;

fn insert(map: &mut Map<String, Value>, field: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        map.insert(field.to_owned(), value.into());
    }
}

fn read_password(fields: &mut Fields, field: &str) -> Result<Secret<String>, InvalidBody> {
    let password = Secret::new(fields.required_text(field)?);
    if password.expose().is_empty() { Err(fields.wrong(field, "a password: it is empty")) } else { Ok(password) }
}

fn read_owner(fields: &mut Fields) -> Result<Principal, InvalidBody> {
    const EXPECTED: &str = "`user:{id}` or `group:{id}`";
    match fields.required("owner", EXPECTED)? {
        Principal::Thing(_) => Err(fields.wrong("owner", EXPECTED)),
        owner => Ok(owner),
    }
}

fn read_properties(fields: &mut Fields, field: &str) -> Result<Option<Map<String, Value>>, InvalidBody> {
    let Some(properties) = fields.map(field)? else { return Ok(None) };
    check_thing_properties(&properties).map_err(|expected| fields.wrong(field, expected))?;
    Ok(Some(properties))
}

/// Whether a service takes these custom fields of a thing: at most [`MAX_THING_PROPERTIES_LEN`], no name beginning with `_`.
/// (`wire` §4)
///
/// # Errors
/// What they should be.
pub fn check_thing_properties(properties: &Map<String, Value>) -> Result<(), &'static str> {
    if properties.keys().any(|name| name.starts_with('_')) {
        return Err("an object whose names do not begin with `_`");
    }
    if Value::Object(properties.clone()).to_string().len() > MAX_THING_PROPERTIES_LEN {
        return Err("an object of at most 63 KB");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::json::to_pretty;
    use super::*;

    fn all_six() -> [(&'static str, Value); 6] {
        let vid = json!({ "vendorThingID": "v-1", "thingPassword": "pw", "thingType": "lamp", "firmwareVersion": "v1",
            "layoutPosition": "GATEWAY", "thingProperties": { "b": 1, "a": [] }, "dataGroupingInterval": "15_MINUTES" });
        let tid = json!({ "thingID": "th.1", "thingPassword": "pw" });
        let mut vid_owner = vid.clone();
        vid_owner["owner"] = json!("user:u1");
        let mut tid_owner = tid.clone();
        tid_owner["owner"] = json!("group:g1");
        let end_node = json!({ "endNodeVendorThingID": "e-1", "endNodePassword": "pw", "owner": "user:u1",
            "endNodeThingType": "lamp", "endNodeFirmwareVersion": "v1", "endNodeThingProperties": {} });
        let with = |field: &str, id: &str| {
            let mut body = Map::new();
            body.insert(field.into(), id.into());
            body.extend(end_node.as_object().expect("object").clone());
            Value::Object(body)
        };
        [
            (media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_THING, vid),
            (media_type::ONBOARDING_WITH_THING_ID_BY_THING, tid),
            (media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER, vid_owner),
            (media_type::ONBOARDING_WITH_THING_ID_BY_OWNER, tid_owner),
            (media_type::ONBOARDING_END_NODE_WITH_GATEWAY_THING_ID, with("gatewayThingID", "th.g")),
            (media_type::ONBOARDING_END_NODE_WITH_GATEWAY_VENDOR_THING_ID, with("gatewayVendorThingID", "g-1")),
        ]
    }

    /// The documented request, with values in place of the placeholders.
    #[test]
    fn the_documented_request_is_read_and_written_byte_for_byte() {
        let documented = "{\n  \"vendorThingID\" : \"v-1\",\n  \"thingPassword\" : \"pw\"\n}";
        let content_type = media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_THING;
        let request = OnboardingRequest::from_body(content_type.as_bytes(), documented.as_bytes()).expect("documented");
        assert_eq!(to_pretty(&request.to_json_exposed()), documented);
    }

    #[test]
    fn all_six_kinds_survive_the_wire() {
        for (content_type, body) in all_six() {
            let bytes = body.to_string();
            let request = OnboardingRequest::from_body(content_type.as_bytes(), bytes.as_bytes());
            let request = request.unwrap_or_else(|error| panic!("{content_type}: {error}"));
            assert_eq!(request.media_type(), content_type);
            let (written, given) = (request.to_json_exposed(), body);
            assert_eq!(written, given, "{content_type}");
            let lower = content_type.to_ascii_lowercase() + ";charset=UTF-8";
            assert!(OnboardingRequest::from_body(lower.as_bytes(), bytes.as_bytes()).is_ok());
        }
    }

    #[test]
    fn every_required_field_is_missed_by_name() {
        for (content_type, body) in all_six() {
            let optional = ["Type", "firmware", "Firmware", "layout", "Properties", "dataGrouping"];
            for field in body.as_object().expect("object").keys() {
                if optional.iter().any(|part| field.contains(part)) {
                    continue;
                }
                let mut without = body.clone();
                without.as_object_mut().expect("object").shift_remove(field);
                let error = OnboardingRequest::from_body(content_type.as_bytes(), without.to_string().as_bytes());
                assert_eq!(error.err(), Some(InvalidBody::Missing { field: field.clone() }), "{content_type}");
            }
        }
    }

    #[test]
    fn wrong_fields_are_named_and_passwords_are_never_shown() {
        let content_type = media_type::ONBOARDING_WITH_VENDOR_THING_ID_BY_OWNER;
        for (field, value) in [
            ("vendorThingID", json!("a b")),
            ("thingPassword", json!("")),
            ("thingPassword", json!(31337)),
            ("thingType", json!("x".repeat(101))),
            ("layoutPosition", json!("ATTIC")),
            ("dataGroupingInterval", json!("2_MINUTES")),
            ("thingProperties", json!({ "_id": 1 })),
            ("thingProperties", json!({ "a": "x".repeat(MAX_THING_PROPERTIES_LEN) })),
            ("owner", json!("thing:th.1")),
            ("owner", json!("u1")),
        ] {
            let mut body = all_six()[2].1.clone();
            body[field] = value;
            let error = OnboardingRequest::from_body(content_type.as_bytes(), body.to_string().as_bytes());
            let message = error.expect_err("refused").to_string();
            assert!(message.starts_with(&format!("`{field}` is not")), "{message}");
            assert!(!message.contains("31337"), "{message}");
        }
    }

    #[test]
    fn an_unknown_type_is_refused_before_the_body_is_read() {
        for content_type in ["", "application/json", "application/vnd.kii.OnboardingWithX+json"] {
            let result = OnboardingRequest::from_body(content_type.as_bytes(), b"{");
            assert_eq!(result.err(), Some(InvalidBody::MediaType));
        }
    }

    #[test]
    fn end_node_is_read_in_both_spellings() {
        let body = br#"{"thingID":"th.1","thingPassword":"pw","layoutPosition":"END_NODE"}"#;
        let content_type = media_type::ONBOARDING_WITH_THING_ID_BY_THING;
        let request = OnboardingRequest::from_body(content_type.as_bytes(), body).expect("lenient");
        assert_eq!(request.to_json_exposed()["layoutPosition"], "ENDNODE");
    }
}
