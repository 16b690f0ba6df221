//! Credentials in a directory: who may have them, and what stands in which file.
#![cfg(all(feature = "client", unix))]

mod device;
#[path = "support/subprocess.rs"]
mod subprocess;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thingif::client::vault::{FileVault, MemoryVault, Vault, VaultError, VaultKey};
use thingif::mqtt::Endpoint;
use thingif::thing_if::{Credential, ThingIdentity};

use device::{APP, config, credential};
use subprocess::isolated;

const PATIENCE: Duration = Duration::from_secs(60);

fn directory() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let path = parent.path().join("vault");
    (parent, path)
}

fn open(path: &Path) -> FileVault {
    FileVault::open(path).expect("opens")
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("there").permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
}

fn key() -> VaultKey {
    VaultKey::of(&config())
}

/// The token, by which the generations of credentials are told apart.
fn token(credential: Option<Credential>) -> Option<String> {
    credential.map(|credential| credential.access_token.expose().as_str().to_owned())
}

fn loaded(vault: &FileVault, key: &VaultKey) -> Option<String> {
    token(vault.blocking_load(key).expect("loads"))
}

#[tokio::test]
async fn what_was_stored_last_is_loaded_until_it_is_forgotten() {
    let (_parent, path) = directory();
    let vaults: [Box<dyn Vault>; 2] = [Box::new(open(&path)), Box::new(MemoryVault::new())];
    for vault in vaults {
        assert!(vault.load(&key()).await.expect("empty is no error").is_none());
        vault.forget(&key()).await.expect("nothing there is no error");
        for generation in [1, 2] {
            vault.store(&key(), &credential(generation)).await.expect("stores");
            let found = vault.load(&key()).await.expect("loads").expect("there");
            assert_eq!(found.to_json_exposed(), credential(generation).to_json_exposed());
        }
        vault.forget(&key()).await.expect("forgets");
        assert!(vault.load(&key()).await.expect("empty is no error").is_none());
    }
}

#[test]
fn it_outlives_the_vault_and_is_private() {
    let (_parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(1)).expect("stores");
    assert_eq!((mode(&path), mode(&vault.path(&key()))), (0o700, 0o600));
    for entry in fs::read_dir(&path).expect("listed") {
        assert_eq!(mode(&entry.expect("listed").path()), 0o600);
    }
    drop(vault);
    assert_eq!(loaded(&open(&path), &key()).as_deref(), Some("token-1"));
}

#[test]
fn a_directory_that_others_can_enter_is_refused_with_the_command_that_mends_it() {
    let (_parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(1)).expect("stores");
    for open_to_others in [0o755, 0o770, 0o702, 0o1777] {
        set_mode(&path, open_to_others);
        let refused = [
            FileVault::open(&path).expect_err("refused"),
            vault.blocking_load(&key()).expect_err("refused"),
            vault.blocking_store(&key(), &credential(2)).expect_err("refused"),
            vault.blocking_forget(&key()).expect_err("refused"),
        ];
        for error in refused {
            assert!(error.is_misconfiguration(), "{error}");
            let remedy = format!("`chmod 700 '{}'`", path.display());
            assert!(error.to_string().contains(&remedy), "{error}");
        }
    }
    set_mode(&path, 0o700);
    assert_eq!(loaded(&vault, &key()).as_deref(), Some("token-1"), "the remedy works, and nothing was changed");
}

#[test]
fn a_credential_that_others_can_read_is_not_used_but_can_be_replaced() {
    let (_parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(1)).expect("stores");
    let file = vault.path(&key());
    set_mode(&file, 0o644);
    let error = vault.blocking_load(&key()).expect_err("refused");
    assert!(matches!(&error, VaultError::NotPrivate { mode: 0o644, .. }), "{error}");
    assert!(error.to_string().contains(&format!("`chmod 600 '{}'`", file.display())), "{error}");
    vault.blocking_store(&key(), &credential(2)).expect("a new one is private");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(loaded(&vault, &key()).as_deref(), Some("token-2"));
}

#[test]
fn symbolic_links_are_not_followed() {
    let (parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(1)).expect("stores");
    let (file, moved) = (vault.path(&key()), parent.path().join("moved"));
    fs::rename(&file, &moved).expect("moved");
    std::os::unix::fs::symlink(&moved, &file).expect("linked");
    let error = vault.blocking_load(&key()).expect_err("refused");
    assert!(matches!(&error, VaultError::WrongKind { found: "a symbolic link", .. }), "{error}");
    assert!(error.is_misconfiguration());

    let linked = parent.path().join("linked");
    std::os::unix::fs::symlink(&path, &linked).expect("linked");
    let error = FileVault::open(&linked).expect_err("refused");
    assert!(error.to_string().contains("is a symbolic link, not a directory"), "{error}");
}

#[test]
fn a_lock_file_that_is_a_link_is_not_written_through() {
    let (parent, path) = directory();
    let vault = open(&path);
    let lock = PathBuf::from(format!("{}.lock", vault.path(&key()).display()));
    let target = parent.path().join("target");
    fs::write(&target, "precious").expect("written");
    std::os::unix::fs::symlink(&target, &lock).expect("linked");
    vault.blocking_store(&key(), &credential(1)).expect_err("refused");
    assert_eq!(fs::read_to_string(&target).expect("read"), "precious");
}

#[test]
fn each_key_has_a_credential_of_its_own() {
    let (_parent, path) = directory();
    let vault = open(&path);
    let vendor = || ThingIdentity::VendorThing("th.1".parse().expect("valid"));
    let key = |app: &str, thing: ThingIdentity, broker: &str| {
        VaultKey::new(app.parse().expect("valid"), thing, broker.parse::<Endpoint>().expect("valid"))
    };
    let keys = [
        key(APP, vendor(), "mqtt://one.invalid"),
        key(APP, vendor(), "mqtt://two.invalid"),
        key(APP, vendor(), "mqtt://one.invalid:1884"),
        key(APP, vendor(), "mqtts://one.invalid"),
        key(APP, ThingIdentity::Thing("th.1".parse().expect("valid")), "mqtt://one.invalid"),
        key(APP, ThingIdentity::VendorThing("TH.1".parse().expect("valid")), "mqtt://one.invalid"),
        key("another", vendor(), "mqtt://one.invalid"),
    ];
    let of = |generation: usize, key: &VaultKey| {
        let mut credential = credential(u32::try_from(generation).expect("small"));
        credential.app_id = key.app().clone();
        credential
    };
    for (generation, key) in keys.iter().enumerate() {
        assert_eq!(loaded(&vault, key), None, "{key}");
        vault.blocking_store(key, &of(generation, key)).expect("stores");
    }
    for (generation, key) in keys.iter().enumerate() {
        assert_eq!(loaded(&vault, key), Some(format!("token-{generation}")), "{key}");
    }
    vault.blocking_forget(&keys[0]).expect("forgets");
    let left: Vec<_> = keys.iter().filter(|key| loaded(&vault, key).is_some()).collect();
    assert_eq!(left, keys[1..].iter().collect::<Vec<_>>());
}

#[test]
fn every_allowed_id_can_be_stored() {
    let (_parent, path) = directory();
    let vault = open(&path);
    let long = "Z".repeat(200);
    for id in ["...", ".hidden", "-", "-rf", "a.new", "lock", "NUL", "__", &long] {
        let thing = ThingIdentity::VendorThing(id.parse().expect("allowed"));
        let key =
            VaultKey::new(APP.parse().expect("valid"), thing, "ws://[fe80::1%eth0]/a?b=/../c".parse().expect("valid"));
        vault.blocking_store(&key, &credential(1)).expect(id);
        assert_eq!(loaded(&vault, &key).as_deref(), Some("token-1"), "{id}");
        assert_eq!(vault.path(&key).parent(), Some(path.as_path()), "{id} stays inside");
        assert!(fs::metadata(vault.path(&key)).expect("there").is_file(), "{id}");
    }
}

#[test]
fn a_damaged_or_exchanged_file_is_named() {
    let (_parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(1)).expect("stores");
    let file = vault.path(&key());
    let good = fs::read(&file).expect("read");
    for bad in [Vec::new(), good[..good.len() / 2].to_vec(), vec![0; good.len()], vec![b'x'; 70_000]] {
        fs::write(&file, bad).expect("written");
        let error = vault.blocking_load(&key()).expect_err("damaged");
        assert!(matches!(&error, VaultError::Corrupt { .. }) && !error.is_misconfiguration(), "{error}");
        assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    }

    let other = VaultKey::new(
        APP.parse().expect("valid"),
        key().thing().clone(),
        "mqtt://other.invalid".parse().expect("valid"),
    );
    fs::write(&file, &good).expect("written");
    fs::rename(&file, vault.path(&other)).expect("moved into another's place");
    let error = vault.blocking_load(&other).expect_err("exchanged");
    assert!(matches!(&error, VaultError::OtherKey { .. }), "{error}");
}

#[test]
fn a_directory_that_vanishes_is_made_again() {
    let (_parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(1)).expect("stores");
    fs::remove_dir_all(&path).expect("removed");
    assert_eq!(loaded(&vault, &key()), None);
    vault.blocking_store(&key(), &credential(2)).expect("stores");
    assert_eq!(loaded(&vault, &key()).as_deref(), Some("token-2"));
    // And it is locked again: the old lock guards a file that is gone.
    assert!(matches!(open(&path).blocking_load(&key()), Err(VaultError::Locked { .. })));
}

#[test]
fn what_a_crash_left_is_removed_at_the_next_start() {
    let (_parent, path) = directory();
    let vault = open(&path);
    let name = vault.path(&key()).file_name().expect("has one").to_str().expect("text").to_owned();
    let unfinished = path.join(format!(".{name}.0123456789abcdef.new"));
    fs::write(&unfinished, "half a cred").expect("written");
    assert_eq!(loaded(&vault, &key()), None);
    assert!(!unfinished.exists());
}

#[test]
fn a_second_owner_is_told_who_the_first_is() {
    let name = "a_second_owner_is_told_who_the_first_is";
    const PLACE: &str = "THINGIF_TEST_VAULT_PLACE";
    const HOLDER: &str = "THINGIF_TEST_VAULT_HOLDER";
    let in_child = || {
        let vault = open(Path::new(&std::env::var_os(PLACE).expect("given")));
        match std::env::var(HOLDER).expect("given").as_str() {
            "" => assert_eq!(loaded(&vault, &key()).as_deref(), Some("token-1")),
            holder => {
                let error = vault.blocking_load(&key()).expect_err("locked");
                assert!(matches!(&error, VaultError::Locked { .. }) && error.is_misconfiguration(), "{error}");
                assert!(error.to_string().contains(&format!("process {holder} ")), "{error}");
                vault.blocking_store(&key(), &credential(2)).expect_err("locked");
                vault.blocking_forget(&key()).expect_err("locked");
            }
        }
    };
    let (_parent, path) = directory();
    let path_text = path.to_str().expect("text").to_owned();
    // In the child neither path nor process id is this one's own.
    let first = open(&path);
    let pid = std::process::id().to_string();
    if std::env::var_os(PLACE).is_none() {
        first.blocking_store(&key(), &credential(1)).expect("stores");
    }
    let Some(ended) = isolated(name, PATIENCE, &[(PLACE, &path_text), (HOLDER, &pid)], in_child) else { return };
    ended.succeeded();
    // A clone is the same owner.
    let clone = first.clone();
    drop(first);
    assert_eq!(loaded(&clone, &key()).as_deref(), Some("token-1"));
    drop(clone);
    isolated(name, PATIENCE, &[(PLACE, &path_text), (HOLDER, "")], in_child).expect("not the child").succeeded();
}

#[test]
fn two_devices_share_a_directory() {
    let (_parent, path) = directory();
    let (first, second) = (open(&path), open(&path));
    let other = VaultKey::new(
        APP.parse().expect("valid"),
        key().thing().clone(),
        "mqtt://other.invalid".parse().expect("valid"),
    );
    first.blocking_store(&key(), &credential(1)).expect("stores");
    second.blocking_store(&other, &credential(2)).expect("another key is free");
    let error = second.blocking_load(&key()).expect_err("this one is not");
    assert!(error.to_string().starts_with("this process itself uses the credential in "), "{error}");
}

#[test]
fn whoever_loads_while_others_store_sees_one_of_them_whole() {
    let (_parent, path) = directory();
    let vault = open(&path);
    vault.blocking_store(&key(), &credential(0)).expect("stores");
    let is_over = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                let vault = vault.clone();
                scope.spawn(move || {
                    for n in 0..20 {
                        vault.blocking_store(&key(), &credential(n * 2 + writer)).expect("stores");
                    }
                })
            })
            .collect();
        let vaults = vault.clone();
        let is_over = &is_over;
        let reader = scope.spawn(move || {
            let mut seen = BTreeSet::new();
            while !is_over.load(Ordering::SeqCst) {
                seen.insert(loaded(&vaults, &key()).expect("never absent"));
                // And whole for whoever does not ask the vault.
                let text = fs::read_to_string(vaults.path(&key())).expect("never absent");
                serde_json::from_str::<serde_json::Value>(&text).expect("never half");
            }
            seen
        });
        writers.into_iter().for_each(|writer| writer.join().expect("no panic"));
        is_over.store(true, Ordering::SeqCst);
        reader.join().expect("no panic")
    });
    let possible: BTreeSet<String> = (0..40).map(|n| format!("token-{n}")).collect();
    assert!(seen.is_subset(&possible), "{seen:?}");
    let left = fs::read_dir(&path).expect("listed").count();
    assert_eq!(left, 2, "the credential and its lock");
}
