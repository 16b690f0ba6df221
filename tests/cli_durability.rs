//! `thingif serve --data`, killed without warning: a device that was told "204" over MQTT finds its state again.
#![cfg(feature = "cli")]

mod program;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::net::SocketAddr;

use program::{APP, APP_KEY, Server};
use raw_mqtt::Client;
use serde_json::Value;
use tokio::net::TcpStream;

/// What an onboarding gave, and a connection to the assigned broker with it.
struct Device {
    answer: Value,
    mqtt: Client<TcpStream>,
}

impl Device {
    async fn onboard(address: SocketAddr) -> Self {
        let user = format!("type=oauth2&client_id={APP}");
        let password = format!("client_secret={APP_KEY}");
        let mut default = Client::login(address, raw_mqtt::connect("anonymous", &user, &password)).await;
        let body = r#"{"vendorThingID":"meter-1","thingPassword":"secret"}"#;
        let onboard = "POST\r\nContent-type:application/vnd.kii.OnboardingWithVendorThingIDByThing+json\r\n\r\n";
        default.request(&format!("p/anonymous/thing-if/apps/{APP}/onboardings"), format!("{onboard}{body}")).await;
        let answer = default.answer().await;
        assert_eq!(answer.status, "200", "{}", answer.body);
        Self::resume(address, serde_json::from_str(&answer.body).expect("JSON")).await
    }

    /// With the credential of an earlier onboarding.
    async fn resume(address: SocketAddr, answer: Value) -> Self {
        let endpoint = &answer["mqttEndpoint"];
        let text = |name: &str| endpoint[name].as_str().expect("text");
        let connect = raw_mqtt::connect(text("mqttTopic"), text("username"), text("password"));
        let mqtt = Client::login(address, connect).await;
        Self { answer, mqtt }
    }

    fn topic(&self) -> String {
        let thing = self.answer["thingID"].as_str().expect("text");
        let client = self.answer["mqttEndpoint"]["mqttTopic"].as_str().expect("text");
        format!("p/{client}/thing-if/apps/{APP}/targets/thing:{thing}/states")
    }

    fn frame(&self, verb: &str, id: &str, body: &str) -> String {
        let token = self.answer["accessToken"].as_str().expect("text");
        format!(
            "{verb}\r\nAuthorization: Bearer {token}\r\nX-Kii-RequestID: {id}\r\n\
             Content-Type: application/json\r\n\r\n{body}"
        )
    }

    async fn put(&mut self, n: u64) {
        let frame = self.frame("PUT", &n.to_string(), &format!(r#"{{"n":{n}}}"#));
        self.mqtt.request(&self.topic(), frame).await;
    }

    /// The number that was reported last, as the service has it.
    async fn stored(&mut self) -> u64 {
        let frame = self.frame("GET", "get", "");
        self.mqtt.request(&self.topic(), frame).await;
        let answer = self.mqtt.answer().await;
        assert_eq!((answer.status.as_str(), answer.request_id.as_deref()), ("200", Some("get")), "{}", answer.body);
        serde_json::from_str::<Value>(&answer.body).expect("JSON")["n"].as_u64().expect("a number")
    }
}

fn address(server: &Server) -> SocketAddr {
    server.address("mqtt").parse().expect("an address")
}

#[tokio::test]
async fn a_thousand_pipelined_states_leave_the_last_and_outlive_kill_9() {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let data = parent.path().join("data");
    let flags =
        ["--data", data.to_str().expect("text"), "--https", "off", "--mqtts", "off", "--ws", "off", "--wss", "off"];
    let mut server = Server::start_with(&flags);
    let mut device = Device::onboard(address(&server)).await;
    for n in 1..=1_000 {
        device.put(n).await;
    }
    for n in 1..=1_000_u64 {
        let answer = device.mqtt.answer().await;
        assert_eq!(answer.request_id, Some(n.to_string()), "answered in order");
        assert_eq!(answer.status, if n == 1 { "201" } else { "204" }, "{n}: {}", answer.body);
    }
    assert_eq!(device.stored().await, 1_000);

    // Killed while further ones are on their way: whatever was acknowledged is there, the rest may be.
    let (mut sent, mut acknowledged) = (1_000, 1_000);
    for _ in 0..3 {
        for _ in 0..500 {
            sent += 1;
            device.put(sent).await;
        }
        for _ in 0..50 {
            let answer = device.mqtt.answer().await;
            assert_eq!(answer.status, "204", "{}", answer.body);
            acknowledged = answer.request_id.expect("echoed").parse().expect("a number");
        }
        server.running.signal("-KILL");
        server.running.wait();
        while let Some(packet) = device.mqtt.receive().await {
            let thingif::mqtt::packet::Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            let payload = String::from_utf8(publish.payload.to_vec()).expect("UTF-8");
            let answer = raw_mqtt::Answer::parse(publish.topic.to_string(), &payload);
            acknowledged = answer.request_id.expect("echoed").parse().expect("a number");
        }
        server = Server::start_with(&flags);
        device = Device::resume(address(&server), device.answer.clone()).await;
        let stored = device.stored().await;
        assert!((acknowledged..=sent).contains(&stored), "{acknowledged} acknowledged, {sent} sent, {stored} stored");
        // What was on its way and is not stored never will be; numbers go on behind it.
    }
}
