//! A device of `thingif serve`, packet by packet: it onboards at the default broker and moves to the assigned one.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::net::TcpStream;

use crate::program::{APP, APP_KEY, Server};
use crate::raw_mqtt::{Answer, Client, connect};

/// A connection to the default broker.
pub(crate) async fn anonymous(mqtt: SocketAddr) -> Client<TcpStream> {
    let (username, password) = (format!("type=oauth2&client_id={APP}"), format!("client_secret={APP_KEY}"));
    Client::login(mqtt, connect("anonymous", &username, &password)).await
}

pub(crate) fn mqtt(server: &Server) -> SocketAddr {
    server.address("mqtt").parse().expect("an address")
}

pub(crate) struct Device {
    /// The answer to its onboarding.
    credential: Value,
    connection: Client<TcpStream>,
    pushes: VecDeque<Value>,
    calls: u32,
}

impl Device {
    /// Onboards with the password `thing-password`, connects to the assigned broker, and subscribes if it is to.
    pub(crate) async fn start(server: &Server, vendor_thing_id: &str, subscribes: bool) -> Self {
        let mut connection = anonymous(mqtt(server)).await;
        let body = serde_json::json!({"vendorThingID": vendor_thing_id, "thingPassword": "thing-password"});
        let content_type = "application/vnd.kii.OnboardingWithVendorThingIDByThing+json";
        let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
        connection.request(&topic, format!("POST\r\nContent-type: {content_type}\r\n\r\n{body}")).await;
        let answer = connection.answer().await;
        assert_eq!(answer.status, "200", "{}", answer.body);
        let credential = serde_json::from_str(&answer.body).expect("JSON");
        Self::connect(server, credential, subscribes).await
    }

    async fn connect(server: &Server, credential: Value, subscribes: bool) -> Self {
        let endpoint = |name: &str| credential["mqttEndpoint"][name].as_str().expect("a text").to_owned();
        let login = connect(&endpoint("mqttTopic"), &endpoint("username"), &endpoint("password"));
        let connection = Client::login(mqtt(server), login).await;
        let mut device = Self { credential, connection, pushes: VecDeque::new(), calls: 0 };
        if subscribes {
            let topic = device.topic().to_owned();
            assert_eq!(device.connection.subscribe(&[&topic]).await, [0]);
        }
        device
    }

    /// Connects anew, to a server that knows it.
    pub(crate) async fn reconnect(self, server: &Server) -> Self {
        Self::connect(server, self.credential, true).await
    }

    pub(crate) fn id(&self) -> &str {
        self.credential["thingID"].as_str().expect("an id")
    }

    pub(crate) fn topic(&self) -> &str {
        self.credential["mqttEndpoint"]["mqttTopic"].as_str().expect("a topic")
    }

    /// One call below its own target; pushes that come before its answer are kept.
    pub(crate) async fn call(&mut self, verb: &str, path: &str, body: &str) -> Answer {
        self.calls += 1;
        let number = self.calls.to_string();
        let topic = format!("p/{}/thing-if/apps/{APP}/targets/thing:{}/{path}", self.topic(), self.id());
        let token = self.credential["accessToken"].as_str().expect("a token");
        let head = format!("{verb}\r\nAuthorization: Bearer {token}\r\nX-Kii-RequestID: {number}\r\n");
        let frame = format!("{head}Content-Type: application/json\r\n\r\n{body}");
        self.connection.request(&topic, frame).await;
        loop {
            let (on, payload) = self.connection.publication().await;
            if on == self.topic() {
                self.pushes.push_back(serde_json::from_str(&payload).expect("JSON"));
                continue;
            }
            let answer = Answer::parse(on, &payload);
            assert_eq!((&answer.topic, answer.request_id.as_deref()), (&topic, Some(number.as_str())));
            return answer;
        }
    }

    /// The next push, which may have come already.
    pub(crate) async fn push(&mut self) -> Value {
        if let Some(push) = self.pushes.pop_front() {
            return push;
        }
        let (on, payload) = self.connection.publication().await;
        assert_eq!(on, self.topic(), "{payload}");
        serde_json::from_str(&payload).expect("JSON")
    }

    /// Everything that was sent to it before now has come: what was kept is all there is.
    pub(crate) async fn pushes_so_far(&mut self) -> Vec<Value> {
        self.call("GET", "commands", "").await;
        self.pushes.drain(..).collect()
    }
}
