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

/// What the service says when it is asked once more.
enum Verdict {
    Confirmed,
    Refused(Refusal),
    Unknown,
}

/// Never returns.
pub(super) async fn keep(roster: Arc<Roster>, node: Arc<Node>) {
    let mut backoff = Backoff::new(Duration::from_secs(1), MAX_PAUSE, fastrand::u64(..));
    let mut renewed = None::<Instant>;
    loop {
        while !node.is_doubted() {
            node.doubt_raised.notified().await;
        }
        match renewed.take() {
            // One that is refused at once was no remedy, and asking for the next one at once is none either.
            Some(at) if at.elapsed() < REST => sleep(backoff.next_pause()).await,
            _ => backoff.reset(),
        }
        while node.is_doubted() {
            let generation = node.generation();
            let verdict = ask_once_more(&node).await;
            if generation != node.generation() {
                // It was onboarded meanwhile, which ends all doubt.
                continue;
            }
            match verdict {
                Verdict::Confirmed => {
                    sleep(REST).await;
                    node.believe();
                }
                Verdict::Refused(Refusal::Token(_)) => {
                    if renew(&roster, &node, generation, &mut backoff).await {
                        renewed = Some(Instant::now());
                    }
                }
                Verdict::Refused(Refusal::Gone(_)) => roster.depart(&node, Departure::Gone, Some(generation)).await,
                Verdict::Unknown => sleep(backoff.next_pause()).await,
            }
            if node.departure().is_some() {
                return std::future::pending().await;
            }
        }
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

/// Onboards the node again, or lets it go; whether it has a new token.
async fn renew(roster: &Roster, node: &Arc<Node>, generation: u64, backoff: &mut Backoff) -> bool {
    let thing = node.thing_id.clone();
    let failure = match node.onboarding() {
        None => Err("its password is not known to this program".to_owned()),
        Some(onboarding) => match roster.onboard(&onboarding, false).await {
            Ok(_) => {
                // Unless its maker's id is another thing's now, and this one has left.
                if node.departure().is_none() {
                    roster.tell(GatewayEvent::Renewed(thing));
                }
                return true;
            }
            // Only the service's own word makes a node leave.
            Err(error @ (NodeOnboardingError::NoAnswer(_) | NodeOnboardingError::InvalidAnswer(_))) => {
                Ok((with_causes(&error), None))
            }
            Err(error) if error.is_retryable() => Ok((with_causes(&error), error.retry_after())),
            Err(error) => Err(with_causes(&error)),
        },
    };
    match failure {
        Ok((reason, asked)) => {
            roster.tell(GatewayEvent::NotRenewed { node: thing, reason, will_retry: true });
            sleep(backoff.next_pause().max(asked.unwrap_or_default())).await;
        }
        Err(reason) => {
            roster.tell(GatewayEvent::NotRenewed { node: thing, reason, will_retry: false });
            roster.depart(node, Departure::TokenRefused, Some(generation)).await;
        }
    }
    false
}
