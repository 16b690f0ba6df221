//! The same over MQTT: what a connection of one application is told of another, and what it hears of other clients.

use tokio::net::TcpStream;

use crate::raw_mqtt::{Answer, Client, connect, filter, id};
use crate::rows::{ROWS, Rightful, Row, STRANGERS, Stranger};
use crate::world::{SAME_ID, Side, Thing, World};
use crate::{credentials, rightful, said};
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{Connect, Packet, Protocol};

async fn assigned(world: &World, thing: &Thing) -> Client<TcpStream> {
    let login = connect(thing.text("mqttTopic"), thing.text("username"), thing.text("password"));
    Client::login(world.mqtt, login).await
}

async fn anonymous(world: &World, side: &Side) -> Client<TcpStream> {
    let (user, password) = (format!("type=oauth2&client_id={}", side.app), format!("client_secret={}", side.key));
    Client::login(world.mqtt, connect("anonymous", &user, &password)).await
}

fn frame(row: &Row, headers: &[(&str, String)], body: &str) -> String {
    let mut frame = format!("{}\r\n", row.method);
    for (name, value) in headers {
        frame.push_str(&format!("{name}: {value}\r\n"));
    }
    if !row.media_type.is_empty() {
        frame.push_str(&format!("Content-Type: {}\r\n", row.media_type));
    }
    frame + "\r\n" + body
}

fn told(answer: &Answer) -> String {
    let code = if answer.body.is_empty() { String::new() } else { answer.error_code() };
    said(answer.status.parse().expect("a number"), &code)
}

/// Asks on `p/{as_client}{path}`.
async fn ask(client: &mut Client<TcpStream>, as_client: &str, path: &str, frame: &str) -> String {
    client.request(&format!("p/{as_client}{path}"), frame).await;
    told(&client.answer().await)
}

#[tokio::test]
async fn a_connection_of_another_application_reaches_nothing_whatever_it_shows() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    let topic = foreign.lamp.text("mqttTopic").to_owned();
    let mut client = assigned(&world, &foreign.lamp).await;
    for row in ROWS {
        let path = home.fill(row.path, home, &home.lamp, home);
        let body = home.fill(row.body, home, &home.lamp, home);
        let expected =
            if path.starts_with("/thing-if/") { "403 OPERATION_NOT_SUPPORTED" } else { "404 PATH_NOT_FOUND" };
        // Not even with what would open it from the right connection.
        let mut all = vec![vec![rightful(row, home)]];
        all.extend(STRANGERS.map(|stranger| credentials(&world, stranger)));
        for headers in all {
            let told = ask(&mut client, &topic, &path, &frame(row, &headers, &body)).await;
            assert_eq!(told, expected, "{} {path} with {headers:?}", row.method);
        }
    }
    // The application's name is read as it is written: an encoded one is another's.
    let encoded = format!("%{:02X}{}", home.app.as_bytes()[0], &home.app[1..]);
    let states = format!("/thing-if/apps/{encoded}/targets/thing:{SAME_ID}/states");
    let get = format!("GET\n\nAuthorization: Bearer {}\n\n", home.lamp.token);
    assert_eq!(ask(&mut client, &topic, &states, &get).await, "403 OPERATION_NOT_SUPPORTED");
    let (before, after) = world.stop().await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn no_stranger_reaches_anything_from_a_connection_of_the_right_application() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    let topic = home.kettle.text("mqttTopic").to_owned();
    let mut client = assigned(&world, &home.kettle).await;
    for row in ROWS.iter().filter(|row| row.path.starts_with("/thing-if/")) {
        for (stranger, over_http) in STRANGERS.into_iter().zip(row.strangers) {
            // Its password says as much as the application's key does: without a token it may onboard a thing, whose
            // password it must know.
            let may_onboard = row.body.contains("thingPassword") && !row.body.contains("owner");
            let (expected, secrets) = match stranger {
                Stranger::Nobody
                | Stranger::Nonsense
                | Stranger::ForeignOwner
                | Stranger::ForeignNeighbour
                | Stranger::ForeignThing
                | Stranger::ForeignAdmin
                | Stranger::ForeignAnybody
                | Stranger::ForeignOwnerWithKey
                | Stranger::Neighbour
                | Stranger::NeighbourThing
                    if may_onboard =>
                {
                    ("401 WRONG_PASSWORD", foreign)
                }
                _ => (over_http, home),
            };
            let path = home.fill(row.path, home, &home.lamp, secrets);
            let body = home.fill(row.body, home, &home.lamp, secrets);
            let told = ask(&mut client, &topic, &path, &frame(row, &credentials(&world, stranger), &body)).await;
            assert_eq!(told, expected, "{} {path} as {stranger:?}", row.method);
        }
    }
    let (before, after) = world.stop().await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn the_default_broker_onboards_for_its_own_application_and_does_nothing_else() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    let mut client = anonymous(&world, foreign).await;
    for row in ROWS {
        let body = home.fill(row.body, home, &home.lamp, home);
        for app in [home, foreign] {
            let path = home.fill(row.path, app, &home.kettle, home);
            let is_onboarding = row.path.ends_with("/onboardings");
            let expected = match () {
                () if !path.starts_with("/thing-if/") => "404 PATH_NOT_FOUND",
                // Of its own application it is told what anybody with the key is.
                () if is_onboarding && app.app == foreign.app => continue,
                () => "403 OPERATION_NOT_SUPPORTED",
            };
            let told = ask(&mut client, "anonymous", &path, &frame(row, &[rightful(row, app)], &body)).await;
            assert_eq!(told, expected, "{} {path}", row.method);
        }
    }
    let (before, after) = world.stop().await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn topics_of_other_clients_lead_nowhere_and_tell_nothing() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    let mut victim = assigned(&world, &home.lamp).await;
    let victims = home.lamp.text("mqttTopic");
    assert_eq!(victim.subscribe(&[victims, &format!("p/{victims}/#")]).await, [0, 0]);
    let mut neighbour = assigned(&world, &home.kettle).await;
    let mut stranger = assigned(&world, &foreign.lamp).await;
    let mut newcomer = anonymous(&world, foreign).await;
    let mut foreign_publishes = world.registry.metrics().foreign_publishes;
    for client in [&mut neighbour, &mut stranger, &mut newcomer] {
        for row in ROWS {
            // In the victim's own name, with what the victim itself would show: still no answer, and nothing is done.
            let path = home.fill(row.path, home, &home.lamp, home);
            let body = home.fill(row.body, home, &home.lamp, home);
            let frame = frame(row, &[rightful(row, home)], &body);
            for (qos, number) in [(Qos::AtMostOnce, None), (Qos::AtLeastOnce, Some(7))] {
                client.publish(&format!("p/{victims}{path}"), &frame, qos, number, false).await;
                if number.is_some() {
                    assert_eq!(client.receive().await, Some(Packet::PubAck(id(7))));
                }
                foreign_publishes += 1;
            }
        }
        // What looks like a push, and like an answer.
        client.request(victims, r#"{"commandID":"c","actions":[{"unlock":{}}],"issuer":"user:x"}"#).await;
        client.request(&format!("p/{victims}/thing-if/apps/{}/onboardings", home.app), "200\r\n\r\n{}").await;
        foreign_publishes += 2;
        client.ping().await;
        assert_eq!(world.registry.metrics().foreign_publishes, foreign_publishes);
    }
    victim.ping().await; // and nothing before it
    let (before, after) = world.stop().await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn subscriptions_to_what_others_hear_are_refused_and_bring_nothing() {
    let world = World::start().await;
    let World { home, foreign, .. } = &world;
    let victims = home.lamp.text("mqttTopic");
    let below = format!("p/{victims}/#");
    let states = format!("p/{victims}/thing-if/apps/{}/targets/thing:{SAME_ID}/states", home.app);
    let wanted = [victims, &below, &states, "#", "+", "p/#", "p/+/#", "+/#", "p/anonymous/#", "$SYS/#"];

    let v311 = |thing: &Thing| connect(thing.text("mqttTopic"), thing.text("username"), thing.text("password"));
    let mut curious = Vec::new();
    for (thing, protocol, code) in [(&home.kettle, Protocol::V311, 0x80), (&foreign.lamp, Protocol::V31, 0)] {
        let mut client = Client::login(world.mqtt, Connect { protocol, ..v311(thing) }).await;
        // MQTT 3.1 has no code for a refusal: it is acknowledged, and nothing comes.
        assert_eq!(client.subscribe(&wanted).await, [code; 10], "{protocol:?}");
        curious.push(client);
    }
    let mut client = anonymous(&world, home).await;
    assert_eq!(client.subscribe(&wanted).await, [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0x80]);
    curious.push(client);
    assert_eq!(world.registry.metrics().refused_filters, 29);

    let mut victim = assigned(&world, &home.lamp).await;
    victim.send(Packet::Subscribe { id: id(1), filters: vec![(filter(victims), Qos::AtMostOnce)] }).await;
    assert!(matches!(victim.receive().await, Some(Packet::SubAck { .. })));
    // A push, an answer, and an onboarding: each is heard by one.
    let command =
        format!(r#"{{"issuer":"user:{}","schema":"S","schemaVersion":1,"actions":[{{"on":{{}}}}]}}"#, home.owner.0);
    let commands = format!("/thing-if/apps/{}/targets/thing:{SAME_ID}/commands", home.app);
    assert_eq!(world.http().call("POST", &commands, &home.owner.1, &command).await.status, 201);
    assert_eq!(victim.publication().await.0, victims);
    victim.request(&states, format!("GET\nAuthorization: Bearer {}\n\n", home.lamp.token)).await;
    assert_eq!(victim.answer().await.status, "200");
    let mut newcomer = anonymous(&world, home).await;
    let by_thing = |row: &&Row| row.path.ends_with("/onboardings") && row.rightful.0 == Rightful::Key;
    let onboarding = ROWS.iter().find(by_thing).expect("a row");
    let body = home.fill(onboarding.body, home, &home.kettle, home);
    let topic = format!("p/anonymous/thing-if/apps/{}/onboardings", home.app);
    newcomer.request(&topic, frame(onboarding, &[], &body)).await;
    assert_eq!(newcomer.answer().await.status, "200");
    for client in &mut curious {
        client.ping().await; // and nothing before it
    }
    world.stop().await;
}
