//! The client under test, run as a program. (the chapter [`format`](super::format), "The contract")

use std::io;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group, waitid};
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::link::Happened;

/// How long a program has to end after its standard input was closed, before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// Of a longer line nothing is read.
const MAX_LINE: usize = 4 * 1024 * 1024;

/// A program that runs. Killed with what it started when it is dropped.
#[derive(Debug)]
pub(super) struct Subject {
    child: Child,
    /// Lines for its standard input; `None` when it was closed.
    lines: Option<mpsc::UnboundedSender<String>>,
    writer: Option<JoinHandle<()>>,
    /// Leads a process group of its own; `None` once it was reaped, and the number may be somebody else's.
    group: Option<Pid>,
}

impl Subject {
    /// Runs `command` with sh and these variables.
    pub(super) fn start(
        command: &str,
        variables: &[(&str, String)],
        shows_errors: bool,
        tell: mpsc::Sender<Happened>,
    ) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).envs(variables.iter().map(|(name, value)| (name, value)));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        shell.stderr(if shows_errors { Stdio::inherit() } else { Stdio::null() });
        let mut child = shell.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (lines, mut to_write) = mpsc::unbounded_channel::<String>();
        // A program that reads nothing must not hold up who grades it.
        let writer = child.stdin.take().map(|mut stdin| {
            tokio::spawn(async move {
                while let Some(line) = to_write.recv().await {
                    if stdin.write_all(line.as_bytes()).await.is_err() {
                        return;
                    }
                }
            })
        });
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(async move {
                let (mut stdout, mut line) = (BufReader::new(stdout), Vec::new());
                while next_line(&mut stdout, &mut line).await {
                    if let Some((kind, members)) = read_line(&String::from_utf8_lossy(&line)) {
                        let _ = tell.send((None, kind, members)).await;
                    }
                }
                let _ = tell.send((None, "exited", json!({}))).await;
            });
        }
        Ok(Self { child, lines: Some(lines), writer, group })
    }

    /// Writes a line to its standard input. A program that has gone hears nothing, and its silence is what is graded.
    pub(super) fn say(&self, line: &str) {
        if let Some(lines) = &self.lines {
            let _ = lines.send(format!("{line}\n"));
        }
    }

    /// Closes its standard input, after what was said.
    pub(super) fn leave(&mut self) {
        self.lines = None;
    }

    /// Waits for its end, not for long, and ends what it started. Which signal killed it before it was told to leave, if one
    /// did; `is_ending` if its standard output has ended already.
    pub(super) async fn end(mut self, is_ending: bool) -> Option<i32> {
        if is_ending {
            let _ = timeout(Duration::from_secs(1), self.gone()).await;
        }
        let signal = self.status().and_then(|status| killed_by(&status));
        self.leave();
        let _ = timeout(FAREWELL, self.gone()).await;
        // Not reaped yet, so the number is still this group's, which may outlive its leader.
        self.kill();
        let _ = timeout(FAREWELL, self.child.wait()).await;
        self.group = None;
        signal
    }

    async fn gone(&self) {
        while self.group.is_some() && self.status().is_none() {
            sleep(LOOK).await;
        }
    }

    /// How it ended, if it has. It is not reaped by that.
    fn status(&self) -> Option<WaitIdStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(self.group?), options).ok().flatten()
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.kill();
        if let Some(writer) = &self.writer {
            writer.abort();
        }
    }
}

/// The signal, also if a shell tells of it with its own status.
fn killed_by(status: &WaitIdStatus) -> Option<i32> {
    let told = status.exit_status().filter(|status| (129..160).contains(status)).map(|status| status - 128);
    status.terminating_signal().or(told)
}

/// Reads a line, of any bytes, without its end; `false` when there is none any more.
async fn next_line(from: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> bool {
    line.clear();
    let mut is_too_long = false;
    loop {
        let Ok(chunk) = from.fill_buf().await else { return false };
        if chunk.is_empty() {
            return !line.is_empty();
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        is_too_long |= line.len() + part.len() > MAX_LINE;
        if is_too_long {
            line.clear();
        } else {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            return true;
        }
    }
}

/// `result NAME JSON` and `push JSON`; what else a program prints is its own business.
fn read_line(line: &str) -> Option<(&'static str, Value)> {
    let (word, rest) = line.trim_end().split_once(' ')?;
    match word {
        "result" => {
            let (call, json) = rest.split_once(' ')?;
            let mut members: Value = serde_json::from_str(json).ok()?;
            members.as_object_mut()?.insert(String::from("call"), call.into());
            if let Some(body) = members["body"].as_str()
                && let Ok(json) = serde_json::from_str::<Value>(body)
            {
                members["json"] = json;
            }
            Some(("result", members))
        }
        "push" => {
            let mut members: Value = serde_json::from_str(rest).ok()?;
            if let Some(payload) = members.get("payload").and_then(Value::as_str)
                && let Ok(json) = serde_json::from_str::<Value>(payload)
            {
                members["json"] = json;
            }
            Some(("push", members))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_contract_are_read_and_no_others() {
        let (kind, members) = read_line(r#"result a {"status":200,"body":"{\"x\":1}"}"#).expect("a result");
        assert_eq!((kind, &members["call"], &members["json"]["x"]), ("result", &json!("a"), &json!(1)));
        assert_eq!(read_line(r#"result b {"error":"timed-out"}"#).expect("a result").1["error"], "timed-out");
        assert_eq!(read_line(r#"push {"payload":"[1]"}"#).expect("a push").1["json"], json!([1]));
        for line in ["", "ready", "result a", "result a 7", "push", "push x", "hello there"] {
            assert_eq!(read_line(line), None, "{line}");
        }
    }

    #[tokio::test]
    async fn lines_of_any_bytes_and_any_length_are_passed() {
        let mut output = b"\xff\xfe\n".to_vec();
        output.resize(MAX_LINE + 10, b'x');
        output.extend_from_slice(b"\npush {\"payload\":\"1\"}\nend");
        let (mut from, mut line, mut lines) = (&output[..], Vec::new(), Vec::new());
        while next_line(&mut from, &mut line).await {
            lines.push(line.clone());
        }
        assert_eq!(lines, [&b"\xff\xfe"[..], b"", b"push {\"payload\":\"1\"}", b"end"]);
    }

    async fn run(command: &str) -> (Subject, mpsc::Receiver<Happened>) {
        let (tell, happened) = mpsc::channel(8);
        (Subject::start(command, &[], false, tell).expect("sh"), happened)
    }

    #[tokio::test]
    async fn a_program_that_a_signal_kills_is_told_from_one_that_gives_up() {
        for (command, signal) in [("kill -SEGV $$", Some(11)), ("(kill -ABRT $$); exit 134", Some(6)), ("exit 3", None)]
        {
            let (subject, mut happened) = run(command).await;
            assert_eq!(happened.recv().await.map(|(_, kind, _)| kind), Some("exited"), "{command}");
            assert_eq!(subject.end(true).await, signal, "{command}");
        }
    }

    #[tokio::test]
    async fn a_program_that_reads_nothing_holds_nobody_up() {
        let (mut subject, _happened) = run("exec sleep 1000").await;
        subject.say(&"x".repeat(1024 * 1024));
        subject.leave();
        assert_eq!(subject.end(false).await, None);
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_ends_with_it() {
        let (subject, mut happened) = run(r#"sleep 1000 & echo "push {\"payload\":\"$!\"}"; exit 0"#).await;
        let (_, _, members) = happened.recv().await.expect("its child's id");
        let child: i32 = members["payload"].as_str().expect("text").parse().expect("a number");
        subject.end(false).await;
        let child = Pid::from_raw(child).expect("an id");
        let is_there = async {
            // It stays in the table until whoever adopts it has reaped it.
            while std::fs::read_to_string(format!("/proc/{}/stat", child.as_raw_nonzero()))
                .is_ok_and(|stat| !stat.contains(") Z "))
            {
                sleep(LOOK).await;
            }
        };
        timeout(Duration::from_secs(60), is_there).await.expect("killed");
    }
}
