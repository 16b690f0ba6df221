//! All that is done for one thing behind the connection: its commands in their order, beside those of the others.

use std::future::poll_fn;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::Instrument as _;

use super::node::{Node, NodeCaller};
use super::roster::Roster;
use super::{GatewayEvent, keeper, presence};
use crate::client::commands::{Actuator, Caller, Events, Input, Inputs, Journal, ReceivedCommand, Rules, Run, Service};
use crate::client::lossy::{Item, Receiver, Sender, queue};
use crate::ids::ThingId;

/// Where a lane's inputs come from.
struct Arrivals {
    queue: Receiver<Input>,
    /// There is a new token: what the old one did not achieve can be tried again.
    renewed: Option<Arc<Node>>,
}

impl Inputs for Arrivals {
    async fn next(&mut self, _: &ThingId) -> Option<Input> {
        let renewed = async {
            match &self.renewed {
                Some(node) => Notify::notified(&node.renewed).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            item = poll_fn(|cx| self.queue.poll_next(cx)) => item.map(|item| match item {
                Item::Value(input) => input,
                // It includes being behind.
                Item::Lagged(_) => Input::Connected,
            }),
            () = renewed => Some(Input::Connected),
        }
    }
}

/// What every lane works with.
pub(super) struct Means {
    pub(super) roster: Arc<Roster>,
    pub(super) journal: Arc<dyn Journal>,
    pub(super) rules: Rules,
}

impl Means {
    /// The lane of `node`, to be driven until the sender is dropped.
    pub(super) fn of_node(
        &self,
        node: Arc<Node>,
        actuator: Arc<dyn Actuator>,
    ) -> (Sender<Input>, impl Future<Output = ()> + Send + use<>) {
        let span = tracing::info_span!("end_node", node = %node.thing_id);
        let caller = Arc::new(NodeCaller(node.clone()));
        let (sender, commands) = self.commands(caller, &node.thing_id, actuator, Some(node.clone()));
        let (keep, report) =
            (keeper::keep(self.roster.clone(), node.clone()), presence::report(self.roster.clone(), node));
        let all = async move {
            tokio::select! {
                () = commands => {}
                () = keep => {}
                () = report => {}
            }
        };
        (sender, all.instrument(span))
    }

    /// The lane of the gateway itself.
    pub(super) fn of_gateway(
        &self,
        own: &ThingId,
        actuator: Arc<dyn Actuator>,
    ) -> (Sender<Input>, impl Future<Output = ()> + Send + use<>) {
        let span = tracing::info_span!("gateway", thing = %own);
        let (sender, commands) = self.commands(Arc::new(self.roster.client.clone()), own, actuator, None);
        (sender, commands.instrument(span))
    }

    /// What a thing has left in the journal is nobody's any more.
    pub(super) async fn settle_all_of(&self, thing: &ThingId) {
        let unsettled = match self.journal.unsettled().await {
            Ok(unsettled) => unsettled,
            Err(error) => return tracing::warn!(%error, "the journal of commands cannot be read"),
        };
        for entry in unsettled.iter().filter(|entry| entry.command.thing_id == *thing) {
            self.settle(&entry.command).await;
        }
    }

    /// Writes a command down as over, so that nobody carries it out.
    pub(super) async fn rule_out(&self, command: &ReceivedCommand) {
        match self.journal.begin(command).await {
            Ok(true) => self.settle(command).await,
            // Somebody has it already.
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the journal of commands cannot be written"),
        }
    }

    async fn settle(&self, command: &ReceivedCommand) {
        if let Err(error) = self.journal.settle(&command.command_id).await {
            tracing::warn!(%error, command = %command.command_id, "the journal of commands cannot be written");
        }
    }

    fn commands(
        &self,
        caller: Arc<dyn Caller>,
        thing: &ThingId,
        actuator: Arc<dyn Actuator>,
        renewed: Option<Arc<Node>>,
    ) -> (Sender<Input>, impl Future<Output = ()> + Send + use<>) {
        let (sender, receiver) = queue(self.rules.max_waiting);
        let (roster, name) = (self.roster.clone(), thing.clone());
        let events = Events::to(move |event| roster.tell(GatewayEvent::Command(name.clone(), event)));
        let rules = Rules { only: Some(thing.clone()), ..self.rules.clone() };
        let run = Run::new(Service::new(caller), actuator, self.journal.clone(), rules, events);
        (sender, run.until_the_end(Arrivals { queue: receiver, renewed }))
    }
}
