//! Events as failures show them, without their secrets.

use serde_json::Value;

use super::matching::Cut;
use crate::secret::Redacted;

/// What says most about an event of that kind.
pub(super) fn members(kind: &str, members: &Value) -> String {
    match kind {
        "connect" => format!(" of {}", members["client_id"]),
        "publish" => {
            let topic = Redacted::new(members["topic"].as_str().unwrap_or_default()).to_string();
            let payload = Redacted::new(members["payload"].as_str().unwrap_or_default()).to_string();
            format!(" to {topic}: {:?}", Cut(&payload).to_string())
        }
        "push" => format!(" {:?}", Cut(&Redacted::new(&members.to_string()).to_string()).to_string()),
        _ => match Redacted::new(&members.to_string()).to_string() {
            text if text == "{}" => String::new(),
            text => format!(" {}", Cut(&text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn no_secret_is_shown() {
        let publish = json!({"topic": "p/c/x", "payload": "PUT\r\nAuthorization: Bearer t0k3n\r\n\r\n{}"});
        let text = members("publish", &publish);
        assert!(text.contains("p/c/x") && text.contains("PUT") && !text.contains("t0k3n"), "{text}");
        let text = members("connect", &json!({"client_id": "c", "password": "hunter2"}));
        assert_eq!(text, " of \"c\"");
        assert_eq!(members("closed", &json!({})), "");
        let text = members("result", &json!({"status": 200, "body": "{\"accessToken\":\"t0k3n\"}"}));
        assert!(text.contains("200") && !text.contains("t0k3n"), "{text}");
    }
}
