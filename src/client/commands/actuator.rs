//! Carrying commands out: an async function for each action.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ReceivedCommand;
use crate::thing_if::{Action, ActionResult, ActionResults};
use crate::transport::BoxFuture;

/// Carries commands out. [`ActionTable`] does it action by action; a program that wants the whole command implements it
/// itself.
pub trait Actuator: Send + Sync + 'static {
    /// Carries `command` out and says what became of each action, in their order and with their names.
    /// Whoever waits does not give up; bound what can hang.
    fn carry_out<'a>(&'a self, command: &'a Arc<ReceivedCommand>) -> BoxFuture<'a, ActionResults>;
}

impl<A: Actuator + ?Sized> Actuator for Arc<A> {
    fn carry_out<'a>(&'a self, command: &'a Arc<ReceivedCommand>) -> BoxFuture<'a, ActionResults> {
        (**self).carry_out(command)
    }
}

/// What an action that was carried out adds to its result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Done(Option<Value>);

impl Done {
    /// With `data` for the owner. (`wire` §5)
    pub fn with(data: Value) -> Self {
        Self(Some(data))
    }
}

impl From<()> for Done {
    fn from((): ()) -> Self {
        Self(None)
    }
}

type Outcome = Result<Done, String>;
/// Reads the parameter, and begins. An error is a parameter that cannot be read.
type Begin = Box<dyn Fn(&Value, &Arc<ReceivedCommand>) -> Result<BoxFuture<'static, Outcome>, String> + Send + Sync>;

/// How long one action may take, unless said otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// An async function for each action. They are called one after the other, in the order of the command; one that fails
/// does not keep the next from being called.
///
/// What goes wrong is a failed result with its reason: an action that is not in the table, a parameter that is not what the
/// function wants, an `Err`, a panic, too much time.
///
/// ```
/// use serde::Deserialize;
/// use thingif::client::commands::ActionTable;
///
/// #[derive(Deserialize)]
/// struct TurnPower {
///     power: bool,
/// }
///
/// let table = ActionTable::new()
///     .on("turnPower", |TurnPower { power }, _command| async move {
///         // … switch the relay …
///         if power { Ok(()) } else { Err("the relay is stuck") }
///     })
///     .on_alias("AirConditioner", "setTemperature", |degrees: f64, _command| async move {
///         if (16.0..=30.0).contains(&degrees) { Ok(()) } else { Err("16 to 30 degrees") }
///     });
/// ```
#[derive(Default)]
pub struct ActionTable {
    actions: HashMap<(Option<String>, String), Begin>,
    time_limit: Option<Duration>,
}

impl fmt::Debug for ActionTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.actions.keys()).finish()
    }
}

impl ActionTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Each action may take this long; then its function's future is dropped. Default 60 s.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// `function` carries out the action `name` of commands without traits. It gets the action's object as `T`.
    #[must_use]
    pub fn on<T, F, R, D, E>(self, name: &str, function: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T, Arc<ReceivedCommand>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<D, E>> + Send + 'static,
        D: Into<Done>,
        E: fmt::Display,
    {
        self.insert(None, name, function)
    }

    /// `function` carries out the action `name` of the trait behind `alias`. It gets the action's value as `T`.
    #[must_use]
    pub fn on_alias<T, F, R, D, E>(self, alias: &str, name: &str, function: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T, Arc<ReceivedCommand>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<D, E>> + Send + 'static,
        D: Into<Done>,
        E: fmt::Display,
    {
        self.insert(Some(alias.to_owned()), name, function)
    }

    fn insert<T, F, R, D, E>(mut self, alias: Option<String>, name: &str, function: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T, Arc<ReceivedCommand>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<D, E>> + Send + 'static,
        D: Into<Done>,
        E: fmt::Display,
    {
        let begin: Begin = Box::new(move |value, command| {
            let parameter = T::deserialize(value).map_err(|error| format!("the parameter is not valid: {error}"))?;
            let running = function(parameter, command.clone());
            Ok(Box::pin(async move { running.await.map(Into::into).map_err(|error| error.to_string()) }))
        });
        self.actions.insert((alias, name.to_owned()), begin);
        self
    }

    async fn one(&self, alias: Option<&str>, action: &Action, command: &Arc<ReceivedCommand>) -> Outcome {
        let Some(begin) = self.actions.get(&(alias.map(str::to_owned), action.name.clone())) else {
            return Err("this device has no such action".to_owned());
        };
        let running = begin(&action.value, command)?;
        // In a task of its own, where a panic can be seen; it is aborted when this is dropped.
        let mut task = JoinSet::new();
        task.spawn(running);
        let limit = self.time_limit.unwrap_or(TIME_LIMIT);
        match timeout(limit, task.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(Some(Err(_)) | None) => Err("the action's function panicked".to_owned()),
            Err(_) => Err(format!("the action did not end within {limit:?}")),
        }
    }
}

impl Actuator for ActionTable {
    fn carry_out<'a>(&'a self, command: &'a Arc<ReceivedCommand>) -> BoxFuture<'a, ActionResults> {
        Box::pin(async move {
            let mut outcomes = Vec::with_capacity(command.actions.len());
            for (alias, action) in command.actions.iter() {
                outcomes.push(self.one(alias, action, command).await);
            }
            let mut outcomes = outcomes.into_iter();
            ActionResults::of(&command.actions, |_, action| {
                match outcomes.next().unwrap_or_else(|| Err("not carried out".to_owned())) {
                    Ok(Done(data)) => ActionResult { data, ..ActionResult::succeeded(&action.name) },
                    Err(why) => ActionResult::failed(&action.name, why),
                }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::ids::ThingId;
    use crate::thing_if::CommandPush;

    #[derive(Deserialize)]
    struct Power {
        power: bool,
    }

    fn command(actions: Value) -> Arc<ReceivedCommand> {
        let push = json!({ "commandID": "c1", "actions": actions }).to_string();
        let push = CommandPush::from_json(push.as_bytes()).expect("a command");
        Arc::new(ReceivedCommand::from_push(push, &ThingId::new("th.1").expect("valid"), 0))
    }

    async fn results(table: &ActionTable, actions: Value) -> Value {
        serde_json::to_value(table.carry_out(&command(actions)).await).expect("JSON")
    }

    #[tokio::test(start_paused = true)]
    async fn every_action_has_its_result_in_its_order() {
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = order.clone();
        let table = ActionTable::new()
            .with_time_limit(Duration::from_secs(5))
            .on("power", move |Power { power }, command| {
                let seen = seen.clone();
                async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    seen.lock().expect("not poisoned").push(power);
                    assert_eq!(command.command_id.as_str(), "c1");
                    if power { Ok(Done::with(json!({ "watts": 7 }))) } else { Err("stuck") }
                }
            })
            .on("hang", |_: Value, _| std::future::pending::<Result<(), String>>())
            .on("panic", |_: Value, _| async {
                if true {
                    panic!("on purpose");
                }
                Ok::<(), String>(())
            });
        let actions = json!([
            { "power": { "power": true } }, { "panic": {} }, { "power": { "power": false } }, { "hang": {} },
            { "unknown": {} }, { "power": { "power": 3 } }
        ]);
        assert_eq!(
            results(&table, actions).await,
            json!([
                { "power": { "succeeded": true, "data": { "watts": 7 } } },
                { "panic": { "succeeded": false, "errorMessage": "the action's function panicked" } },
                { "power": { "succeeded": false, "errorMessage": "stuck" } },
                { "hang": { "succeeded": false, "errorMessage": "the action did not end within 5s" } },
                { "unknown": { "succeeded": false, "errorMessage": "this device has no such action" } },
                { "power": { "succeeded": false,
                    "errorMessage": "the parameter is not valid: invalid type: integer `3`, expected a boolean" } },
            ])
        );
        assert_eq!(*order.lock().expect("not poisoned"), [true, false]);
    }

    #[tokio::test]
    async fn with_traits_the_alias_chooses() {
        let table = ActionTable::new()
            .on_alias("A", "set", |n: i64, _| async move { if n == 1 { Ok(()) } else { Err("not 1") } })
            .on("set", |_: Value, _| async { Err::<(), _>("without traits") });
        assert_eq!(
            results(&table, json!([{ "A": [{ "set": 1 }, { "set": 2 }] }, { "B": [{ "set": 1 }] }])).await,
            json!([
                { "A": [{ "set": { "succeeded": true } }, { "set": { "succeeded": false, "errorMessage": "not 1" } }] },
                { "B": [{ "set": { "succeeded": false, "errorMessage": "this device has no such action" } }] },
            ])
        );
    }
}
