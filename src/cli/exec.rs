//! `listen --exec`: a program per command, and what became of the command's actions.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::cli::settings;
use crate::client::commands::{Actuator, ReceivedCommand};
use crate::ids::AppId;
use crate::thing_if::{ActionResult, ActionResults, Actions, CommandPush};
use crate::transport::BoxFuture;

/// The longest error message reported, in bytes.
const MAX_MESSAGE: usize = 500;
/// How long the last words of a program are waited for, when something it started keeps its standard error open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What to run, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    pub(crate) app: AppId,
    pub(crate) command: String,
    pub(crate) timeout: Duration,
}

impl Exec {
    /// Runs the program for `command`, which it reads on its standard input, and says whether it succeeded.
    ///
    /// Its standard output and error both go to our standard error: ours carries the pushes. Its last line there becomes
    /// the message of a failure.
    pub(crate) async fn run(&self, command: &ReceivedCommand) -> Result<(), String> {
        let payload = payload(command);
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .env("THINGIF_APP_ID", self.app.as_str())
            .env("THINGIF_THING_ID", command.thing_id.as_str())
            .env("THINGIF_COMMAND_ID", command.command_id.as_str())
            .env("THINGIF_ACTIONS", names(&command.actions))
            .env_remove(crate::cli::app_args::KEY_VARIABLE)
            .env_remove(crate::cli::thing_args::PASSWORD_VARIABLE)
            .env_remove(crate::cli::route_args::PROXY_PASSWORD_VARIABLE)
            // These two may have a secret beside their names.
            .env_remove(settings::variable("app"))
            .env_remove(settings::variable("proxy"))
            .stdin(Stdio::piped())
            .stdout(std::io::stderr())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run sh: {error}"))?;
        let ended = tokio::time::timeout(self.timeout, attend(&mut child, &payload)).await;
        let (status, last_line) = match ended {
            Ok(Ok(ended)) => ended,
            Ok(Err(error)) => return Err(format!("cannot run the program: {error}")),
            Err(_) => {
                // Only the shell is killed; what it started in the background is its own affair.
                let _ = child.kill().await;
                return Err(format!("did not end within {} s and was killed", self.timeout.as_secs_f64()));
            }
        };
        match (status.success(), last_line) {
            (true, _) => Ok(()),
            (false, Some(line)) => Err(line),
            (false, None) => Err(status.to_string()),
        }
    }
}

/// Feeds the program, passes its standard error on, waits for its end.
async fn attend(child: &mut Child, payload: &[u8]) -> std::io::Result<(ExitStatus, Option<String>)> {
    let stdin = child.stdin.take();
    let stderr = child.stderr.take();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input is within its rights.
            let _ = stdin.write_all(payload).await;
        }
    };
    let mut tail = Vec::new();
    let pass_on = async {
        let Some(mut stderr) = stderr else { return };
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
            let _ = std::io::Write::write_all(&mut std::io::stderr(), &chunk[..n]);
            tail.extend_from_slice(&chunk[..n]);
            let keep = tail.len().saturating_sub(4 * MAX_MESSAGE);
            tail.drain(..keep);
        }
    };
    let status = {
        let mut talk = std::pin::pin!(async { tokio::join!(feed, pass_on) });
        tokio::select! {
            biased;
            status = child.wait() => {
                let _ = tokio::time::timeout(LAST_WORDS, talk).await;
                status?
            }
            _ = &mut talk => child.wait().await?,
        }
    };
    Ok((status, last_line(&tail)))
}

fn last_line(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    let end = line.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= MAX_MESSAGE).last();
    Some(line[..end.unwrap_or(0)].to_owned())
}

/// What the program reads: the command in the form of a push, also where it was found in the list. (`wire` §6)
fn payload(command: &ReceivedCommand) -> Vec<u8> {
    let push = CommandPush {
        schema: command.schema.clone(),
        schema_version: command.schema_version,
        command_id: command.command_id.clone(),
        actions: command.actions.clone(),
        issuer: command.issuer.clone(),
        target: None,
    };
    serde_json::to_vec(&push).unwrap_or_default()
}

/// The names of the actions, in order, separated by spaces.
fn names(actions: &Actions) -> String {
    actions.iter().map(|(_, action)| action.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// One outcome for every action of a command.
fn results(actions: &Actions, outcome: &Result<(), String>) -> ActionResults {
    ActionResults::of(actions, |_, action| match outcome {
        Ok(()) => ActionResult::succeeded(&action.name),
        Err(message) => ActionResult::failed(&action.name, message),
    })
}

impl Actuator for Exec {
    fn carry_out<'a>(&'a self, command: &'a Arc<ReceivedCommand>) -> BoxFuture<'a, ActionResults> {
        Box::pin(async move {
            let outcome = self.run(command).await;
            match &outcome {
                Ok(()) => eprintln!("thingif: command {}: succeeded", command.command_id),
                Err(message) => eprintln!("thingif: command {}: failed: {message}", command.command_id),
            }
            results(&command.actions, &outcome)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ThingId;

    const PUSH: &str = r#"{"commandID":"c-1","actions":[{"on":{}},{"off":{}}]}"#;

    async fn run(command: &str, timeout: Duration) -> Result<(), String> {
        let exec = Exec { app: AppId::new("app").expect("valid"), command: command.to_owned(), timeout };
        let push = CommandPush::from_json(PUSH.as_bytes()).expect("a command");
        exec.run(&ReceivedCommand::from_push(push, &ThingId::new("th.1").expect("valid"), 0)).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_exit_status_decides() {
        assert_eq!(run("exit 0", LONG).await, Ok(()));
        assert_eq!(run("exit 3", LONG).await, Err("exit status: 3".to_owned()));
        assert_eq!(run("echo one >&2; echo ' two ' >&2; echo >&2; exit 1", LONG).await, Err("two".to_owned()));
        assert_eq!(run("kill -9 $$", LONG).await, Err("signal: 9 (SIGKILL)".to_owned()));
    }

    #[tokio::test]
    async fn the_program_sees_the_command() {
        assert_eq!(run(&format!(r#"test "$(cat)" = '{PUSH}'"#), LONG).await, Ok(()));
        let ids =
            r#"test "$THINGIF_APP_ID $THINGIF_THING_ID $THINGIF_COMMAND_ID $THINGIF_ACTIONS" = "app th.1 c-1 on off""#;
        assert_eq!(run(ids, LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed() {
        let error = run("exec sleep 1000", Duration::from_millis(50)).await.expect_err("killed");
        assert!(error.contains("did not end within 0.05 s"), "{error}");
    }

    #[tokio::test]
    async fn what_a_program_leaves_running_is_not_waited_for() {
        assert_eq!(run("sleep 1000 & kill_me=$!; (sleep 5; kill $kill_me) & exit 0", LONG).await, Ok(()));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        assert_eq!(last_line("é".repeat(400).as_bytes()), Some("é".repeat(250)));
        assert_eq!(last_line(b"\n \n"), None);
    }
}
