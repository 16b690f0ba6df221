//! `listen --exec`: a program per command, and what became of the command's actions.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::ids::{AppId, ThingId};
use crate::thing_if::{ActionResult, ActionResults, ActionResultsUpdate, Actions, CommandPush, json, media_type};

/// The longest error message reported, in bytes.
const MAX_MESSAGE: usize = 500;
/// How long the last words of a program are waited for, when something it started keeps its standard error open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What to run, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    pub(crate) command: String,
    pub(crate) timeout: Duration,
}

impl Exec {
    /// Runs the program for `push`, whose bytes it reads on its standard input, and says whether it succeeded.
    ///
    /// Its standard output and error both go to our standard error: ours carries the pushes. Its last line there becomes
    /// the message of a failure.
    pub(crate) async fn run(
        &self,
        app: &AppId,
        thing: &ThingId,
        push: &CommandPush,
        payload: &Bytes,
    ) -> Result<(), String> {
        let mut child = Command::new("sh")
            .args(["-c", &self.command])
            .env("THINGIF_APP_ID", app.as_str())
            .env("THINGIF_THING_ID", thing.as_str())
            .env("THINGIF_COMMAND_ID", push.command_id.as_str())
            .env("THINGIF_ACTIONS", names(&push.actions))
            .env_remove(crate::cli::app_args::KEY_VARIABLE)
            .env_remove(crate::cli::thing_args::PASSWORD_VARIABLE)
            .stdin(Stdio::piped())
            .stdout(std::io::stderr())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot run sh: {error}"))?;
        let ended = tokio::time::timeout(self.timeout, attend(&mut child, payload)).await;
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
async fn attend(child: &mut Child, payload: &Bytes) -> std::io::Result<(ExitStatus, Option<String>)> {
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

/// The names of the actions, in order, separated by spaces.
fn names(actions: &Actions) -> String {
    actions.iter().map(|(_, action)| action.name.as_str()).collect::<Vec<_>>().join(" ")
}

/// One outcome for every action of a command.
pub(crate) fn results(actions: &Actions, outcome: &Result<(), String>) -> ActionResults {
    ActionResults::of(actions, |_, action| match outcome {
        Ok(()) => ActionResult::succeeded(&action.name),
        Err(message) => ActionResult::failed(&action.name, message),
    })
}

/// The request that reports `results`. (`wire` §5)
pub(crate) fn report(app: &AppId, thing: &ThingId, push: &CommandPush, results: ActionResults) -> Request<Bytes> {
    let media_type = match results {
        ActionResults::Flat(_) => media_type::JSON,
        ActionResults::Traits(_) => media_type::COMMAND_RESULTS_UPDATE_REQUEST,
    };
    let path = format!("/thing-if/apps/{app}/targets/thing:{thing}/commands/{}/action-results", push.command_id);
    let mut request = Request::new(json::to_pretty(&ActionResultsUpdate { action_results: results }));
    *request.method_mut() = http::Method::PUT;
    *request.uri_mut() = path.parse().expect("ids have no character that a path cannot have");
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(actions: &str) -> CommandPush {
        CommandPush::from_json(format!(r#"{{"commandID":"c-1","actions":{actions}}}"#).as_bytes()).expect("valid")
    }

    async fn run(command: &str, timeout: Duration) -> Result<(), String> {
        let exec = Exec { command: command.to_owned(), timeout };
        let (app, thing) = (AppId::new("app").expect("valid"), ThingId::new("th.1").expect("valid"));
        exec.run(&app, &thing, &push(r#"[{"on":{}},{"off":{}}]"#), &Bytes::from_static(b"{\"payload\":1}")).await
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
        assert_eq!(run(r#"test "$(cat)" = '{"payload":1}'"#, LONG).await, Ok(()));
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

    #[test]
    fn the_report_is_what_the_service_takes() {
        let (app, thing) = (AppId::new("app").expect("valid"), ThingId::new("th.1").expect("valid"));
        let push = push(r#"[{"Lamp":[{"on":true}]}]"#);
        let results = results(&push.actions, &Err("broken".into()));
        let request = report(&app, &thing, &push, results);
        assert_eq!(request.uri(), "/thing-if/apps/app/targets/thing:th.1/commands/c-1/action-results");
        assert_eq!(request.headers()["content-type"], "application/vnd.kii.CommandResultsUpdateRequest+json");
        let body: serde_json::Value = serde_json::from_slice(request.body()).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({"actionResults": [{"Lamp": [{"on": {"succeeded": false, "errorMessage": "broken"}}]}]})
        );
    }
}
