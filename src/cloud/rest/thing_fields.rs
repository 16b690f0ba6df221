//! What is said of a thing: fields that the service knows, whose names begin with `_`, and custom ones. (`wire` §4)

use serde_json::{Map, Value, json};

use crate::cloud::failure::Failure;
use crate::cloud::object::{Object, wrong};
use crate::cloud::store::things::Thing;
use crate::ids::{FirmwareVersion, ThingType};
use crate::thing_if::{LayoutPosition, MAX_THING_PROPERTIES_LEN, json as dialect};

/// Known fields of at most 100 characters of `[A-Za-z0-9._-]`.
const LABELS: [&str; 3] = ["_vendor", "_productName", "_lot"];
/// Known fields of any text.
const TEXTS: [&str; 5] = ["_stringField1", "_stringField2", "_stringField3", "_stringField4", "_stringField5"];
/// The longest of these, in characters.
const MAX_TEXT: usize = 1_000;
/// Known fields of whole numbers.
const NUMBERS: [&str; 5] = ["_numberField1", "_numberField2", "_numberField3", "_numberField4", "_numberField5"];
/// The most that all that is stored of a thing takes in an answer, in bytes: deep values take many times their size there.
const MAX_PRINTED: usize = 256 * 1024;

/// What a request says of a thing. Fields that it does not name stay as they are, those that are `null` go.
#[derive(Debug, Default)]
pub(super) struct Said {
    thing_type: Option<Option<String>>,
    firmware_version: Option<Option<String>>,
    layout_position: Option<LayoutPosition>,
    properties: Map<String, Value>,
}

impl Said {
    /// Takes everything out of `fields`. What begins with `_` and is not known is ignored, as the service documents.
    ///
    /// # Errors
    /// 400 for a known field that is not what it must be.
    pub(super) fn take(fields: &mut Object) -> Result<Self, Failure> {
        let thing_type = optional(fields, "_thingType", |fields, name| fields.id::<ThingType>(name))?;
        let firmware_version = optional(fields, "_firmwareVersion", |fields, name| fields.id::<FirmwareVersion>(name))?;
        let layout_position = match fields.text("_layoutPosition")?.map(LayoutPosition::try_from) {
            None => None,
            Some(Ok(position)) => Some(position),
            Some(Err(())) => return Err(wrong("_layoutPosition", "GATEWAY, STANDALONE or ENDNODE")),
        };
        let mut properties = Map::new();
        for name in LABELS {
            let label = optional(fields, name, |fields, name| fields.id::<ThingType>(name))?;
            properties.extend(label.map(|label| (name.to_owned(), json!(label))));
        }
        for name in TEXTS {
            let text = optional(fields, name, |fields, name| match fields.text(name)? {
                Some(text) if text.chars().count() > MAX_TEXT => Err(wrong(name, "a text of at most 1,000 characters")),
                text => Ok(text),
            })?;
            properties.extend(text.map(|text| (name.to_owned(), json!(text))));
        }
        for name in NUMBERS {
            let number = optional(fields, name, Object::integer)?;
            properties.extend(number.map(|number| (name.to_owned(), json!(number))));
        }
        let custom = std::mem::take(&mut fields.0).into_iter().filter(|(name, _)| !name.starts_with('_'));
        properties.extend(custom);
        Ok(Self {
            thing_type: thing_type.map(|value| value.map(String::from)),
            firmware_version: firmware_version.map(|value| value.map(String::from)),
            layout_position,
            properties,
        })
    }

    /// Puts what is said into `thing`.
    ///
    /// # Errors
    /// 400 when its fields become longer than they may be.
    pub(super) fn apply(self, thing: &mut Thing) -> Result<(), Failure> {
        if let Some(thing_type) = self.thing_type {
            thing.thing_type = thing_type;
        }
        if let Some(version) = self.firmware_version {
            thing.firmware_version = version;
        }
        if let Some(position) = self.layout_position {
            thing.layout_position = position.as_str().to_owned();
        }
        let mut properties = stored(thing)?;
        for (name, value) in self.properties {
            match value {
                Value::Null => drop(properties.shift_remove(&name)),
                value => drop(properties.insert(name, value)),
            }
        }
        let custom: Map<_, _> =
            properties.iter().filter(|(name, _)| !name.starts_with('_')).map(|(k, v)| (k.clone(), v.clone())).collect();
        if Value::Object(custom).to_string().len() > MAX_THING_PROPERTIES_LEN {
            return Err(Failure::invalid("The custom fields are longer than 63 KB"));
        }
        check_printed(&properties)?;
        thing.properties = Value::Object(properties).to_string();
        Ok(())
    }
}

/// Checks that what is to be stored of a thing is not too long once it is printed.
///
/// # Errors
/// 400 when it is.
pub(super) fn check_printed(properties: &Map<String, Value>) -> Result<(), Failure> {
    let printed = dialect::to_pretty(properties).len();
    if printed > MAX_PRINTED {
        let message = format!("The fields take {printed} bytes in an answer, more than {MAX_PRINTED}");
        return Err(Failure::invalid(message));
    }
    Ok(())
}

/// `None` when `field` is absent, `Some(None)` when it is `null`.
fn optional<T>(
    fields: &mut Object,
    field: &str,
    read: impl FnOnce(&mut Object, &str) -> Result<Option<T>, Failure>,
) -> Result<Option<Option<T>>, Failure> {
    if fields.0.contains_key(field) { read(fields, field).map(Some) } else { Ok(None) }
}

fn stored(thing: &Thing) -> Result<Map<String, Value>, Failure> {
    serde_json::from_str(&thing.properties).map_err(Failure::internal)
}

/// The thing as answers show it; `connection` is what its gateway last said of it, and when.
pub(super) fn shown(
    thing: &Thing,
    token: Option<&str>,
    connection: Option<(bool, i64)>,
) -> Result<Map<String, Value>, Failure> {
    let mut body = Map::new();
    body.insert("_thingID".to_owned(), thing.thing_id.as_str().into());
    body.extend(token.map(|token| ("_accessToken".to_owned(), token.into())));
    body.insert("_vendorThingID".to_owned(), thing.vendor_thing_id.as_str().into());
    body.extend(thing.thing_type.as_deref().map(|value| ("_thingType".to_owned(), value.into())));
    body.extend(thing.firmware_version.as_deref().map(|value| ("_firmwareVersion".to_owned(), value.into())));
    body.insert("_layoutPosition".to_owned(), thing.layout_position.as_str().into());
    body.insert("_created".to_owned(), thing.created_at.into());
    body.insert("_disabled".to_owned(), thing.disabled.into());
    if let Some((online, at)) = connection {
        body.insert("_online".to_owned(), online.into());
        body.insert("_onlineStatusModifiedAt".to_owned(), at.into());
    }
    // What an onboarding stored has no name that begins with `_` but the known ones: nothing is written over.
    body.extend(stored(thing)?);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ThingId, VendorThingId};

    fn thing() -> Thing {
        Thing {
            thing_id: ThingId::new("th.1").expect("valid"),
            vendor_thing_id: VendorThingId::new("v-1").expect("valid"),
            thing_type: None,
            firmware_version: None,
            layout_position: "STANDALONE".to_owned(),
            properties: "{}".to_owned(),
            disabled: false,
            created_at: 1,
            modified_at: 1,
        }
    }

    fn said(value: Value) -> Result<Said, Failure> {
        Said::take(&mut Object(value.as_object().expect("an object").clone()))
    }

    fn after(thing: &mut Thing, value: Value) -> Value {
        said(value).expect("valid").apply(thing).expect("short");
        Value::Object(shown(thing, None, None).expect("readable"))
    }

    #[test]
    fn fields_are_kept_until_they_are_replaced_or_null() {
        let mut thing = thing();
        let first = after(
            &mut thing,
            json!({ "_thingType": "lamp", "_vendor": "acme", "_stringField1": "any text", "_numberField5": 7,
                "_layoutPosition": "END_NODE", "_thingID": "th.other", "_created": 9, "_accessToken": "t", "_secret": 1,
                "free": { "a": [1] }, "gone": 1 }),
        );
        assert_eq!(
            first,
            json!({ "_thingID": "th.1", "_vendorThingID": "v-1", "_thingType": "lamp", "_layoutPosition": "ENDNODE",
                "_created": 1, "_disabled": false, "_vendor": "acme", "_stringField1": "any text", "_numberField5": 7,
                "free": { "a": [1] }, "gone": 1 })
        );
        let second = after(&mut thing, json!({ "gone": null, "_vendor": null, "_thingType": null, "free": 2 }));
        assert_eq!(
            second,
            json!({ "_thingID": "th.1", "_vendorThingID": "v-1", "_layoutPosition": "ENDNODE", "_created": 1,
                "_disabled": false, "_stringField1": "any text", "_numberField5": 7, "free": 2 })
        );
    }

    #[test]
    fn what_is_said_of_a_thing_is_checked() {
        for wrong in [
            json!({ "_thingType": "a b" }),
            json!({ "_firmwareVersion": 1 }),
            json!({ "_vendor": "x".repeat(101) }),
            json!({ "_layoutPosition": "ATTIC" }),
            json!({ "_stringField3": "x".repeat(1_001) }),
            json!({ "_numberField1": 1.5 }),
        ] {
            assert!(said(wrong.clone()).is_err(), "{wrong}");
        }
        let fits = |len| {
            let custom = json!({ "a": "x".repeat(len), "_stringField1": "y".repeat(1_000) });
            said(custom).expect("valid").apply(&mut thing()).is_ok()
        };
        let frame = r#"{"a":""}"#.len();
        assert!(fits(63 * 1024 - frame));
        assert!(!fits(63 * 1024 - frame + 1));
    }

    #[test]
    fn what_would_be_long_once_it_is_printed_is_refused() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!({ "a": deep });
        }
        let wide = json!({ "a": [deep.clone(), deep.clone()] });
        said(wide).expect("valid").apply(&mut thing()).expect("short");
        let many: Vec<Value> = (0..100).map(|_| deep.clone()).collect();
        let long = json!({ "a": many });
        assert!(long.to_string().len() <= MAX_THING_PROPERTIES_LEN, "it is not long as it is sent");
        assert!(said(long).expect("valid").apply(&mut thing()).is_err());
    }
}
