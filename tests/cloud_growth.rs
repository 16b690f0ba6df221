//! Nothing grows with time: after as much use as one likes, edge and cloud hold what they held before.
#![cfg(feature = "cloud")]
#![allow(unsafe_code, reason = "counting bytes needs an allocator, and an allocator is unsafe to implement")]

mod cloud_support;
#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use cloud_support::{APP, BY_THING, KEY, Road, Served, options, user};
use raw_mqtt::{Client, connect};
use serde_json::{Value, json};
use thingif::cloud::{Cloud, CloudService};
use thingif::edge::{Config, Connections, Edge, Registry};
use thingif::mqtt::Scheme;
use thingif::mqtt::packet::Packet;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

/// The system's allocator, counting the bytes that are in use. What SQLite takes is not Rust's and not counted: its caches
/// have bounds of their own.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: usize, sign: isize) {
    LIVE.fetch_add(sign * isize::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}

// SAFETY: every call is passed on unchanged to `System`, which keeps the contract. Counting neither allocates nor fails.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(new_size, 1);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEVICES: usize = 20;

struct World {
    served: Served,
    registry: Registry,
    edge: Edge<CloudService, Cloud>,
    owner: (String, String),
}

impl World {
    fn dial(&self) -> (Client<DuplexStream>, JoinHandle<()>) {
        let (near, far) = tokio::io::duplex(1 << 14);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        (Client::new(near), tokio::spawn(self.edge.serve_stream(far, Scheme::Mqtt, address, address)))
    }

    async fn onboard(&self, vendor: &str, password: &str) -> (String, Value) {
        let (mut client, _) = self.dial();
        let login = connect("anonymous", &format!("type=oauth2&client_id={APP}"), &format!("client_secret={KEY}"));
        assert_eq!(client.connect(login).await, 0);
        let body = json!({"vendorThingID": vendor, "thingPassword": password});
        let topic = format!("p/anonymous/thing-if/apps/{APP}/onboardings");
        client.request(&topic, format!("POST\nContent-Type: {BY_THING}\n\n{body}")).await;
        let answer = client.answer().await;
        (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
    }

    /// The life of one device, with most of what can happen in one.
    async fn live(&self, number: usize) {
        let vendor = format!("v{number}");
        let (status, thing) = self.onboard(&vendor, "right").await;
        assert_eq!(status, "200");
        assert_eq!(self.onboard(&vendor, "wrong").await.0, "401");
        assert_eq!(self.onboard(&vendor, "right").await.0, "200");
        let endpoint = &thing["mqttEndpoint"];
        let text = |value: &Value, field: &str| value[field].as_str().expect("text").to_owned();
        let (topic, thing_id, token) =
            (text(endpoint, "mqttTopic"), text(&thing, "thingID"), text(&thing, "accessToken"));
        let login = || connect(&topic, &text(endpoint, "username"), &text(endpoint, "password"));
        let (mut old, _) = self.dial();
        assert_eq!(old.connect(login()).await, 0);
        let (mut client, served) = self.dial();
        assert_eq!(client.connect(login()).await, 0);
        old.expect_end().await;
        assert_eq!(client.subscribe(&[&topic, "not/mine"]).await, [0, 0x80]);

        let states = format!("p/{topic}/thing-if/apps/{APP}/targets/thing:{thing_id}/states");
        let head = format!("Authorization: Bearer {token}\nX-Kii-RequestID: x");
        for n in 0..20 {
            client.request(&states, format!("PUT\n{head}\n\n{}", json!({"n": n}))).await;
        }
        client.request(&states, format!("GET\n{head}\n\n")).await;
        client.request(&states, "no frame").await;
        client.request("p/somebody/x", "GET\n\n").await;
        client.request(&format!("p/{topic}/nowhere"), format!("GET\n{head}\n\n{}", "x".repeat(70_000))).await;
        for _ in 0..23 {
            client.answer().await;
        }
        let (user, token) = &self.owner;
        let body = json!({"vendorThingID": vendor, "thingPassword": "right", "owner": format!("user:{user}")});
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", cloud_support::BY_OWNER)];
        let http: &Road = &self.served.http;
        let path = format!("/thing-if/apps/{APP}/onboardings");
        assert_eq!(http.send("POST", &path, &headers, &body.to_string()).await.status, 200);
        let command =
            json!({"issuer": format!("user:{user}"), "schema": "S", "schemaVersion": 1, "actions": [{"on": {}}]});
        let path = format!("/thing-if/apps/{APP}/targets/thing:{thing_id}/commands");
        assert_eq!(http.call("POST", &path, token, &command.to_string()).await.status, 201);
        assert_eq!(client.publication().await.0, topic);
        if number.is_multiple_of(2) {
            client.send(Packet::Disconnect).await;
        } else {
            client.request(&states, format!("GET\n{head}\n\n")).await; // whose answer finds nobody
        }
        drop(client);
        served.await.expect("no panic");
        // The end of the thing: the next life makes another of the same name.
        let path = format!("/api/apps/{APP}/things/{thing_id}");
        assert_eq!(http.call("DELETE", &path, token, "").await.status, 204);
    }

    /// One life for each device, all at once; then what is held when everything has come to rest.
    async fn round(&self) -> isize {
        let lives: Vec<_> = (0..DEVICES).map(|number| self.live(number)).collect();
        futures_util::future::join_all(lives).await;
        let mut held = LIVE.load(Ordering::Relaxed);
        for _ in 0..200 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let now = LIVE.load(Ordering::Relaxed);
            let is_at_rest = now == held && self.registry.connections() == Connections::default();
            held = now;
            if is_at_rest && self.registry.outgoing_bytes() == 0 {
                break;
            }
        }
        held
    }
}

#[tokio::test]
async fn six_hundred_lives_later_nothing_more_is_held() {
    let registry = Registry::new();
    let mut options = options();
    options.throttle_logins = false; // its tables have bounds and tests of their own
    let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
    let edge = Edge::new(cloud.service(), cloud.clone(), registry.clone(), Config::default());
    let served = Served::start(cloud).await;
    let owner = user(&served.http, APP, KEY, "ann").await;
    let world = World { served, registry, edge, owner };
    let mut held = Vec::new();
    for _ in 0..30 {
        held.push(world.round().await);
    }
    // Tables keep the room that they once needed, and what they need at once depends on who happens to run when.
    let (early, late) = (held[3..13].iter().max().expect("some"), held[20..].iter().min().expect("some"));
    println!("held after each round of {DEVICES} lives: {held:?}");
    assert!(*late <= early + 16 * 1024, "{held:?}");
    assert_eq!(world.registry.connections(), Connections::default());
    world.served.stop().await;
}
