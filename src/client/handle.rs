//! The handle that programs call.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::call::{Alive, CancelOnDrop, Command, Progress, Reply, Ticket};
use super::connection::Status;
use crate::config::Config;
use crate::proto::{CallId, ConnectError, Counters, IfDown, NotSent, RequestError};
use crate::thing_if::Credential;

/// The machine ends a call at its deadline. So much later the waiting task ends it itself, in case nobody drives the
/// connection.
const GRACE: Duration = Duration::from_secs(1);

/// Put into a request's extensions, it makes the call wait for the connection instead of failing as
/// [`NotSent::NotConnected`] while there is none.
///
/// Until the connection is ready for the first time every call waits like that.
///
/// The call's deadline goes on, and it counts among the calls in flight, so that too many fail as
/// [`NotSent::Overloaded`]. A call that was written when the connection was lost is not repeated: it ends as
/// [`RequestError::Disconnected`], because it may have been processed.
///
/// ```
/// use bytes::Bytes;
/// use http::Request;
/// use thingif::client::WaitForLink;
///
/// let request = Request::get("/thing-if/apps/app/targets/thing:th.1/states").extension(WaitForLink).body(Bytes::new())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitForLink;

/// Put into a request's extensions, it is the most time that this call may take, where that is less than what the call
/// would have otherwise: the client's own deadline, or the limit given to [`Client::send_within`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeLimit(pub Duration);

/// A handle on the connection. Cloning is cheap; the connection ends when every clone and the `Pushes` are gone.
///
/// As a [`tower_service::Service`] it is always ready until it is closed, and sheds load instead of making callers
/// wait: a call too many fails at once as [`NotSent::Overloaded`].
#[derive(Debug, Clone)]
pub struct Client {
    commands: Alive,
    cancels: mpsc::UnboundedSender<CallId>,
    status: Arc<Status>,
    call_deadline: Duration,
    close_timeout: Duration,
    #[cfg(feature = "bridge")]
    max_frame: usize,
    if_down: IfDown,
}

impl Client {
    pub(super) fn new(
        config: &Config,
        commands: Alive,
        cancels: mpsc::UnboundedSender<CallId>,
        status: Arc<Status>,
    ) -> Self {
        let close_timeout = config.connect_timeout() + GRACE;
        Self {
            commands,
            cancels,
            status,
            call_deadline: config.call_deadline(),
            close_timeout,
            #[cfg(feature = "bridge")]
            max_frame: config.max_frame(),
            if_down: IfDown::Fail,
        }
    }

    /// A handle on the same connection, all of whose calls [wait for it](WaitForLink).
    #[must_use]
    pub fn waiting_for_link(&self) -> Self {
        Self { if_down: IfDown::Wait, ..self.clone() }
    }

    /// Sends a request and waits for its answer, at most [`Config::with_call_deadline`] from the first poll.
    ///
    /// The URI's path and query are the REST path, `/thing-if/apps/{APP_ID}/…` (`wire` §3). `Authorization` is added
    /// from the credential when absent. `X-Kii-RequestID` is this client's own on the wire; the answer has the
    /// request's, or none if the request had none. Calls with the same path leave in the order they were made.
    /// Dropping the future cancels the call: what was not sent yet never is, and a late answer reaches nobody.
    ///
    /// Until the connection is ready for the first time, after [`start`](super::start), the call
    /// [waits for it](WaitForLink) and leaves behind SUBSCRIBE, in one flight with it. Afterwards it fails as
    /// [`NotSent::NotConnected`] while there is none.
    ///
    /// # Errors
    /// [`RequestError`] tells whether the request may have been processed. Statuses of 400 and above are answers.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, RequestError> {
        self.send_within(request, self.call_deadline).await
    }

    /// As [`send`](Client::send), with a deadline of its own: `limit` from the first poll, to the millisecond.
    ///
    /// # Errors
    /// As [`send`](Client::send).
    pub async fn send_within(&self, request: Request<Bytes>, limit: Duration) -> Result<Response<Bytes>, RequestError> {
        self.begin(request, limit)?.finish().await
    }

    /// Puts the call on its way.
    fn begin(&self, mut request: Request<Bytes>, limit: Duration) -> Result<Pending, NotSent> {
        let waits = request.extensions_mut().remove::<WaitForLink>().is_some();
        let if_down = if waits || !self.status.was_ready() { IfDown::Wait } else { self.if_down };
        let limit = request.extensions_mut().remove().map_or(limit, |TimeLimit(own)| own.min(limit));
        let now = Instant::now();
        // A limit beyond what the clock can say is as good as a year.
        let deadline = now.checked_add(limit).unwrap_or(now + Duration::from_secs(365 * 24 * 3600));
        let ticket = Arc::new(Ticket::new());
        let (reply, answer) = oneshot::channel();
        let command = Command { request, deadline, if_down, ticket: ticket.clone(), reply };
        self.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => NotSent::Overloaded,
            TrySendError::Closed(_) => NotSent::Closed,
        })?;
        Ok(Pending { answer, deadline, cancel: CancelOnDrop::new(ticket, self.cancels.clone()) })
    }

    /// The credential in use: what to store, and to give to [`Config::with_resume`] next time. Changes when the device
    /// was onboarded again, which is also a [`Notice::Onboarded`](crate::proto::Notice::Onboarded). `None` only between
    /// [`start`](super::start) and the answer of the device's onboarding: see [`onboarded`](Client::onboarded).
    pub fn credential(&self) -> Option<Credential> {
        self.status.credential()
    }

    /// Waits until the device has a credential, and gives it: who the thing is that calls are made for. At once with a
    /// stored one and after [`connect`](super::connect); after [`start`](super::start), as soon as the default broker has
    /// answered, which is before the assigned one is connected to. Cancel-safe. It waits as
    /// long as the [connection](super::Connection) goes on trying, so somebody must drive that meanwhile; whoever has less patience
    /// puts a time limit on it.
    ///
    /// ```
    /// # use thingif::client::{Client, ConnectError};
    /// # async fn states(client: &Client) -> Result<String, ConnectError> {
    /// let own = client.onboarded().await?;
    /// Ok(format!("/thing-if/apps/{}/targets/thing:{}/states", own.app_id, own.thing_id))
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why the connection has ended before: what [`Connection::run`](super::Connection::run) says, or
    /// [`ConnectError::Closed`].
    pub async fn onboarded(&self) -> Result<Credential, ConnectError> {
        tokio::select! {
            biased;
            credential = self.status.onboarded() => Ok(credential),
            () = self.commands.closed() => Err(self.status.failure().unwrap_or(ConnectError::Closed)),
        }
    }

    /// What was ignored so far, such as late or ambiguous answers.
    pub fn counters(&self) -> Counters {
        self.status.counters()
    }

    /// [`Config::with_max_in_flight`].
    pub(super) fn max_in_flight(&self) -> usize {
        self.commands.max_capacity()
    }

    /// [`Config::with_call_deadline`].
    #[cfg(feature = "bridge")]
    pub(crate) fn call_deadline(&self) -> Duration {
        self.call_deadline
    }

    /// [`Config::with_max_frame`].
    #[cfg(feature = "bridge")]
    pub(crate) fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Whether the connection has ended for good.
    pub fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Ends the connection for every handle: calls in flight fail as [`RequestError::Closed`], and a DISCONNECT is
    /// sent after what is queued. Returns when that is done, at the latest after the connect timeout and a second.
    pub async fn close(&self) {
        self.status.close.notify_one();
        // In vain when nobody drives the connection; dropping it ends it then.
        drop(timeout(self.close_timeout, self.commands.closed()).await);
    }
}

impl tower_service::Service<Request<Bytes>> for Client {
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, RequestError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(if self.is_closed() { Err(NotSent::Closed.into()) } else { Ok(()) })
    }

    /// As [`send`](Client::send), but the call is on its way, and its time runs, before the future is polled.
    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let pending = self.begin(request, self.call_deadline);
        // Keeps the connection open until the answer is there.
        let alive = self.commands.clone();
        Box::pin(async move {
            let reply = pending?.finish().await;
            drop(alive);
            reply
        })
    }
}

/// A call on its way. Dropping it cancels the call.
struct Pending {
    answer: oneshot::Receiver<Reply>,
    deadline: Instant,
    cancel: CancelOnDrop,
}

impl Pending {
    async fn finish(self) -> Reply {
        let Self { answer, deadline, cancel } = self;
        let ended = match timeout_at(deadline.checked_add(GRACE).unwrap_or(deadline), answer).await {
            Ok(Ok(reply)) => {
                cancel.disarm();
                return reply;
            }
            // The connection was dropped.
            Ok(Err(_)) => (NotSent::Closed, RequestError::Closed),
            // Nobody drives it.
            Err(_) => (NotSent::DeadlineExceeded, RequestError::TimedOut),
        };
        match cancel.cancel() {
            Progress::Queued => Err(ended.0.into()),
            Progress::Begun | Progress::InFlight(_) => Err(ended.1),
        }
    }
}
