//! `thingif call`: one request as a thing, through whoever is connected as it, or by itself.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Request, Response, StatusCode, Uri, header};
use tokio::time::{Instant, sleep, timeout_at};

use crate::cli::call_failure::{CallFailure, Fate};
use crate::cli::connection_lock::{self, ConnectionLock, Taken};
use crate::cli::credential_file::{CredentialArgs, Onboarded, Settings};
use crate::cli::credential_vault::CredentialVault;
use crate::cli::exit::{Exit, Failure};
use crate::cli::message::read_method;
use crate::cli::request_args::RequestArgs;
use crate::cli::route_args::RouteArgs;
use crate::cli::{duration_arg, local_socket, output, session};
use crate::client::{self, Client};
use crate::frame;
use crate::secret::Redacted;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Call the API as an onboarded thing.
///
/// If `thingif listen` or `thingif proxy` runs with the same credential, the call goes through its connection; otherwise this connects by itself,
/// and nobody else may be connected as this thing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  thingif call PUT targets/thing:{thing}/states -d '{\"power\":true}'
  thingif call GET targets/thing:{thing}/states --fail | jq .power
  thingif call GET 'targets/thing:{thing}/commands?bestEffortLimit=5' -i -v")]
pub(crate) struct Call {
    /// The verb: GET, PUT, POST, PATCH, DELETE.
    method: String,
    /// The path below /thing-if/apps/{app}/, or one that begins with a slash. {thing} stands for this thing's id.
    path: String,
    #[command(flatten)]
    content: RequestArgs,
    /// Print status and header fields before the body.
    #[arg(short, long)]
    include: bool,
    /// End with status 22 if the answer's status is 400 or above, and print no body.
    #[arg(long)]
    fail: bool,
    /// Give up after this long, tries and waiting included.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = duration_arg::seconds)]
    max_time: Duration,
    /// Try again so often: after 408, 429, 500, 502, 503 and 504, and when nothing was sent; after a lost answer only what
    /// may happen twice (GET, PUT, DELETE).
    #[arg(long, value_name = "TIMES", default_value_t = 0)]
    retry: u32,
    #[command(flatten)]
    route: RouteArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
}

impl Call {
    pub(crate) async fn run(&self, verbose: bool) -> Result<(), Failure> {
        let deadline = Instant::now() + self.max_time;
        let file = self.credentials.path()?;
        let onboarded = Onboarded::load(&file)?;
        let request = self.request(&onboarded)?;
        if verbose {
            show(&request);
        }
        let mut road = Road::find(&file, &onboarded, &self.route, deadline).await?;
        let answer = self.with_retries(&mut road, &request, deadline).await;
        road.close().await;
        let response = answer?;
        if verbose {
            let mut payload = bytes::BytesMut::new();
            frame::encode_response(&response, &mut payload);
            eprint!("{}", marked('<', &payload));
        }
        self.print(&response)
    }

    fn request(&self, onboarded: &Onboarded) -> Result<Request<Bytes>, Failure> {
        let credential = &onboarded.credential;
        let path = self.path.replace("{thing}", credential.thing_id.as_str());
        let path = match path.strip_prefix('/') {
            Some(_) => path,
            None => format!("/thing-if/apps/{}/{path}", credential.app_id),
        };
        let uri: Uri = path.parse().map_err(|error| {
            Failure::usage(format_args!("{:?} cannot be a path: {error}", Redacted::new(&path)))
                .advise("Percent-encode what is not a URL character.")
        })?;
        let (headers, body) = self.content.read()?;
        let mut request = Request::new(body);
        *request.method_mut() = read_method(&self.method)?;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Ok(request)
    }

    async fn with_retries(
        &self,
        road: &mut Road,
        request: &Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, Failure> {
        let mut left = self.retry;
        let mut pause = Duration::from_secs(1);
        loop {
            let answer = road.send(request.clone(), deadline.saturating_duration_since(Instant::now())).await;
            let wait = match &answer {
                _ if left == 0 => None,
                Ok(response) if is_transient(response.status()) => Some(retry_after(response).unwrap_or(pause)),
                Err(failure) if may_repeat(failure.fate, request) => Some(pause),
                _ => None,
            };
            // curl, too, gives up rather than wait beyond its time.
            let Some(wait) = wait.filter(|wait| *wait < deadline.saturating_duration_since(Instant::now())) else {
                return answer.map_err(Failure::from);
            };
            let what =
                answer.map_or_else(|failure| failure.message, |response| format!("status {}", response.status()));
            eprintln!("thingif: {what}; trying again in {} s, {left} left", wait.as_secs_f64());
            left -= 1;
            pause = (pause * 2).min(LONGEST_PAUSE);
            sleep(wait).await;
        }
    }

    fn print(&self, response: &Response<Bytes>) -> Result<(), Failure> {
        let status = response.status();
        let failed = self.fail && status.as_u16() >= 400;
        if self.include {
            let mut head = format!("{status}\n");
            for (name, value) in response.headers() {
                head.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())));
            }
            output::line(&head)?;
        }
        if failed {
            return Err(Failure::new(Exit::Status, format_args!("the answer has status {status}")));
        }
        output::bytes(response.body())
    }
}

fn is_transient(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

fn may_repeat(fate: Fate, request: &Request<Bytes>) -> bool {
    match fate {
        Fate::NotSent | Fate::NotSentInTime => true,
        Fate::TimedOut | Fate::Disconnected => request.method().is_idempotent(),
        Fate::Invalid => false,
    }
}

/// Seconds, the only form that this protocol's service sends. (`wire` §5)
fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn show(request: &Request<Bytes>) {
    let mut payload = bytes::BytesMut::new();
    frame::encode_request(request, &mut payload);
    eprint!("> {}\n{}", Redacted::new(&request.uri().to_string()), marked('>', &payload));
}

/// A payload without its credentials, each line with `mark` before it.
fn marked(mark: char, payload: &[u8]) -> String {
    Redacted::new(payload).to_string().lines().map(|line| format!("{mark} {line}\n")).collect()
}

/// How a call reaches the broker.
enum Road {
    /// Over the socket of the process that is connected.
    Through(std::path::PathBuf),
    /// Over a connection of our own, which the lock permits.
    Own { client: Client, connection: tokio::task::JoinHandle<()>, _lock: ConnectionLock },
}

impl Road {
    /// Looks for a socket, else for the lock, until `deadline`.
    async fn find(file: &Path, onboarded: &Onboarded, route: &RouteArgs, deadline: Instant) -> Result<Self, Failure> {
        match connection_lock::take(file, deadline).await? {
            Taken::Lock(lock) => Self::connect(file, onboarded, route, lock, deadline).await,
            Taken::Served(socket, _) => {
                if route.record.is_some() {
                    eprintln!(
                        "thingif: nothing is recorded: the call goes through the process that is connected; record there"
                    );
                }
                Ok(Self::Through(socket))
            }
        }
    }

    async fn connect(
        file: &Path,
        onboarded: &Onboarded,
        route: &RouteArgs,
        lock: ConnectionLock,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let files = route.files(&onboarded.settings.route)?;
        let transport = session::transport(&files, route)?;
        let vault = CredentialVault::new(file, Settings { route: files.clone(), ..onboarded.settings.clone() });
        let left = deadline.saturating_duration_since(Instant::now());
        let config = route.pin(session::resume(onboarded, Some(left))?)?.with_pushes(false);
        match timeout_at(deadline, client::connect_with(config.clone(), transport, vault)).await {
            Ok(Ok((client, _pushes, connection))) => {
                let connection = tokio::spawn(async move {
                    if let Err(error) = connection.run().await {
                        tracing::debug!(%error, "the connection ended");
                    }
                });
                Ok(Self::Own { client, connection, _lock: lock })
            }
            Ok(Err(error)) => Err(session::explain(&error, &config, &files).await),
            Err(_) => Err(Failure::new(Exit::TimedOut, "no connection in time").advise("--max-time waits longer.")),
        }
    }

    async fn send(&self, request: Request<Bytes>, max_time: Duration) -> Result<Response<Bytes>, CallFailure> {
        match self {
            Road::Own { client, .. } => client.send_within(request, max_time).await.map_err(CallFailure::from),
            Road::Through(socket) => match local_socket::call(socket, request, max_time).await {
                Ok(Some(answer)) => answer,
                Ok(None) => Err(CallFailure::new(Fate::NotSent, "the process that held the connection has ended")),
                Err(error) => {
                    Err(CallFailure::new(Fate::NotSent, format_args!("the local socket cannot be used: {error}")))
                }
            },
        }
    }

    /// Says goodbye to the broker, if it was ours to greet.
    async fn close(self) {
        if let Road::Own { client, connection, _lock } = self {
            // The answer is there; a broker that does not take the goodbye does not hold it up.
            if tokio::time::timeout(Duration::from_secs(2), client.close()).await.is_err() {
                connection.abort();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_happen_twice_is_repeated_after_a_lost_answer() {
        let request = |method: &str| Request::builder().method(method).body(Bytes::new()).expect("valid");
        for (fate, method, repeats) in [
            (Fate::NotSent, "POST", true),
            (Fate::TimedOut, "POST", false),
            (Fate::Disconnected, "PATCH", false),
            (Fate::TimedOut, "PUT", true),
            (Fate::Disconnected, "GET", true),
            (Fate::Invalid, "GET", false),
        ] {
            assert_eq!(may_repeat(fate, &request(method)), repeats, "{fate:?} {method}");
        }
    }

    #[test]
    fn what_is_shown_has_no_token() {
        let text = marked('>', b"PUT\r\nAuthorization: Bearer t0k3n\r\n\r\n{}");
        assert_eq!(text, "> PUT\n> Authorization: Bearer xxxxx\n> \n> {}\n");
    }
}
