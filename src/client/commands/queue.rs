//! Commands that wait for their turn, in the order in which they were posted as far as that is known.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::ReceivedCommand;
use crate::ids::CommandId;

/// For so long pushed commands wait for the list of missed ones, which are older.
const HOLD: Duration = Duration::from_secs(10);
/// Commands that have begun are remembered up to this many, to tell what came before them.
const REMEMBERED: usize = 256;

/// A command that waits for its turn.
pub(super) struct Waiting {
    pub(super) command: Arc<ReceivedCommand>,
    /// When it is too old; `None` never.
    pub(super) expires: Option<Instant>,
    /// Whether the journal has it, from before a restart.
    pub(super) has_begun: bool,
    /// A command that was posted after it has begun before it.
    pub(super) is_superseded: bool,
}

/// What waits, and what has begun.
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// Those that wait and the one that runs.
    at_hand: HashSet<CommandId>,
    /// The newest that have begun, oldest first.
    begun: VecDeque<CommandId>,
    /// Until when none begins.
    hold: Option<Instant>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), at_hand: HashSet::new(), begun: VecDeque::new(), hold: None }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether it waits or runs.
    pub(super) fn has(&self, command: &CommandId) -> bool {
        self.at_hand.contains(command)
    }

    /// The list of missed commands is being asked for: none is to begin before they are known, within limits.
    pub(super) fn hold(&mut self, now: Instant) {
        self.hold = Some(now + HOLD);
    }

    /// They are known, or not to be had for now.
    pub(super) fn release(&mut self) {
        self.hold = None;
    }

    /// When those that are held may begin all the same; `None` when nothing is held.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.hold.filter(|until| *until > now && !self.waiting.is_empty())
    }

    pub(super) fn push(&mut self, command: ReceivedCommand, expires: Option<Instant>, has_begun: bool) {
        self.at_hand.insert(command.command_id.clone());
        self.waiting.push_back(Waiting { command: Arc::new(command), expires, has_begun, is_superseded: false });
    }

    /// Keeps the first `most`, and gives the others.
    pub(super) fn truncate(&mut self, most: usize) -> Vec<CommandId> {
        let beyond = self.waiting.split_off(most.min(self.waiting.len()));
        let dropped: Vec<CommandId> = beyond.into_iter().map(|waiting| waiting.command.command_id.clone()).collect();
        for command in &dropped {
            self.at_hand.remove(command);
        }
        dropped
    }

    /// The next one that may begin.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Waiting> {
        if self.held_until(now).is_some() {
            return None;
        }
        let next = self.waiting.pop_front()?;
        if self.begun.len() == REMEMBERED {
            self.begun.pop_front();
        }
        self.begun.push_back(next.command.command_id.clone());
        Some(next)
    }

    /// It has its end.
    pub(super) fn ended(&mut self, command: &CommandId) {
        self.at_hand.remove(command);
    }

    /// Brings what waits into the order of the service's list, `newest_first`. What is not in it was posted later, or is
    /// from before a restart. What was posted before one that has begun is too late.
    pub(super) fn order(&mut self, newest_first: &[CommandId]) {
        let ranks: HashMap<&CommandId, usize> = newest_first.iter().zip(0..).collect();
        let newest_begun = self.begun.iter().filter_map(|id| ranks.get(id)).min();
        for waiting in &mut self.waiting {
            let rank = ranks.get(&waiting.command.command_id);
            waiting.is_superseded |= !waiting.has_begun && rank > newest_begun && newest_begun.is_some();
        }
        self.waiting.make_contiguous().sort_by_key(|waiting| match ranks.get(&waiting.command.command_id) {
            _ if waiting.has_begun => (0, 0),
            Some(rank) => (1, usize::MAX - rank),
            None => (2, 0),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ThingId;
    use crate::thing_if::CommandPush;

    fn id(name: &str) -> CommandId {
        CommandId::new(name).expect("valid")
    }

    fn queue(names: &[&str]) -> Queue {
        let mut queue = Queue::new();
        for name in names {
            let push = format!(r#"{{"commandID":"{name}","actions":[{{"a":{{}}}}]}}"#);
            let push = CommandPush::from_json(push.as_bytes()).expect("a command");
            let thing = ThingId::new("th.1").expect("valid");
            queue.push(ReceivedCommand::from_push(push, &thing, 0), None, *name == "old");
        }
        queue
    }

    fn rest(queue: &mut Queue) -> Vec<(String, bool)> {
        let next = || queue.begin(Instant::now());
        std::iter::from_fn(next).map(|next| (next.command.command_id.to_string(), next.is_superseded)).collect()
    }

    fn all(names: &[&str]) -> Vec<(String, bool)> {
        names.iter().map(|name| ((*name).to_owned(), false)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn they_begin_in_the_order_of_the_list() {
        let mut queue = queue(&["late", "3", "old", "1", "2"]);
        queue.order(&[id("3"), id("2"), id("1")]);
        assert_eq!(rest(&mut queue), all(&["old", "1", "2", "3", "late"]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_before_one_that_has_begun_is_superseded() {
        let mut queue = queue(&["2"]);
        assert!(queue.begin(Instant::now()).is_some());
        let later = self::queue(&["3", "1"]);
        queue.waiting = later.waiting;
        queue.order(&[id("3"), id("2"), id("1")]);
        assert_eq!(rest(&mut queue), [("1".to_owned(), true), ("3".to_owned(), false)]);
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_held_for_a_while_only() {
        let mut queue = queue(&["1", "2"]);
        let now = Instant::now();
        queue.hold(now);
        assert!(queue.begin(now).is_none());
        let until = queue.held_until(now).expect("held");
        assert!(queue.begin(until).is_some());
        queue.hold(until);
        queue.release();
        assert!(queue.begin(until).is_some());
        queue.hold(until);
        assert_eq!(queue.held_until(until), None, "nothing waits");
    }
}
