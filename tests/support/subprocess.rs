//! Tests that may hang or abort run in a process of their own, with a watchdog.
#![allow(dead_code, unreachable_pub)] // each test binary uses its own part

use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Set in the child: the name of the test whose body it is to run.
const CHILD: &str = "THINGIF_TEST_CHILD";

/// How the child ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails the test unless the child succeeded; shows what the child reported.
    pub fn succeeded(self) {
        assert!(self.status.success(), "{}\n{}\n{}", self.status, self.stdout, self.stderr);
        self.stdout.lines().filter(|line| line.starts_with("report:")).for_each(|line| println!("{line}"));
    }
}

/// In the child: runs `body` and returns `None`. Otherwise: runs the test `name` of this binary in a child.
///
/// # Panics
/// If the child has not ended within `limit`; it is killed then.
pub fn isolated(name: &str, limit: Duration, env: &[(&str, &str)], body: impl FnOnce()) -> Option<Ended> {
    if std::env::var(CHILD).is_ok_and(|child| child == name) {
        body();
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let (out, err) = (directory.path().join("stdout"), directory.path().join("stderr"));
    let file = |path| Stdio::from(std::fs::File::create(path).expect("created"));
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, name)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .expect("started");
    let read = |path| String::from_utf8_lossy(&std::fs::read(path).expect("readable")).into_owned();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our child") {
            break status;
        }
        if started.elapsed() > limit {
            child.kill().expect("our child");
            child.wait().expect("our child");
            panic!("hung for {limit:?}\n{}\n{}", read(&out), read(&err));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Some(Ended { status, stdout: read(&out), stderr: read(&err) })
}

/// Open file descriptors of this process.
#[cfg(target_os = "linux")]
pub fn descriptors() -> usize {
    // One of them is the directory that is being read.
    std::fs::read_dir("/proc/self/fd").expect("procfs").count() - 1
}

/// What they are, to be shown.
#[cfg(target_os = "linux")]
pub fn open_files() -> Vec<String> {
    let shown = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.ok()?.path();
        Some(format!("{} {}", path.file_name()?.display(), std::fs::read_link(&path).ok()?.display()))
    };
    let mut open: Vec<_> = std::fs::read_dir("/proc/self/fd").expect("procfs").filter_map(shown).collect();
    for table in ["tcp", "unix"] {
        open.extend(std::fs::read_to_string(format!("/proc/self/net/{table}")).ok());
    }
    open
}

/// Names of the threads of this process, in order.
#[cfg(target_os = "linux")]
pub fn threads() -> Vec<String> {
    let name = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    let tasks = std::fs::read_dir("/proc/self/task").expect("procfs");
    let mut names: Vec<_> = tasks.filter_map(name).map(|name| name.trim().to_owned()).collect();
    names.sort();
    names
}

/// Resident memory of this process in KiB.
#[cfg(target_os = "linux")]
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("always there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
