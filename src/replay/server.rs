//! A capture replayed as the server, against a client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::bindings::Bindings;
use super::device::{app_of, said};
use super::difference::{Difference, lines_of};
use super::pace::Pace;
use super::variables::{Kind, Variable};
use super::wire::{Next, Stream, Wire, difference};
use super::{ReplayError, Replayed, Script, Speed, Step};
use crate::capture::{Direction, Event};
use crate::mqtt::packet::{Connect, Packet, PacketId, Protocol};
use crate::mqtt::{LinkErrorKind, Publish};
use crate::secret::Redacted;

/// How a capture is replayed as the server.
#[derive(Clone)]
#[non_exhaustive]
pub struct Options {
    /// TLS for the client. Default: plain TCP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Default: as recorded.
    pub speed: Speed,
    /// How long a connection or a message of the client is waited for. Default 10 s.
    pub wait: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls: None, speed: Speed::Times(1.0), wait: Duration::from_secs(10) }
    }
}

struct Server<'a> {
    listener: TcpListener,
    address: SocketAddr,
    options: &'a Options,
    bindings: Bindings,
    links: BTreeMap<u64, Link>,
    replayed: Replayed,
}

struct Link {
    wire: Wire,
    /// SUBSCRIBEs that were not answered yet, and how many filters of the first one were.
    subscribes: Vec<(PacketId, usize)>,
    answers: Vec<u8>,
    /// Filters that have come and were not looked at.
    filters: Vec<String>,
    /// The same of UNSUBSCRIBEs.
    unsubscribes: Vec<String>,
}

/// Replays `script` to the client that connects to `listener`; `progress` is told how many of its steps are done.
///
/// # Errors
/// [`ReplayError`]: the first difference, or why it could not go on.
pub async fn run(
    script: &Script,
    listener: TcpListener,
    options: &Options,
    progress: &dyn Fn(usize),
) -> Result<Replayed, ReplayError> {
    let address = listener.local_addr().map_err(|error| ReplayError::Connect("the client".into(), error))?;
    let bindings = Bindings::new(script.header.redacted);
    let mut server =
        Server { listener, address, options, bindings, links: BTreeMap::new(), replayed: Replayed::default() };
    let mut pace = Pace::new(options.speed);
    for (index, step) in script.steps.iter().enumerate() {
        let is_ours = step.entry.event.direction() == Some(Direction::In)
            || matches!(step.entry.event, Event::Lost(_) | Event::Refused(_));
        if is_ours {
            pace.wait(step.entry.at).await;
        }
        server.step(step).await?;
        pace.step(step.entry.at);
        server.replayed.steps += 1;
        progress(index + 1);
    }
    for (_, link) in std::mem::take(&mut server.links) {
        link.wire.close().await;
    }
    Ok(server.replayed)
}

impl Server<'_> {
    fn link(&mut self, step: &Step) -> Result<&mut Link, ReplayError> {
        let number = step.entry.link;
        self.links
            .get_mut(&number)
            .ok_or_else(|| ReplayError::Unfit(format!("line {}: link {number} is not connected", step.line)))
    }

    async fn step(&mut self, step: &Step) -> Result<(), ReplayError> {
        match &step.entry.event {
            Event::Connect { client_id, username, .. } => self.accept(step, client_id.as_str(), username).await?,
            Event::Connected => {
                self.link(step)?.wire.send(Packet::ConnAck { session_present: false, code: 0 }).await;
            }
            Event::Refused(error) => {
                if let LinkErrorKind::Refused(reason) = error.kind() {
                    let code = reason.code();
                    self.link(step)?.wire.send(Packet::ConnAck { session_present: false, code }).await;
                }
                self.close(step).await;
            }
            Event::Subscribe(filter) => {
                self.subscribed(step, filter.as_str()).await?;
            }
            Event::Subscribed { granted, .. } => {
                let code = if *granted { 0 } else { 0x80 };
                let link = self.link(step)?;
                link.answers.push(code);
                if let Some((id, count)) = link.subscribes.first().copied()
                    && link.answers.len() >= count
                {
                    link.subscribes.remove(0);
                    let codes = link.answers.drain(..count).collect();
                    link.wire.send(Packet::SubAck { id, codes }).await;
                }
            }
            Event::Unsubscribe(filter) => {
                self.unsubscribed(step, filter.as_str()).await?;
            }
            Event::Publish(publish) => {
                let wait = self.options.wait;
                let Some(link) = self.links.get_mut(&step.entry.link) else {
                    return Err(ReplayError::Unfit(format!("line {}: nobody is connected", step.line)));
                };
                link.wire.expect(step, publish, &mut self.bindings, wait, verb).await?;
                self.replayed.compared += 1;
            }
            Event::Received(publish) => {
                let topic = self.bindings.topic(&publish.topic);
                let address = self.address;
                let is_tls = self.options.tls.is_some();
                let here = |variable: &Variable, _: &[u8]| own_address(variable, address, is_tls);
                let payload = self.bindings.fill(&publish.payload, here).into();
                self.link(step)?.wire.publish(Publish { topic, payload, qos: publish.qos }).await;
            }
            Event::Close => {
                let wait = self.options.wait;
                let link = self.link(step)?;
                let next = link.wire.control(Instant::now() + wait).await;
                // A client that closes TCP at once has said enough.
                if !matches!(next, Next::Packet(Packet::Disconnect) | Next::Ended(_)) {
                    return Err(other(step, "DISCONNECT".into(), said(&next, wait)).into());
                }
                nothing_left(step, link)?;
                self.close(step).await;
            }
            Event::Lost(_) => self.close(step).await,
            Event::Dropped => {
                let wait = self.options.wait;
                let link = self.link(step)?;
                let next = link.wire.control(Instant::now() + wait).await;
                if !matches!(next, Next::Ended(_) | Next::Packet(Packet::Disconnect)) {
                    return Err(other(step, "the end of the connection".into(), said(&next, wait)).into());
                }
                nothing_left(step, link)?;
                self.close(step).await;
            }
            _ => {}
        }
        Ok(())
    }

    async fn accept(&mut self, step: &Step, client_id: &str, username: &str) -> Result<(), ReplayError> {
        let deadline = Instant::now() + self.options.wait;
        let waited = |what: &str| other(step, format!("CONNECT of {client_id}"), what.to_owned());
        let (wire, connect) = loop {
            let stream = match timeout_at(deadline, self.listener.accept()).await {
                Ok(Ok((stream, _))) => stream,
                Ok(Err(error)) => return Err(ReplayError::Connect("the client".into(), error)),
                Err(_) => return Err(waited("nobody connects").into()),
            };
            drop(stream.set_nodelay(true));
            let stream: Box<dyn Stream> = match &self.options.tls {
                None => Box::new(stream),
                Some(config) => {
                    let accepted = timeout_at(deadline, TlsAcceptor::from(config.clone()).accept(stream)).await;
                    match accepted {
                        Ok(Ok(stream)) => Box::new(stream),
                        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => continue,
                        Ok(Err(error)) => return Err(waited(&format!("TLS failed: {error}")).into()),
                        Err(_) => return Err(waited("TLS did not begin").into()),
                    }
                }
            };
            let mut wire = Wire::new(stream, true, Protocol::V311);
            match wire.control(deadline).await {
                Next::Packet(Packet::Connect(connect)) => break (wire, connect),
                // A client may look first whether anybody is there.
                Next::Ended(_) if wire.has_said_nothing() => {}
                next => return Err(waited(&said(&next, self.options.wait)).into()),
            }
        };
        self.compare_connect(step, client_id, username, &connect)?;
        let link =
            Link { wire, subscribes: Vec::new(), answers: Vec::new(), filters: Vec::new(), unsubscribes: Vec::new() };
        self.links.insert(step.entry.link, link);
        Ok(())
    }

    /// Client id and user name; another application takes the place of the recorded one.
    fn compare_connect(
        &mut self,
        step: &Step,
        client_id: &str,
        username: &str,
        seen: &Connect,
    ) -> Result<(), Difference> {
        let seen_name = seen.username.as_deref().unwrap_or_default();
        if let (Some(recorded), Some(app)) = (app_of(username), app_of(seen_name)) {
            self.bindings.bind(Kind::Id, recorded.as_bytes(), app.as_bytes());
        }
        let now = |text: &str| match app_of(text) {
            Some(app) => {
                let app = self.bindings.value(Kind::Id, app.as_bytes());
                format!("type=oauth2&client_id={}", String::from_utf8_lossy(app))
            }
            None => String::from_utf8_lossy(&self.bindings.translate(text.as_bytes())).into_owned(),
        };
        let lines = |id: &str, name: &str| {
            vec![format!("CONNECT, client id {id}"), format!("user name {}", Redacted::new(name))]
        };
        let is_name = now(username) == seen_name || self.bindings.is_text(username.as_bytes(), seen_name.as_bytes());
        let is_same = is_name && now(client_id) == seen.client_id;
        let (recorded, seen) = (lines(&now(client_id), &now(username)), lines(&seen.client_id, seen_name));
        match is_same {
            true => Ok(()),
            false => Err(difference(step, "another CONNECT".into(), recorded, seen)),
        }
    }

    async fn unsubscribed(&mut self, step: &Step, recorded: &str) -> Result<(), ReplayError> {
        let wait = self.options.wait;
        let filter = String::from_utf8_lossy(&self.bindings.translate(recorded.as_bytes())).into_owned();
        let link = self.link(step)?;
        if link.unsubscribes.is_empty() {
            match link.wire.control(Instant::now() + wait).await {
                Next::Packet(Packet::Unsubscribe { filters, .. }) => {
                    link.unsubscribes = filters.into_iter().map(|filter| filter.as_str().to_owned()).collect();
                }
                next => return Err(other(step, format!("UNSUBSCRIBE {filter}"), said(&next, wait)).into()),
            }
        }
        let seen = link.unsubscribes.remove(0);
        match self.bindings.is_text(recorded.as_bytes(), seen.as_bytes()) {
            true => Ok(()),
            false => Err(other(step, format!("UNSUBSCRIBE {filter}"), format!("UNSUBSCRIBE {seen}")).into()),
        }
    }

    async fn subscribed(&mut self, step: &Step, recorded: &str) -> Result<(), ReplayError> {
        let wait = self.options.wait;
        let filter = String::from_utf8_lossy(&self.bindings.translate(recorded.as_bytes())).into_owned();
        let link = self.link(step)?;
        if link.filters.is_empty() {
            match link.wire.control(Instant::now() + wait).await {
                Next::Packet(Packet::Subscribe { id, filters }) => {
                    link.subscribes.push((id, filters.len()));
                    link.filters = filters.into_iter().map(|(filter, _)| filter.as_str().to_owned()).collect();
                }
                next => return Err(other(step, format!("SUBSCRIBE {filter}"), said(&next, wait)).into()),
            }
        }
        let seen = link.filters.remove(0);
        match self.bindings.is_text(recorded.as_bytes(), seen.as_bytes()) {
            true => Ok(()),
            false => Err(other(step, format!("SUBSCRIBE {filter}"), format!("SUBSCRIBE {seen}")).into()),
        }
    }

    async fn close(&mut self, step: &Step) {
        if let Some(link) = self.links.remove(&step.entry.link) {
            link.wire.close().await;
        }
    }
}

/// A client that leaves has said what was recorded and no more.
fn nothing_left(step: &Step, link: &mut Link) -> Result<(), Difference> {
    let nothing = vec!["nothing".to_owned()];
    if let Some(publish) = link.wire.left_over() {
        let what = "a message came that was not recorded".to_owned();
        return Err(difference(step, what, nothing, lines_of(&publish)));
    }
    let filters = link.filters.iter().map(|filter| format!("SUBSCRIBE {filter}"));
    let seen: Vec<_> = filters.chain(link.unsubscribes.iter().map(|filter| format!("UNSUBSCRIBE {filter}"))).collect();
    match seen.is_empty() {
        true => Ok(()),
        false => Err(difference(step, "the client asks for more".into(), nothing, seen)),
    }
}

/// The device is to come back here.
fn own_address(variable: &Variable, address: SocketAddr, is_tls: bool) -> Option<Vec<u8>> {
    let text = match (variable.kind, variable.name.as_str()) {
        (Kind::Address, "host") => address.ip().to_string(),
        (Kind::Address, "porttcp") if !is_tls => address.port().to_string(),
        (Kind::Address, "portssl") if is_tls => address.port().to_string(),
        _ => return None,
    };
    Some(text.into_bytes())
}

/// What tells messages of a device on one topic apart before their ids are known.
fn verb(payload: &[u8]) -> Option<Vec<u8>> {
    payload.split(|byte| matches!(byte, b'\r' | b'\n')).next().map(<[u8]>::to_vec)
}

fn other(step: &Step, recorded: String, seen: String) -> Difference {
    difference(step, "the client does something else".into(), vec![recorded], vec![seen])
}
