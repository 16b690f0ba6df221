//! A credential's file: its name and its content.
//!
//! The content is JSON: `version`, the key in clear (`app`, `vendorThingID` or `thingID`, `broker`), and `credential`, the
//! storage form of [`Credential`]. The key is repeated so that a file that was renamed or exchanged is noticed.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{VaultError, VaultKey};
use crate::thing_if::{Credential, ThingIdentity};

/// 1. A newer layout has another number and is refused instead of misread.
const VERSION: u32 = 1;

/// The largest file that is read, in bytes; one of ours has about one thousand.
pub(super) const MAX_LEN: u64 = 64 * 1024;

/// How much of the thing's id stands at the beginning of a file's name, for people.
const SHOWN: usize = 40;

/// Id and kind of the thing, as the file and its name have them.
fn thing(key: &VaultKey) -> (&'static str, &str) {
    match key.thing() {
        ThingIdentity::VendorThing(id) => ("vendorThingID", id.as_str()),
        ThingIdentity::Thing(id) => ("thingID", id.as_str()),
    }
}

/// The name of a key's file: the thing's id, shortened and harmless, and the SHA-256 of the whole key. At most 116 bytes of
/// `[A-Za-z0-9_-]` and `.credential`; different for different keys also where file names have no case.
pub(super) fn file_name(key: &VaultKey) -> String {
    let (kind, id) = thing(key);
    let mut hash = Sha256::new();
    for part in [key.app().as_str(), kind, id, &key.broker().to_string()] {
        // With its length before it, so that no two keys are one text.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut name: String =
        id.chars().take(SHOWN).map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    name.push('-');
    for byte in hash.finalize() {
        name.push_str(&format!("{byte:02x}"));
    }
    name.push_str(".credential");
    name
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    version: u32,
    app: String,
    #[serde(rename = "vendorThingID", default, skip_serializing_if = "Option::is_none")]
    vendor_thing_id: Option<String>,
    #[serde(rename = "thingID", default, skip_serializing_if = "Option::is_none")]
    thing_id: Option<String>,
    broker: String,
    credential: Value,
}

/// The version alone, which a newer layout has as well.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Whether `credential` can be one of `key`.
fn belongs(credential: &Credential, key: &VaultKey) -> bool {
    let thing_fits = match key.thing() {
        ThingIdentity::VendorThing(_) => true,
        ThingIdentity::Thing(id) => credential.thing_id == *id,
    };
    credential.app_id == *key.app() && thing_fits
}

/// The content of a key's file.
pub(super) fn encode(key: &VaultKey, credential: &Credential, place: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    if !belongs(credential, key) {
        return Err(VaultError::OtherKey { place: format!("what is to be stored in {place}") });
    }
    let corrupt = |reason: String| VaultError::Corrupt { place: format!("what is to be stored in {place}"), reason };
    let credential = Zeroizing::new(credential.to_json_exposed());
    let (kind, id) = thing(key);
    let of_kind = |wanted| (kind == wanted).then(|| id.to_owned());
    let layout = Layout {
        version: VERSION,
        app: key.app().to_string(),
        vendor_thing_id: of_kind("vendorThingID"),
        thing_id: of_kind("thingID"),
        broker: key.broker().to_string(),
        credential: serde_json::from_str(&credential).map_err(|error| corrupt(position(&error)))?,
    };
    // With its whole capacity from the start: growing would leave copies that nobody wipes.
    let mut text = Zeroizing::new(Vec::with_capacity(2 * credential.len() + 2048));
    serde_json::to_writer_pretty(&mut *text, &layout).map_err(|error| corrupt(position(&error)))?;
    text.push(b'\n');
    if text.len() as u64 > MAX_LEN {
        return Err(corrupt(format!("it has more than {MAX_LEN} bytes")));
    }
    Ok(text)
}

/// The credential in a key's file.
pub(super) fn decode(text: &[u8], key: &VaultKey, place: &str) -> Result<Credential, VaultError> {
    let corrupt = |reason: String| VaultError::Corrupt { place: place.to_owned(), reason };
    let Version { version } = serde_json::from_slice(text).map_err(|error| corrupt(position(&error)))?;
    if version != VERSION {
        return Err(corrupt(format!("it has version {version}, and this program reads {VERSION}")));
    }
    let layout: Layout = serde_json::from_slice(text).map_err(|error| corrupt(position(&error)))?;
    let (kind, id) = thing(key);
    let (kept, other) = match kind {
        "thingID" => (&layout.thing_id, &layout.vendor_thing_id),
        _ => (&layout.vendor_thing_id, &layout.thing_id),
    };
    let other_key = VaultError::OtherKey { place: place.to_owned() };
    if layout.app != key.app().as_str()
        || kept.as_deref() != Some(id)
        || other.is_some()
        || layout.broker != key.broker().to_string()
    {
        return Err(other_key);
    }
    let stored = Zeroizing::new(layout.credential.to_string());
    let credential = Credential::from_json(stored.as_str()).map_err(|error| corrupt(error.to_string()))?;
    if belongs(&credential, key) { Ok(credential) } else { Err(other_key) }
}

/// Where it went wrong. Not serde's own words: they may quote a value.
fn position(error: &serde_json::Error) -> String {
    format!("unexpected content at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(app: &str, thing: ThingIdentity, broker: &str) -> VaultKey {
        VaultKey::new(app.parse().expect("valid"), thing, broker.parse().expect("valid"))
    }

    fn vendor(id: &str) -> ThingIdentity {
        ThingIdentity::VendorThing(id.parse().expect("valid"))
    }

    fn credential(app: &str) -> Credential {
        let endpoint = r#"{"username":"u","password":"hunter2","mqttTopic":"me","host":"h","portTCP":1883}"#;
        Credential::from_json(format!(
            r#"{{"appID":"{app}","thingID":"th.1","accessToken":"t0k3n","mqttEndpoint":{endpoint}}}"#
        ))
        .expect("complete")
    }

    #[test]
    fn every_allowed_id_has_a_safe_name_of_its_own() {
        let long = "x".repeat(200);
        let ids = ["a", "A", "...", ".hidden", "-rf", "_", "a.b", "a_b", "CON", &long, &long[1..]];
        let mut names = std::collections::HashSet::new();
        for app in ["a", "ab"] {
            for id in ids {
                for thing in [vendor(id), ThingIdentity::Thing(id.parse().expect("valid"))] {
                    for broker in ["mqtt://h", "mqtts://h", "mqtt://h:1884", "mqtt://h2", "ws://h", "ws://h/other"] {
                        let name = file_name(&key(app, thing.clone(), broker));
                        assert!(name.len() <= 116, "{name}");
                        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)), "{name}");
                        assert!(!name.starts_with('.') && name.ends_with(".credential"), "{name}");
                        assert!(names.insert(name.to_ascii_lowercase()), "{name} twice");
                    }
                }
            }
        }
        // The boundary between two parts of the key is part of the name.
        assert_ne!(file_name(&key("ab", vendor("c"), "mqtt://h")), file_name(&key("a", vendor("bc"), "mqtt://h")));
        assert_eq!(file_name(&key("a", vendor("b"), "mqtt://H")), file_name(&key("a", vendor("b"), "mqtt://h:1883")));
    }

    #[test]
    fn a_name_stays_what_it_is() {
        // A later version must find what this one has stored.
        let name = file_name(&key("c1k9abcdef12", vendor("thermostat.17"), "mqtts://iot.example.org"));
        let hash = "9b0bfb245c5edaca0c067b888ccd1c7b7cdc92787d89054dcff6e747d79d439c";
        assert_eq!(name, format!("thermostat_17-{hash}.credential"));
    }

    #[test]
    fn encoding_and_decoding_are_inverse() {
        let service = key("app", ThingIdentity::Thing("th.1".parse().expect("valid")), "mqtt://h");
        for key in [key("app", vendor("v"), "wss://h"), service] {
            let text = encode(&key, &credential("app"), "it").expect("encoded");
            let again = decode(&text, &key, "it").expect("decoded");
            assert_eq!(again.to_json_exposed(), credential("app").to_json_exposed());
        }
    }

    #[test]
    fn a_file_in_anothers_place_is_noticed() {
        let mine = key("app", vendor("v"), "mqtt://h");
        let text = encode(&mine, &credential("app"), "it").expect("encoded");
        let thing = |id: &str| ThingIdentity::Thing(id.parse().expect("valid"));
        for other in [
            key("app", vendor("w"), "mqtt://h"),
            key("app", thing("v"), "mqtt://h"),
            key("app2", vendor("v"), "mqtt://h"),
            key("app", vendor("v"), "mqtts://h"),
        ] {
            assert!(matches!(decode(&text, &other, "it"), Err(VaultError::OtherKey { .. })), "{other}");
        }
        // Nor is one believed, or written, whose credential contradicts its key.
        let foreign =
            String::from_utf8(text.to_vec()).expect("text").replace("\"appID\": \"app\"", "\"appID\": \"a2\"");
        assert!(matches!(decode(foreign.as_bytes(), &mine, "it"), Err(VaultError::OtherKey { .. })));
        assert!(matches!(encode(&mine, &credential("a2"), "it"), Err(VaultError::OtherKey { .. })));
        let other_thing = key("app", thing("th.2"), "mqtt://h");
        assert!(matches!(encode(&other_thing, &credential("app"), "it"), Err(VaultError::OtherKey { .. })));
    }

    #[test]
    fn what_is_damaged_says_so_without_showing_it() {
        let key = key("app", vendor("v"), "mqtt://h");
        let good = String::from_utf8(encode(&key, &credential("app"), "it").expect("encoded").to_vec()).expect("text");
        let mut bad: Vec<String> = (0..good.trim_end().len()).map(|end| good[..end].to_owned()).collect();
        bad.push(good.replace("\"version\": 1", "\"version\": 2, \"more\": []"));
        bad.push(good.replace("\"version\": 1", "\"version\": 1, \"more\": []"));
        bad.push(good.replace("\"accessToken\": \"t0k3n\"", "\"accessToken\": \"t0k3n hunter2\""));
        bad.push(good.replace("\"app\": \"app\"", "\"app\": [\"hunter2\"]"));
        bad.push("\0".repeat(good.len()));
        for bad in bad {
            let error = decode(bad.as_bytes(), &key, "/v/it").expect_err(&bad);
            assert!(matches!(&error, VaultError::Corrupt { .. }), "{error}: {bad}");
            let text = error.to_string();
            assert!(text.contains("/v/it is not a credential") && !text.contains("hunter2"), "{text}");
        }
    }
}
