//! Devices in several processes against `thingif serve --data`, which is killed with -9 again and again while their
//! connections are cut at random. What was acknowledged must be there, every answer must be its asker's own, memory and
//! descriptors must stay flat, and all devices must be ready again 10 s after the last fault.
//!
//! `make soak` runs it for 10 minutes with 500 devices; without its settings it is short and small. `SOAK_SECONDS`,
//! `SOAK_DEVICES`, `SOAK_PROCESSES`, `SOAK_KILL_EVERY` (seconds) and `SOAK_SEED` say otherwise.
//! The seed decides what is cut when and what devices send; threads and sockets decide the rest.

mod device;
mod line;
mod server;
#[path = "../support/transports.rs"]
mod transports;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use serde_json::Value;
use server::Server;

/// How soon after the last fault all devices are to be ready.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long anything else may take on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(300);

type Failure = Box<dyn std::error::Error>;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Ok(role) = std::env::var("SOAK_ROLE") {
        return device::process(&role);
    }
    if arguments.iter().any(|argument| argument == "--list") {
        return;
    }
    if let Err(error) = soak() {
        eprintln!("soak: FAILED: {error}");
        std::process::exit(1);
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map_or(default, |text| {
        text.parse().unwrap_or_else(|_| {
            eprintln!("soak: {name} is no number: {text:?}");
            std::process::exit(2);
        })
    })
}

fn soak() -> Result<(), Failure> {
    let length = Duration::from_secs(setting("SOAK_SECONDS", 12));
    let devices = setting("SOAK_DEVICES", 20);
    let processes = setting("SOAK_PROCESSES", 2).clamp(1, devices);
    let kill_every = Duration::from_secs(setting("SOAK_KILL_EVERY", 4).max(1));
    let seed = setting("SOAK_SEED", u64::from(std::process::id()));
    println!(
        "soak: {devices} devices in {processes} processes, {length:?}, killed every {kill_every:?}; SOAK_SEED={seed}"
    );
    server::check_descriptors(devices)?;

    let mut server = Server::start()?;
    let line = line::Line::new(server.mqtt_port, server.line_port, seed)?;
    let mut fleet = Fleet::start(devices, processes, seed, server.line_port)?;
    let began = Instant::now();
    fleet.wait_until_ready(devices, PATIENCE)?;
    println!("soak: all {devices} onboarded and ready after {:.1?}", began.elapsed());
    let owner = server::Owner::of_the_first(&server)?;

    let began = Instant::now();
    let (mut next_kill, mut next_report) = (began + kill_every, began + Duration::from_secs(10));
    let (mut kills, mut commands, mut refused) = (0, Vec::new(), 0);
    let mut warm: Option<Vec<Usage>> = None;
    // Everybody is onboarded in the first life; what that takes is not to be seen in the others.
    let (mut first_life, mut other_lives) = (Usage::default(), Usage::default());
    line.cut(devices.div_ceil(40).max(1));
    // On standard error, if that is a terminal.
    let bar = ProgressBar::new(length.as_secs());
    while began.elapsed() < length {
        thread::sleep(Duration::from_millis(250));
        let life = if kills == 0 { &mut first_life } else { &mut other_lives };
        *life = life.max(usage(server.id()));
        match owner.command(&server) {
            Some(id) => commands.push(id),
            None => refused += 1,
        }
        fleet.check()?;
        bar.set_position(began.elapsed().as_secs());
        if Instant::now() >= next_kill {
            server.kill_and_restart()?;
            kills += 1;
            next_kill = Instant::now() + kill_every;
        }
        // Warm is who has been through a few losses: the peak of the first third.
        if began.elapsed() < length / 3 || warm.is_none() {
            let now = fleet.usage();
            warm = Some(warm.map_or(now.clone(), |warm| warm.iter().zip(&now).map(|(a, b)| a.max(*b)).collect()));
        }
        if Instant::now() >= next_report {
            next_report += Duration::from_secs(10);
            bar.suspend(|| println!("soak: {:4} s {}", began.elapsed().as_secs(), fleet.summary()));
        }
    }

    bar.finish_and_clear();

    // The last fault: everything at once.
    line.cut(0);
    server.kill_and_restart()?;
    let ready_again = Instant::now();
    fleet.wait_until_ready(devices, PATIENCE)?;
    let ready_after = ready_again.elapsed();
    let reports = fleet.finish()?;
    let cold = fleet.usage();
    let missing: Vec<_> = commands.iter().filter(|id| !owner.has(&server, id)).collect();

    let totals = fleet.totals();
    println!("soak: {:<34} {}", "server kills", kills + 1);
    println!("soak: {:<34} {}", "links cut", line.cuts());
    for (name, value) in &totals {
        println!("soak: {name:<34} {value}");
    }
    println!("soak: {:<34} {} ({refused} refused while it was down)", "commands acknowledged", commands.len());
    println!("soak: {:<34} {ready_after:.2?}", "all ready after the last fault");
    let warm = warm.unwrap_or_default();
    for (number, (warm, end)) in warm.iter().zip(&cold).enumerate() {
        println!("soak: process {number:<26} warm {warm}, end {end}");
    }
    println!("soak: {:<34} peak {first_life}; after the first kill {other_lives}", "server");

    if !missing.is_empty() {
        return Err(format!("{} acknowledged commands are gone: {missing:?}", missing.len()).into());
    }
    if reports.len() as u64 != devices {
        return Err(format!("{} of {devices} devices reported", reports.len()).into());
    }
    if ready_after > READY_WITHIN {
        return Err(
            format!("all devices ready {ready_after:?} after the last fault, not within {READY_WITHIN:?}").into()
        );
    }
    if totals["writes acknowledged"] < devices || totals["reconnections"] < kills * devices / 2 {
        return Err("there was not enough to see".into());
    }
    for (number, (warm, end)) in warm.iter().zip(&cold).enumerate() {
        // It levels off some minutes after the warm third, a tenth above it.
        if end.rss_kib > warm.rss_kib + warm.rss_kib / 8 + 3 * 1024 {
            return Err(format!("process {number} grew: warm {warm}, end {end}").into());
        }
        if end.descriptors > warm.descriptors + 8 {
            return Err(format!("process {number} leaks descriptors: warm {warm}, end {end}").into());
        }
    }
    // A password takes 19 MiB for each core that hashes one, whether 500 devices onboard at once or one does.
    let cores = thread::available_parallelism().map_or(1, usize::from) as u64;
    for life in [first_life, other_lives] {
        if life.rss_kib > (72 + 20 * cores) * 1024 || life.descriptors > usize::try_from(devices)? + 100 {
            return Err(format!("the server had {life}").into());
        }
    }
    println!("soak: ok");
    Ok(())
}

/// The processes that the devices live in.
struct Fleet {
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    last: Value,
    finished: Vec<Value>,
}

impl Fleet {
    fn start(devices: u64, processes: u64, seed: u64, port: u16) -> Result<Self, Failure> {
        let myself = std::env::current_exe()?;
        let started = (0..processes).map(|number| {
            let first = devices * number / processes;
            let count = devices * (number + 1) / processes - first;
            let mut child = Command::new(&myself)
                .env("SOAK_ROLE", format!("{first},{count},{seed},{port}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (sender, lines) = mpsc::channel();
            let stdout = BufReader::new(child.stdout.take().ok_or("no stdout")?);
            thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
            let stdin = child.stdin.take();
            Ok(Process { child, stdin, lines, last: Value::Null, finished: Vec::new() })
        });
        Ok(Self { processes: started.collect::<Result<_, Failure>>()? })
    }

    /// Takes what the processes have said. A wrong answer, or a process that is gone, is the end.
    fn check(&mut self) -> Result<(), Failure> {
        for process in &mut self.processes {
            for line in process.lines.try_iter() {
                let said: Value = serde_json::from_str(&line).map_err(|error| format!("{error} in {line}"))?;
                if said.get("fatal").is_some() {
                    return Err(line.into());
                }
                if said.get("device").is_some() {
                    process.finished.push(said);
                } else {
                    process.last = said;
                }
            }
            if let Some(status) = process.child.try_wait()?
                && process.stdin.is_some()
            {
                return Err(format!("a device process ended: {status}").into());
            }
        }
        Ok(())
    }

    fn totals(&self) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        for process in &self.processes {
            for (name, value) in process.last.as_object().into_iter().flatten() {
                *totals.entry(name.clone()).or_default() += value.as_u64().unwrap_or(0);
            }
        }
        totals
    }

    fn summary(&self) -> String {
        self.totals().iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(", ")
    }

    fn wait_until_ready(&mut self, devices: u64, within: Duration) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            self.check()?;
            if self.totals().get("ready") == Some(&devices) {
                return Ok(());
            }
            if began.elapsed() > within {
                return Err(format!("not all ready after {within:?}: {}", self.summary()).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Has every device compare what is stored with what was acknowledged, and gives their reports.
    fn finish(&mut self) -> Result<Vec<Value>, Failure> {
        for process in &mut self.processes {
            process.stdin.as_mut().ok_or("finished twice")?.write_all(b"finish\n")?;
        }
        let began = Instant::now();
        loop {
            self.check()?;
            let expected: u64 = self.processes.iter().filter_map(|process| process.last["devices"].as_u64()).sum();
            let reports: Vec<_> = self.processes.iter().flat_map(|process| process.finished.iter().cloned()).collect();
            if reports.len() as u64 == expected {
                return Ok(reports);
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{} of {expected} devices reported", reports.len()).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn usage(&self) -> Vec<Usage> {
        self.processes.iter().map(|process| usage(process.child.id())).collect()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in &mut self.processes {
            process.stdin = None;
            let _gone = process.child.kill();
            let _ended = process.child.wait();
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Usage {
    rss_kib: u64,
    descriptors: usize,
}

impl Usage {
    fn max(self, other: Self) -> Self {
        Self { rss_kib: self.rss_kib.max(other.rss_kib), descriptors: self.descriptors.max(other.descriptors) }
    }
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} MiB and {} descriptors", self.rss_kib as f64 / 1024.0, self.descriptors)
    }
}

/// What a process has, as Linux tells; nothing for one that is gone.
fn usage(process: u32) -> Usage {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let rss =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next());
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).map_or(0, Iterator::count);
    Usage { rss_kib: rss.and_then(|kib| kib.parse().ok()).unwrap_or(0), descriptors }
}
