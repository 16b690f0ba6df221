//! A cloud with users, an administrator and strangers, behind HTTP and an edge, both on sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use thingif::cloud::{AdminClient, Clock, Cloud, Location};
use thingif::edge::{Config, Edge, Listeners, Registry};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::case::{Place, Request};
use crate::cloud_support::names::Names;
use crate::cloud_support::{APP, Answer, KEY, OTHER_APP, OTHER_KEY, Served, basic, onboard, options, user};
use crate::raw_mqtt::{Client, connect};

const ADMIN: &str = "administrator";
const ADMIN_SECRET: &str = "a secret of 32 random characters";

/// When everything happens, in milliseconds since 1970: the clock stands still.
pub(crate) const NOW: u64 = 1_000_000;

pub(crate) struct World {
    pub(crate) names: Names,
    pub(crate) served: Served,
    /// Where devices connect.
    #[allow(dead_code, reason = "the same table over a proxy needs it")]
    pub(crate) mqtt: SocketAddr,
    data: tempfile::TempDir,
    /// A device's connection to the assigned broker, and its client id.
    device: Client<TcpStream>,
    client_id: String,
    stop: oneshot::Sender<()>,
    edge: JoinHandle<std::io::Result<()>>,
}

impl World {
    pub(crate) async fn start(place: Place) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut options = options();
        // The table has more wrong passwords than one address would get away with.
        options.throttle_logins = false;
        options.clock = Clock::new(|| UNIX_EPOCH + Duration::from_millis(NOW));
        options.admins = vec![AdminClient {
            app: APP.parse().expect("valid"),
            client_id: ADMIN.to_owned(),
            client_secret: ADMIN_SECRET.into(),
        }];
        let mut config = Config::default();
        match place {
            Place::Broken => options.store = Location::Dir(data.path().join("cloud")),
            Place::Hurried => (config.max_request_burst, config.max_requests_per_second) = (1, 1),
            Place::Full => config.max_in_flight_total = 0,
            Place::Usual | Place::Closed => {}
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let mqtt = listener.local_addr().expect("bound");
        let registry = Registry::new();
        let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
        let edge = Edge::new(cloud.service(), cloud.clone(), registry, config);
        let (stop, stopped) = oneshot::channel();
        let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
        let edge = tokio::spawn(edge.run(listeners, stopped));
        let served = Served::start(cloud).await;
        let (client_id, device) = device(&served, mqtt).await;
        let mut world = Self { names: Names::default(), served, mqtt, data, device, client_id, stop, edge };
        world.people().await;
        world
    }

    /// Ann and Bob, an Ann of the other application with a lamp there, an administrator, and anybody who knows the key.
    async fn people(&mut self) {
        let http = &self.served.http;
        let names = &mut self.names;
        for (login, id, token) in [("ann", "{ann}", "$ann"), ("bob", "{bob}", "$bob")] {
            let (user, access) = user(http, APP, KEY, login).await;
            names.add(id, user);
            names.add(token, access);
        }
        names.add("$stranger", user(http, OTHER_APP, OTHER_KEY, "ann").await.1);
        let foreign = onboard(http, OTHER_APP, OTHER_KEY, "lamp").await;
        names.add("{FOREIGN}", foreign.text("thingID"));
        names.add("$foreign", foreign.text("accessToken"));
        for (token, client, secret) in [("$admin", ADMIN, ADMIN_SECRET), ("$anybody", APP, KEY)] {
            let body = json!({"grant_type": "client_credentials", "client_id": client, "client_secret": secret});
            let path = format!("/api/apps/{APP}/oauth2/token");
            let headers = [("Content-Type", "application/json")];
            names.add(token, http.send("POST", &path, &headers, &body.to_string()).await.text("access_token"));
        }
        names.add("{APP}", APP);
        names.add("{OTHER}", OTHER_APP);
        names.add("$key", basic(APP, KEY));
        names.add("$wrongkey", basic(APP, "wrong"));
        names.add("$otherkey", basic(OTHER_APP, OTHER_KEY));
        for (name, levels) in [("{100 levels}", 100), ("{101 levels}", 101)] {
            names.add(name, format!("{}1{}", r#"{"":"#.repeat(levels), "}".repeat(levels)));
        }
        names.add("{70 KB}", "x".repeat(70 * 1024));
        names.add("{9 KB}", "x".repeat(9 * 1024));
    }

    /// What makes this world another place. Everything that is asked comes after.
    pub(crate) async fn turn(&self, place: Place) {
        match place {
            Place::Closed => self.served.cloud.close().await,
            Place::Broken => {
                let database = rusqlite::Connection::open(self.data.path().join("cloud/thingif.db"));
                database.expect("a database").execute_batch("DROP TABLE commands").expect("dropped");
            }
            Place::Usual | Place::Hurried | Place::Full => {}
        }
    }

    pub(crate) async fn over_http(&self, request: &Request) -> Answer {
        let headers: Vec<_> = request.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        self.served.http.send(request.method, &request.path, &headers, &request.body).await
    }

    /// As the device would ask: the same head and body in a frame, on the topic that stands for the path.
    pub(crate) async fn over_mqtt(&mut self, request: &Request) -> Answer {
        let head: String = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        // First: it must be among what is kept of a frame that is too long.
        let (id, body) = (request.path.len(), &request.body);
        let frame = format!("{}\r\nX-Kii-RequestID: {id}\r\n{head}\r\n{body}", request.method);
        let topic = format!("p/{}{}", self.client_id, request.path);
        self.device.request(&topic, frame).await;
        let answer = self.device.answer().await;
        assert_eq!(answer.topic, topic);
        assert_eq!(answer.request_id, Some(id.to_string()));
        let mut headers = http::HeaderMap::new();
        for (name, value) in answer.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')) {
            let name: http::HeaderName = name.parse().expect("a header name");
            headers.append(name, value.parse().expect("a header value"));
        }
        Answer { status: answer.status.parse().expect("a status"), headers, body: answer.body.into() }
    }

    pub(crate) async fn stop(self) {
        drop(self.device);
        self.stop.send(()).expect("running");
        self.edge.await.expect("no panic").expect("served");
        self.served.stop().await;
    }
}

async fn device(served: &Served, mqtt: SocketAddr) -> (String, Client<TcpStream>) {
    let made = onboard(&served.http, APP, KEY, "device-of-the-table").await;
    assert_eq!(made.status, 200, "{made:?}");
    let endpoint = made.json()["mqttEndpoint"].clone();
    let [client_id, username, password] =
        ["mqttTopic", "username", "password"].map(|field| endpoint[field].as_str().expect("text").to_owned());
    let client = Client::login(mqtt, connect(&client_id, &username, &password)).await;
    (client_id, client)
}
