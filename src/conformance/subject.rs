//! The client under test, run as a program. (the chapter [`format`](super::format), "The contract")

use std::io;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

use super::link::Happened;

/// How long a program has to end after its standard input was closed, before it is killed.
const FAREWELL: Duration = Duration::from_secs(2);

/// A program that runs. Killed with what it started when it is dropped.
#[derive(Debug)]
pub(super) struct Subject {
    child: Child,
    stdin: Option<ChildStdin>,
    /// Leads a process group of its own.
    group: Option<rustix::process::Pid>,
}

impl Subject {
    /// Runs `command` with sh and these variables.
    pub(super) fn start(
        command: &str,
        variables: &[(&str, String)],
        shows_errors: bool,
        tell: mpsc::UnboundedSender<Happened>,
    ) -> io::Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).envs(variables.iter().map(|(name, value)| (name, value)));
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).process_group(0);
        shell.stderr(if shows_errors { Stdio::inherit() } else { Stdio::null() });
        let mut child = shell.spawn()?;
        let group = child.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        let stdin = child.stdin.take();
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(async move {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some((kind, members)) = read_line(&line) {
                        let _ = tell.send((None, kind, members));
                    }
                }
                let _ = tell.send((None, "exited", json!({})));
            });
        }
        Ok(Self { child, stdin, group })
    }

    /// Writes a line to its standard input. A program that has gone hears nothing, and its silence is what is graded.
    pub(super) async fn say(&mut self, line: &str) {
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(format!("{line}\n").as_bytes()).await;
            let _ = stdin.flush().await;
        }
    }

    /// Closes its standard input.
    pub(super) fn leave(&mut self) {
        self.stdin = None;
    }

    /// Waits for its end, not for long.
    pub(super) async fn end(mut self) {
        self.leave();
        if tokio::time::timeout(FAREWELL, self.child.wait()).await.is_ok() {
            // Its number may be somebody else's now.
            self.group = None;
        }
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // The group may outlive its leader: a shell that was told to run something else.
        if let Some(group) = self.group {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
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
}
