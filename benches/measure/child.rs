//! Servers as processes of their own, so that their processor time and memory are theirs alone.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// The first argument of this program when it is started as a server.
pub(crate) const ROLE: &str = "--role";

/// What this process is to be, if it is not the bench itself.
pub(crate) fn role() -> Option<Vec<String>> {
    let mut arguments = std::env::args().skip(1);
    (arguments.next()? == ROLE).then(|| arguments.collect())
}

/// Ends with the value that it holds.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// This program again, as something else.
    pub(crate) fn again(role: &[&str]) -> Self {
        let program = std::env::current_exe().expect("the bench is a file");
        Self::start(Command::new(program).arg(ROLE).args(role))
    }

    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program is there");
        let (input, output) = (child.stdin.take(), child.stdout.take().map(BufReader::new));
        Self { child, input, output }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("piped");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("the server reads");
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.as_mut().expect("piped").read_line(&mut line).expect("the server speaks");
        assert!(!line.is_empty(), "the server has ended");
        line.trim_end().to_owned()
    }

    /// Processor time of all its threads so far.
    pub(crate) fn busy(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux");
        let nanos = |task: std::fs::DirEntry| -> Option<u64> {
            std::fs::read_to_string(task.path().join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
        };
        Duration::from_nanos(tasks.filter_map(|task| nanos(task.ok()?)).sum())
    }

    /// Memory that it has in RAM, in bytes; the kernel's buffers are not in it.
    pub(crate) fn resident(&self) -> u64 {
        self.kib("status", "VmRSS:") * 1024
    }

    /// What of it nobody else has, in bytes: neither libraries that others use, too, nor what could be read from the disk again.
    pub(crate) fn private(&self) -> u64 {
        self.kib("smaps_rollup", "Private_Dirty:") * 1024
    }

    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("Linux").count()
    }

    /// The shared libraries that it has loaded.
    pub(crate) fn libraries(&self) -> BTreeSet<PathBuf> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id())).expect("Linux");
        let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
        paths.filter(|path| path.to_string_lossy().contains(".so")).collect()
    }

    fn kib(&self, file: &str, name: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("Linux");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whether it had ended already makes no difference.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// For servers: blocks until the bench is gone.
pub(crate) fn until_the_bench_ends() {
    std::io::stdin().read_to_end(&mut Vec::new()).ok();
    std::process::exit(0);
}
