//! A capture replayed as the device, against a server.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;

use super::bindings::Bindings;
use super::dial::{ONLY_TCP, dial};
use super::difference::{Difference, lines_of};
use super::known::Known;
use super::pace::Pace;
use super::variables::Kind;
use super::wire::{Next, Wire, difference};
use super::{ReplayError, Replayed, Script, Speed, Step};
use crate::capture::Event;
use crate::frame;
use crate::ids::AppId;
use crate::mqtt::packet::{Connect, Packet, Protocol};
use crate::mqtt::{Endpoint, LinkErrorKind, Publish, Qos};
use crate::secret::{Redacted, Secret};
use crate::topic::TopicFilter;

/// How a capture is replayed as the device.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// The server: `mqtt://` or `mqtts://`.
    pub broker: Endpoint,
    /// For `mqtts://`.
    pub tls: Option<Arc<ClientConfig>>,
    /// The application in this run. Default: the recorded one.
    pub app: Option<AppId>,
    /// Its key; a capture holds none.
    pub app_key: Option<Secret<String>>,
    /// The thing's password, where a redacted capture has none. Default: what is written there, the mask itself.
    pub thing_password: Option<Secret<String>>,
    /// A token for calls whose token was masked and did not come by an onboarding of this run.
    pub token: Option<Secret<String>>,
    /// Default: as recorded.
    pub speed: Speed,
    /// How long a message, or the end of a connection, is waited for. Default 10 s.
    pub wait: Duration,
    /// Whether pushes are to come. What causes them is often not in a capture. Default true.
    pub pushes: bool,
}

impl Options {
    /// The defaults.
    pub fn new(broker: Endpoint) -> Self {
        Self {
            broker,
            tls: None,
            app: None,
            app_key: None,
            thing_password: None,
            token: None,
            speed: Speed::Times(1.0),
            wait: Duration::from_secs(10),
            pushes: true,
        }
    }
}

struct Device<'a> {
    options: &'a Options,
    script: &'a Script,
    bindings: Bindings,
    known: Known,
    links: BTreeMap<u64, Link>,
    replayed: Replayed,
}

struct Link {
    wire: Wire,
    client_id: String,
    /// Calls that were sent, by topic, less the answers that were compared.
    unanswered: HashMap<String, usize>,
}

/// Replays `script`; `progress` is told how many of its steps are done.
///
/// # Errors
/// [`ReplayError`]: the first difference, or why it could not go on.
pub async fn run(script: &Script, options: &Options, progress: &dyn Fn(usize)) -> Result<Replayed, ReplayError> {
    let mut device = Device {
        options,
        script,
        bindings: Bindings::new(script.header.redacted),
        known: Known::default(),
        links: BTreeMap::new(),
        replayed: Replayed::default(),
    };
    device.bind_app();
    let mut pace = Pace::new(options.speed);
    for (index, step) in script.steps.iter().enumerate() {
        if step.entry.event.direction() == Some(crate::capture::Direction::Out) || step.entry.event == Event::Dropped {
            pace.wait(step.entry.at).await;
        }
        device.step(index, step).await?;
        pace.step(step.entry.at);
        device.replayed.steps += 1;
        progress(index + 1);
    }
    for (number, mut link) in std::mem::take(&mut device.links) {
        if let Some(last) = script.steps.last() {
            device.nothing_left(last, number, &mut link)?;
        }
        link.wire.close().await;
    }
    Ok(device.replayed)
}

/// The app id in a user name of the default broker. (`wire` §1.1)
pub(super) fn app_of(username: &str) -> Option<&str> {
    username.strip_prefix("type=oauth2&client_id=")
}

impl Device<'_> {
    /// Another application takes the place of the recorded one.
    fn bind_app(&mut self) {
        let Some(app) = &self.options.app else { return };
        let recorded = self.script.steps.iter().find_map(|step| match &step.entry.event {
            Event::Connect { username, .. } => app_of(username),
            _ => None,
        });
        if let Some(recorded) = recorded {
            self.bindings.bind(Kind::Id, recorded.as_bytes(), app.as_str().as_bytes());
        }
    }

    fn link(&mut self, step: &Step) -> Result<&mut Link, ReplayError> {
        let number = step.entry.link;
        self.links
            .get_mut(&number)
            .ok_or_else(|| ReplayError::Unfit(format!("line {}: link {number} is not connected", step.line)))
    }

    fn filter(&self, step: &Step, recorded: &TopicFilter) -> Result<TopicFilter, ReplayError> {
        let filter = self.bindings.translate(recorded.as_str().as_bytes());
        TopicFilter::new(&String::from_utf8_lossy(&filter))
            .map_err(|error| ReplayError::Unfit(format!("line {}: {error}", step.line)))
    }

    async fn step(&mut self, index: usize, step: &Step) -> Result<(), ReplayError> {
        let wait = self.options.wait;
        match &step.entry.event {
            Event::Connect { client_id, username, protocol, .. } => {
                let refused = matches!(
                    self.script.next_on(step.entry.link, index),
                    Some(Event::Refused(error)) if matches!(error.kind(), LinkErrorKind::Refused(_))
                );
                self.connect(step, client_id.as_str(), username, protocol.unwrap_or(Protocol::V311), refused).await?;
            }
            Event::Connected => self.connack(step, 0).await?,
            Event::Refused(error) => match error.kind() {
                LinkErrorKind::Refused(reason) => {
                    self.connack(step, reason.code()).await?;
                    self.drop_link(step).await;
                }
                _ => self.ended(step).await?,
            },
            Event::Subscribe(filter) => {
                let filter = self.filter(step, filter)?;
                let wire = &mut self.link(step)?.wire;
                let id = wire.id();
                wire.send(Packet::Subscribe { id, filters: vec![(filter, Qos::AtMostOnce)] }).await;
            }
            Event::Unsubscribe(filter) => {
                let filter = self.filter(step, filter)?;
                let wire = &mut self.link(step)?.wire;
                let id = wire.id();
                wire.send(Packet::Unsubscribe { id, filters: vec![filter] }).await;
            }
            Event::Subscribed { granted, .. } => {
                let next = self.link(step)?.wire.control(Instant::now() + wait).await;
                let seen = match &next {
                    Next::Packet(Packet::SubAck { codes, .. }) => format!("SUBACK {codes:?}"),
                    other => said(other, wait),
                };
                let is_granted = matches!(&next, Next::Packet(Packet::SubAck { codes, .. }) if codes[..] != [0x80]);
                let is_refused = matches!(&next, Next::Packet(Packet::SubAck { codes, .. }) if codes[..] == [0x80]);
                if (*granted && !is_granted) || (!*granted && !is_refused) {
                    let recorded = if *granted { "SUBACK, granted" } else { "SUBACK [128], refused" };
                    return Err(control(step, "another answer to SUBSCRIBE", recorded, seen).into());
                }
            }
            Event::Publish(publish) => self.publish(step, publish).await?,
            Event::Received(publish) => self.received(step, publish).await?,
            Event::Close => {
                self.close(step).await?;
            }
            Event::Dropped => self.drop_link(step).await,
            Event::Lost(_) => self.ended(step).await?,
            _ => {}
        }
        Ok(())
    }

    async fn connect(
        &mut self,
        step: &Step,
        client_id: &str,
        username: &str,
        protocol: Protocol,
        refused: bool,
    ) -> Result<(), ReplayError> {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let client_id = text(self.bindings.translate(client_id.as_bytes()));
        let username = match app_of(username) {
            Some(app) => {
                let app = self.bindings.value(Kind::Id, app.as_bytes());
                format!("type=oauth2&client_id={}", String::from_utf8_lossy(app))
            }
            None => text(self.bindings.translate(username.as_bytes())),
        };
        let known = self.known.endpoint(&client_id);
        let password = match (known, &self.options.app_key) {
            // It was refused then; whatever it had, it is refused by this.
            _ if refused => "refused-when-it-was-recorded".to_owned(),
            (Some(endpoint), _) => endpoint.password.expose().clone(),
            (None, Some(key)) if app_of(&username).is_some() => format!("client_secret={}", key.expose()),
            (None, None) if app_of(&username).is_some() => {
                return Err(ReplayError::Unfit(
                    "a capture holds no passwords, and the application's key is needed".into(),
                ));
            }
            (None, _) => {
                return Err(ReplayError::Unfit(format!(
                    "line {}: {client_id} logs in with a password that came by another road than this capture",
                    step.line
                )));
            }
        };
        let scheme = self.options.broker.scheme;
        let assigned = known.and_then(|known| known.endpoint(scheme));
        let target = assigned.as_ref().unwrap_or(&self.options.broker);
        let stream = match timeout(self.options.wait, dial(target, self.options.tls.as_ref())).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::Unsupported => {
                return Err(ReplayError::Unfit(ONLY_TCP.into()));
            }
            Ok(stream) => stream.map_err(|error| ReplayError::Connect(target.to_string(), error))?,
            Err(_) => return Err(ReplayError::Connect(target.to_string(), io::ErrorKind::TimedOut.into())),
        };
        let wire = Wire::new(stream, false, protocol);
        let connect = Connect {
            protocol,
            clean_session: true,
            keep_alive: 0,
            client_id: client_id.clone(),
            will: None,
            username: Some(username),
            password: Some(password.into()),
        };
        wire.send(Packet::Connect(Box::new(connect))).await;
        self.links.insert(step.entry.link, Link { wire, client_id, unanswered: HashMap::new() });
        Ok(())
    }

    async fn connack(&mut self, step: &Step, expected: u8) -> Result<(), ReplayError> {
        let wait = self.options.wait;
        match self.link(step)?.wire.control(Instant::now() + wait).await {
            Next::Packet(Packet::ConnAck { code, .. }) if code == expected => Ok(()),
            Next::Packet(Packet::ConnAck { code, .. }) => {
                let seen = format!("CONNACK {code}");
                Err(control(step, "another answer to CONNECT", &format!("CONNACK {expected}"), seen).into())
            }
            other => {
                let seen = said(&other, wait);
                Err(control(step, "another answer to CONNECT", &format!("CONNACK {expected}"), seen).into())
            }
        }
    }

    async fn publish(&mut self, step: &Step, recorded: &Publish) -> Result<(), ReplayError> {
        let topic = self.bindings.topic(&recorded.topic);
        let client_id = self.link(step)?.client_id.clone();
        let payload = self.bindings.fill(&recorded.payload, |variable, _| {
            let is_masked = self.bindings.redacted && variable.kind == Kind::Secret;
            match variable.name.as_str() {
                "authorization" if is_masked => self
                    .known
                    .token(topic.as_str(), &client_id)
                    .or(self.options.token.as_ref())
                    .map(|token| token.expose().clone().into_bytes()),
                name if is_masked && name.ends_with("password") => {
                    self.options.thing_password.as_ref().map(|password| password.expose().clone().into_bytes())
                }
                _ => None,
            }
        });
        let link = self.link(step)?;
        *link.unanswered.entry(topic.as_str().to_owned()).or_default() += 1;
        link.wire.publish(Publish { topic, payload: payload.into(), qos: recorded.qos }).await;
        Ok(())
    }

    async fn received(&mut self, step: &Step, recorded: &Publish) -> Result<(), ReplayError> {
        let is_push = !recorded.topic.as_str().starts_with("p/");
        if is_push && !self.options.pushes {
            self.replayed.skipped_pushes += 1;
            return Ok(());
        }
        let wait = self.options.wait;
        let number = step.entry.link;
        let Some(link) = self.links.get_mut(&number) else {
            return Err(ReplayError::Unfit(format!("line {}: link {number} is not connected", step.line)));
        };
        let seen = link.wire.expect(step, recorded, &mut self.bindings, wait, request_id).await?;
        if let Some(count) = link.unanswered.get_mut(seen.topic.as_str()) {
            *count = count.saturating_sub(1);
        }
        self.known.learn(&seen);
        self.replayed.compared += 1;
        Ok(())
    }

    async fn close(&mut self, step: &Step) -> Result<(), ReplayError> {
        if let Some(mut link) = self.links.remove(&step.entry.link) {
            self.nothing_left(step, step.entry.link, &mut link)?;
            link.wire.send(Packet::Disconnect).await;
            link.wire.close().await;
        }
        Ok(())
    }

    async fn drop_link(&mut self, step: &Step) {
        if let Some(link) = self.links.remove(&step.entry.link) {
            link.wire.close().await;
        }
    }

    /// The server is to close the connection.
    async fn ended(&mut self, step: &Step) -> Result<(), ReplayError> {
        let wait = self.options.wait;
        let wire = &mut self.link(step)?.wire;
        let mut next = wire.control(Instant::now() + wait).await;
        while let Next::Packet(Packet::SubAck { .. }) = next {
            next = wire.control(Instant::now() + wait).await; // it came too late then
        }
        if let Next::Ended(_) = next {
            self.links.remove(&step.entry.link);
            return Ok(());
        }
        Err(control(step, "the connection goes on", "the server closed the connection", said(&next, wait)).into())
    }

    fn nothing_left(&self, step: &Step, number: u64, link: &mut Link) -> Result<(), Difference> {
        while let Some(publish) = link.wire.left_over() {
            let is_push = !publish.topic.as_str().starts_with("p/");
            if is_push && !self.options.pushes {
                continue;
            }
            // The device left then before its answer came; this time the answer was faster.
            if let Some(count) = link.unanswered.get_mut(publish.topic.as_str()).filter(|count| **count > 0) {
                *count -= 1;
                continue;
            }
            let what = "a message came that was not recorded".to_owned();
            let seen = lines_of(&publish);
            return Err(Difference { link: number, ..difference(step, what, vec!["nothing".into()], seen) });
        }
        Ok(())
    }
}

/// What tells answers on one topic apart.
fn request_id(payload: &[u8]) -> Option<Vec<u8>> {
    frame::request_id(payload).map(|id| id.as_bytes().to_vec())
}

fn control(step: &Step, what: &str, recorded: &str, seen: String) -> Difference {
    difference(step, what.to_owned(), vec![recorded.to_owned()], vec![seen])
}

pub(super) fn said(next: &Next, wait: Duration) -> String {
    match next {
        Next::Packet(packet) => Redacted::new(&format!("{packet:?}")).to_string(),
        Next::Ended(why) => format!("the connection ended: {why}"),
        Next::Silent => format!("nothing within {} s", wait.as_secs_f64()),
    }
}
