//! Two applications with the same names in them: users, makers' ids, and by a stroke of the pen even a thing's id.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::Value as Column;
use serde_json::{Value, json};
use thingif::cloud::{AdminClient, Advertise, Cloud, Location};
use thingif::edge::{Config, Edge, Listeners, Registry};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::cloud_support::{APP, BY_OWNER, KEY, OTHER_APP, OTHER_KEY, Road, Served, basic, options};

const TRAIT_STATE: &str = "application/vnd.kii.TraitState+json";

/// The id of the lamp, in both applications.
pub(crate) const SAME_ID: &str = "th.00000000same-0000-0000-0000-00000000";

/// One application and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) app: &'static str,
    pub(crate) key: &'static str,
    /// Of the lamp: id and token.
    pub(crate) owner: (String, String),
    /// Of the kettle.
    pub(crate) neighbour: (String, String),
    /// Its vendor thing id and its thing id are those of the other application's lamp. It has traits.
    pub(crate) lamp: Thing,
    /// Only its vendor thing id is. It has none.
    pub(crate) kettle: Thing,
    /// Behind the lamp, and its owner's: the thing id and the token.
    pub(crate) bulb: (String, String),
    pub(crate) command: String,
    pub(crate) trigger: String,
    /// The administrator's token, and one of anybody who knows the key.
    pub(crate) admin: String,
    pub(crate) anybody: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Thing {
    pub(crate) vendor: &'static str,
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) endpoint: Value,
    pub(crate) registration: String,
}

impl Thing {
    pub(crate) fn text(&self, field: &str) -> &str {
        self.endpoint[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.endpoint))
    }
}

impl Side {
    fn user_password(&self, name: &str) -> String {
        format!("{name} of {}", self.app)
    }

    pub(crate) fn basic(&self) -> String {
        basic(self.app, self.key)
    }

    /// Fills in the names of `thing`, and of this application's users; passwords are those of `secrets`.
    pub(crate) fn fill(&self, template: &str, app: &Side, thing: &Thing, secrets: &Side) -> String {
        template
            .replace("{app}", app.app)
            .replace("{thing}", &thing.id)
            .replace("{vendor}", thing.vendor)
            .replace("{command}", &self.command)
            .replace("{trigger}", &self.trigger)
            .replace("{installation}", thing.text("installationID"))
            .replace("{registration}", &thing.registration)
            .replace("{owner}", &self.owner.0)
            .replace("{object}", &format!("object-of-{}", self.app))
            .replace("{login}", "ann")
            .replace("{user_password}", &secrets.user_password("ann"))
            .replace("{node}", &self.bulb.0)
            .replace("{node_vendor}", "bulb")
            .replace("{node_password}", &secrets.user_password("bulb"))
            .replace("{thing_password}", &secrets.user_password(thing.vendor))
    }

    async fn fill_up(http: &Road, app: &'static str, key: &'static str) -> Self {
        let basic = basic(app, key);
        let headers = [("Authorization", basic.as_str()), ("Content-Type", "application/json")];
        let mut users = Vec::new();
        for name in ["ann", "bob"] {
            let secret = format!("{name} of {app}");
            let body = json!({"loginName": name, "password": secret}).to_string();
            let made = http.send("POST", &format!("/api/apps/{app}/users"), &headers, &body).await;
            assert_eq!(made.status, 201, "{made:?}");
            let body = json!({"username": name, "password": secret}).to_string();
            let login = http.send("POST", &format!("/api/apps/{app}/oauth2/token"), &headers, &body).await;
            assert_eq!(login.status, 200, "{login:?}");
            users.push((made.text("userID"), login.text("access_token")));
        }
        let mut things = Vec::new();
        for (vendor, (owner, token)) in ["lamp", "kettle"].into_iter().zip(&users) {
            let bearer = format!("Bearer {token}");
            let headers = [("Authorization", bearer.as_str()), ("Content-Type", BY_OWNER)];
            let body = json!({
                "vendorThingID": vendor, "thingPassword": format!("{vendor} of {app}"), "owner": format!("user:{owner}")
            });
            let path = format!("/thing-if/apps/{app}/onboardings");
            let made = http.send("POST", &path, &headers, &body.to_string()).await;
            assert_eq!(made.status, 200, "{made:?}");
            let (id, token) = (made.text("thingID"), made.text("accessToken"));
            let states = format!("/thing-if/apps/{app}/targets/thing:{id}/states");
            let state = json!({"secret": format!("state of {vendor} in {app}")});
            if vendor == "lamp" {
                let bearer = format!("Bearer {token}");
                let headers = [("Authorization", bearer.as_str()), ("Content-Type", TRAIT_STATE)];
                let path = format!("{states}/aliases/Lamp");
                assert_eq!(http.send("PUT", &path, &headers, &state.to_string()).await.status, 201);
            } else {
                assert_eq!(http.call("PUT", &states, &token, &state.to_string()).await.status, 201);
            }
            let endpoint = made.json()["mqttEndpoint"].clone();
            things.push(Thing { vendor, id, token, endpoint, registration: String::new() });
        }
        let [owner, neighbour] = users.try_into().expect("two");
        let [lamp, kettle] = things.try_into().expect("two");
        let body = json!({
            "gatewayThingID": lamp.id, "endNodeVendorThingID": "bulb", "endNodePassword": format!("bulb of {app}"),
            "owner": format!("user:{}", owner.0),
        });
        let bearer = format!("Bearer {}", owner.1);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", END_NODE)];
        let made = http.send("POST", &format!("/thing-if/apps/{app}/onboardings"), &headers, &body.to_string()).await;
        let bulb = (made.text("endNodeThingID"), made.text("accessToken"));
        let body = json!({
            "issuer": format!("user:{}", owner.0), "schema": "S", "schemaVersion": 1, "actions": [{"on": {}}],
            "title": format!("command in {app}"),
        });
        let path = format!("/thing-if/apps/{app}/targets/thing:{}/commands", lamp.id);
        let command = http.call("POST", &path, &owner.1, &body.to_string()).await.text("commandID");
        let body = json!({
            "triggersWhat": "COMMAND", "title": format!("trigger of a command in {app}"),
            "command": {"issuer": format!("user:{}", owner.0), "schema": "S", "schemaVersion": 1, "actions": [{"on": {}}]},
            "predicate": {"eventSource": "STATES", "triggersWhen": "CONDITION_TRUE",
                "condition": {"type": "eq", "field": "never", "value": true}},
        });
        let path = format!("/thing-if/apps/{app}/targets/thing:{}/triggers", lamp.id);
        let trigger = http.call("POST", &path, &owner.1, &body.to_string()).await.text("triggerID");
        let token = async |client: &str, secret: &str| {
            let body =
                json!({"grant_type": "client_credentials", "client_id": client, "client_secret": secret}).to_string();
            let headers = [("Content-Type", "application/json")];
            http.send("POST", &format!("/api/apps/{app}/oauth2/token"), &headers, &body).await.text("access_token")
        };
        let (admin, anybody) = (token(ADMIN, &admin_secret(app)).await, token(app, key).await);
        let lamps = format!("things/{}/", lamp.id);
        for (scope, manager) in [("", &admin), ("users/me/", &owner.1), (lamps.as_str(), &owner.1)] {
            let path = format!("/api/apps/{app}/{scope}buckets/shared/objects/object-of-{app}");
            let object = json!({"note": format!("state of a bucket of {app}")}).to_string();
            assert_eq!(http.call("PUT", &path, &owner.1, &object).await.status, 201, "{path}");
            let path = format!("/api/apps/{app}/{scope}topics/news");
            assert_eq!(http.call("PUT", &path, manager, "").await.status, 204, "{path}");
        }
        let subscribed =
            format!("/api/apps/{app}/{lamps}buckets/shared/filters/all/push/subscriptions/things/{}", lamp.id);
        assert_eq!(http.call("PUT", &subscribed, &lamp.token, "").await.status, 204);
        Self { app, key, owner, neighbour, lamp, kettle, bulb, command, trigger, admin, anybody }
    }
}

/// A cloud over HTTP and MQTT, on a database of its own.
pub(crate) struct World {
    pub(crate) home: Side,
    pub(crate) foreign: Side,
    pub(crate) mqtt: SocketAddr,
    pub(crate) registry: Registry,
    served: Served,
    stop: oneshot::Sender<()>,
    edge: tokio::task::JoinHandle<std::io::Result<()>>,
    data: tempfile::TempDir,
    before: Dump,
}

/// What the database has of the home application, table by table.
pub(crate) type Dump = BTreeMap<String, Vec<Vec<Column>>>;

impl World {
    pub(crate) async fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let (home, foreign) = {
            let (served, _, _, stop, edge) = open(data.path()).await;
            let home = Side::fill_up(&served.http, APP, KEY).await;
            let foreign = Side::fill_up(&served.http, OTHER_APP, OTHER_KEY).await;
            close(served, stop, edge).await;
            (home, foreign)
        };
        let [home, foreign] = [home, foreign].map(|side| rename_lamp(data.path(), side));
        let before = dump(data.path(), home.app);
        assert!(before.values().all(|rows| !rows.is_empty()), "a table has nothing that could be touched: {before:?}");
        let (served, mqtt, registry, stop, edge) = open(data.path()).await;
        Self { home, foreign, mqtt, registry, served, stop, edge, data, before }
    }

    pub(crate) fn http(&self) -> &Road {
        &self.served.http
    }

    /// Stops everything. Gives what the database had of the home application at the beginning, and has now.
    pub(crate) async fn stop(self) -> (Dump, Dump) {
        close(self.served, self.stop, self.edge).await;
        (self.before, dump(self.data.path(), self.home.app))
    }
}

const END_NODE: &str = "application/vnd.kii.OnboardingEndNodeWithGatewayThingID+json";

/// The same in both applications; only the secret differs.
const ADMIN: &str = "administrator";

fn admin_secret(app: &str) -> String {
    format!("the secret of the administrator of {app}")
}

type Opened = (Served, SocketAddr, Registry, oneshot::Sender<()>, tokio::task::JoinHandle<std::io::Result<()>>);

async fn open(data: &Path) -> Opened {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mqtt = listener.local_addr().expect("bound");
    let mut options = options();
    options.store = Location::Dir(data.join("cloud"));
    options.admins = [APP, OTHER_APP]
        .map(|app| AdminClient {
            app: app.parse().expect("valid"),
            client_id: ADMIN.to_owned(),
            client_secret: admin_secret(app).into(),
        })
        .to_vec();
    options.advertise = Advertise { tcp: Some(mqtt.port()), ..Advertise::default() };
    options.throttle_logins = false; // which has tests of its own; here nearly every login is wrong
    let registry = Registry::new();
    let cloud = Cloud::open(options, Arc::new(registry.clone())).expect("opens");
    let edge = Edge::new(cloud.service(), cloud.clone(), registry.clone(), Config::default());
    let (stop, stopped) = oneshot::channel();
    let listeners = Listeners { mqtt: Some(listener), ..Listeners::default() };
    let edge = tokio::spawn(edge.run(listeners, stopped));
    (Served::start(cloud).await, mqtt, registry, stop, edge)
}

async fn close(served: Served, stop: oneshot::Sender<()>, edge: tokio::task::JoinHandle<std::io::Result<()>>) {
    stop.send(()).expect("running");
    edge.await.expect("no panic").expect("served");
    served.stop().await;
}

fn database(data: &Path) -> Connection {
    Connection::open(data.join("cloud").join("thingif.db")).expect("a database")
}

/// Gives the lamp [`SAME_ID`], wherever it is named, and looks up what no answer tells.
fn rename_lamp(data: &Path, mut side: Side) -> Side {
    let database = database(data);
    let old = side.lamp.id.clone();
    for (table, column, prefix) in [
        ("things", "thing_id", ""),
        ("thing_owners", "thing_id", ""),
        ("alias_states", "thing_id", ""),
        ("state_history", "thing_id", ""),
        ("commands", "thing_id", ""),
        ("end_nodes", "gateway_id", ""),
        ("triggers", "thing_id", ""),
        ("access_tokens", "principal", "thing:"),
        ("installations", "principal", "thing:"),
        ("buckets", "scope", "thing:"),
        ("objects", "scope", "thing:"),
        ("topics", "scope", "thing:"),
        ("push_subscriptions", "scope", "thing:"),
        ("push_subscriptions", "subscriber", "thing:"),
    ] {
        let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {column} = ?2 AND app_id = ?3");
        let (new, old) = (format!("{prefix}{SAME_ID}"), format!("{prefix}{old}"));
        let changed = database.execute(&sql, (&new, &old, side.app)).expect("SQL");
        assert_eq!(changed, 1, "{table}");
    }
    // Names that stand in JSON, and what only a firing makes.
    let sql = "UPDATE triggers SET command = REPLACE(command, ?1, ?2) WHERE app_id = ?3";
    assert_eq!(database.execute(sql, (&old, SAME_ID, side.app)).expect("SQL"), 1);
    let result =
        json!({"succeeded": false, "executedAt": 1, "endpoint": format!("code beside a command in {}", side.app)});
    let sql = "INSERT INTO trigger_results (app_id, thing_id, trigger_id, seq, result) VALUES (?1, ?2, ?3, 1, ?4)";
    database.execute(sql, (side.app, SAME_ID, &side.trigger, result.to_string())).expect("SQL");
    side.lamp.id = SAME_ID.to_owned();
    for thing in [&mut side.lamp, &mut side.kettle] {
        let sql = "SELECT registration_id FROM installations WHERE app_id = ?1 AND principal = ?2";
        let principal = format!("thing:{}", thing.id);
        thing.registration = database.query_row(sql, (side.app, principal), |row| row.get(0)).expect("a row");
    }
    side
}

fn dump(data: &Path, app: &str) -> Dump {
    let database = database(data);
    // Of applications that were made by hand there are none. Every other table but the list of schema versions and the row that
    // health checks write to is divided by application; one that were not would fail here.
    let names = "SELECT name FROM sqlite_master \
                 WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name NOT IN ('schema_migrations', 'health_checks', 'apps', 'admin_clients')";
    let mut names = database.prepare(names).expect("SQL");
    let names: Vec<String> =
        names.query_map((), |row| row.get(0)).expect("rows").map(|name| name.expect("text")).collect();
    let mut dump = Dump::new();
    for name in names {
        let mut rows =
            database.prepare(&format!("SELECT * FROM {name} WHERE app_id = ?1 ORDER BY 1, 2, 3")).expect("SQL");
        let columns = rows.column_count();
        let read = rows.query_map([app], |row| (0..columns).map(|column| row.get(column)).collect()).expect("rows");
        dump.insert(name, read.map(|row: rusqlite::Result<Vec<Column>>| row.expect("a row")).collect());
    }
    dump
}
