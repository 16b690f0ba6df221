//! New identifiers, shaped like Kii's. (`wire` §4, at its end)

use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{ContextV1, Timestamp, Uuid};

use super::{OpenError, random};
use crate::ids::{AppId, ClientId, CommandId, ThingId, UserId};

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const BASE_36: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Makes identifiers.
#[derive(Debug)]
pub(crate) struct Identifiers {
    sequence: ContextV1,
    node: [u8; 6],
}

impl Identifiers {
    /// Random start values; fails when the operating system has no random numbers, so nothing later can.
    pub(crate) fn new() -> Result<Self, OpenError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| OpenError::Random(error.to_string()))?;
        let [a, b, mut node @ ..] = seed;
        // The multicast bit says that this is no network card's address (RFC 9562 §6.10).
        node[0] |= 1;
        Ok(Self { sequence: ContextV1::new(u16::from_le_bytes([a, b])), node })
    }

    /// `th.` and 32 hexadecimal digits in groups.
    pub(crate) fn thing_id() -> ThingId {
        ThingId::new(format!("th.{}", grouped_hex())).expect("hexadecimal digits, dots and hyphens are allowed")
    }

    /// As a thing's, without `th.`.
    pub(crate) fn user_id() -> UserId {
        UserId::new(grouped_hex()).expect("hexadecimal digits and hyphens are allowed")
    }

    /// 12 characters of `[a-z0-9]`.
    pub(crate) fn app_id() -> AppId {
        AppId::new(from_alphabet(BASE_36, 12)).expect("letters and digits are allowed")
    }

    /// 32 hexadecimal digits.
    pub(crate) fn app_key() -> String {
        random::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Of a client that administers an application: 32 hexadecimal digits.
    pub(crate) fn client_id() -> String {
        Self::app_key()
    }

    /// 25 characters of `[a-z0-9]`.
    pub(crate) fn installation_id() -> String {
        from_alphabet(BASE_36, 25)
    }

    /// A UUID, version 4.
    pub(crate) fn registration_id() -> String {
        Uuid::new_v4().to_string()
    }

    /// Of an object in a bucket: a UUID, version 4.
    pub(crate) fn object_id() -> String {
        Self::registration_id()
    }

    /// Of a message that is pushed: a UUID, version 4.
    pub(crate) fn push_message_id() -> String {
        Self::registration_id()
    }

    /// Exactly 23 characters of `[A-Za-z0-9]`: the longest client identifier that MQTT 3.1 knows.
    pub(crate) fn mqtt_topic() -> ClientId {
        ClientId::new(from_alphabet(ALPHANUMERIC, 23)).expect("letters and digits are allowed")
    }

    /// The app id, a hyphen, 23 characters of `[A-Za-z0-9]`.
    pub(crate) fn endpoint_username(app: &AppId) -> String {
        format!("{app}-{}", from_alphabet(ALPHANUMERIC, 23))
    }

    /// A UUID, version 1.
    pub(crate) fn command_id(&self, now: SystemTime) -> CommandId {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = Timestamp::from_unix(&self.sequence, since.as_secs(), since.subsec_nanos());
        CommandId::new(Uuid::new_v1(timestamp, &self.node).to_string()).expect("hexadecimal digits and hyphens")
    }
}

fn grouped_hex() -> String {
    let hex: String = random::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..12], &hex[12..16], &hex[16..20], &hex[20..24], &hex[24..])
}

/// `len` characters, each as likely as the others.
fn from_alphabet(alphabet: &[u8], len: usize) -> String {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(len);
    while text.len() < len {
        for byte in random::<32>().map(usize::from) {
            if byte < fair && text.len() < len {
                text.push(char::from(alphabet[byte % alphabet.len()]));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn identifiers_have_the_shapes_that_clients_were_seen_with() {
        let lengths = |text: &str| text.split('-').map(str::len).collect::<Vec<_>>();
        let thing = Identifiers::thing_id();
        let digits = thing.as_str().strip_prefix("th.").expect("prefix");
        assert_eq!(lengths(digits), [12, 4, 4, 4, 8]);
        assert!(digits.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'), "{digits}");
        assert_eq!(lengths(Identifiers::user_id().as_str()), [12, 4, 4, 4, 8]);
        let installation = Identifiers::installation_id();
        assert!(installation.len() == 25 && installation.bytes().all(|b| BASE_36.contains(&b)), "{installation}");
        let topic = Identifiers::mqtt_topic();
        assert!(topic.as_str().len() == 23 && topic.as_str().bytes().all(|b| b.is_ascii_alphanumeric()), "{topic}");
        let app = AppId::new("c1k9abcdef12").expect("valid");
        let username = Identifiers::endpoint_username(&app);
        assert!(username.len() == 12 + 1 + 23 && username.starts_with("c1k9abcdef12-"), "{username}");
        assert_eq!(lengths(&Identifiers::registration_id()), [8, 4, 4, 4, 12]);
    }

    #[test]
    fn command_ids_differ_within_one_instant() {
        let ids = Identifiers::new().expect("random numbers");
        let now = UNIX_EPOCH + std::time::Duration::from_millis(1_464_327_857_000);
        let made: HashSet<_> = (0..10_000).map(|_| ids.command_id(now)).collect();
        assert_eq!(made.len(), 10_000);
        let first = made.iter().next().expect("one").as_str();
        assert_eq!(Uuid::parse_str(first).expect("a UUID").get_version_num(), 1);
    }

    #[test]
    fn every_character_of_an_alphabet_occurs() {
        let text: HashSet<char> = from_alphabet(ALPHANUMERIC, 10_000).chars().collect();
        assert_eq!(text.len(), ALPHANUMERIC.len());
    }
}
