//! A node's token: asked about when it is refused, and replaced when it is of no more use.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::node::Node;
use super::refusal::Refusal;
use super::roster::Roster;
use super::{Departure, GatewayEvent, NodeOnboardingError};
use crate::client::WaitForLink;
use crate::client::causes::with_causes;
use crate::proto::Backoff;

/// After the service has confirmed a node, it is not asked again for so long; a token that lasts as long was a good one.
const REST: Duration = Duration::from_secs(60);
/// The longest pause between two onboardings of one node.
const MAX_PAUSE: Duration = Duration::from_secs(600);
/// How often an onboarding is refused before the node leaves, and the least pause in between: what stands before the service
/// may refuse everything for a moment.
const TRIES: u32 = 3;
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// What the service says when it is asked once more.
enum Verdict {
    Confirmed,
    Refused(Refusal),
    Unknown,
    /// It need not be asked: the gateway is another thing than when the node was onboarded.
    LeftBehind,
}

/// Never returns.
pub(super) async fn keep(roster: Arc<Roster>, node: Arc<Node>) {
    let mut backoff = Backoff::new(Duration::from_secs(1), MAX_PAUSE, fastrand::u64(..));
    let mut renewed = None::<Instant>;
    let mut refused = 0;
    loop {
        tokio::select! {
            () = doubted(&node) => {}
            () = left_behind(&roster, &node) => {}
        }
        match renewed.take() {
            // One that is refused at once was no remedy, and asking for the next one at once is none either.
            Some(at) if at.elapsed() < REST => sleep(backoff.next_pause()).await,
            _ => backoff.reset(),
        }
        while node.is_doubted() || !node.is_behind(&roster.own()) {
            let generation = node.generation();
            let verdict = if node.is_behind(&roster.own()) { ask_once_more(&node).await } else { Verdict::LeftBehind };
            if generation != node.generation() {
                // It was onboarded meanwhile, which ends all doubt.
                continue;
            }
            match verdict {
                Verdict::Confirmed => {
                    refused = 0;
                    tokio::select! {
                        () = sleep(REST) => node.believe(),
                        () = left_behind(&roster, &node) => {}
                    }
                }
                Verdict::Refused(Refusal::Gone(_)) => roster.depart(&node, Departure::Gone, Some(generation)).await,
                Verdict::Unknown => tokio::select! {
                    () = sleep(backoff.next_pause()) => {}
                    () = left_behind(&roster, &node) => {}
                },
                Verdict::Refused(Refusal::Token(_)) | Verdict::LeftBehind => {
                    let thing = node.thing_id.clone();
                    match renew(&roster, &node).await {
                        Renewal::Done => (renewed, refused) = (Some(Instant::now()), 0),
                        Renewal::NotNow(reason, asked) => {
                            roster.tell(GatewayEvent::NotRenewed { node: thing, reason, will_retry: true });
                            sleep(backoff.next_pause().max(asked.unwrap_or_default())).await;
                        }
                        Renewal::Refused(reason) => {
                            refused += 1;
                            let will_retry = refused < TRIES;
                            roster.tell(GatewayEvent::NotRenewed { node: thing, reason, will_retry });
                            if will_retry {
                                sleep(backoff.next_pause().max(REFUSED_PAUSE)).await;
                            } else {
                                let why = match verdict {
                                    Verdict::LeftBehind => Departure::OtherGateway,
                                    _ => Departure::TokenRefused,
                                };
                                roster.depart(&node, why, Some(generation)).await;
                                refused = 0;
                            }
                        }
                    }
                }
            }
            if node.departure().is_some() {
                return std::future::pending().await;
            }
        }
    }
}

/// Until the service has refused it. Cancel-safe.
async fn doubted(node: &Node) {
    while !node.is_doubted() {
        node.doubt_raised.notified().await;
    }
}

/// Until the gateway is another thing than when the node was onboarded. Cancel-safe.
async fn left_behind(roster: &Roster, node: &Node) {
    while node.is_behind(&roster.own()) {
        node.left_behind.notified().await;
    }
}

/// One refusal proves little: a proxy in between, a service that starts up.
async fn ask_once_more(node: &Node) -> Verdict {
    let path = format!("/thing-if/apps/{}/targets/thing:{}/states", node.app_id, node.thing_id);
    let mut request = super::request(Method::GET, &path, Bytes::new());
    request.extensions_mut().insert(WaitForLink);
    match node.ask(request).await {
        (_, Some(refusal)) => Verdict::Refused(refusal),
        (Ok(answer), None) if answer.status().is_server_error() => Verdict::Unknown,
        (Ok(answer), None) if answer.status() == StatusCode::TOO_MANY_REQUESTS => Verdict::Unknown,
        (Ok(_), None) => Verdict::Confirmed,
        (Err(_), None) => Verdict::Unknown,
    }
}

/// What became of an onboarding.
enum Renewal {
    Done,
    /// It may be done later; not before so long, if the service says so.
    NotNow(String, Option<Duration>),
    Refused(String),
}

/// Onboards the node again, in its turn.
async fn renew(roster: &Roster, node: &Arc<Node>) -> Renewal {
    let Some(onboarding) = node.onboarding() else {
        return Renewal::Refused("its password is not known to this program".to_owned());
    };
    match roster.onboard_in_turn(&onboarding).await {
        Ok(_) => {
            // Unless its maker's id is another thing's now, and this one has left.
            if node.departure().is_none() {
                roster.tell(GatewayEvent::Renewed(node.thing_id.clone()));
            }
            Renewal::Done
        }
        // Only the service's own word makes a node leave.
        Err(error @ (NodeOnboardingError::NoAnswer(_) | NodeOnboardingError::InvalidAnswer(_))) => {
            Renewal::NotNow(with_causes(&error), None)
        }
        Err(error) if error.is_retryable() => Renewal::NotNow(with_causes(&error), error.retry_after()),
        Err(error) => Renewal::Refused(with_causes(&error)),
    }
}
