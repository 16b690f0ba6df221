//! What a device pays in flash and in memory: the size of a minimal device's program, built for devices, with each transport;
//! its memory and threads when it is connected and idle; and what calls in flight add. Beside it the same device made of an MQTT
//! library alone.
//!
//! Each program is a package of its own, built with its own features as its user would, by the profile `device`.

#[path = "../tests/support/certificates.rs"]
mod certificates;
#[path = "footprint/held.rs"]
mod held;
mod measure;
mod peers;
#[path = "footprint/program.rs"]
mod program;
mod servers;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use certificates::Authority;
use measure::child::{self, Process};
use measure::sheet::{Chart, Sheet};
use program::{BARE, MINIMAL, Program};
use servers::onboarder::{self, Held};

const KIB: f64 = 1024.0;

/// Programs of this crate, each before its peer.
const PROGRAMS: [(&str, &str, &str); 8] = [
    ("native", MINIMAL, "native"),
    ("rumqttc alone", BARE, "rumqttc"),
    ("native, TLS", MINIMAL, "native-tls"),
    ("rumqttc alone, TLS", BARE, "rumqttc-tls"),
    ("paho", MINIMAL, "paho-tcp"),
    ("paho alone", BARE, "paho-tcp"),
    ("paho, TLS", MINIMAL, "paho"),
    ("paho alone, TLS", BARE, "paho"),
];

fn main() {
    if let Some(role) = child::role() {
        return held::run(&role);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::start());
    let title = "footprint of a minimal device, in KiB: program, shared libraries besides libc, memory when idle, calls in flight";
    let columns = ["device", "program", "libraries", "RSS", "private", "threads", "per 100 calls"];
    let mut sheet = Sheet::new("footprint", title, &columns);
    let programs = if measure::is_whole() { &PROGRAMS[..] } else { &PROGRAMS[2..3] };
    let found: Vec<Found> = programs.iter().map(|of| world.measure(*of)).collect();
    found.iter().for_each(|found| sheet.rows.push(found.row()));
    for pair in found.chunks_exact(2) {
        let [own, peer] = pair else { unreachable!("chunks of two") };
        let (size, memory) = (own.program / peer.program, own.private / peer.private);
        println!("{}: {size:.2} × the size of {}, {memory:.2} × its private memory", own.name, peer.name);
        // Nobody has set these; they are to show when it has grown.
        if own.name.starts_with("native") {
            sheet.at_most(format!("{}: size of the program, to {}", own.name, peer.name), size, 2.0);
            sheet.at_most(format!("{}: private memory, to {}", own.name, peer.name), memory, 1.5);
            sheet.at_most(format!("{}: threads", own.name), own.threads as f64, 1.0);
        }
    }
    for own in &found {
        if let Some(calls) = own.calls {
            sheet.at_most(format!("{}: KiB of 100 calls in flight", own.name), calls, 300.0);
        }
    }
    for (name, title, figure) in [
        ("footprint-flash", "Program and shared libraries of a minimal device", Found::flash as fn(&Found) -> f64),
        ("footprint-memory", "Private memory of a minimal device, connected and idle", |found| found.private),
    ] {
        let bars = found.iter().map(|found| (found.name.to_owned(), String::new(), figure(found))).collect();
        sheet.charts.push(Chart { name: name.to_owned(), title: title.to_owned(), unit: "KiB".to_owned(), bars });
    }
    sheet.publish();
}

/// In KiB.
struct Found {
    name: &'static str,
    program: f64,
    libraries: f64,
    resident: f64,
    private: f64,
    threads: usize,
    /// Of 100 calls; nothing where nobody knows what a call is.
    calls: Option<f64>,
}

impl Found {
    fn flash(&self) -> f64 {
        self.program + self.libraries
    }

    fn row(&self) -> Vec<String> {
        let kib = |figure: f64| format!("{figure:.0}");
        let Self { name, program, libraries, resident, private, threads, calls } = self;
        let calls = calls.map_or_else(String::new, kib);
        vec![
            name.to_string(),
            kib(*program),
            kib(*libraries),
            kib(*resident),
            kib(*private),
            threads.to_string(),
            calls,
        ]
    }
}

/// The service that devices find.
struct World {
    authority: Authority,
    /// TCP, TLS.
    addresses: [SocketAddr; 2],
    held: Held,
}

impl World {
    async fn start() -> Self {
        let (authority, assigned, held) = (Authority::new(), Arc::new(OnceLock::new()), Held::default());
        let tls = authority.issue("127.0.0.1").server(None);
        let addresses = onboarder::start(tls, Arc::clone(&assigned), Arc::clone(&held)).await;
        assigned.set(addresses).expect("once");
        Self { authority, addresses, held }
    }

    fn measure(&self, (name, package, feature): (&'static str, &str, &str)) -> Found {
        let program = Program::build(package, feature);
        let is_tls = matches!(feature, "native-tls" | "paho" | "rumqttc-tls");
        let secret = self.authority.file.with_file_name("secret");
        std::fs::write(&secret, "secret").expect("written");
        let mut command = Command::new(&program.file);
        command.env("DEVICE_BROKER", self.broker(is_tls)).env("DEVICE_CA", &self.authority.file);
        command.env("DEVICE_APP", servers::fixed::APP).env("DEVICE_THING", "lamp-1");
        command.env("DEVICE_APP_KEY_FILE", &secret).env("DEVICE_PASSWORD_FILE", &secret);
        let mut device = Process::start(&mut command);
        assert_eq!(device.line(), "200", "{name}: its state has arrived");
        // What threads of the start are still there, and what they hold, goes.
        std::thread::sleep(Duration::from_secs(if measure::is_whole() { 12 } else { 0 }));
        let ordinary = ["libc.so", "libm.so", "ld-linux"];
        let libraries = device.libraries().into_iter().filter(|path| {
            let path = path.to_string_lossy();
            !ordinary.iter().any(|ordinary| path.contains(ordinary))
        });
        let libraries: u64 = libraries.map(|path| program::size(&path)).sum();
        let (resident, private, threads) = (device.resident(), device.private(), device.threads());
        // The next one has the same client identifier; one connection would end the other.
        drop(device);
        Found {
            name,
            program: program::size(&program.file) as f64 / KIB,
            libraries: libraries as f64 / KIB,
            resident: resident as f64 / KIB,
            private: private as f64 / KIB,
            threads,
            calls: (package == MINIMAL).then(|| self.in_flight(feature, is_tls)),
        }
    }

    fn broker(&self, is_tls: bool) -> String {
        format!("{}://{}", if is_tls { "mqtts" } else { "mqtt" }, self.addresses[usize::from(is_tls)])
    }

    /// What 100 calls add that are sent and not answered, in KiB.
    fn in_flight(&self, feature: &str, is_tls: bool) -> f64 {
        let calls = if measure::is_whole() { 2_000 } else { 100 };
        let ca = self.authority.file.to_str().expect("a plain path");
        let mut device = Process::again(&[feature, &self.broker(is_tls), ca, &calls.to_string()]);
        assert_eq!(device.line(), "ready");
        let (before, held) = (device.resident(), self.held.load(Ordering::SeqCst));
        device.tell("call");
        while self.held.load(Ordering::SeqCst) < held + calls {
            std::thread::sleep(Duration::from_millis(10));
        }
        device.resident().saturating_sub(before) as f64 / KIB / calls as f64 * 100.0
    }
}
