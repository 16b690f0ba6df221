//! Captures out of .pcap and .pcapng files, as tcpdump and Wireshark write them.
//!
//! [`Import`] takes the MQTT connections to given ports out of a file. It reads Ethernet (VLANs too), Linux cooked (versions 1
//! and 2, what `tcpdump -i any` writes), BSD loopback and raw IP; IPv4 and IPv6; puts TCP streams together again from
//! segments that are late, repeated or overlap; and unwraps WebSockets on the ports where they are. What is under TLS it
//! cannot read, and IP fragments it does not put together.
//!
//! What is missing in the file is told, with its place, and never guessed: MQTT has no way to find the next packet after a gap, so
//! the rest of that direction is left out.
//!
//! ```no_run
//! use std::fs::File;
//! use thingif::capture::{Header, Writer, pcap::{Found, Import, Ports}};
//!
//! let ports = Ports { mqtt: vec![1883], websocket: vec![12470] };
//! let mut writer = Writer::new(std::io::stdout(), &Header::new("edge"))?;
//! for found in Import::new(File::open("lo.pcap")?, ports)? {
//!     match found? {
//!         Found::Entry(entry) => writer.write(&entry)?,
//!         Found::Remark(remark) => eprintln!("{remark}"),
//!         // Later versions may find more.
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod flow;
mod packets;
mod segment;
mod stream;
mod websocket;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

pub use packets::PcapFileError;
pub use websocket::NotWebSocket;

use super::{Direction, Entry, Omission};
use flow::Flow;
use packets::Packets;
use segment::{Read as Reading, Segment};

/// Connections that are followed at the same time.
const MAX_CONNECTIONS: usize = 4096;

/// Bytes of packets that are not complete yet, of all connections together.
const MAX_BUFFERED: usize = 64 * 1024 * 1024;

/// On which TCP ports brokers are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ports {
    /// MQTT over TCP.
    pub mqtt: Vec<u16>,
    /// MQTT over WebSocket.
    pub websocket: Vec<u16>,
}

impl Ports {
    fn has(&self, port: u16) -> bool {
        self.mqtt.contains(&port) || self.websocket.contains(&port)
    }
}

/// What is found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Something that happened on a connection.
    Entry(Entry),
    /// Something that is left out.
    Remark(Remark),
}

/// What is left out of a connection, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The connection's number in the capture.
    pub link: u64,
    /// The device's end.
    pub device: SocketAddr,
    /// The broker's end.
    pub broker: SocketAddr,
    /// What is left out.
    pub what: Missing,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "link {} ({} to {}): {}", self.link, self.device, self.broker, self.what)
    }
}

/// What is left out of a connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// Bytes are not in the file.
    #[error(
        "{len} bytes are missing at byte {offset} of what {} sent; the rest of it is left out",
        match .direction { Direction::In => "the broker", Direction::Out => "the device" }
    )]
    Bytes {
        /// Of which direction.
        direction: Direction,
        /// Where: bytes since the beginning of that direction.
        offset: u64,
        /// How many.
        len: u64,
    },
    /// What was sent is no MQTT, or cannot be written.
    #[error(transparent)]
    Omission(#[from] Omission),
    /// The port was said to be one of WebSockets, and it is not.
    #[error("this is no WebSocket that carries MQTT: {0}; the rest of it is left out")]
    NotWebSocket(#[from] NotWebSocket),
    /// More is open at the same time than is followed.
    #[error("too much is open at the same time; the rest of it is left out")]
    TooMuch,
}

/// What was in a file besides entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Packets of the file.
    pub packets: u64,
    /// TCP segments to or from the given ports.
    pub segments: u64,
    /// IP fragments, which are not put together.
    pub fragments: u64,
    /// Packets of a link type that is not known.
    pub unknown_links: u64,
    /// Connections to the given ports.
    pub connections: u64,
}

/// Reads a file: an iterator over what is found in it, in the order of its packets. Ends after the first error.
///
/// Memory: at most 4096 connections and 64 MiB of what is not complete yet, whatever the file holds.
pub struct Import<'r> {
    packets: Packets<'r>,
    ports: Ports,
    flows: HashMap<(SocketAddr, SocketAddr), Flow>,
    found: VecDeque<Found>,
    counts: Counts,
    buffered: usize,
    began: Option<Duration>,
    now: Duration,
    is_over: bool,
    failed: Option<PcapFileError>,
}

impl fmt::Debug for Import<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Import").field("ports", &self.ports).field("counts", &self.counts).finish_non_exhaustive()
    }
}

impl<'r> Import<'r> {
    /// Reads the file's header.
    ///
    /// # Errors
    /// [`PcapFileError`]: it is not one of these files.
    pub fn new(source: impl Read + Send + 'r, ports: Ports) -> Result<Self, PcapFileError> {
        Ok(Self {
            packets: Packets::new(source)?,
            ports,
            flows: HashMap::new(),
            found: VecDeque::new(),
            counts: Counts::default(),
            buffered: 0,
            began: None,
            now: Duration::ZERO,
            is_over: false,
            failed: None,
        })
    }

    /// What has been read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn packet(&mut self, packet: &packets::Packet) {
        self.counts.packets += 1;
        match segment::read(packet.link_type, &packet.bytes) {
            Reading::Segment(segment) if self.ports.has(segment.from.port()) || self.ports.has(segment.to.port()) => {
                self.counts.segments += 1;
                if let Some(time) = packet.time {
                    let began = *self.began.get_or_insert(time);
                    self.now = self.now.max(time.saturating_sub(began));
                }
                self.segment(&segment);
            }
            Reading::Fragment => self.counts.fragments += 1,
            Reading::UnknownLink(_) => self.counts.unknown_links += 1,
            Reading::Segment(_) | Reading::Other => {}
        }
    }

    /// Which way it travels, and between whom: device, broker.
    fn ends(&self, segment: &Segment<'_>) -> (Direction, (SocketAddr, SocketAddr)) {
        let (out, inward) = ((segment.from, segment.to), (segment.to, segment.from));
        let to_broker = match (self.ports.has(segment.from.port()), self.ports.has(segment.to.port())) {
            (false, _) => true,
            (true, false) => false,
            // Both ends have such a port: whoever opened the connection is the device.
            (true, true) => match (segment.syn, segment.ack) {
                (true, is_answer) => !is_answer,
                (false, _) => self.flows.contains_key(&out) || !self.flows.contains_key(&inward),
            },
        };
        if to_broker { (Direction::Out, out) } else { (Direction::In, inward) }
    }

    fn segment(&mut self, segment: &Segment<'_>) {
        let (direction, ends) = self.ends(segment);
        let opens = segment.syn && direction == Direction::Out && !segment.ack;
        if let Some(flow) = self.flows.get(&ends)
            && opens
            && !flow.is_opened_by(segment.sequence)
        {
            self.finish(ends); // the port is used again
        }
        if !self.flows.contains_key(&ends) {
            if !opens && segment.payload.is_empty() {
                return; // the last words of a connection that is over, or was before the recording
            }
            if self.flows.len() >= MAX_CONNECTIONS {
                self.make_room();
            }
            self.counts.connections += 1;
            let is_websocket = self.ports.websocket.contains(&ends.1.port());
            self.flows.insert(ends, Flow::new(self.counts.connections, ends.1, is_websocket));
        }
        let Some(flow) = self.flows.get_mut(&ends) else { return };
        let before = flow.buffered();
        flow.segment(self.now, direction, segment);
        self.buffered = (self.buffered + flow.buffered()).saturating_sub(before);
        if self.buffered > MAX_BUFFERED {
            self.buffered -= flow.give_up();
        }
        flow.take(ends, &mut self.found);
    }

    /// Ends what is over, else the connection that began first.
    fn make_room(&mut self) {
        let over: Vec<_> = self.flows.iter().filter(|(_, flow)| flow.is_over()).map(|(ends, _)| *ends).collect();
        for ends in &over {
            self.finish(*ends);
        }
        if over.is_empty()
            && let Some(ends) = self.flows.iter().min_by_key(|(_, flow)| flow.link()).map(|(ends, _)| *ends)
        {
            if let Some(flow) = self.flows.get_mut(&ends) {
                self.buffered = self.buffered.saturating_sub(flow.give_up());
            }
            self.finish(ends);
        }
    }

    fn finish(&mut self, ends: (SocketAddr, SocketAddr)) {
        if let Some(mut flow) = self.flows.remove(&ends) {
            self.buffered = self.buffered.saturating_sub(flow.buffered());
            flow.finish();
            flow.take(ends, &mut self.found);
        }
    }

    fn finish_all(&mut self) {
        self.is_over = true;
        let mut left: Vec<_> = self.flows.iter().map(|(ends, flow)| (flow.link(), *ends)).collect();
        left.sort_unstable();
        for (_, ends) in left {
            self.finish(ends);
        }
    }
}

impl Iterator for Import<'_> {
    type Item = Result<Found, PcapFileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(Ok(found));
            }
            if self.is_over {
                return self.failed.take().map(Err);
            }
            match self.packets.next() {
                Ok(Some(packet)) => self.packet(&packet),
                Ok(None) => self.finish_all(),
                Err(error) => {
                    // What was read before it is handed out first.
                    self.finish_all();
                    self.failed = Some(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
