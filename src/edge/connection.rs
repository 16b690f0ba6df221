//! One MQTT connection, from its first byte to its last.

mod packets;

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::config::{LINGER, SHORTEST_ADMISSION};
use super::ending::Ending;
use super::execute::Backend;
use super::lanes::Lanes;
use super::live::{Live, OwnLanes, Place};
use super::login::{Admitted, Origin, login};
use super::rate::Rate;
use super::registry::Registration;
use super::session::{Answer, Session};
use super::wire::{Output, Wire};
use super::{ConnectionId, Directory, Peer};
use crate::mqtt::RefusedReason;
use crate::mqtt::packet::{self, Decoded, Decoder, Packet, PacketId, Protocol};
use crate::topic::Topic;

/// How often a connection reads before it writes.
const READS_PER_WRITE: usize = 4;

/// Serves a connection to its end. `deadline` is for its CONNECT.
///
/// What lives only until the admission has a box of its own, so that its memory does not stay with the connection.
pub(super) async fn serve<W: Wire, S: Backend, D: Directory>(
    wire: Box<W>,
    origin: Origin,
    deadline: Instant,
    service: S,
    directory: Arc<D>,
    place: Place,
) {
    let admission = Box::pin(admit(wire, origin, deadline, service, directory, place)).await;
    if let Some(connection) = admission {
        connection.converse().await;
    }
}

/// From the first byte to a connection, or to the CONNACK that refuses it.
async fn admit<W: Wire, S: Backend, D: Directory>(
    mut wire: Box<W>,
    origin: Origin,
    deadline: Instant,
    service: S,
    directory: Arc<D>,
    place: Place,
) -> Option<Box<Connection<W, S>>> {
    let live = Arc::clone(&place.live);
    let mut decoder = Decoder::new(live.config.limits()).expecting_connect();
    let mut input = BytesMut::new();
    let number = place.session.id();
    let times = (deadline, live.config.connect_timeout.max(SHORTEST_ADMISSION));
    let admitted = tokio::select! {
        admitted = login(&mut *wire, &mut decoder, &mut input, &*directory, origin, &place, times) => admitted,
        ending = place.session.asked_to_end() => Err(ending),
    };
    match admitted {
        Ok(admitted) => Some(Box::new(Connection::new(wire, decoder, input, admitted, service, place))),
        Err(ending) => {
            not_connected(&live, origin, number, ending);
            let mut output = Output::new::<W>();
            if let Ending::Refused(reason) = ending {
                write(&mut output, Protocol::V311, &connack(Some(reason)));
            }
            close(&mut *wire, &mut output, ending).await;
            None
        }
    }
}

/// Counts and logs a socket that never became a connection.
pub(super) fn not_connected(live: &Live, origin: Origin, connection: ConnectionId, ending: Ending) {
    ending.count(live.registry.counters());
    let Origin { scheme, remote, .. } = origin;
    if let Ending::Refused(_) = ending {
        tracing::info!(connection = connection.0, %remote, %scheme, reason = %ending, "refused");
    } else {
        // Port scanners and health checks do this all day.
        live.registry.counters().not_connected.add();
        tracing::debug!(connection = connection.0, %remote, %scheme, reason = %ending, "not connected");
    }
}

/// Writes what is left, says goodbye, and reads on for a moment: a socket closed with unread bytes is reset, and the
/// reset would overtake the last answer.
async fn close<W: Wire>(wire: &mut W, output: &mut Output, ending: Ending) {
    if matches!(ending, Ending::Io(_)) || ending.is_deaf() {
        return;
    }
    let goodbye = async {
        poll_fn(|cx| wire.poll_drain(cx, output)).await?;
        poll_fn(|cx| wire.poll_shutdown(cx)).await?;
        let mut rest = BytesMut::new();
        while ending.lingers() && poll_fn(|cx| wire.poll_fill(cx, &mut rest)).await? > 0 {
            rest.clear();
        }
        Ok::<(), Ending>(())
    };
    // Whether the goodbye was heard changes nothing any more.
    let _: Result<_, _> = timeout(LINGER, goodbye).await;
}

fn connack(refused: Option<RefusedReason>) -> Packet {
    Packet::ConnAck { session_present: false, code: refused.map_or(0, RefusedReason::code) }
}

/// Whether the message could be written: MQTT bounds its length.
fn publish(output: &mut Output, topic: &Topic, payload: &[u8]) -> bool {
    output.append(|bytes| packet::encode_publish(topic, payload, bytes)).is_ok()
}

fn write(output: &mut Output, protocol: Protocol, packet: &Packet) {
    let written = output.append(|bytes| packet::encode(packet, protocol, bytes));
    written.expect("acknowledgements always fit");
}

struct Connection<W, S> {
    wire: Box<W>,
    decoder: Decoder,
    input: BytesMut,
    output: Output,
    /// Whether the wire may hold bytes that it has not yet given to the network.
    is_flushed: bool,
    /// Answers that found no room in `output`; still in flight.
    staged: VecDeque<Answer>,
    /// Bytes that are staged, as the session counts them.
    staged_bytes: usize,
    /// Bytes of what was in hand when the session was last told.
    held: usize,
    /// Whether it is to end once everything is answered.
    is_finishing: bool,
    /// Requests accepted and not yet answered into `output`.
    in_flight: usize,
    rate: Rate,
    /// QoS 2 packet identifiers seen and not released.
    unreleased: BTreeSet<PacketId>,
    peer: Peer,
    protocol: Protocol,
    pushes: Topic,
    silence: Option<Duration>,
    heard: Instant,
    /// Since when the peer takes nothing of what is written, and how much it had taken by then.
    blocked: Option<(Instant, u64)>,
    timer: Option<Pin<Box<Sleep>>>,
    service: S,
    live: Arc<Live>,
    session: Arc<Session>,
    lanes: Arc<Lanes>,
    /// Which of the client's connections this is: a newer one has a greater number.
    epoch: u64,
    /// Given up when the conversation is over.
    places: Option<(Registration, Option<OwnLanes>, Place)>,
}

impl<W: Wire, S: Backend> Connection<W, S> {
    fn new(wire: Box<W>, decoder: Decoder, input: BytesMut, admitted: Admitted, service: S, place: Place) -> Self {
        let Admitted { peer, protocol, silence, has_will, approach } = admitted;
        let (live, session) = (Arc::clone(&place.live), Arc::clone(&place.session));
        if has_will {
            live.registry.counters().ignored.add();
        }
        let Peer { role, client_id, remote, scheme, .. } = &peer;
        tracing::info!(connection = session.id().0, %remote, %scheme, %client_id, ?role, "connected");
        let registration = live.registry.enter(*role, client_id, &session);
        drop(approach);
        let epoch = registration.epoch();
        let lanes = live.lanes(*role, client_id, epoch);
        let own_lanes = OwnLanes::new(*role, &live, &lanes);
        let mut output = Output::new::<W>();
        write(&mut output, protocol, &connack(None));
        Self {
            wire,
            decoder,
            input,
            output,
            is_flushed: false,
            staged: VecDeque::new(),
            staged_bytes: 0,
            held: 0,
            is_finishing: false,
            in_flight: 0,
            rate: Rate::new(&live.config, Instant::now()),
            unreleased: BTreeSet::new(),
            pushes: Topic::for_pushes(&peer.client_id),
            peer,
            protocol,
            silence,
            heard: Instant::now(),
            blocked: None,
            timer: None,
            service,
            live,
            session,
            lanes,
            epoch,
            places: Some((registration, own_lanes, place)),
        }
    }

    /// Runs, leaves the registry, and says goodbye.
    async fn converse(mut self: Box<Self>) {
        let _until_goodbye = self.live.task();
        let ending = self.run().await;
        let (_, pushes_dropped) = self.session.backlog();
        // First: whoever sees that it has gone may ask why.
        ending.count(self.live.registry.counters());
        self.live.registry.counters().undeliverable_answers.add_many(self.staged.len());
        self.places = None;
        let Peer { connection, client_id, .. } = &self.peer;
        tracing::info!(connection = connection.0, %client_id, reason = %ending, pushes_dropped, "connection ended");
        close(&mut *self.wire, &mut self.output, ending).await;
    }

    async fn run(&mut self) -> Ending {
        poll_fn(|cx| match self.work(cx).and_then(|()| self.watch_the_clock(cx)) {
            Ok(()) => Poll::Pending,
            Err(ending) => Poll::Ready(ending),
        })
        .await
    }

    /// Reads, takes what others have left, and writes, in batches, until nothing moves any more.
    fn work(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            let may_have_more = self.read(cx)?;
            let has_left_some = self.collect(cx)?;
            let has_drained = self.drain(cx)?;
            if !(may_have_more && self.may_read() || has_left_some && has_drained) {
                break;
            }
        }
        self.count_held();
        let is_idle = self.in_flight == 0 && self.output.is_empty() && self.is_flushed;
        if self.is_finishing && is_idle { Err(Ending::Shutdown) } else { Ok(()) }
    }

    fn has_room(&self) -> bool {
        self.output.len() <= self.live.config.write_high_water
    }

    fn may_read(&self) -> bool {
        self.has_room() && self.staged.is_empty() && !self.is_finishing
    }

    /// Reads and executes; whether there may be more to read at once.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        for _ in 0..READS_PER_WRITE {
            self.receive()?;
            if !self.may_read() {
                self.heard = Instant::now(); // not to be told from silence
                return Ok(true);
            }
            match self.wire.poll_fill(cx, &mut self.input) {
                Poll::Pending => return Ok(false),
                Poll::Ready(filled) => {
                    if filled? == 0 {
                        return Err(Ending::Closed);
                    }
                    self.heard = Instant::now();
                }
            }
        }
        self.receive().map(|()| true)
    }

    /// Executes what has been read, as long as the answers have room.
    fn receive(&mut self) -> Result<(), Ending> {
        while self.may_read() {
            match self.decoder.decode(&mut self.input)? {
                Some(Decoded::Packet(packet)) => self.handle(packet)?,
                Some(Decoded::Oversize(oversize)) => self.oversize(&oversize)?,
                None => break,
            }
        }
        if self.input.is_empty() {
            self.input = BytesMut::new(); // an idle connection holds no buffer
        }
        Ok(())
    }

    /// Takes answers and pushes as far as there is room; whether there may be more of them.
    fn collect(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        let room = self.staged.is_empty() && self.has_room();
        let taken = self.session.take(room, cx.waker());
        if let Some(ending) = taken.ending {
            return Err(ending);
        }
        self.is_finishing = taken.is_finishing;
        for payload in taken.pushes {
            self.push(&payload);
        }
        if room {
            self.staged_bytes = taken.answers.iter().map(Answer::size).sum();
            self.held += self.staged_bytes;
            self.staged = taken.answers;
        }
        while self.has_room()
            && let Some(answer) = self.staged.pop_front()
        {
            self.in_flight -= 1;
            self.staged_bytes -= answer.size();
            let Answer { topic, frame } = answer;
            self.live.registry.taps().show(false, &self.peer.client_id, &topic, &frame);
            if !publish(&mut self.output, &topic, &frame) {
                self.live.registry.counters().undeliverable_answers.add();
            }
        }
        Ok(!room || !self.staged.is_empty())
    }

    /// Tells the session what is in hand.
    fn count_held(&mut self) {
        let held = self.staged_bytes + self.output.len();
        if held != self.held {
            self.session.recount(held, self.held);
            let has_more = held > self.held;
            self.held = held;
            if has_more {
                self.live.registry.relieve();
            }
        }
    }

    /// Writes; whether everything has left.
    fn drain(&mut self, cx: &mut Context<'_>) -> Result<bool, Ending> {
        if self.output.is_empty() && self.is_flushed {
            return Ok(true);
        }
        match self.wire.poll_drain(cx, &mut self.output) {
            Poll::Ready(drained) => {
                drained?;
                self.is_flushed = true;
                self.blocked = None;
                self.output.release();
            }
            Poll::Pending => {
                self.is_flushed = false;
                let written = self.wire.written();
                if self.blocked.is_none_or(|(_, before)| written > before) {
                    self.blocked = Some((Instant::now(), written));
                }
            }
        }
        Ok(self.is_flushed)
    }

    /// Ends a connection that is silent, or deaf, for too long, and sees to it that this is noticed in time.
    fn watch_the_clock(&mut self, cx: &mut Context<'_>) -> Result<(), Ending> {
        loop {
            // Who is not listened to cannot be silent.
            let silence = self.silence.filter(|_| self.may_read());
            let silent = silence.and_then(|silence| self.heard.checked_add(silence));
            let deaf = self.blocked.and_then(|(since, _)| since.checked_add(self.live.config.write_timeout));
            let Some(deadline) = silent.into_iter().chain(deaf).min() else { return Ok(()) };
            let now = Instant::now();
            if deaf.is_some_and(|deadline| deadline <= now) {
                return Err(Ending::SlowConsumer);
            }
            if silent.is_some_and(|deadline| deadline <= now) {
                return Err(Ending::KeepAlive);
            }
            // A timer that is set too early costs one look at the clock; moving it at each packet would cost more.
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.is_elapsed() || timer.deadline() > deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use tokio::net::TcpStream;

    use super::*;
    use crate::edge::wire::Stream;

    #[test]
    fn an_idle_connection_is_small() {
        // All that stays, besides a timer and two places in maps: the goal is 8 KiB with everything.
        let size = size_of::<Connection<Stream<TcpStream>, ()>>() + size_of::<Session>() + size_of::<Sleep>();
        assert!(size <= 1536, "{size} bytes");
    }
}
