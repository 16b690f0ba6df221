//! The client alone, over links in memory, with a service that does everything wrong that it can.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use thingif::capture::{Header, Writer};
use thingif::client::commands::{ActionTable, Commands, FileJournal, ReceivedCommand};
use thingif::client::outbox::Outbox;
use thingif::client::retry::Retry;
use thingif::client::vault::{FileVault, MemoryVault, Vault, VaultKey};
use thingif::client::{self, Client, ConnectError};
use thingif::config::{Config, Identity};
use thingif::frame::{self, Frame};
use thingif::ids::{AppId, ThingId, VendorThingId};
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::topic::Topic;
use thingif::transport::memory::{self, Broker, BrokerLink, FromDevice};
use thingif::transport::record::Record;
use tokio::task::JoinHandle;

use crate::collector::{heard, listen, note, note_display, note_error};
use crate::device::{APP, CLIENT_ID, path};
use crate::planted::Planted;

/// Everything that must stay secret in one story.
struct Story {
    planted: Planted,
    thing_password: String,
    app_key: String,
    mqtt_password: String,
    token: String,
    /// Of another client of the API, in a header of a call.
    other_token: String,
    /// The same in a query.
    query_token: String,
    node_token: String,
}

impl Story {
    fn begin() -> Self {
        listen();
        let mut planted = Planted::default();
        Self {
            thing_password: planted.make("thing password", " \"\\/é+%&="),
            app_key: planted.make("app key", "\"\\/+%&="),
            mqtt_password: planted.make("MQTT password", " \"\\/é+%&="),
            token: planted.make("access token", "\"\\/+%&="),
            other_token: planted.make("token in a header", "\"\\/+%="),
            query_token: planted.make("token in a query", "+-/.="),
            node_token: planted.make("end node's token", "\"\\/+%&="),
            planted,
        }
    }

    fn config(&self) -> Config {
        let vendor = VendorThingId::new("thermostat-17").expect("valid");
        self.config_of(Identity::vendor_thing(vendor, self.thing_password.as_str().into()))
    }

    fn config_of(&self, identity: Identity) -> Config {
        let broker = "mqtt://default.invalid".parse().expect("a broker URL");
        let config = Config::new(broker, AppId::new(APP).expect("valid"), self.app_key.as_str().into(), identity)
            .expect("valid");
        note(&config);
        config
    }

    /// The onboarding answer's body.
    fn onboarded(&self) -> String {
        json!({"accessToken": self.token, "thingID": "th.1", "mqttEndpoint": {
            "installationID": "i", "username": "user", "password": self.mqtt_password, "mqttTopic": CLIENT_ID,
            "host": "assigned.invalid", "portTCP": 1883, "ttl": 2_147_483_647}})
        .to_string()
    }

    /// Ends: whatever was heard has nothing of it.
    #[track_caller]
    fn end(&self) {
        self.planted.assert_absent("what was heard", &heard());
    }
}

/// Answers `request` with `head`, its id, and `body`.
fn answer(request: &Publish, status: &str, body: impl AsRef<[u8]>) -> Publish {
    let id = frame::request_id(&request.payload);
    let mut payload = format!("{status}\r\n").into_bytes();
    if let Some(id) = id {
        payload.extend_from_slice(&[b"X-Kii-RequestID:", id.as_bytes(), b"\r\n"].concat());
    }
    payload.extend_from_slice(b"\r\n");
    payload.extend_from_slice(body.as_ref());
    Publish::new(request.topic.clone(), payload)
}

async fn next_publish(link: &mut BrokerLink) -> Publish {
    match link.next().await {
        Some(FromDevice::Publish(publish)) => publish,
        other => panic!("expected a PUBLISH, got {other:?}"),
    }
}

/// Plays the default broker once: `reply` makes the answer of the request.
async fn onboarding(broker: &mut Broker, reply: impl FnOnce(&Publish) -> Publish) {
    let attempt = broker.accept().await.expect("somebody connects");
    note(attempt.credentials());
    assert!(attempt.credentials().client_id.is_anonymous());
    let mut link = attempt.accept();
    let request = next_publish(&mut link).await;
    note(&request);
    link.publish(reply(&request)).expect("the device listens");
    while link.next().await.is_some() {}
}

async fn assigned(broker: &mut Broker) -> BrokerLink {
    let attempt = broker.accept().await.expect("somebody connects");
    note(attempt.credentials());
    assert_eq!(attempt.credentials().client_id.as_str(), CLIENT_ID);
    let mut link = attempt.accept();
    let Some(FromDevice::Subscribe(filter)) = link.next().await else { panic!("expected a SUBSCRIBE") };
    link.suback(filter, true).expect("the device listens");
    link
}

/// Plays both brokers as they should be, one connection after the other.
async fn serve(mut broker: Broker, body: String) {
    while let Some(attempt) = broker.accept().await {
        let mut link = attempt.accept();
        while let Some(message) = link.next().await {
            let answered = match message {
                FromDevice::Publish(request) => link.publish(answer(&request, "200", &body)),
                FromDevice::Subscribe(filter) => link.suback(filter, true),
                _ => break,
            };
            answered.expect("the device listens");
        }
    }
}

/// What the service says to a call.
type Reply<'a> = &'a dyn Fn(&Publish) -> Vec<Publish>;

/// Everything that a call may come back with is noted.
fn note_outcome(outcome: &Result<http::Response<Bytes>, client::RequestError>) {
    if let Err(error) = outcome {
        note_error(error);
    }
}

#[tokio::test(start_paused = true)]
async fn onboarding_of_both_kinds_and_every_way_to_refuse_it() {
    let story = Story::begin();
    let thing = Identity::thing(ThingId::new("th.1").expect("valid"), story.thing_password.as_str().into());
    let vendor = Identity::vendor_thing(VendorThingId::new("v").expect("valid"), story.thing_password.as_str().into());
    for identity in [thing, vendor] {
        let config = story.config_of(identity);
        let body = story.onboarded();
        let cut = body.find("mqttTopic").expect("in it");
        // The service repeats what it was sent: in words of its own, in JSON, inside a string, in broken JSON.
        let echoes: Vec<(&str, String)> = vec![
            ("200", body.clone()),
            ("200", body.replace("mqttTopic", "otherTopic")),
            ("200", body.replace("portTCP", "portSSL")),
            ("200", body.replace(&json!(story.token).to_string(), "[17]")),
            ("200", body[..cut].to_owned()),
            ("200", format!("\"{}", json!(body))),
            ("200", json!({"accessToken": format!("{}\u{7}", story.token), "thingID": "th.1"}).to_string()),
            ("200", json!({"accessToken": story.token, "thingID": format!("no id, {}", story.token)}).to_string()),
            ("200\r\nbroken header line", body.clone()),
            ("40x", body.clone()),
            ("401", json!({"errorCode": "WRONG_PASSWORD", "message": "wrong", "password": story.thing_password}).to_string()),
            ("400", json!({"errorCode": "INVALID_INPUT_DATA", "message": format!("cannot read {}", json!({
                "vendorThingID": "v", "thingPassword": story.thing_password}))}).to_string()),
            ("401", json!({"errorCode": "WRONG_PASSWORD", "message": format!("{} is not the password", story.thing_password)})
                .to_string()),
            ("403", json!({"errorCode": story.app_key, "message": format!("not the key: {}", story.app_key)}).to_string()),
            ("500", story.thing_password.clone()),
        ];
        for (status, body) in echoes {
            let (network, mut broker) = memory::network();
            let onboard = client::onboard(&config, &network);
            let (outcome, ()) =
                tokio::join!(onboard, onboarding(&mut broker, |request| answer(request, status, &body)));
            match outcome {
                Ok(credential) => {
                    note(&credential);
                    assert_eq!(credential.access_token.expose().as_str(), story.token, "what is stored is not masked");
                }
                Err(error) => note_error(&error),
            }
        }
        for reason in [RefusedReason::BadUserNameOrPassword, RefusedReason::NotAuthorised] {
            let (network, mut broker) = memory::network();
            let (outcome, ()) = tokio::join!(client::onboard(&config, &network), async {
                broker.accept().await.expect("somebody").refuse(reason);
            });
            note_error(&outcome.expect_err("refused"));
        }
    }
    story.end();
}

/// A device that is connected, with everything of it noted.
struct Device {
    client: Client,
    run: JoinHandle<Result<(), ConnectError>>,
    notices: JoinHandle<()>,
}

impl Device {
    fn of(connected: Result<(Client, client::Pushes, client::Connection), ConnectError>) -> (Self, client::Pushes) {
        let (client, pushes, mut connection) = connected.expect("connected");
        note(&client);
        note(&pushes);
        note(&connection);
        let mut notices = connection.notices();
        let notices = tokio::spawn(async move {
            while let Some(notice) = notices.next().await {
                note(&notice);
            }
        });
        (Self { client, run: tokio::spawn(connection.run()), notices }, pushes)
    }

    async fn end(self) {
        self.client.close().await;
        if let Err(error) = self.run.await.expect("no panic") {
            note_error(&error);
        }
        self.notices.await.expect("no panic");
    }
}

#[tokio::test(start_paused = true)]
async fn calls_with_tokens_and_answers_that_cannot_be_read() {
    let story = Story::begin();
    let (network, mut broker) = memory::network();
    let config = story.config();
    let body = story.onboarded();
    let (connected, mut link) = tokio::join!(client::connect(config, network), async {
        onboarding(&mut broker, |request| answer(request, "200", &body)).await;
        assigned(&mut broker).await
    });
    let (device, _pushes) = Device::of(connected);
    let client = &device.client;
    let bearer = format!("Bearer {}", story.other_token);
    let query = path(&format!("things/th.1/x?access_token={}&v=1", story.query_token));
    let call = || {
        Request::put(&query)
            .header("Authorization", &bearer)
            .header("Cookie", &story.other_token)
            .body(Bytes::from(json!({"password": story.thing_password}).to_string()))
            .expect("a request")
    };
    // The transport's own `Debug` forms are somebody's log line.
    note(&Topic::for_call(&thingif::ids::ClientId::new(CLIENT_ID).expect("valid"), &query).expect("a topic"));
    let replies: [Reply<'_>; 6] = [
        &|request| vec![answer(request, "200", story.onboarded())],
        // No frame at all, then a real answer.
        &|request| {
            let broken = format!("{} is no frame", story.token);
            vec![Publish::new(request.topic.clone(), broken), answer(request, "200", "")]
        },
        // A frame that breaks in the line of the secret.
        &|request| {
            let broken = format!("200\r\nAuthorization {}\r\n\r\n", story.token);
            vec![Publish::new(request.topic.clone(), broken), answer(request, "204", "")]
        },
        // An unknown id, and its own request heard back.
        &|request| {
            let unknown = format!("200\r\nX-Kii-RequestID:{}\r\n\r\n{}", story.token, story.mqtt_password);
            vec![Publish::new(request.topic.clone(), unknown), request.clone(), answer(request, "200", "")]
        },
        // A head that is too large, in a readable answer.
        &|request| {
            let large = format!("200\r\nX: {}{}\r\n\r\n", story.token, "x".repeat(frame::MAX_HEAD_LEN));
            vec![Publish::new(request.topic.clone(), large), answer(request, "200", "")]
        },
        &|request| vec![answer(request, "403", json!({"errorCode": "X", "message": story.other_token}).to_string())],
    ];
    for reply in replies {
        let (outcome, ()) = tokio::join!(client.send(call()), async {
            let request = next_publish(&mut link).await;
            note(&request);
            assert!(request.topic.as_str().contains("access_token=Zq"), "sent as it is");
            if let Ok(frame) = Frame::parse(&request.payload) {
                note(&frame);
            }
            for publish in reply(&request) {
                link.publish(publish).expect("the device listens");
            }
        });
        note_outcome(&outcome);
    }
    // Two calls on one topic and an answer that could belong to either.
    let (one, other, ()) = tokio::join!(client.send(call()), client.send(call()), async {
        let first = next_publish(&mut link).await;
        next_publish(&mut link).await;
        let ambiguous = Publish::new(first.topic, format!("200\r\n\r\n{}", story.token));
        link.publish(ambiguous).expect("the device listens");
    });
    note_outcome(&one);
    note_outcome(&other);
    // What cannot be sent.
    for uri in [format!("{}/{}?access_token={}", path("x"), "y".repeat(65_400), story.query_token), query.clone()] {
        let large = vec![b'x'; 70_000];
        let request = Request::put(uri).header("Authorization", &bearer).body(Bytes::from(large)).expect("a request");
        note_outcome(&client.send(request).await);
    }
    // A push that is nobody's, a topic that is nobody's.
    for topic in ["somebody-else?token=", "p/other/x?access_token="] {
        let topic = Topic::new(&format!("{topic}{}", story.query_token.replace('+', "%2B"))).expect("a topic");
        link.publish(Publish::new(topic, story.token.clone())).expect("the device listens");
    }
    // Lost in the middle of a call, and not accepted again.
    let (outcome, ()) = tokio::join!(client.send(call()), async {
        next_publish(&mut link).await;
        link.cut(thingif::mqtt::LinkError::new(LinkErrorKind::Closed, "reset"));
        broker.accept().await.expect("again").refuse(RefusedReason::BadUserNameOrPassword);
        let body =
            json!({"errorCode": "WRONG_PASSWORD", "message": format!("not {}", story.thing_password)}).to_string();
        onboarding(&mut broker, |request| answer(request, "401", &body)).await;
    });
    note_outcome(&outcome);
    note(&client.counters());
    device.end().await;
    story.end();
    assert!(heard().contains("an answer cannot be read"), "the client's own events were heard");
    assert!(heard().contains("could belong to several calls"));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_and_calls_that_are_made_again() {
    use tower::{Layer as _, Service as _};
    let story = Story::begin();
    let (network, mut broker) = memory::network();
    let body = story.onboarded();
    let vault = MemoryVault::new();
    note(&vault);
    let (connected, mut link) = tokio::join!(client::connect_with(story.config(), network, vault), async {
        onboarding(&mut broker, |request| answer(request, "200", &body)).await;
        assigned(&mut broker).await
    });
    let (device, _pushes) = Device::of(connected);
    let retry = Retry::new().with_tries(3);
    note(&retry);
    let mut retrying = retry.layer(device.client.clone());
    let uri = path(&format!("things/th.1/x?access_token={}", story.query_token));
    let request = Request::get(uri).header("X-Secret-Token", &story.other_token).body(Bytes::new()).expect("a request");
    let (outcome, ()) = tokio::join!(retrying.call(request), async {
        for status in ["503\r\nRetry-After:1", "429", "401"] {
            let request = next_publish(&mut link).await;
            link.publish(answer(&request, status, &story.token)).expect("the device listens");
        }
    });
    assert_eq!(outcome.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    // Its own question, whether the token is really refused; then it onboards again.
    let own = next_publish(&mut link).await;
    note(&own);
    link.publish(answer(&own, "403", json!({"errorCode": "WRONG_TOKEN", "message": story.token}).to_string()))
        .expect("the device listens");
    onboarding(&mut broker, |request| answer(request, "200", &body)).await;
    let _link = assigned(&mut broker).await;
    device.end().await;
    story.end();
}

#[tokio::test(start_paused = true)]
async fn commands_with_secrets_in_them_and_their_journal() {
    let story = Story::begin();
    let directory = tempfile::tempdir().expect("a directory");
    let journal_file = directory.path().join("journal");
    let (network, mut broker) = memory::network();
    let body = story.onboarded();
    let (connected, mut link) = tokio::join!(client::connect(story.config(), network), async {
        onboarding(&mut broker, |request| answer(request, "200", &body)).await;
        assigned(&mut broker).await
    });
    let (client, pushes, mut connection) = connected.expect("connected");
    let notices = connection.notices();
    let run = tokio::spawn(connection.run());
    let failure = story.thing_password.clone();
    let table = ActionTable::new()
        .on("unlock", |_: Value, command: Arc<ReceivedCommand>| async move {
            note(&command.command_id);
            Ok::<(), String>(())
        })
        // What an action says of its failure goes to the service, and nowhere else.
        .on("fail", move |_: Value, _| {
            let failure = failure.clone();
            async move { Err::<(), String>(failure) }
        });
    let journal = FileJournal::open(&journal_file).expect("opens");
    note(&journal);
    let builder = Commands::builder(client.clone(), table).with_journal(journal);
    note(&builder);
    let (commands, mut events) = builder.build();
    let commands = tokio::spawn(commands.run(pushes, notices));
    let action = |name: &str| json!({ name: {"password": story.thing_password, "accessToken": story.node_token} });
    let pushes = [
        json!({"schema": "S", "schemaVersion": 1, "commandID": "c1", "issuer": "user:u",
            "actions": [action("unlock"), action("fail"), action("unknown")]})
        .to_string(),
        // Malformed in every place where a reader might quote what it found.
        json!({"commandID": format!("no id, {}", story.node_token), "issuer": "user:u", "actions": [{}]}).to_string(),
        json!({"commandID": "c2", "issuer": story.node_token, "actions": story.node_token}).to_string(),
        json!({"commandID": "c3", "issuer": "user:u", "actions": [{"a": 1, "b": story.node_token}]}).to_string(),
        json!({"accessToken": story.node_token}).to_string(),
        json!({"origin": "EVENT", "bucketID": "b", "type": story.node_token, "password": story.node_token}).to_string(),
        format!("{{\"commandID\":\"c4\",\"password\":\"{}", "Zq-cut-off"),
        story.node_token.clone(),
    ];
    let topic = Topic::new(CLIENT_ID).expect("valid");
    for payload in pushes {
        note(&thingif::thing_if::Push::from_json(payload.as_bytes()).err().map(|error| error.to_string()));
        link.publish(Publish::new(topic.clone(), payload)).expect("the device listens");
    }
    // The list of missed commands is first refused, then unreadable, then there; a report is refused.
    let mut lists =
        [("500", story.token.clone()), ("200", format!("{{\"commands\":[{{\"commandID\":{}", json!(story.token)))]
            .into_iter();
    let serve = async {
        while let Some(FromDevice::Publish(request)) = link.next().await {
            let listed = frame::is_request(&request.payload) && request.payload.starts_with(b"GET");
            let (status, body) = match lists.next().filter(|_| listed) {
                Some(given) => given,
                None if listed => (
                    "200",
                    json!({"commands": [{"commandID": "c9", "target": "thing:th.1",
                    "issuer": "user:u", "actions": [action("unlock")], "commandState": "SENDING", "createdAt": 1,
                    "modifiedAt": 1}]})
                    .to_string(),
                ),
                None => ("403", json!({"errorCode": "X", "message": story.token}).to_string()),
            };
            if link.publish(answer(&request, status, body)).is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = serve => {}
        () = tokio::time::sleep(Duration::from_secs(300)) => {}
    }
    client.close().await;
    drop(client);
    commands.await.expect("no panic");
    run.await.expect("no panic").expect("closed in order");
    while let Some(event) = events.next().await {
        note(&event);
    }
    // The journal has what is needed to carry a command out; nobody else may read it.
    assert_eq!(std::fs::metadata(&journal_file).expect("written").permissions().mode() & 0o777, 0o600);
    story.end();
    assert!(heard().contains("command carried out") && heard().contains("a push cannot be read"));
}

#[tokio::test(start_paused = true)]
async fn vaults_that_are_read_written_damaged_and_forgotten() {
    let story = Story::begin();
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("vault");
    let config = story.config();
    let key = VaultKey::of(&config);
    note(&key);
    let vault = FileVault::open(&directory).expect("opens");
    note(&vault);
    let body = story.onboarded();
    let (network, mut broker) = memory::network();
    let (credential, ()) = tokio::join!(
        client::onboard_with(&config, &network, FileVault::open(&directory).expect("opens")),
        onboarding(&mut broker, |request| answer(request, "200", &body))
    );
    note(&credential.expect("stored"));
    note(&vault.load(&key).await.expect("there"));
    let file = vault.path(&key);
    let stored = std::fs::read_to_string(&file).expect("there");
    assert!(!story.planted.found_in(&stored).is_empty(), "the file has the secrets: that is what it is for");
    for damaged in [
        stored.replace("accessToken", "otherToken"),
        stored.replace("\"password\"", "\"passport\""),
        stored.replace("portTCP\":", "portTCP\":\"x"),
        stored.replace("portTCP\": ", "portTCP\": \"x"),
        stored[..stored.len() / 2].to_owned(),
        format!("{stored}{stored}"),
        story.token.clone(),
        json!(story.token).to_string(),
    ] {
        std::fs::write(&file, &damaged).expect("written");
        match vault.load(&key).await {
            Ok(loaded) => note(&loaded),
            Err(error) => note_error(&error),
        }
        let (network, broker) = memory::network();
        let vault = FileVault::open(&directory).expect("opens");
        let service = tokio::spawn(serve(broker, body.clone()));
        // Damaged, it onboards again; else it goes straight on.
        match client::connect_with(config.clone(), network, vault).await {
            Err(error) => note_error(&error),
            connected => Device::of(connected).0.end().await,
        }
        service.abort();
    }
    vault.forget(&key).await.expect("forgotten");
    assert!(!file.exists());
    // A disk that says no.
    std::fs::create_dir(&file).expect("in its way");
    for error in [vault.load(&key).await.map(drop), vault.store(&key, &crate::device::credential(1)).await] {
        note_error(&error.expect_err("it is a directory"));
    }
    story.end();
}

#[tokio::test]
async fn an_outbox_on_disk_and_a_capture_of_it_all() {
    let story = Story::begin();
    let directory = tempfile::tempdir().expect("a directory");
    let spool = directory.path().join("outbox");
    let (network, mut broker) = memory::network();
    let sink = tempfile::NamedTempFile::new().expect("a file");
    let writer = Writer::new(sink.reopen().expect("the same"), &Header::new("hand-made")).expect("a header");
    let transport = Record::new(network, writer);
    note(&transport);
    let body = story.onboarded();
    let (connected, mut link) = tokio::join!(client::connect(story.config(), transport), async {
        onboarding(&mut broker, |request| answer(request, "200", &body)).await;
        assigned(&mut broker).await
    });
    let (device, pushes) = Device::of(connected);
    let builder = Outbox::builder().on_disk(&spool);
    note(&builder);
    let (outbox, sender, mut events) = builder.open().expect("opens");
    note(&outbox);
    note(&sender);
    let sending = tokio::spawn(sender.run(device.client.clone()));
    let body = json!({"password": story.thing_password}).to_string();
    let upload = |uri: &str| Request::put(uri).body(Bytes::from(body.clone())).expect("a request");
    let query = path(&format!("x?access_token={}", story.query_token));
    for uri in [query.clone(), path("y"), path(&format!("{}?access_token={}", "z".repeat(65_400), story.query_token))] {
        match outbox.push(upload(&uri)).await {
            Ok(accepted) => note(&accepted),
            Err(error) => note_error(&error),
        }
    }
    let mut with_a_token = upload(&query);
    let bearer = format!("Bearer {}", story.other_token).try_into().expect("a value");
    with_a_token.headers_mut().insert("authorization", bearer);
    note_error(&outbox.push(with_a_token).await.expect_err("a token is not kept"));
    // Whatever the service says to them, in the end they are gone.
    let mut statuses = ["503\r\nRetry-After:0", "400", "204"].into_iter();
    while outbox.waiting().await.0 > 0 {
        tokio::select! {
            Some(message) = link.next() => if let FromDevice::Publish(request) = message {
                let status = statuses.next().unwrap_or("200");
                let body = json!({"access_token": story.other_token}).to_string();
                link.publish(answer(&request, status, body)).expect("the device listens");
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
    drop((outbox, pushes));
    device.end().await;
    // With nothing left to send it does not look whether the client is closed.
    sending.abort();
    let _ = sending.await;
    while let Some(event) = events.next().await {
        note(&event);
    }
    // What an outbox leaves for its next start may be damaged.
    std::fs::write(&spool, format!("garbage {}\n{{\"{}\":1}}\n", story.other_token, story.query_token))
        .expect("written");
    match Outbox::builder().on_disk(&spool).open() {
        Ok((_, _, mut events)) => {
            drop(events.next());
        }
        Err(error) => note_error(&error),
    }
    let capture = std::fs::read_to_string(sink.path()).expect("written");
    assert!(capture.contains("onboardings") && capture.contains("access_token="), "all of it was captured: {capture}");
    story.planted.assert_absent("the capture", &capture);
    // A capture that cannot be read says where, not what.
    for damaged in [capture.replacen("\"us\"", &json!(story.token).to_string(), 1), format!("{}\n", story.token)] {
        match thingif::capture::Reader::new(damaged.as_bytes()) {
            Ok(reader) => reader.filter_map(Result::err).for_each(|error| note_error(&error)),
            Err(error) => note_error(&error),
        }
    }
    story.end();
}

/// What is wrong with a setting is said without the setting, where that is a secret.
#[test]
fn settings_that_are_refused() {
    let story = Story::begin();
    let broker: thingif::mqtt::Endpoint = "mqtt://default.invalid".parse().expect("a broker URL");
    let app = || AppId::new(APP).expect("valid");
    for bad in [format!("{}\0", story.app_key), story.app_key.repeat(4000)] {
        let identity =
            Identity::vendor_thing(VendorThingId::new("v").expect("valid"), story.thing_password.as_str().into());
        note_error(&Config::new(broker.clone(), app(), bad.as_str().into(), identity).expect_err("unusable"));
        let identity = Identity::vendor_thing(VendorThingId::new("v").expect("valid"), bad.as_str().into());
        note_error(&Config::new(broker.clone(), app(), "key".into(), identity).expect_err("unusable"));
    }
    for url in [format!("mqtt://user:{}@h", story.mqtt_password), format!("mqtt://{}@h", story.mqtt_password)] {
        note_error(&url.parse::<thingif::mqtt::Endpoint>().expect_err("no place for a password"));
    }
    for token in [format!("{} ", story.token), format!("{}\n", story.token)] {
        note_error(&thingif::ids::AccessToken::new(token).expect_err("no blanks"));
    }
    note_display(&thingif::secret::Secret::new(story.token.clone()));
    story.end();
}
