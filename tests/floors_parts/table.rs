//! The tables.

/// A top-level module and what it may name. It may name only modules that stand above it in the list, so the list is
/// proof that there is no cycle; what it may not name although it stands lower is simply not in its row.
pub(crate) const MODULES: &[(&str, &[&str])] = &[
    // Floor 0: bytes and types.
    ("ids", &[]),
    ("secret", &[]),
    ("wire", &[]),
    // Pages of the documentation.
    ("manual", &[]),
    ("topic", &["ids", "secret"]),
    ("mqtt", &["ids", "secret", "topic"]),
    ("frame", &["ids", "topic"]),
    ("thing_if", &["ids", "secret", "topic", "mqtt"]),
    ("config", &["ids", "secret", "mqtt", "thing_if"]),
    ("capture", &["ids", "secret", "topic", "mqtt", "frame"]),
    // Floor 1: judgement without I/O.
    ("proto", FLOOR_0),
    // What dependencies must not log is kept from the `log` crate.
    ("quiet", &[]),
    // Of files that both ends keep.
    ("file_lock", &[]),
    // Floor 2: links. They decide nothing, so they need no judgement.
    ("transport", FLOOR_0_AND_QUIET),
    // Floor 3: the device end and the server end. They share floor 0 and nothing else: two ends that share judgement
    // share bugs.
    (
        "client",
        &[
            "file_lock",
            "ids",
            "secret",
            "topic",
            "mqtt",
            "frame",
            "thing_if",
            "config",
            "capture",
            "proto",
            "transport",
        ],
    ),
    ("edge", FLOOR_0_AND_QUIET),
    // What accepts HTTP connections for the cloud and for the bridge, with the edge's options of sockets.
    ("http_server", &["edge"]),
    // Floor 4.
    (
        "cloud",
        &[
            "file_lock",
            "ids",
            "secret",
            "topic",
            "mqtt",
            "frame",
            "thing_if",
            "config",
            "capture",
            "edge",
            "http_server",
        ],
    ),
    // A bridge is an edge with another service, or a local HTTP listener before a client.
    ("bridge", &["ids", "secret", "topic", "mqtt", "frame", "thing_if", "config", "client", "edge", "http_server"]),
    // Captures run again: as a device, as a server, against the machine alone.
    (
        "replay",
        &[
            "ids",
            "secret",
            "topic",
            "mqtt",
            "frame",
            "thing_if",
            "config",
            "capture",
            "proto",
            "transport",
            "client",
            "edge",
        ],
    ),
    // Whoever grades both ends shares no judgement with either.
    ("conformance", &["ids", "secret", "topic", "mqtt", "frame", "thing_if", "capture"]),
    // Its own WebSocket's log of frames is kept from being written.
    ("doctor", &["ids", "secret", "topic", "mqtt", "frame", "thing_if", "config", "quiet", "transport", "client"]),
    // Floor 5. What operators see of a service that runs.
    ("admin", &["ids", "secret", "thing_if", "edge", "cloud"]),
    (
        "cli",
        &[
            "ids",
            "secret",
            "topic",
            "mqtt",
            "frame",
            "thing_if",
            "config",
            "capture",
            "proto",
            "transport",
            "client",
            "edge",
            "cloud",
            "bridge",
            "replay",
            "conformance",
            "doctor",
            "admin",
        ],
    ),
    ("bin", &["cli"]),
];

const FLOOR_0: &[&str] = &["ids", "secret", "topic", "mqtt", "frame", "thing_if", "config", "capture"];

const FLOOR_0_AND_QUIET: &[&str] =
    &["ids", "secret", "topic", "mqtt", "frame", "thing_if", "config", "capture", "quiet"];

/// Floors 0 and 1: no I/O, no clock, no runtime.
pub(crate) const PURE: &[&str] =
    &["ids", "secret", "wire", "topic", "mqtt", "frame", "thing_if", "config", "capture", "proto"];

/// The crates that pure modules may name.
pub(crate) const PURE_CRATES: &[&str] = &[
    "std",
    "core",
    "alloc",
    "bytes",
    "etherparse",
    "fastrand",
    "http",
    "memchr",
    "pcap_parser",
    "serde",
    "serde_json",
    "thiserror",
    "wide",
    "zeroize",
];

/// What pure modules may not name of these crates: clocks, sockets, threads, files, processes, and random numbers that
/// no seed decides.
pub(crate) const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
    "fastrand::Rng::new",
    "fastrand::Rng::default",
];

/// Macros of the standard library that are I/O.
pub(crate) const IMPURE_MACROS: &[&str] = &["print", "println", "eprint", "eprintln", "dbg"];

/// Crates that one folder alone may name.
pub(crate) const CRATE_HOMES: &[(&str, &str)] = &[
    ("paho_mqtt", "transport::paho"),
    ("rusqlite", "cloud"),
    ("clap", "cli"),
    ("etherparse", "capture::pcap"),
    ("pcap_parser", "capture::pcap"),
];

/// Modules inside a top-level module that only some may name: MQTT packets are read and written in one place and used
/// by the edge, which serves them; `transport` needs their limits, and `cloud` sees the version of MQTT in a login. `capture` reads
/// them out of recorded bytes, and `replay` and `conformance` play both ends, independent of either.
pub(crate) const INNER_MODULES: &[(&str, &[&str])] = &[
    // `doctor` goes a client's way by itself, at a finer grain than a transport tells of.
    ("mqtt::packet", &["mqtt", "capture", "transport", "edge", "cloud", "replay", "conformance", "doctor"]),
    ("transport::paho", &["transport", "cli"]),
    ("transport::native", &["transport", "cli"]),
];

/// A text that only an encoder or decoder of MQTT packets has, and the module that is one.
pub(crate) const PACKET_MARK: (&str, &str) = ("MQIsdp", "mqtt::packet");

/// Where `unsafe` may stand.
pub(crate) const UNSAFE_HOMES: &[&str] = &["transport::paho::guard"];

/// Lines of a file before its tests.
pub(crate) const MAX_LINES: usize = 400;
