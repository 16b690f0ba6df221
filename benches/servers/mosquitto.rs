//! Eclipse Mosquitto, as fast as it can be set up, and the service as one of its clients.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::measure::child::Process;

pub(crate) struct Mosquitto {
    pub(crate) address: SocketAddr,
    broker: Process,
    responder: Process,
    _directory: TempDir,
}

impl Mosquitto {
    /// `None` where it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let program = ["mosquitto", "/usr/sbin/mosquitto"];
        let program = program.into_iter().find(|name| Command::new(name).arg("-h").output().is_ok())?;
        let address = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = format!("listener {} 127.0.0.1\n", address.port());
        for line in ["allow_anonymous true", "persistence false", "log_type none", "set_tcp_nodelay true"] {
            writeln!(config, "{line}").expect("a string");
        }
        config += "max_queued_messages 0\nmax_inflight_messages 0\n";
        let file = directory.path().join("mosquitto.conf");
        std::fs::write(&file, config).expect("written");
        let broker = Process::start(Command::new(program).arg("-c").arg(&file));
        let until = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "mosquitto does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut responder = Process::again(&["responder", &address.to_string()]);
        assert_eq!(responder.line(), "ready");
        Some(Self { address, broker, responder, _directory: directory })
    }

    /// Both processes.
    pub(crate) fn busy(&self) -> Duration {
        self.broker.busy() + self.responder.busy()
    }

    /// As it calls itself.
    pub(crate) fn version() -> Option<String> {
        let said = Command::new("/usr/sbin/mosquitto").arg("-h").output().ok()?;
        Some(String::from_utf8_lossy(&said.stdout).lines().next()?.to_owned())
    }
}
