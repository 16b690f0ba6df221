//! What happens to end nodes and their commands, for whoever wants to know.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use http::StatusCode;

use crate::client::commands::CommandEvent;
use crate::client::lossy::{Item, Receiver};
use crate::ids::{CommandId, ThingId, VendorThingId};

/// Why a node is no longer the gateway's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// It was unpaired, by this program or by somebody else.
    Unpaired,
    /// The service refuses its token, and it could not be onboarded again. Its credential stays in the store.
    TokenRefused,
    /// The gateway has become another thing, such as by being deleted and onboarded again, and the node could not be
    /// onboarded behind that one. Its credential stays in the store.
    OtherGateway,
    /// The service does not know it any more.
    Gone,
    /// Onboarding its maker's id made another thing of it.
    Replaced,
}

/// Why a command that was pushed is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unrouted {
    /// It is for a node that this gateway does not have.
    UnknownTarget(ThingId),
    /// It names no target, and is of neither the gateway nor a node of it.
    NoTarget,
    /// It names no target, and the service says of several that it is theirs. It is never carried out.
    Ambiguous(Vec<ThingId>),
    /// It names no target, and the service did not say of these whether it is theirs. None of them works here any more, or
    /// it is the gateway itself, which [has no actuator](super::Builder::with_own_actuator).
    Undetermined(Vec<ThingId>),
    /// It is for the gateway itself, which [has no actuator](super::Builder::with_own_actuator).
    Own,
}

/// Something that happened to a node or a command. Each is a `tracing` event as well.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayEvent {
    /// A node is the gateway's from now on: onboarded, or restored from the store.
    Joined {
        /// The node.
        node: ThingId,
        /// As its maker names it.
        vendor_thing_id: VendorThingId,
    },
    /// A node is no longer the gateway's.
    Left {
        /// The node.
        node: ThingId,
        /// As its maker names it.
        vendor_thing_id: VendorThingId,
        /// Why.
        why: Departure,
    },
    /// The service refused a node's token, or the gateway has become another thing, and the node was onboarded again.
    Renewed(ThingId),
    /// The service refuses a node's token, or the gateway has become another thing, and the node could not be onboarded
    /// again: for now, when `will_retry`; otherwise the node leaves.
    NotRenewed {
        /// The node.
        node: ThingId,
        /// What failed.
        reason: String,
        /// Whether it is tried again.
        will_retry: bool,
    },
    /// The service knows whether a node is online.
    OnlineReported(ThingId, bool),
    /// The service does not want to know it. It is told again after the next connect or change.
    OnlineRefused(ThingId, StatusCode),
    /// Something happened to a command of this thing, a node or the gateway itself.
    Command(ThingId, CommandEvent),
    /// A command that was pushed is carried out by nobody.
    Unrouted(CommandId, Unrouted),
    /// More pushed commands wait to be routed than are kept; the newest was dropped, and will be found in a list.
    Dropped(CommandId),
    /// A node's credential could not be stored or removed: after a restart the store says otherwise.
    NotStored(ThingId, String),
    /// The program reads these too slowly: so many were dropped.
    Lagged(u64),
}

/// How often a push was not routed, and why. Each only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GatewayCounters {
    /// Commands for nodes that the gateway does not have.
    pub unknown_targets: u64,
    /// Commands without a target that nobody has.
    pub untargeted: u64,
    /// Commands without a target that several have.
    pub ambiguous: u64,
    /// Commands without a target of which the service did not say whose they are, and that nobody can look for.
    pub undetermined: u64,
    /// Commands for the gateway itself, which has no actuator.
    pub own: u64,
    /// Commands that waited to be routed when there was no more room.
    pub dropped: u64,
    /// Pushes that cannot be read.
    pub unreadable: u64,
}

/// What happens to end nodes. Ends when every handle of the gateway is gone.
#[derive(Debug)]
pub struct GatewayEvents(pub(super) Receiver<GatewayEvent>);

impl GatewayEvents {
    /// The next one; `None` at the end. Cancel-safe.
    pub async fn next(&mut self) -> Option<GatewayEvent> {
        std::future::poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for GatewayEvents {
    type Item = GatewayEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<GatewayEvent>> {
        self.0.poll_next(cx).map(|item| {
            item.map(|item| match item {
                Item::Value(event) => event,
                Item::Lagged(count) => GatewayEvent::Lagged(count),
            })
        })
    }
}

/// As a `tracing` event.
pub(super) fn trace(event: &GatewayEvent) {
    match event {
        GatewayEvent::Joined { node, vendor_thing_id } => tracing::info!(%node, %vendor_thing_id, "end node joined"),
        GatewayEvent::Left { node, vendor_thing_id, why } => {
            tracing::warn!(%node, %vendor_thing_id, ?why, "end node left");
        }
        GatewayEvent::Renewed(node) => tracing::info!(%node, "end node onboarded again"),
        GatewayEvent::NotRenewed { node, reason, will_retry } => {
            tracing::warn!(%node, reason, will_retry, "end node could not be onboarded again");
        }
        GatewayEvent::OnlineReported(node, online) => tracing::debug!(%node, online, "end node's connection reported"),
        GatewayEvent::OnlineRefused(node, status) => {
            tracing::warn!(%node, %status, "end node's connection report refused");
        }
        // The commands themselves say it, in the span of their thing.
        GatewayEvent::Command(..) => {}
        GatewayEvent::Unrouted(command, why) => tracing::warn!(%command, ?why, "command is carried out by nobody"),
        GatewayEvent::Dropped(command) => {
            tracing::warn!(%command, "too many commands wait to be routed; one was dropped")
        }
        GatewayEvent::NotStored(node, reason) => tracing::error!(%node, reason, "end node's credential is not stored"),
        GatewayEvent::Lagged(count) => tracing::debug!(count, "gateway events dropped"),
    }
}
