//! Where the figures come from.

use std::fs;
use std::process::Command;

/// Processor, memory, system, and the versions of everything that was measured.
pub(crate) fn describe() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").and_then(|kib| kib.trim_end_matches(" kB").parse::<u64>().ok());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = first_line(Command::new("rustc").arg("-V"));
    let mosquitto =
        ["mosquitto", "/usr/sbin/mosquitto"].into_iter().map(|name| first_line(Command::new(name).arg("-h")));
    let mut words = vec![format!("{cores} × {cpu}, {} GiB, Linux {}", memory.unwrap_or(0) >> 20, kernel.trim())];
    words.extend(rustc);
    words.extend(mosquitto.flatten().next());
    words.extend(
        ["paho-mqtt", "paho-mqtt-sys", "rumqttc", "hyper", "tokio", "httparse", "http", "bytes"]
            .into_iter()
            .filter_map(locked),
    );
    words.join("; ")
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn first_line(command: &mut Command) -> Option<String> {
    let said = command.output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).lines().next()?.to_owned())
}

/// The version that is locked.
fn locked(name: &str) -> Option<String> {
    let lock = include_str!("../../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(format!("{name} {}", rest.split('"').next()?))
}
