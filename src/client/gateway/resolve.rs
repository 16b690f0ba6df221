//! Whose a command is that was pushed without saying so. (`wire` §6, §8)

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::node::{Node, NodeCaller};
use crate::client::Client;
use crate::client::causes::with_causes;
use crate::client::commands::{Caller, FIND_LIMIT, Failure, Found, ReceivedCommand, find};
use crate::ids::{CommandId, ThingId};
use crate::proto::RequestError;

/// What the service says of a command, when it is asked in the name of everybody whose it may be.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Whose it is, by the service's own word; more than one when that word is worth nothing. With the command, unless it is
    /// over.
    pub(super) targets: BTreeMap<ThingId, Option<Box<ReceivedCommand>>>,
    /// Of whom the service did not say.
    pub(super) unknown: Vec<ThingId>,
}

/// Asks for the gateway and for each node, once; each answer is waited for 5 s, the turn to ask included.
pub(super) async fn resolve(client: Client, nodes: Vec<Arc<Node>>, command: CommandId) -> Answers {
    let mut asking = JoinSet::new();
    let own: Arc<dyn Caller> = Arc::new(client);
    let callers = nodes.into_iter().map(|node| Arc::new(NodeCaller(node)) as Arc<dyn Caller>);
    for caller in std::iter::once(own).chain(callers) {
        let command = command.clone();
        asking.spawn(async move {
            let (_, thing) = caller.own();
            let asked = timeout(FIND_LIMIT, find(&*caller, &command)).await;
            (thing, asked.unwrap_or_else(|_| Err(Failure::NoAnswer(RequestError::TimedOut))))
        });
    }
    let mut answers = Answers::default();
    while let Some(asked) = asking.join_next().await {
        match asked {
            Ok((_, Ok(Found::NotThere))) => {}
            Ok((_, Ok(Found::At(target, open)))) => {
                answers.targets.insert(target, open);
            }
            Ok((thing, Err(failure))) => {
                tracing::debug!(%thing, %command, error = with_causes(&failure), "no word about a command");
                answers.unknown.push(thing);
            }
            // A mistake of this program's own is not to be overlooked; nothing else ends a task before its time.
            Err(error) => drop(error.try_into_panic().map(|panic| std::panic::resume_unwind(panic))),
        }
    }
    answers
}
