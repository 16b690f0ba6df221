//! A device with a vault, over a network in memory and in tokio's paused time.
#![cfg(feature = "client")]

mod device;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use thingif::client::vault::{MemoryVault, Vault, VaultError, VaultKey};
use thingif::client::{self, Client, ConnectError, Connection, Notice, Pushes};
use thingif::config::Config;
use thingif::mqtt::{LinkErrorKind, RefusedReason};
use thingif::thing_if::Credential;
use thingif::transport::BoxFuture;
use thingif::transport::memory::{self, Broker, BrokerLink, FromDevice};
use tokio::time::Instant;

use device::brokers::{assigned, onboard};
use device::{answer, config, credential, onboarding_body};

const SECOND: Duration = Duration::from_secs(1);

fn key() -> VaultKey {
    VaultKey::of(&config())
}

fn token(credential: &Credential) -> String {
    credential.access_token.expose().as_str().to_owned()
}

/// What is in `vault`, by its token.
async fn stored(vault: &impl Vault) -> Option<String> {
    vault.load(&key()).await.expect("loads").as_ref().map(token)
}

/// A connected device, and the broker's end of its link.
struct Device {
    client: Client,
    pushes: Pushes,
    connection: Connection,
    link: BrokerLink,
}

impl Device {
    /// Connects; at the default broker first if `onboarding` says which credential is to be had there.
    async fn connect(config: Config, vault: impl Vault, onboarding: Option<u32>) -> Self {
        let (network, mut broker) = memory::network();
        let brokers = async {
            if let Some(generation) = onboarding {
                onboard(&mut broker, generation).await;
            }
            assigned(&mut broker).await
        };
        let (connected, link) = tokio::join!(client::connect_with(config, network, vault), brokers);
        let (client, pushes, connection) = connected.expect("connected");
        Self { client, pushes, connection, link }
    }

    fn token(&self) -> String {
        token(&self.client.credential().expect("onboarded"))
    }

    async fn notices(&mut self) -> Vec<Notice> {
        let mut reader = self.connection.notices();
        let mut notices = Vec::new();
        while let Ok(Some(notice)) = tokio::time::timeout(Duration::ZERO, reader.next()).await {
            notices.push(notice);
        }
        notices
    }

    /// Ends in order.
    async fn close(self) {
        let Self { client, pushes, connection, mut link } = self;
        let running = tokio::spawn(connection.run());
        tokio::join!(client.close(), async { while link.next().await.is_some() {} });
        running.await.expect("no panic").expect("closed in order");
        drop(pushes);
    }
}

/// A vault whose answers are given.
#[derive(Clone)]
struct Scripted {
    load: Result<(), VaultError>,
    store: Result<(), VaultError>,
    /// How long each takes.
    takes: Duration,
    stored: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Scripted {
    fn new() -> Self {
        Self { load: Ok(()), store: Ok(()), takes: Duration::ZERO, stored: Arc::default() }
    }

    /// What was stored, by its token, and when that ended.
    fn stored(&self) -> Vec<(Instant, String)> {
        self.stored.lock().expect("no panic").clone()
    }
}

impl Vault for Scripted {
    fn load<'a>(&'a self, _key: &'a VaultKey) -> BoxFuture<'a, Result<Option<Credential>, VaultError>> {
        Box::pin(async move {
            tokio::time::sleep(self.takes).await;
            self.load.clone().map(|()| None)
        })
    }

    fn store<'a>(&'a self, _key: &'a VaultKey, credential: &'a Credential) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            tokio::time::sleep(self.takes).await;
            self.store.clone()?;
            self.stored.lock().expect("no panic").push((Instant::now(), token(credential)));
            Ok(())
        })
    }

    fn forget<'a>(&'a self, _key: &'a VaultKey) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_run_was_given_the_next_begins_with() {
    let vault = MemoryVault::new();
    let first = Device::connect(config(), vault.clone(), Some(1)).await;
    assert_eq!(first.token(), "token-1");
    assert_eq!(stored(&vault).await.as_deref(), Some("token-1"));
    first.close().await;
    let mut second = Device::connect(config(), vault, None).await;
    assert_eq!(second.token(), "token-1");
    assert!(!second.notices().await.iter().any(|notice| matches!(notice, Notice::Onboarding { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_lost_credential_is_had_again_without_a_human() {
    let vault = MemoryVault::new();
    Device::connect(config(), vault.clone(), Some(1)).await.close().await;
    vault.forget(&key()).await.expect("forgets");
    let mut again = Device::connect(config(), vault.clone(), Some(2)).await;
    assert!(again.notices().await.iter().any(|notice| matches!(notice, Notice::Ready { .. })));
    assert_eq!(again.token(), "token-2");
    assert_eq!(stored(&vault).await.as_deref(), Some("token-2"));
}

#[tokio::test(start_paused = true)]
async fn the_vault_is_preferred_to_a_credential_from_elsewhere() {
    let vault = MemoryVault::new();
    let elsewhere = || config().with_resume(credential(7));
    let migrating = Device::connect(elsewhere(), vault.clone(), None).await;
    assert_eq!(migrating.token(), "token-7", "the vault has none yet");
    migrating.close().await;
    vault.store(&key(), &credential(8)).await.expect("stores");
    assert_eq!(Device::connect(elsewhere(), vault, None).await.token(), "token-8");
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_cannot_say_what_it_has_strands_nobody() {
    let damaged = VaultError::Corrupt { place: "the chip".into(), reason: "its checksum is wrong".into() };
    let elsewhere = VaultError::OtherKey { place: "the chip".into() };
    for (error, words) in [
        (damaged, "the chip is not a credential: its checksum is wrong"),
        (elsewhere, "the chip is the credential of another"),
        (VaultError::other("the bus is busy"), "the vault failed: the bus is busy"),
    ] {
        let vault = Scripted { load: Err(error), ..Scripted::new() };
        let mut device = Device::connect(config(), vault.clone(), Some(3)).await;
        assert_eq!(device.token(), "token-3");
        let notices = device.notices().await;
        let Some(Notice::LoadFailed { reason }) = notices.first() else { panic!("{notices:?}") };
        assert!(reason.contains(words), "{reason}");
        assert_eq!(vault.stored().len(), 1, "and replaced");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_is_set_up_wrongly_is_an_error_before_anything_is_sent() {
    let wrong = VaultError::NotPrivate { path: "/v/c".into(), mode: 0o644, wanted: 0o600 };
    let held = VaultError::Locked { path: "/v/c".into(), holder: Some(17) };
    for (error, words) in [(wrong, "`chmod 600 '/v/c'`"), (held, "process 17 uses the credential in /v/c")] {
        let (network, mut broker) = memory::network();
        let vault = Scripted { load: Err(error), ..Scripted::new() };
        let failed = client::connect_with(config(), network, vault).await.expect_err("refused");
        assert!(matches!(&failed, ConnectError::Vault(reason) if reason.contains(words)), "{failed}");
        assert!(broker.accept().await.is_none(), "nobody was connected to");
    }
}

#[tokio::test(start_paused = true)]
async fn a_vault_that_does_not_answer_is_not_waited_for_for_ever() {
    let began = Instant::now();
    let config = config().with_connect_timeout(3 * SECOND).expect("valid");
    let vault = Scripted { takes: Duration::from_secs(86_400), ..Scripted::new() };
    let (network, mut broker) = memory::network();
    let connecting = tokio::spawn(client::connect_with(config, network, vault));
    let attempt = broker.accept().await.expect("it onboards");
    assert!(attempt.credentials().client_id.is_anonymous());
    assert_eq!(began.elapsed(), 3 * SECOND);
    connecting.abort();
}

/// Plays the default broker for one onboarding; says when the device left it.
async fn left(broker: &mut Broker, generation: u32) -> Instant {
    onboard(broker, generation).await;
    Instant::now()
}

#[tokio::test(start_paused = true)]
async fn the_default_broker_is_left_when_the_credential_is_stored_and_not_before() {
    let vault = Scripted { takes: 2 * SECOND, ..Scripted::new() };
    let (network, mut broker) = memory::network();
    let connecting = tokio::spawn(client::connect_with(config(), network, vault.clone()));
    let left = left(&mut broker, 1).await;
    let [(stored, token)] = &vault.stored()[..] else { panic!("left with nothing stored") };
    assert_eq!((*stored, token.as_str()), (left, "token-1"), "left at once when it was");
    let _link = assigned(&mut broker).await;
    let (_client, _pushes, _connection) = connecting.await.expect("no panic").expect("connected");
}

#[tokio::test(start_paused = true)]
async fn so_it_is_when_a_device_is_onboarded_again() {
    let vault = Scripted { takes: 2 * SECOND, ..Scripted::new() };
    let (network, mut broker) = memory::network();
    let connecting = client::connect_with(config().with_resume(credential(0)), network, vault.clone());
    let connecting = tokio::spawn(connecting);
    let refused = broker.accept().await.expect("it resumes");
    refused.refuse(RefusedReason::BadUserNameOrPassword);
    let left = left(&mut broker, 1).await;
    assert_eq!(vault.stored(), [(left, "token-1".to_owned())]);
    let _link = assigned(&mut broker).await;
    let (client, ..) = connecting.await.expect("no panic").expect("connected");
    assert_eq!(token(&client.credential().expect("onboarded")), "token-1");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stored_is_said_and_used_all_the_same() {
    let full = VaultError::other("no space left");
    let never = Scripted { takes: Duration::from_secs(86_400), ..Scripted::new() };
    for vault in [Scripted { store: Err(full), ..Scripted::new() }, never] {
        let mut device = Device::connect(config(), vault.clone(), Some(1)).await;
        let notices = device.notices().await;
        let failed = notices.iter().position(|notice| matches!(notice, Notice::StoreFailed { .. }));
        let left = notices.iter().position(|notice| matches!(notice, Notice::Connecting { .. }));
        assert!(failed.is_some() && failed < left, "{notices:?}");
        assert_eq!(device.token(), "token-1");
        assert!(vault.stored().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_lose_what_is_being_stored() {
    let vault = Scripted { takes: 5 * SECOND, ..Scripted::new() };
    let (network, mut broker) = memory::network();
    let config = config().with_resume(credential(0));
    let (connected, link) = tokio::join!(client::connect_with(config, network, vault.clone()), assigned(&mut broker));
    let (client, _pushes, connection) = connected.expect("connected");
    let running = tokio::spawn(connection.run());
    link.cut(LinkErrorKind::Closed);
    broker.accept().await.expect("it comes back").refuse(RefusedReason::BadUserNameOrPassword);
    let mut default = broker.accept().await.expect("it onboards").accept();
    let Some(FromDevice::Publish(request)) = default.next().await else { panic!("expected the onboarding request") };
    default.publish(answer(&request, &Response::new(Bytes::from(onboarding_body(1))))).expect("the device listens");
    tokio::time::sleep(SECOND).await;
    assert!(vault.stored().is_empty(), "it is being stored");
    let began = Instant::now();
    client.close().await;
    running.await.expect("no panic").expect("closed in order");
    assert_eq!(began.elapsed(), 4 * SECOND);
    assert_eq!(vault.stored().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn onboarding_alone_stores_before_it_leaves_too() {
    let vault = Scripted { takes: 2 * SECOND, ..Scripted::new() };
    let (network, mut broker) = memory::network();
    let (config, storing) = (config(), vault.clone());
    let onboarding = tokio::spawn(async move { client::onboard_with(&config, &network, storing).await });
    let left = left(&mut broker, 1).await;
    assert_eq!(vault.stored(), [(left, "token-1".to_owned())]);
    assert_eq!(token(&onboarding.await.expect("no panic").expect("onboarded")), "token-1");
}

#[tokio::test(start_paused = true)]
async fn onboarding_alone_fails_when_nothing_is_stored() {
    let vault = Scripted { store: Err(VaultError::other("no space left")), ..Scripted::new() };
    let (network, mut broker) = memory::network();
    let config = config();
    let (onboarded, _) = tokio::join!(client::onboard_with(&config, &network, vault), onboard(&mut broker, 1));
    let error = onboarded.expect_err("it was to be stored");
    assert!(matches!(&error, ConnectError::Vault(reason) if reason.contains("no space left")), "{error}");
}

#[cfg(unix)]
mod on_a_disk {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use thingif::client::vault::FileVault;

    use super::*;

    fn vault(parent: &tempfile::TempDir) -> FileVault {
        FileVault::open(parent.path().join("vault")).expect("opens")
    }

    /// What a device finds that is started with what `loses` leaves of its credential.
    async fn after(loses: impl FnOnce(&FileVault)) -> Vec<Notice> {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let first = vault(&parent);
        Device::connect(config(), first.clone(), Some(1)).await.close().await;
        loses(&first);
        drop(first);
        let mut again = Device::connect(config(), vault(&parent), Some(2)).await;
        let notices = again.notices().await;
        assert!(notices.iter().any(|notice| matches!(notice, Notice::Ready { .. })), "{notices:?}");
        again.close().await;
        let last = Device::connect(config(), vault(&parent), None).await;
        assert_eq!(last.token(), "token-2", "it was stored");
        notices
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_that_lost_its_credential_file_is_ready_again_without_a_human() {
        let notices = after(|vault| fs::remove_file(vault.path(&key())).expect("removed")).await;
        assert!(!notices.iter().any(|notice| matches!(notice, Notice::LoadFailed { .. })), "{notices:?}");
        after(|vault| fs::remove_dir_all(vault.path(&key()).parent().expect("has one")).expect("removed")).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_device_whose_credential_file_is_damaged_is_ready_again_without_a_human() {
        let notices = after(|vault| fs::write(vault.path(&key()), "{\"version\":").expect("written")).await;
        let Some(Notice::LoadFailed { reason }) = notices.first() else { panic!("{notices:?}") };
        assert!(reason.contains(".credential is not a credential"), "{reason}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_file_that_others_can_read_waits_for_a_human() {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let vault = vault(&parent);
        Device::connect(config(), vault.clone(), Some(1)).await.close().await;
        fs::set_permissions(vault.path(&key()), fs::Permissions::from_mode(0o644)).expect("changed");
        let (network, mut broker) = memory::network();
        let failed = client::connect_with(config(), network, vault).await.expect_err("refused");
        assert!(failed.to_string().contains("chmod 600"), "{failed}");
        assert!(broker.accept().await.is_none(), "nobody was connected to");
    }
}
