//! The one thread that owns every paho client, and the guard without which Paho C 1.3.16 stops or crashes the whole process.
//!
//! Three of its defects are cured here, when the thread starts and before any other client exists:
//!
//! - When the last client is destroyed the library shuts down: a stall of a second and two leaked file descriptors. A
//!   client that never connects, the *keeper*, is held for the life of the process.
//! - Every connect and close writes a byte into a blocking socket pair while the global lock is held; a burst of some
//!   280 fills it and the process stands still. The pair's writing end is made non-blocking: a full pair means that the
//!   reader has been told already. Where that end cannot be told from other sockets, connects and closes are let in ten
//!   at a time instead.
//!
//! - OpenSSL puts itself away when the process exits, while the library's threads still use it: a crash instead of the
//!   program's own exit code. It is told not to, before the library would start it. In a program that has started OpenSSL
//!   itself, in the usual way, it comes too late.
//!
//! The fourth, a deadlock when a client is dropped too early, is cured in `client`.
#![allow(unsafe_code)]

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use paho_mqtt::AsyncClient;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::LocalSet;

use crate::mqtt::{LinkError, LinkErrorKind};

/// Work for the thread: makes a future there, which runs there.
type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Connects and closes that may be under way together when the socket pair still blocks: ten were measured to be safe,
/// a hundred not.
const AT_A_TIME: usize = 10;

/// For how long after its end such a connect or close still counts as under way: paho's reader takes two bytes out of the
/// pair each time it comes round.
const DRAIN: Duration = Duration::from_millis(20);

/// How often the keeper is made anew when other threads opened sockets in the same moment. Each costs two descriptors.
#[cfg(target_os = "linux")]
const ATTEMPTS: usize = 5;

/// The way to the thread. One for the process.
pub(super) struct Guard {
    jobs: mpsc::UnboundedSender<Job>,
    slots: Option<Arc<Semaphore>>,
}

static GUARD: OnceLock<Result<Guard, String>> = OnceLock::new();

impl Guard {
    /// Starts the thread at the first call.
    ///
    /// # Errors
    /// `Config` when the thread or the first paho client cannot be made; the same answer every time after.
    pub(super) fn get() -> Result<&'static Guard, LinkError> {
        GUARD.get_or_init(start).as_ref().map_err(|why| LinkError::new(LinkErrorKind::Config, why.clone()))
    }

    /// Runs a future on the thread. Unbounded, but every job has a caller who waits for it.
    pub(super) fn run<F>(&self, job: impl FnOnce() -> F + Send + 'static) -> Result<(), LinkError>
    where
        F: Future<Output = ()> + 'static,
    {
        self.jobs
            .send(Box::new(move || Box::pin(job())))
            .map_err(|_| LinkError::new(LinkErrorKind::Config, "paho's thread has ended"))
    }

    /// Leave to connect or to close; at once unless the socket pair blocks. To be given back with [`done`](Self::done).
    pub(super) async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        match &self.slots {
            Some(slots) => Arc::clone(slots).acquire_owned().await.ok(),
            None => None,
        }
    }

    /// Ends what [`slot`](Self::slot) began.
    pub(super) fn done(slot: Option<OwnedSemaphorePermit>) {
        if let Some(slot) = slot {
            tokio::task::spawn_local(async move {
                tokio::time::sleep(DRAIN).await;
                drop(slot);
            });
        }
    }
}

fn start() -> Result<Guard, String> {
    let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let body = move || {
        // A `tracing` subscriber that is fed from the `log` crate asks for this thread's dispatcher and finds none:
        // for the most usual of loggers this alone keeps paho's DEBUG records, which hold secrets, from existing.
        let _unheard = tracing::dispatcher::set_default(&tracing::Dispatch::none());
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(ready.send(Err(error.to_string()))),
        };
        let _keeper = match install() {
            Ok((keeper, non_blocking)) => {
                let _ = ready.send(Ok(non_blocking));
                keeper
            }
            Err(error) => return drop(ready.send(Err(error.to_string()))),
        };
        LocalSet::new().block_on(&runtime, async move {
            while let Some(job) = queue.recv().await {
                tokio::task::spawn_local(job());
            }
        });
    };
    std::thread::Builder::new().name(String::from("paho")).spawn(body).map_err(|error| error.to_string())?;
    let non_blocking = started.recv().map_err(|_| String::from("paho's thread has ended"))??;
    let slots = (!non_blocking).then(|| Arc::new(Semaphore::new(AT_A_TIME)));
    Ok(Guard { jobs, slots })
}

/// Makes the keeper, frees the socket pair from blocking where that is possible (the `bool`), and silences the C
/// library's own trace, which shows the beginnings of payloads and may write them to stdout.
fn install() -> paho_mqtt::Result<(AsyncClient, bool)> {
    // With OPENSSL_INIT_NO_ATEXIT.
    #[cfg(feature = "paho")]
    openssl_sys::init();
    let made = keeper()?;
    // SAFETY: sets two integers inside the library; no pointers are involved, and the library has been initialised by
    // the creation of the keeper. It overrides MQTT_C_CLIENT_TRACE and MQTT_C_CLIENT_TRACE_LEVEL.
    unsafe { paho_mqtt_sys::MQTTAsync_setTraceLevel(paho_mqtt_sys::MQTTASYNC_TRACE_LEVELS_MQTTASYNC_TRACE_ERROR) };
    Ok(made)
}

fn new_keeper() -> paho_mqtt::Result<AsyncClient> {
    paho_mqtt::CreateOptionsBuilder::new()
        .server_uri("mqtt://127.0.0.1:1")
        .persistence(paho_mqtt::PersistenceType::None)
        .create_client()
}

#[cfg(not(target_os = "linux"))]
fn keeper() -> paho_mqtt::Result<(AsyncClient, bool)> {
    new_keeper().map(|keeper| (keeper, false))
}

#[cfg(target_os = "linux")]
fn keeper() -> paho_mqtt::Result<(AsyncClient, bool)> {
    let mut attempt = 1;
    loop {
        let before = linux::sockets();
        let keeper = new_keeper()?;
        let new: Vec<_> = linux::sockets().into_iter().filter(|socket| !before.contains(socket)).collect();
        match linux::writing_end(&new) {
            Some(fd) => return Ok((keeper, linux::set_non_blocking(fd))),
            // None at all: the application uses paho itself, the pair is older than we are.
            None if new.is_empty() || attempt == ATTEMPTS => return Ok((keeper, false)),
            // No thread of the library runs yet, so dropping its only client is cheap and makes a new pair next time.
            None => attempt += 1,
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::RawFd;

    /// An open socket: its descriptor and the kernel's number for it, which is not reused while it is open.
    pub(super) type Socket = (RawFd, String);

    /// Every socket that the process has open.
    pub(super) fn sockets() -> Vec<Socket> {
        let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return Vec::new() };
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let fd = entry.file_name().to_str()?.parse().ok()?;
                let target = std::fs::read_link(entry.path()).ok()?.to_str()?.to_owned();
                target.starts_with("socket:").then_some((fd, target))
            })
            .collect()
    }

    /// Of the sockets that are new since the library's start, the end of its pair that it writes to.
    ///
    /// The library makes one pair of local stream sockets and sets the end it reads from, and only that one, to
    /// non-blocking. If another thread opened a local stream socket in the same moment, the answer is `None`.
    pub(super) fn writing_end(new: &[Socket]) -> Option<RawFd> {
        let mut local = new.iter().filter(|(fd, _)| {
            option(*fd, libc::SO_DOMAIN) == Some(libc::AF_UNIX) && option(*fd, libc::SO_TYPE) == Some(libc::SOCK_STREAM)
        });
        let (one, other) = (local.next()?.0, local.next()?.0);
        if local.next().is_some() {
            return None;
        }
        match (flags(one)? & libc::O_NONBLOCK != 0, flags(other)? & libc::O_NONBLOCK != 0) {
            (true, false) => Some(other),
            (false, true) => Some(one),
            _ => None,
        }
    }

    fn option(fd: RawFd, name: libc::c_int) -> Option<libc::c_int> {
        let mut value: libc::c_int = 0;
        let mut len = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: `value` and `len` live across the call and `len` is the size of `value`; the kernel writes no more
        // than that. A descriptor that has been closed meanwhile gives EBADF, nothing worse.
        let rc = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut len) };
        (rc == 0).then_some(value)
    }

    fn flags(fd: RawFd) -> Option<libc::c_int> {
        // SAFETY: F_GETFL takes no argument and touches no memory of ours.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
        (flags != -1).then_some(flags)
    }

    /// Whether it could be done.
    pub(super) fn set_non_blocking(fd: RawFd) -> bool {
        let Some(flags) = flags(fd) else { return false };
        // SAFETY: F_SETFL takes an integer and touches no memory of ours. `fd` is paho's own socket: it is the only
        // blocking one of the only two local stream sockets that appeared while paho made its pair, and paho never
        // closes it. Paho ignores the result of its one-byte `send`, so EAGAIN on a full pair changes nothing for it.
        unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) != -1 }
    }

    #[cfg(test)]
    mod tests {
        use std::os::fd::AsRawFd;
        use std::os::unix::net::UnixStream;

        use super::*;

        fn named(sockets: &[&UnixStream]) -> Vec<Socket> {
            sockets.iter().map(|socket| (socket.as_raw_fd(), String::new())).collect()
        }

        #[test]
        fn the_blocking_end_of_a_half_blocking_pair_is_found() {
            let (read, write) = UnixStream::pair().expect("a pair");
            assert_eq!(writing_end(&named(&[&read, &write])), None, "both block: not the library's pair");
            read.set_nonblocking(true).expect("an own socket");
            assert_eq!(writing_end(&named(&[&read, &write])), Some(write.as_raw_fd()));
            assert_eq!(writing_end(&named(&[&write, &read])), Some(write.as_raw_fd()));
            let (foreign, _) = UnixStream::pair().expect("a pair");
            assert_eq!(writing_end(&named(&[&read, &write, &foreign])), None, "not told apart, so not touched");
            assert!(set_non_blocking(write.as_raw_fd()));
            assert_eq!(writing_end(&named(&[&read, &write])), None);
        }

        #[test]
        fn other_sockets_are_no_part_of_the_pair() {
            let (read, write) = UnixStream::pair().expect("a pair");
            read.set_nonblocking(true).expect("an own socket");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
            let mut new = named(&[&read, &write]);
            new.push((listener.as_raw_fd(), String::new()));
            assert_eq!(writing_end(&new), Some(write.as_raw_fd()));
            assert!(sockets().iter().any(|(fd, _)| *fd == listener.as_raw_fd()));
        }
    }
}
