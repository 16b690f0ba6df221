//! One TCP connection of a file.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::segment::Segment;
use super::stream::{Gap, Stream};
use super::websocket::Unwrap;
use super::{Found, Missing, Remark};
use crate::capture::{Conversation, Direction};
use crate::mqtt::{Endpoint, Scheme};

#[derive(Debug)]
pub(super) struct Flow {
    link: u64,
    conversation: Conversation,
    out: Half,
    inward: Half,
    missing: Vec<Missing>,
    /// By whom.
    ended: Option<Direction>,
}

/// One direction of it.
#[derive(Debug)]
struct Half {
    stream: Stream,
    websocket: Option<Unwrap>,
}

impl Half {
    fn new(is_websocket: bool) -> Self {
        Self { stream: Stream::default(), websocket: is_websocket.then(Unwrap::default) }
    }
}

impl Flow {
    pub(super) fn new(link: u64, broker: SocketAddr, is_websocket: bool) -> Self {
        let scheme = if is_websocket { Scheme::Ws } else { Scheme::Mqtt };
        let host = broker.ip().to_string();
        // Where a scope would have to be written, the endpoint stands for all of its kind.
        let endpoint = Endpoint::new(scheme, host, broker.port().max(1))
            .or_else(|_| Endpoint::new(scheme, "localhost", 1))
            .expect("localhost and a port are an endpoint");
        Self {
            link,
            conversation: Conversation::new(link, endpoint),
            out: Half::new(is_websocket),
            inward: Half::new(is_websocket),
            missing: Vec::new(),
            ended: None,
        }
    }

    pub(super) fn link(&self) -> u64 {
        self.link
    }

    /// Whether a SYN with this number is the one it began with.
    pub(super) fn is_opened_by(&self, sequence: u32) -> bool {
        self.out.stream.is_opened_by(sequence)
    }

    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// Bytes kept because something before or after them is missing.
    pub(super) fn buffered(&self) -> usize {
        self.out.stream.waiting() + self.inward.stream.waiting() + self.conversation.buffered()
    }

    pub(super) fn segment(&mut self, at: Duration, direction: Direction, segment: &Segment<'_>) {
        let half = match direction {
            Direction::In => &mut self.inward,
            Direction::Out => &mut self.out,
        };
        if segment.syn {
            half.stream.open(segment.sequence);
        }
        let sequence = if segment.syn { segment.sequence.wrapping_add(1) } else { segment.sequence };
        let (conversation, websocket, missing) = (&mut self.conversation, &mut half.websocket, &mut self.missing);
        let given =
            half.stream.segment(sequence, (segment.payload, segment.cut), segment.fin, |bytes| match websocket {
                None => conversation.feed(at, direction, bytes),
                Some(unwrap) if !conversation.is_over() => {
                    if let Err(error) = unwrap.feed(bytes, |bytes| conversation.feed(at, direction, bytes)) {
                        missing.push(error.into());
                        conversation.abandon();
                    }
                }
                Some(_) => {}
            });
        if segment.rst || half.stream.is_finished() {
            self.ended.get_or_insert(direction);
        }
        if let Err(gap) = given {
            self.gap(direction, gap);
        }
        // While something is missing, nobody knows what was said before the end.
        if let Some(by) = self.ended
            && self.out.stream.is_whole()
            && self.inward.stream.is_whole()
        {
            self.conversation.end(at, by);
        }
    }

    fn gap(&mut self, direction: Direction, gap: Gap) {
        self.missing.push(Missing::Bytes { direction, offset: gap.offset, len: gap.len });
    }

    /// Leaves the rest out, because too much is open; gives back what was kept.
    pub(super) fn give_up(&mut self) -> usize {
        let kept = self.buffered();
        self.conversation.abandon();
        self.out.stream = std::mem::take(&mut self.out.stream).into_broken();
        self.inward.stream = std::mem::take(&mut self.inward.stream).into_broken();
        self.missing.push(Missing::TooMuch);
        self.ended.get_or_insert(Direction::In);
        kept - self.buffered()
    }

    /// Nothing more will come.
    pub(super) fn finish(&mut self) {
        for direction in [Direction::Out, Direction::In] {
            let half = match direction {
                Direction::In => &mut self.inward,
                Direction::Out => &mut self.out,
            };
            if let Some(gap) = half.stream.finish() {
                self.gap(direction, gap);
            }
        }
    }

    /// Hands over what was found.
    pub(super) fn take(&mut self, ends: (SocketAddr, SocketAddr), into: &mut VecDeque<Found>) {
        while let Some(entry) = self.conversation.next_entry() {
            into.push_back(Found::Entry(entry));
        }
        let omissions = self.conversation.take_omissions().into_iter().map(Missing::from);
        let (link, (device, broker)) = (self.link, ends);
        for what in self.missing.drain(..).chain(omissions) {
            into.push_back(Found::Remark(Remark { link, device, broker, what }));
        }
    }
}
