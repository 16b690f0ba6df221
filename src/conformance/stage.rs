//! Where a scenario is played: connections, what has happened on them, and the values that have names.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use serde_json::{Map, Value};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::event;
use super::link::{Happened, Link};
use super::scenario::{End, Habits};
use super::shown;
use super::subject::Subject;
use super::values::Values;
use crate::mqtt::packet::{self, Packet, Protocol};

/// What a program that has ended may still have on its way, or have left to its children.
const AFTERMATH: Duration = Duration::from_secs(3);

/// Who does not take what happens has this much of it waiting; whoever tells more waits.
const WAITING: usize = 256;

/// More events than this in a scenario, or more bytes of them, are a flood.
const MAX_EVENTS: usize = 20_000;
const MAX_BYTES: usize = 32 * 1024 * 1024;

/// Something that happened and was not looked for yet.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) on: Option<usize>,
    pub(super) kind: &'static str,
    pub(super) members: Value,
    pub(super) is_taken: bool,
}

/// The state of a scenario while it is played.
pub(super) struct Stage {
    pub(super) end: End,
    pub(super) habits: Habits,
    pub(super) values: Values,
    pub(super) seen: Vec<Seen>,
    pub(super) subject: Option<Subject>,
    /// Whether logins of another scenario's thing are refused, which a client of the user's may still make.
    pub(super) refuses_strangers: bool,
    /// All windows are this many times as long.
    pub(super) patience: f64,
    links: HashMap<usize, Link>,
    names: HashMap<String, usize>,
    current: Option<usize>,
    /// Connections whose onboarding is habit.
    anonymous: HashSet<usize>,
    exited: Option<Instant>,
    opened: usize,
    service: Option<SocketAddr>,
    streams: Option<mpsc::UnboundedReceiver<TcpStream>>,
    door: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
    /// Of all that was seen.
    bytes: usize,
    happened: mpsc::Receiver<Happened>,
    tell: mpsc::Sender<Happened>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.abort();
        }
    }
}

impl Stage {
    fn new(end: End, habits: Habits, patience: f64) -> Self {
        let (tell, happened) = mpsc::channel(WAITING);
        Self {
            end,
            habits,
            values: Values::default(),
            seen: Vec::new(),
            subject: None,
            refuses_strangers: false,
            patience,
            links: HashMap::new(),
            names: HashMap::new(),
            current: None,
            anonymous: HashSet::new(),
            exited: None,
            opened: 0,
            service: None,
            streams: None,
            door: Arc::new(AtomicBool::new(true)),
            acceptor: None,
            bytes: 0,
            happened,
            tell,
        }
    }

    /// One on which clients connect to `listener`.
    pub(super) fn for_client(listener: Arc<TcpListener>, habits: Habits, patience: f64) -> Self {
        let mut stage = Self::new(End::Client, habits, patience);
        let (sender, streams) = mpsc::unbounded_channel();
        let door = stage.door.clone();
        stage.acceptor = Some(tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) if door.load(Ordering::Relaxed) => {
                        if sender.send(stream).is_err() {
                            return;
                        }
                    }
                    Ok((stream, _)) => drop(stream),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        }));
        stage.streams = Some(streams);
        stage
    }

    /// One from which connections to `service` are opened.
    pub(super) fn for_server(service: SocketAddr, habits: Habits, patience: f64) -> Self {
        let mut stage = Self::new(End::Server, habits, patience);
        stage.service = Some(service);
        stage
    }

    /// Where what the program under test says is told.
    pub(super) fn tell(&self) -> mpsc::Sender<Happened> {
        self.tell.clone()
    }

    /// Opens a connection to the service: to its default broker, or to a host and port that it named.
    pub(super) async fn open(&mut self, name: &str, place: Option<(String, Value)>) -> Result<(), String> {
        let service = self.service.ok_or("connections are opened when a service is graded")?;
        let connect = async {
            match place {
                None => TcpStream::connect(service).await,
                Some((host, port)) => {
                    let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
                    TcpStream::connect((host, port)).await
                }
            }
        };
        let stream = tokio::time::timeout(self.window(10.0), connect).await;
        let stream = stream.map_err(|_| String::from("no connection in time"))?;
        let number = self.add(stream.map_err(|error| format!("no connection: {error}"))?);
        self.name(name, number);
        Ok(())
    }

    pub(super) fn open_door(&self, is_open: bool) {
        self.door.store(is_open, Ordering::Relaxed);
    }

    fn add(&mut self, stream: TcpStream) -> usize {
        self.opened += 1;
        self.links.insert(self.opened, Link::new(self.opened, stream, Protocol::V311, self.tell.clone()));
        self.opened
    }

    /// The connection of that name, or the one that was named last.
    pub(super) fn number(&self, name: Option<&str>) -> Result<usize, String> {
        match name {
            Some(name) => self.names.get(name).copied().ok_or_else(|| format!("no connection is named {name}")),
            None => self.current.ok_or_else(|| String::from("there is no connection yet")),
        }
    }

    /// Gives a connection its name.
    pub(super) fn name(&mut self, name: &str, number: usize) {
        self.names.insert(name.to_owned(), number);
        self.current = Some(number);
    }

    pub(super) fn name_of(&self, number: usize) -> String {
        let named = self.names.iter().find(|(_, of)| **of == number).map(|(name, _)| name.clone());
        named.unwrap_or_else(|| format!("connection {number}"))
    }

    pub(super) fn window(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds * self.patience).clamp(0.0, 3_600.0))
    }

    /// Whether more has come than any scenario asks for.
    pub(super) fn is_flooded(&self) -> bool {
        self.seen.len() >= MAX_EVENTS || self.bytes >= MAX_BYTES
    }

    /// Takes what happens next, and does what is habit; `false` when nothing does until `deadline`, or because the program
    /// under test has ended, or floods.
    pub(super) async fn pump(&mut self, deadline: Instant) -> bool {
        if self.is_flooded() {
            return false;
        }
        let deadline = self.exited.map_or(deadline, |exited| deadline.min(exited + AFTERMATH));
        enum Next {
            Stream(TcpStream),
            Happened(Happened),
        }
        let streams = &mut self.streams;
        let next = async {
            let stream = async {
                match streams {
                    Some(streams) => streams.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                biased;
                Some(happened) = self.happened.recv() => Next::Happened(happened),
                Some(stream) = stream => Next::Stream(stream),
                else => std::future::pending().await,
            }
        };
        match timeout_at(deadline, next).await {
            Err(_) => return false,
            Ok(Next::Stream(stream)) => {
                self.add(stream);
            }
            Ok(Next::Happened((on, kind, members))) => self.note(on, kind, members),
        }
        true
    }

    fn note(&mut self, on: Option<usize>, kind: &'static str, members: Value) {
        if kind == "exited" {
            self.exited = Some(Instant::now());
        }
        let length = |name: &str| members[name].as_str().map_or(0, str::len);
        self.bytes += length("payload") + length("body");
        if let Some(number) = on {
            if kind == "connect" && self.end == End::Client && !self.admits(number, &members) {
                return;
            }
            self.do_what_is_habit(number, kind, &members);
        }
        self.seen.push(Seen { on, kind, members, is_taken: false });
    }

    /// Keeps the version of a CONNECT; `false` if it is another scenario's thing that logs in and was refused.
    fn admits(&mut self, number: usize, members: &Value) -> bool {
        let protocol = if members["version"] == "3.1" { Protocol::V31 } else { Protocol::V311 };
        if let Some(link) = self.links.get_mut(&number) {
            link.protocol = protocol;
        }
        let is_ours = members["client_id"] == "anonymous" || Some(&members["client_id"]) == self.values.get("topic");
        if is_ours || !self.refuses_strangers {
            return true;
        }
        self.write(number, &Packet::ConnAck { session_present: false, code: 5 });
        false
    }

    fn do_what_is_habit(&mut self, number: usize, kind: &str, members: &Value) {
        let reply = |name: &str| {
            let id = members.get("id").cloned().unwrap_or_default();
            event::to_packet(name, &Map::from_iter([(String::from("id"), id)])).ok()
        };
        if let Some(body) = &self.habits.onboard
            && self.end == End::Client
            && kind == "publish"
            && self.anonymous.contains(&number)
        {
            let payload = event::answer(200, &[], Some(body));
            let members =
                [(String::from("topic"), members["topic"].clone()), (String::from("payload"), payload.into())];
            if let Ok(packet) = event::to_packet("publish", &Map::from_iter(members)) {
                self.write(number, &packet);
            }
        }
        let packet = match kind {
            "connect" if self.habits.onboard.is_some() && members["client_id"] == "anonymous" => {
                self.anonymous.insert(number);
                Some(Packet::ConnAck { session_present: false, code: 0 })
            }
            "pingreq" if self.habits.ping => Some(Packet::PingResp),
            "subscribe" if self.habits.suback => self.suback(members),
            "unsubscribe" if self.habits.suback => reply("unsuback"),
            "publish" if self.habits.acknowledge && members["qos"] == 1 => reply("puback"),
            "publish" if self.habits.acknowledge && members["qos"] == 2 => reply("pubrec"),
            "pubrec" if self.habits.acknowledge => reply("pubrel"),
            "pubrel" if self.habits.acknowledge => reply("pubcomp"),
            _ => None,
        };
        if let Some(packet) = packet {
            self.write(number, &packet);
        }
    }

    /// Its own topics are granted, nothing else is. (`wire` §1.3)
    fn suback(&self, members: &Value) -> Option<Packet> {
        let own = self.values.get("topic").and_then(Value::as_str)?;
        let granted =
            |filter: &str| filter == own || filter.strip_prefix("p/").and_then(|f| f.strip_suffix("/#")) == Some(own);
        let filters = members["filters"].as_array()?;
        let codes = filters.iter().map(|filter| if granted(filter.as_str().unwrap_or_default()) { 0 } else { 0x80 });
        let id = serde_json::from_value::<u16>(members["id"].clone()).ok().and_then(packet::PacketId::new)?;
        Some(Packet::SubAck { id, codes: codes.collect() })
    }

    fn write(&self, number: usize, packet: &Packet) {
        if let Some(link) = self.links.get(&number).filter(|link| !link.is_mute()) {
            let mut bytes = BytesMut::new();
            if packet::encode(packet, link.protocol, &mut bytes).is_ok() {
                link.write(bytes.freeze(), 0);
            }
        }
    }

    /// Writes the packet of that kind; `bytes` is a kind too.
    pub(super) fn send(
        &mut self,
        number: usize,
        kind: &str,
        members: &Map<String, Value>,
        cut: usize,
    ) -> Result<(), String> {
        let Some(link) = self.links.get_mut(&number) else { return Ok(()) };
        if kind == "bytes" {
            let bytes = event::bytes(members.get("payload").unwrap_or(&Value::Null))?;
            // Nothing to write would be read as the end.
            if !bytes.is_empty() {
                link.write(bytes.into(), cut);
            }
            return Ok(());
        }
        let packet = event::to_packet(kind, members)?;
        if let Packet::Connect(connect) = &packet {
            link.protocol = connect.protocol;
        }
        let mut bytes = BytesMut::new();
        packet::encode(&packet, link.protocol, &mut bytes).map_err(|error| error.to_string())?;
        link.write(bytes.freeze(), cut);
        Ok(())
    }

    /// Ends a connection after what was written on it.
    pub(super) async fn cut(&mut self, number: usize) {
        if let Some(link) = self.links.remove(&number) {
            link.close().await;
        }
    }

    pub(super) fn mute(&mut self, number: usize) {
        if let Some(link) = self.links.get_mut(&number) {
            link.mute();
        }
    }

    /// The last things that nobody had looked for, as a failure shows them.
    pub(super) fn left_over(&self) -> String {
        const MOST: usize = 6;
        let left: Vec<_> = self
            .seen
            .iter()
            .filter(|seen| !seen.is_taken && !matches!(seen.kind, "pingreq" | "pingresp"))
            .map(|seen| {
                let on = seen.on.map_or(String::new(), |number| format!(" on {}", self.name_of(number)));
                format!("{}{on}{}", seen.kind, shown::members(seen.kind, &seen.members))
            })
            .collect();
        match left.len() {
            0 => String::from("nothing"),
            n if n > MOST => format!("… {} more; {}", n - MOST, left[n - MOST..].join("; ")),
            _ => left.join("; "),
        }
    }

    /// Ends everything. The signal that killed the program under test before it was told to leave, if one did.
    pub(super) async fn clear(mut self) -> Option<i32> {
        let subject = self.subject.take()?;
        // Connections stay until it has gone, or it would come back meanwhile.
        let farewell = subject.end(self.exited.is_some());
        tokio::pin!(farewell);
        loop {
            tokio::select! {
                signal = &mut farewell => return signal,
                _ = self.happened.recv() => {}
            }
        }
    }
}
