//! Grades services: plays devices, on sockets and packets of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pack::Scenarios;
use super::play::play;
use super::report::{Failure, Outcome, Verdict};
use super::scenario::Scenario;
use super::stage::Stage;
use crate::ids::AppId;
use crate::secret::Secret;

/// An application of the service, with its key.
pub type App = (AppId, Secret<String>);

/// How a service is graded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerRun {
    /// Its default broker, over TCP.
    pub broker: SocketAddr,
    /// The application in which things are made.
    pub app: App,
    /// Another one, for what one must not see of the other.
    pub second_app: Option<App>,
    /// What scenarios may need and this service does not have; those are skipped.
    pub without: Vec<String>,
    /// Things are named so, and a number; new ones for each run.
    pub prefix: String,
    /// Scenarios at once.
    pub jobs: usize,
    /// All windows are this many times as long.
    pub patience: f64,
}

impl ServerRun {
    /// With the bounds that are usual.
    pub fn new(broker: SocketAddr, app: App, prefix: String) -> Self {
        Self { broker, app, second_app: None, without: Vec::new(), prefix, jobs: 8, patience: 1.0 }
    }

    /// Plays `scenarios` and tells each outcome when it is there; the result has them in the scenarios' own order.
    ///
    /// # Errors
    /// A scenario's task could not end.
    pub async fn grade(&self, scenarios: Scenarios, mut tell: impl FnMut(&Outcome)) -> io::Result<Vec<Outcome>> {
        let (turns, scenarios) = (Arc::new(Semaphore::new(self.jobs.max(1))), Arc::new(scenarios));
        let mut running = JoinSet::new();
        for number in 0..scenarios.scenarios.len() {
            let (run, turns, scenarios) = (self.clone(), turns.clone(), scenarios.clone());
            running.spawn(async move {
                let _turn = turns.acquire().await;
                (number, run.outcome(number, &scenarios).await)
            });
        }
        let mut numbered = Vec::with_capacity(scenarios.scenarios.len());
        while let Some(done) = running.join_next().await {
            let (number, outcome) = done.map_err(io::Error::other)?;
            tell(&outcome);
            numbered.push((number, outcome));
        }
        numbered.sort_by_key(|(number, _)| *number);
        Ok(numbered.into_iter().map(|(_, outcome)| outcome).collect())
    }

    async fn outcome(&self, number: usize, all: &Scenarios) -> Outcome {
        let (scenario, began) = (&all.scenarios[number], Instant::now());
        let is_missing = |need: &&String| {
            self.without.contains(need) || (need.as_str() == "second-app" && self.second_app.is_none())
        };
        let verdict = if let Some(need) = scenario.needs.iter().find(is_missing) {
            Verdict::Skipped { because: format!("it needs {need}") }
        } else {
            match self.play(number, scenario, all).await {
                Ok(()) => Verdict::Passed,
                Err(failure) => Verdict::Failed(*failure),
            }
        };
        Outcome::of(scenario, verdict, began)
    }

    async fn play(&self, number: usize, scenario: &Scenario, all: &Scenarios) -> Result<(), Box<Failure>> {
        let mut stage = Stage::for_server(self.broker, scenario.habits.clone(), self.patience);
        let values = &mut stage.values;
        values.set("app_id", self.app.0.as_str());
        values.set("app_key", self.app.1.expose().as_str());
        if let Some((id, key)) = &self.second_app {
            values.set("second_app_id", id.as_str());
            values.set("second_app_key", key.expose().as_str());
        }
        values.set("thing", format!("{}-{number}", self.prefix));
        values.set("other_thing", format!("{}-{number}-other", self.prefix));
        values.set("password", "p4ss-conformance");
        for (name, value) in &scenario.values {
            match stage.values.resolve(value) {
                Ok(value) => stage.values.set(name.clone(), value),
                Err(came) => return Err(Box::new(Failure::of_scenario(scenario, came))),
            }
        }
        let played = play(&mut stage, scenario, &all.parts).await;
        drop(stage);
        played
    }
}
