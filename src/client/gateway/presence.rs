//! Telling the service whether a node is online, until it has heard the newest value.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::node::Node;
use super::roster::{Reported, Roster};
use super::{Departure, GatewayEvent};
use crate::proto::Backoff;

/// Never returns.
pub(super) async fn report(roster: Arc<Roster>, node: Arc<Node>) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), fastrand::u64(..));
    loop {
        let Some((online, version)) = node.unreported() else {
            node.presence_changed.notified().await;
            backoff.reset();
            continue;
        };
        let generation = node.generation();
        let told = tokio::select! {
            told = tell(&roster, &node, online, version) => told,
            // What is on its way is out of date. Calls with one path are carried out in their order, so the newer one wins.
            () = newer_than(&node, version) => continue,
        };
        match told {
            Told::Settled => backoff.reset(),
            Told::Left => roster.depart(&node, Departure::Unpaired, Some(generation)).await,
            Told::Again(asked) => {
                let pause = backoff.next_pause().max(asked);
                tokio::select! {
                    () = sleep(pause) => {}
                    () = newer_than(&node, version) => {}
                }
            }
        }
        if node.departure().is_some() {
            return std::future::pending().await;
        }
    }
}

/// Until there is something newer to tell. Cancel-safe.
async fn newer_than(node: &Node, version: u64) {
    while node.unreported().is_none_or(|(_, newest)| newest == version) {
        node.presence_changed.notified().await;
    }
}

enum Told {
    Settled,
    Left,
    /// After so long at least.
    Again(Duration),
}

async fn tell(roster: &Roster, node: &Node, online: bool, version: u64) -> Told {
    match roster.report_online(node, online).await {
        Ok(Reported::Taken) => {
            node.settle_presence(version);
            roster.tell(GatewayEvent::OnlineReported(node.thing_id.clone(), online));
            Told::Settled
        }
        Ok(Reported::Refused(status)) => {
            node.settle_presence(version);
            roster.tell(GatewayEvent::OnlineRefused(node.thing_id.clone(), status));
            Told::Settled
        }
        Ok(Reported::Unpaired) => Told::Left,
        Ok(Reported::NotNow(asked)) => Told::Again(asked.unwrap_or_default()),
        Err(error) => {
            tracing::debug!(%error, "a connection report was not answered");
            Told::Again(Duration::ZERO)
        }
    }
}
