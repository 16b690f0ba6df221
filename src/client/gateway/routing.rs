//! The loop: pushes in, each to the thing it is for.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::lane::Means;
use super::node::Node;
use super::resolve::{Answers, resolve};
use super::{GatewayEvent, Unrouted};
use crate::client::commands::{Actuator, Input, ReceivedCommand, Tap, clock, connected, end_of, without_the_past};
use crate::client::{Notices, Push, Pushes, lossy};
use crate::ids::{CommandId, ThingId};
use crate::thing_if::{self, CommandPush, Principal};
use crate::transport::BoxFuture;

/// Makes the actuator of a node.
pub(super) type Actuators = Box<dyn FnMut(&super::EndNode) -> Arc<dyn Actuator> + Send>;

/// What drives a gateway; made by [`Builder::open`](super::Builder::open).
#[must_use = "nothing is routed or reported unless `run` is awaited"]
pub struct Routing {
    means: Means,
    actuators: Actuators,
    own_actuator: Option<Arc<dyn Actuator>>,
    tap: Option<Tap>,
    own_lane: Option<(ThingId, lossy::Sender<Input>)>,
    lanes: HashMap<ThingId, Lane>,
    tasks: JoinSet<()>,
    /// Commands that wait to be routed.
    arrived: VecDeque<Arrived>,
    resolving: Option<BoxFuture<'static, (Arrived, Answers)>>,
    dropped_some: bool,
}

/// A command that was pushed, and when.
struct Arrived {
    push: CommandPush,
    at: Instant,
}

/// The work for one node, until it has ended.
struct Lane {
    node: Arc<Node>,
    /// `None` once the node has left: what runs is finished.
    inputs: Option<lossy::Sender<Input>>,
    task: Id,
}

impl fmt::Debug for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routing").field("lanes", &self.lanes.keys()).finish_non_exhaustive()
    }
}

impl Routing {
    pub(super) fn new(
        means: Means,
        actuators: Actuators,
        own_actuator: Option<Arc<dyn Actuator>>,
        tap: Option<Tap>,
    ) -> Self {
        Self {
            means,
            actuators,
            own_actuator,
            tap,
            own_lane: None,
            lanes: HashMap::new(),
            tasks: JoinSet::new(),
            arrived: VecDeque::new(),
            resolving: None,
            dropped_some: false,
        }
    }

    /// Routes commands, reports results and connections, and looks after tokens, until the connection ends, by
    /// [`Client::close`](crate::client::Client::close) or for good; then what runs is finished and written down, but no
    /// longer reported. `notices` are those of the same connection: each Ready makes the missed commands be looked for and
    /// the connection reports be repeated.
    ///
    /// Dropping the future leaves running actions where they are; the journal knows that their commands had begun.
    pub async fn run(mut self, mut pushes: Pushes, notices: Notices) {
        // What has happened so far is covered by the lists that are asked for when the lanes begin.
        let mut notices = without_the_past(notices).await;
        loop {
            self.follow_the_roster();
            self.proceed();
            tokio::select! {
                push = pushes.next() => match push {
                    Some(push) => self.pushed(push),
                    None => break,
                },
                () = connected(&mut notices) => {
                    self.to_all(|| Input::Connected);
                    self.lanes.values().for_each(|lane| lane.node.repeat_presence());
                }
                () = self.means.roster.changed.notified() => {}
                Some(ended) = self.tasks.join_next_with_id() => self.ended(ended).await,
                (arrived, answers) = end_of(&mut self.resolving) => self.resolved(arrived, answers).await,
            }
        }
        self.own_lane = None;
        self.lanes.values_mut().for_each(|lane| lane.inputs = None);
        while self.tasks.join_next().await.is_some() {}
    }

    /// Begins lanes for nodes that have joined, and ends those of nodes that have left. Those that were onboarded when the
    /// gateway was another thing are to be onboarded again.
    fn follow_the_roster(&mut self) {
        let own = self.own();
        if let Some(actuator) = &self.own_actuator
            && self.own_lane.as_ref().is_none_or(|(thing, _)| *thing != own)
        {
            // Another onboarding made it another thing; the old one's lane ends when its queue is gone.
            let (inputs, lane) = self.means.of_gateway(&own, actuator.clone());
            self.tasks.spawn(lane);
            self.own_lane = Some((own.clone(), inputs));
        }
        for lane in self.lanes.values_mut().filter(|lane| lane.node.departure().is_some()) {
            lane.inputs = None;
        }
        for node in self.means.roster.nodes() {
            if !node.is_behind(&own) {
                node.left_behind.notify_one();
            }
            // One that has joined again waits until what ran before has ended.
            if self.lanes.contains_key(&node.thing_id) {
                continue;
            }
            let actuator = (self.actuators)(&super::EndNode::new(node.clone(), self.means.roster.clone()));
            let (inputs, lane) = self.means.of_node(node.clone(), actuator);
            let task = self.tasks.spawn(lane).id();
            self.lanes.insert(node.thing_id.clone(), Lane { node, inputs: Some(inputs), task });
        }
    }

    fn own(&self) -> ThingId {
        self.means.roster.own()
    }

    /// The end of a lane: what its node has left in the journal is nobody's any more.
    async fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let task = match ended {
            Ok((task, ())) => task,
            // Actuators are guarded, so it is this program's own mistake; it is not to be overlooked.
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime ends.
                Err(_) => return,
            },
        };
        let Some(thing) = self.lanes.iter().find(|(_, lane)| lane.task == task).map(|(thing, _)| thing.clone()) else {
            return;
        };
        self.lanes.remove(&thing);
        self.means.settle_all_of(&thing).await;
    }

    fn to_all(&self, input: impl Fn() -> Input) {
        let lanes = self.lanes.values().filter_map(|lane| lane.inputs.as_ref());
        lanes.chain(self.own_lane.iter().map(|(_, inputs)| inputs)).for_each(|lane| lane.send(input()));
    }

    fn pushed(&mut self, push: Push) {
        if let Some(tap) = &mut self.tap {
            tap(&push);
        }
        match push {
            Push::Message(payload) => match thing_if::Push::from_json(&payload) {
                Ok(thing_if::Push::Command(push)) => self.arrived(push),
                Ok(_) => {}
                Err(error) => {
                    self.means.roster.count(|counters| counters.unreadable += 1);
                    tracing::warn!(%error, "a push cannot be read");
                }
            },
            Push::Lagged(_) => self.to_all(|| Input::Behind),
        }
    }

    fn arrived(&mut self, push: CommandPush) {
        if self.arrived.len() < self.means.rules.max_waiting {
            return self.arrived.push_back(Arrived { push, at: Instant::now() });
        }
        self.dropped_some = true;
        self.means.roster.count(|counters| counters.dropped += 1);
        self.means.roster.tell(GatewayEvent::Dropped(push.command_id));
    }

    /// Routes what can be routed, in its order: one whose target must be asked for holds up those behind it, which may be
    /// for the same thing.
    fn proceed(&mut self) {
        while self.resolving.is_none()
            && let Some(arrived) = self.arrived.pop_front()
        {
            match arrived.push.target.clone() {
                Some(Principal::Thing(target)) => {
                    let command = ReceivedCommand::from_push(arrived.push, &target, clock());
                    self.route(&target, command, arrived.at);
                }
                _ => {
                    let (client, nodes) = (self.means.roster.client.clone(), self.means.roster.nodes());
                    self.resolving = Some(Box::pin(async move {
                        let answers = resolve(client, nodes, arrived.push.command_id.clone()).await;
                        (arrived, answers)
                    }));
                }
            }
        }
        if self.resolving.is_none() && std::mem::take(&mut self.dropped_some) {
            self.to_all(|| Input::Behind);
        }
    }

    fn lane(&self, thing: &ThingId) -> Option<&lossy::Sender<Input>> {
        let own = self.own_lane.as_ref().filter(|(own, _)| own == thing).map(|(_, inputs)| inputs);
        own.or_else(|| self.lanes.get(thing)?.inputs.as_ref())
    }

    fn route(&self, thing: &ThingId, command: ReceivedCommand, arrived: Instant) {
        match self.lane(thing) {
            Some(lane) => lane.send(Input::Command(Box::new(command), arrived.elapsed())),
            None if *thing == self.own() => self.unrouted(command.command_id, Unrouted::Own),
            None => self.unrouted(command.command_id, Unrouted::UnknownTarget(thing.clone())),
        }
    }

    fn unrouted(&self, command: CommandId, why: Unrouted) {
        self.means.roster.count(|counters| match why {
            Unrouted::UnknownTarget(_) => counters.unknown_targets += 1,
            Unrouted::NoTarget => counters.untargeted += 1,
            Unrouted::Ambiguous(_) => counters.ambiguous += 1,
            Unrouted::Undetermined(_) => counters.undetermined += 1,
            Unrouted::Own => counters.own += 1,
        });
        self.means.roster.tell(GatewayEvent::Unrouted(command, why));
    }

    async fn resolved(&mut self, Arrived { push, at }: Arrived, answers: Answers) {
        let Answers { mut targets, unknown } = answers;
        if targets.len() > 1 {
            let names = targets.into_keys().collect();
            return self.rule_out(push, names).await;
        }
        match targets.pop_first() {
            Some((target, Some(command))) => self.route(&target, *command, at),
            // Somebody has reported on it already.
            Some((_, None)) => {}
            None if unknown.is_empty() => self.unrouted(push.command_id, Unrouted::NoTarget),
            // Whose it is will be seen in their lists.
            None => {
                let lanes: Vec<_> = unknown.iter().filter_map(|thing| self.lane(thing)).collect();
                if lanes.is_empty() {
                    return self.unrouted(push.command_id, Unrouted::Undetermined(unknown));
                }
                lanes.into_iter().for_each(|lane| lane.send(Input::Behind));
            }
        }
    }

    /// A command that would be somebody's by guess alone is written down as over, so that no list brings it back.
    async fn rule_out(&mut self, push: CommandPush, names: Vec<ThingId>) {
        let command = ReceivedCommand::from_push(push, &self.own(), clock());
        self.means.rule_out(&command).await;
        self.unrouted(command.command_id, Unrouted::Ambiguous(names));
    }
}
