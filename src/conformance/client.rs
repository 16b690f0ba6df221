//! Grades clients: plays the service.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::pack::Scenarios;
use super::play::play;
use super::report::{Failure, Outcome, Verdict};
use super::scenario::{End, Scenario};
use super::stage::Stage;
use super::subject::Subject;

/// The application that scenarios are played in. Invented, like everything that is secret in a scenario.
pub const APP_ID: &str = "c1k9abcdef12";
/// Its key.
pub const APP_KEY: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// The thing's password.
pub const PASSWORD: &str = "p4ss-conformance";
/// The thing, as its maker names it.
pub const THING: &str = "conformance-1";

/// How long a call may take that the client under test makes, in seconds; it is told so.
const CALL_TIMEOUT: f64 = 3.0;
/// Within how many seconds it is to notice a dead peer.
const DEAD_PEER: f64 = 4.0;

/// Where a scenario listens.
enum At {
    /// Where all do, one after the other.
    Shared(Arc<TcpListener>),
    /// On a port of its own.
    Own(IpAddr),
}

/// How clients are graded.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClientRun {
    /// The host that the assigned broker is announced with.
    pub advertise: String,
    /// The client, a command for sh that is run for each scenario; without one whoever connects is graded, one scenario
    /// after the other, and those that need calls are skipped.
    pub exec: Option<String>,
    /// Scenarios at once, with [`exec`](Self::exec).
    pub jobs: usize,
    /// All windows are this many times as long.
    pub patience: f64,
    /// Whether the client's standard error is shown.
    pub shows_errors: bool,
}

impl ClientRun {
    /// With the bounds that are usual, for a listener on that address.
    pub fn new(listen: IpAddr) -> Self {
        let host = match listen {
            ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            ip => ip,
        };
        Self { advertise: host.to_string(), exec: None, jobs: 16, patience: 1.0, shows_errors: false }
    }

    /// Plays `scenarios` at `listener` and tells each outcome when it is there; the result has them in the scenarios' own
    /// order. With [`exec`](Self::exec) the listener says only where: each scenario has a port of its own there.
    ///
    /// # Errors
    /// A scenario's task could not end.
    pub async fn grade(
        &self,
        listener: TcpListener,
        scenarios: Scenarios,
        mut tell: impl FnMut(&Outcome),
    ) -> io::Result<Vec<Outcome>> {
        let shared = Arc::new(listener);
        let order = scenarios.scenarios.len();
        let mut outcomes = Vec::with_capacity(order);
        if self.exec.is_none() {
            for number in 0..order {
                let outcome = self.outcome(number, &scenarios, At::Shared(shared.clone())).await;
                tell(&outcome);
                outcomes.push(outcome);
            }
            return Ok(outcomes);
        }
        let ip = shared.local_addr()?.ip();
        let (turns, scenarios) = (Arc::new(Semaphore::new(self.jobs.max(1))), Arc::new(scenarios));
        let mut running = JoinSet::new();
        for number in 0..order {
            let (run, turns, scenarios) = (self.clone(), turns.clone(), scenarios.clone());
            running.spawn(async move {
                let _turn = turns.acquire().await;
                (number, run.outcome(number, &scenarios, At::Own(ip)).await)
            });
        }
        let mut numbered = Vec::with_capacity(order);
        while let Some(done) = running.join_next().await {
            let (number, outcome) = done.map_err(io::Error::other)?;
            tell(&outcome);
            numbered.push((number, outcome));
        }
        numbered.sort_by_key(|(number, _)| *number);
        Ok(numbered.into_iter().map(|(_, outcome)| outcome).collect())
    }

    async fn outcome(&self, number: usize, all: &Scenarios, at: At) -> Outcome {
        let (scenario, began) = (&all.scenarios[number], Instant::now());
        let verdict = if let Some(need) = scenario.needs.first() {
            Verdict::Skipped { because: format!("it needs {need}") }
        } else if self.exec.is_none() && scenario.has_calls(&all.parts) {
            Verdict::Skipped { because: String::from("it needs a client that is run by --exec and takes calls") }
        } else {
            match self.play(number, scenario, all, at).await {
                Ok(Ok(())) => Verdict::Passed,
                Ok(Err(failure)) => Verdict::Failed(*failure),
                Err(error) => Verdict::Failed(Failure::of_scenario(scenario, error.to_string())),
            }
        };
        Outcome::of(scenario, verdict, began)
    }

    async fn play(
        &self,
        number: usize,
        scenario: &Scenario,
        all: &Scenarios,
        at: At,
    ) -> io::Result<Result<(), Box<Failure>>> {
        let is_shared = matches!(at, At::Shared(_));
        let listener = match at {
            At::Shared(listener) => listener,
            At::Own(ip) => Arc::new(TcpListener::bind((ip, 0)).await?),
        };
        let port = listener.local_addr()?.port();
        // Bound and not listening: connecting there is refused, and nobody else gets the port.
        let deaf = TcpSocket::new_v4()?;
        deaf.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let closed_port = deaf.local_addr()?.port();

        let mut stage = Stage::for_client(listener, scenario.habits.clone(), self.patience);
        stage.refuses_strangers = is_shared;
        // Without --exec somebody starts the client by hand.
        if is_shared {
            stage.patience *= 3.0;
        }
        let unique = format!("{number:03}");
        for (name, value) in [
            ("app_id", APP_ID.to_owned()),
            ("app_key", APP_KEY.to_owned()),
            ("thing", THING.to_owned()),
            ("password", PASSWORD.to_owned()),
            ("topic", format!("C0nformanceT0pic0000{unique}")),
            ("username", format!("{APP_ID}-C0nf0rmanceUser{unique}")),
            ("endpoint_password", format!("EndpointPassw0rd{unique}")),
            ("thing_id", format!("th.c0fe12a45678-9abc-11e6-b0f1-00000{unique}")),
            ("token", format!("T0ken-0f-the-thing-{unique}")),
            ("host", self.advertise.clone()),
        ] {
            stage.values.set(name, value);
        }
        stage.values.set("port", port);
        stage.values.set("closed_port", closed_port);
        stage.values.set("call_timeout", CALL_TIMEOUT);
        stage.values.set("dead_peer", DEAD_PEER);
        for (name, value) in &scenario.values {
            let value = stage.values.resolve(value).map_err(io::Error::other)?;
            stage.values.set(name.clone(), value);
        }
        if let Some(command) = &self.exec {
            let variables = self.variables(scenario, port);
            stage.subject = Some(Subject::start(command, &variables, self.shows_errors, stage.tell())?);
        }
        let played = play(&mut stage, scenario, &all.parts).await;
        Ok(match (played, stage.clear().await) {
            (Ok(()), Some(signal)) => Err(Box::new(Failure::of_crash(scenario, signal))),
            (Err(mut failure), Some(signal)) => {
                failure.came.push_str(&format!("; then signal {signal} killed the program"));
                Err(failure)
            }
            (played, None) => played,
        })
    }

    fn variables(&self, scenario: &Scenario, port: u16) -> Vec<(&'static str, String)> {
        let host = if self.advertise.contains(':') { format!("[{}]", self.advertise) } else { self.advertise.clone() };
        vec![
            ("THINGIF_BROKER", format!("mqtt://{host}:{port}")),
            ("THINGIF_APP_ID", APP_ID.to_owned()),
            ("THINGIF_APP_KEY", APP_KEY.to_owned()),
            ("THINGIF_THING", THING.to_owned()),
            ("THINGIF_PASSWORD", PASSWORD.to_owned()),
            ("THINGIF_CALL_TIMEOUT", (CALL_TIMEOUT * self.patience).to_string()),
            ("THINGIF_DEAD_PEER", (DEAD_PEER * self.patience).to_string()),
            ("THINGIF_SCENARIO", scenario.name.clone()),
        ]
    }
}

impl Failure {
    /// After the last step.
    fn of_crash(scenario: &Scenario, signal: i32) -> Self {
        Self {
            step: String::from("end"),
            says: String::from("the client does not crash"),
            wire: scenario.wire.clone(),
            expected: String::from("a program that lives until it is told to leave, or ends by itself"),
            came: format!("signal {signal} killed it"),
        }
    }

    /// Before the first step.
    pub(super) fn of_scenario(scenario: &Scenario, came: String) -> Self {
        Self {
            step: String::from("0"),
            says: String::from("the scenario can begin"),
            wire: scenario.wire.clone(),
            expected: String::from("everything that it needs"),
            came,
        }
    }
}

impl Outcome {
    pub(super) fn of(scenario: &Scenario, verdict: Verdict, began: Instant) -> Self {
        Self {
            scenario: scenario.name.clone(),
            about: scenario.about.clone(),
            catches: scenario.catches.clone(),
            verdict,
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// What a list of scenarios says of one: its end, whether it needs calls, what it is about.
pub fn listed(end: End, scenarios: &Scenarios) -> Vec<Value> {
    let needs = |scenario: &Scenario| {
        let mut needs = scenario.needs.clone();
        if end == End::Client && scenario.has_calls(&scenarios.parts) {
            needs.push(String::from("calls"));
        }
        needs
    };
    let row = |scenario: &Scenario| {
        serde_json::json!({
            "scenario": scenario.name,
            "wire": scenario.wire,
            "about": scenario.about,
            "needs": needs(scenario),
            "catches": scenario.catches,
        })
    };
    scenarios.scenarios.iter().map(row).collect()
}
