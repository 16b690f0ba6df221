//! A file with the credentials of all end nodes.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::store::put;
use super::{NodeCredential, NodeStore};
use crate::client::vault::VaultError;
use crate::client::vault::lock::Lock;
use crate::client::vault::private_file;
use crate::ids::{AccessToken, AppId, ThingId, VendorThingId};
use crate::secret::Secret;
use crate::transport::BoxFuture;

/// 1. A newer layout has another number and is refused instead of misread.
const VERSION: u32 = 1;
/// The largest file that is read, in bytes: more than as many nodes take as a gateway may have.
const MAX_LEN: u64 = 4 * 1024 * 1024;

/// Keeps the credentials of a gateway's end nodes in one file of JSON.
///
/// It is written as [`FileVault`](crate::client::vault::FileVault) writes: a new file, synced, renamed over the old one, the
/// directory synced, so that a crash at any moment leaves the old content or the new one, whole. It has mode 0600 and its
/// directory 0700, and both are refused when others may get at them; tokens stand in it in clear. A lock beside it (`….lock`)
/// is held as long as the store or a clone of it lives.
///
/// A file that is damaged is [`VaultError::Corrupt`]; the next change puts it aside as `….corrupt`, in place of an earlier
/// one, and begins a new file. One of another layout, such as a newer program's, is [`VaultError::Corrupt`] to every
/// operation and is never touched.
///
/// Each change writes the whole file, some hundred bytes for each node, and costs two syncs. Nothing is written between two
/// onboardings. The work is done on tokio's blocking threads, so its futures need a runtime.
#[derive(Clone)]
pub struct FileNodeStore(Arc<Inner>);

struct Inner {
    path: PathBuf,
    /// What the file has, as far as it was read or written. Also lets one operation at a time at the file.
    nodes: Mutex<Option<Vec<NodeCredential>>>,
    _lock: Lock,
}

impl fmt::Debug for FileNodeStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FileNodeStore").field(&self.0.path).finish()
    }
}

impl FileNodeStore {
    /// Takes the file `path`, which need not exist. Missing directories are made, for their owner only. Blocks for some
    /// system calls.
    ///
    /// # Errors
    /// [`VaultError`] when another process has it, the directory is not private, or it cannot be made.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, VaultError> {
        let given = path.as_ref();
        let path = std::path::absolute(given).map_err(|error| VaultError::io("find", given, error))?;
        let directory = private_file::directory_of(&path);
        private_file::make_directory(directory).map_err(|error| VaultError::io("make", directory, error))?;
        private_file::check_directory(directory)?;
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = Lock::take(Path::new(&lock_path), &path)?;
        private_file::sweep(&path).map_err(|error| VaultError::io("clear", &path, error))?;
        Ok(Self(Arc::new(Inner { path, nodes: Mutex::new(None), _lock: lock })))
    }

    /// Does `work` on what is stored where blocking does no harm, and writes the file if it says so.
    fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &mut Option<Vec<NodeCredential>>) -> Result<T, VaultError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, VaultError>> {
        let inner = self.0.clone();
        Box::pin(async move {
            let work = move || {
                // Nothing panics while it is held, and every value of it is a valid one.
                let mut nodes = inner.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                work(&inner, &mut nodes)
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(VaultError::other(error)))
        })
    }
}

/// Why there are no nodes to be had.
enum Unreadable {
    /// What is there is of use to nobody but a person.
    Damaged(VaultError),
    /// It is to be left as it is.
    Refused(VaultError),
}

impl From<Unreadable> for VaultError {
    fn from((Unreadable::Damaged(error) | Unreadable::Refused(error)): Unreadable) -> Self {
        error
    }
}

impl Inner {
    fn read(&self) -> Result<Vec<NodeCredential>, Unreadable> {
        self.check_directory().map_err(Unreadable::Refused)?;
        let text = match private_file::read(&self.path, MAX_LEN) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Vec::new()),
            Err(error @ VaultError::Corrupt { .. }) => return Err(Unreadable::Damaged(error)),
            Err(error) => return Err(Unreadable::Refused(error)),
        };
        let corrupt = |reason| VaultError::Corrupt { place: self.path.display().to_string(), reason };
        decode(&text).map_err(|wrong| match wrong {
            Wrong::Content(reason) => Unreadable::Damaged(corrupt(reason)),
            Wrong::Version(version) => {
                let reason = format!("it has version {version}, and this program reads {VERSION}");
                Unreadable::Refused(corrupt(reason))
            }
        })
    }

    fn check_directory(&self) -> Result<(), VaultError> {
        private_file::check_directory(private_file::directory_of(&self.path))
    }

    /// Puts a damaged file where a person can find it: the credentials in it may be worth the work.
    fn put_aside(&self) -> Result<(), VaultError> {
        let mut aside = self.path.clone().into_os_string();
        aside.push(".corrupt");
        fs::rename(&self.path, &aside).map_err(|error| VaultError::io("put aside", &self.path, error))?;
        tracing::error!(path = %Path::new(&aside).display(), "a damaged file of end nodes was put aside");
        Ok(())
    }

    /// Changes what is stored. A file that is damaged is put aside first.
    fn change(
        &self,
        known: &mut Option<Vec<NodeCredential>>,
        change: impl FnOnce(&mut Vec<NodeCredential>),
    ) -> Result<(), VaultError> {
        self.check_directory()?;
        let mut nodes = match known.take() {
            Some(nodes) => nodes,
            None => match self.read() {
                Ok(nodes) => nodes,
                Err(Unreadable::Damaged(_)) => {
                    self.put_aside()?;
                    Vec::new()
                }
                Err(Unreadable::Refused(error)) => return Err(error),
            },
        };
        change(&mut nodes);
        // Not remembered before it is written: until then the file is what counts.
        private_file::write(&self.path, &encode(&nodes)?)
            .map_err(|error| VaultError::io("write", &self.path, error))?;
        *known = Some(nodes);
        Ok(())
    }
}

impl NodeStore for FileNodeStore {
    fn load(&self) -> BoxFuture<'_, Result<Vec<NodeCredential>, VaultError>> {
        self.off_thread(|inner, known| {
            let nodes = inner.read()?;
            *known = Some(nodes.clone());
            Ok(nodes)
        })
    }

    fn store<'a>(&'a self, node: &'a NodeCredential) -> BoxFuture<'a, Result<(), VaultError>> {
        let node = node.clone();
        self.off_thread(move |inner, known| inner.change(known, |nodes| put(nodes, node)))
    }

    fn forget<'a>(&'a self, thing: &'a ThingId) -> BoxFuture<'a, Result<(), VaultError>> {
        let thing = thing.clone();
        self.off_thread(move |inner, known| inner.change(known, |nodes| nodes.retain(|node| node.thing_id != thing)))
    }
}

/// The version alone, which a newer layout has as well.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Layout<N> {
    version: u32,
    nodes: Vec<N>,
}

/// A node as it is written, token in clear.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(rename = "appID")]
    app_id: &'a AppId,
    #[serde(rename = "gatewayThingID")]
    gateway: &'a ThingId,
    #[serde(rename = "thingID")]
    thing_id: &'a ThingId,
    #[serde(rename = "vendorThingID")]
    vendor_thing_id: &'a VendorThingId,
    #[serde(rename = "accessToken")]
    access_token: &'a str,
}

/// The same as it is read.
#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "appID")]
    app_id: AppId,
    #[serde(rename = "gatewayThingID")]
    gateway: ThingId,
    #[serde(rename = "thingID")]
    thing_id: ThingId,
    #[serde(rename = "vendorThingID")]
    vendor_thing_id: VendorThingId,
    #[serde(rename = "accessToken")]
    access_token: Secret<AccessToken>,
}

fn encode(nodes: &[NodeCredential]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let written = nodes.iter().map(|node| Written {
        app_id: &node.app_id,
        gateway: &node.gateway,
        thing_id: &node.thing_id,
        vendor_thing_id: &node.vendor_thing_id,
        access_token: node.access_token.expose().as_str(),
    });
    let layout = Layout { version: VERSION, nodes: written.collect() };
    // With its whole capacity from the start: growing would leave copies that nobody wipes.
    let mut text = Zeroizing::new(Vec::with_capacity(64 + nodes.iter().map(len_of).sum::<usize>()));
    serde_json::to_writer_pretty(&mut *text, &layout).map_err(|error| VaultError::other(position(&error)))?;
    text.push(b'\n');
    if text.len() as u64 > MAX_LEN {
        return Err(VaultError::other(format!("the end nodes take more than {MAX_LEN} bytes")));
    }
    Ok(text)
}

/// The most that a node takes in the file: no id or token has a character that JSON escapes but `"` and `\`.
fn len_of(node: &NodeCredential) -> usize {
    let ids = [node.app_id.as_str(), node.gateway.as_str(), node.thing_id.as_str(), node.vendor_thing_id.as_str()];
    256 + ids.iter().map(|id| id.len()).sum::<usize>() + 2 * node.access_token.expose().as_str().len()
}

/// What is wrong with a file.
enum Wrong {
    Content(String),
    /// It has this version.
    Version(u32),
}

fn decode(text: &[u8]) -> Result<Vec<NodeCredential>, Wrong> {
    let content = |error| Wrong::Content(position(&error));
    let Version { version } = serde_json::from_slice(text).map_err(content)?;
    if version != VERSION {
        return Err(Wrong::Version(version));
    }
    let Layout { nodes, .. } = serde_json::from_slice(text).map_err(content)?;
    let node = |Stored { app_id, gateway, thing_id, vendor_thing_id, access_token }| NodeCredential {
        app_id,
        gateway,
        thing_id,
        vendor_thing_id,
        access_token,
    };
    Ok(nodes.into_iter().map(node).collect())
}

/// Where it went wrong. Not serde's own words: they may quote a value.
fn position(error: &serde_json::Error) -> String {
    format!("unexpected content at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn node(thing: &str, vendor: &str, token: &str) -> NodeCredential {
        NodeCredential {
            app_id: AppId::new("app1").expect("valid"),
            gateway: ThingId::new("th.gw").expect("valid"),
            thing_id: ThingId::new(thing).expect("valid"),
            vendor_thing_id: VendorThingId::new(vendor).expect("valid"),
            access_token: Secret::new(AccessToken::new(token).expect("valid")),
        }
    }

    fn shown(nodes: &[NodeCredential]) -> Vec<String> {
        nodes
            .iter()
            .map(|n| format!("{} {} {}", n.thing_id, n.vendor_thing_id, n.access_token.expose().as_str()))
            .collect()
    }

    #[tokio::test]
    async fn what_was_stored_is_there_after_a_restart() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("deep/nodes");
        let store = FileNodeStore::open(&path).expect("made");
        assert!(store.load().await.expect("read").is_empty());
        for credential in [node("th.1", "a", "t\"1"), node("th.2", "b", "t2"), node("th.3", "c", "t3")] {
            store.store(&credential).await.expect("written");
        }
        store.store(&node("th.2", "b", "newer")).await.expect("written");
        store.store(&node("th.9", "c", "t9")).await.expect("written");
        store.forget(&ThingId::new("th.1").expect("valid")).await.expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        drop(store);

        let store = FileNodeStore::open(&path).expect("opened");
        assert_eq!(shown(&store.load().await.expect("read")), ["th.2 b newer", "th.9 c t9"]);
        assert!(!format!("{store:?}").contains("newer"));
    }

    #[tokio::test]
    async fn a_store_that_was_not_loaded_forgets_nothing() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("own/nodes");
        FileNodeStore::open(&path).expect("made").store(&node("th.1", "a", "t1")).await.expect("written");
        FileNodeStore::open(&path).expect("opened").store(&node("th.2", "b", "t2")).await.expect("written");
        let store = FileNodeStore::open(&path).expect("opened");
        assert_eq!(shown(&store.load().await.expect("read")), ["th.1 a t1", "th.2 b t2"]);
    }

    #[tokio::test]
    async fn one_owner_and_nobody_else_reads() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("own/nodes");
        let store = FileNodeStore::open(&path).expect("made");
        let second = FileNodeStore::open(&path).expect_err("it is taken");
        assert!(matches!(second, VaultError::Locked { .. }), "{second}");
        store.store(&node("th.1", "a", "t1")).await.expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        let error = store.load().await.expect_err("others may read it");
        assert!(error.is_misconfiguration(), "{error}");
    }

    #[tokio::test]
    async fn damage_is_told_without_a_token_and_put_aside() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("own/nodes");
        FileNodeStore::open(&path).expect("made").store(&node("th.1", "a", "s3cret")).await.expect("written");
        let text = fs::read_to_string(&path).expect("read").replace("\"th.1\"", "\"s3cret/\"");
        private_file::write(&path, text.as_bytes()).expect("written");
        let store = FileNodeStore::open(&path).expect("opened");
        let error = store.load().await.expect_err("damaged");
        assert!(matches!(error, VaultError::Corrupt { .. }) && !error.to_string().contains("s3cret"), "{error}");
        store.store(&node("th.2", "b", "t2")).await.expect("written");
        assert_eq!(shown(&store.load().await.expect("read")), ["th.2 b t2"]);
        let aside = dir.path().join("own/nodes.corrupt");
        assert_eq!(fs::read_to_string(&aside).expect("there"), text);
        assert_eq!(fs::metadata(&aside).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_newer_layout_is_never_overwritten() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("own/nodes");
        let newer = r#"{"version":2,"nodes":{}}"#;
        private_file::make_directory(private_file::directory_of(&path)).expect("made");
        private_file::write(&path, newer.as_bytes()).expect("written");
        let store = FileNodeStore::open(&path).expect("opened");
        let thing = ThingId::new("th.2").expect("valid");
        for error in [
            store.load().await.expect_err("another version"),
            store.store(&node("th.2", "b", "t2")).await.expect_err("another version"),
            store.forget(&thing).await.expect_err("another version"),
        ] {
            assert!(error.to_string().contains("version 2"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).expect("read"), newer);
        assert!(!dir.path().join("own/nodes.corrupt").exists());
    }

    #[tokio::test]
    async fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("own/nodes");
        let store = FileNodeStore::open(&path).expect("private");
        store.store(&node("th.1", "a", "t1")).await.expect("written");
        let open_to =
            |mode| fs::set_permissions(dir.path().join("own"), fs::Permissions::from_mode(mode)).expect("ours");
        open_to(0o755);
        for error in [
            store.load().await.expect_err("refused"),
            store.store(&node("th.2", "b", "t2")).await.expect_err("refused"),
            FileNodeStore::open(&path).expect_err("refused"),
        ] {
            assert!(matches!(error, VaultError::NotPrivate { .. }), "{error}");
        }
        open_to(0o700);
        assert_eq!(shown(&store.load().await.expect("read")), ["th.1 a t1"]);
        store.store(&node("th.2", "b", "t2")).await.expect("written");
    }
}
