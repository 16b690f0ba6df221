//! From a packet to its TCP segment.

use std::net::{IpAddr, SocketAddr};

use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use pcap_parser::Linktype;

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) sequence: u32,
    pub(super) syn: bool,
    pub(super) ack: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    pub(super) payload: &'a [u8],
    /// Bytes of the payload that were sent and not recorded (`tcpdump -s`).
    pub(super) cut: usize,
}

/// What a packet is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read<'a> {
    Segment(Segment<'a>),
    /// A part of an IP packet: those are not put together.
    Fragment,
    /// A link type that is not known.
    UnknownLink(i32),
    /// UDP, ARP, …, or cut too short.
    Other,
}

/// Reads Ethernet (VLANs too), Linux cooked (v1, v2), BSD loopback and raw IP.
pub(super) fn read(link_type: Linktype, bytes: &[u8]) -> Read<'_> {
    let sliced = match link_type {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).ok(),
        // Of Linux cooked headers only the type of what follows counts.
        Linktype::LINUX_SLL => after(bytes, 16).map(|rest| cooked([bytes[14], bytes[15]], rest)),
        Linktype::LINUX_SLL2 => after(bytes, 20).map(|rest| cooked([bytes[0], bytes[1]], rest)),
        // An address family, in the byte order of whoever wrote it, and its numbers differ: IP says itself what it is.
        Linktype::NULL | Linktype::LOOP => after(bytes, 4).and_then(|rest| LaxSlicedPacket::from_ip(rest).ok()),
        // 12 is what OpenBSD and some others call raw IP.
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 | Linktype(12) => LaxSlicedPacket::from_ip(bytes).ok(),
        other => return Read::UnknownLink(other.0),
    };
    sliced.map_or(Read::Other, |sliced| segment(&sliced))
}

fn after(bytes: &[u8], header: usize) -> Option<&[u8]> {
    bytes.get(header..)
}

fn cooked(ether_type: [u8; 2], rest: &[u8]) -> LaxSlicedPacket<'_> {
    LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(ether_type)), rest)
}

fn segment<'a>(sliced: &LaxSlicedPacket<'a>) -> Read<'a> {
    let (from, to): (IpAddr, IpAddr) = match &sliced.net {
        Some(LaxNetSlice::Ipv4(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        Some(LaxNetSlice::Ipv6(ip)) => (ip.header().source_addr().into(), ip.header().destination_addr().into()),
        _ => return Read::Other,
    };
    if sliced.net.as_ref().and_then(LaxNetSlice::ip_payload_ref).is_some_and(|payload| payload.fragmented) {
        return Read::Fragment;
    }
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return Read::Other };
    Read::Segment(Segment {
        from: SocketAddr::new(from, tcp.source_port()),
        to: SocketAddr::new(to, tcp.destination_port()),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        ack: tcp.ack(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        cut: sliced.net.as_ref().map_or(0, cut),
    })
}

/// By how much less of a packet there is than its header says.
fn cut(net: &LaxNetSlice<'_>) -> usize {
    let is_incomplete = net.ip_payload_ref().is_some_and(|payload| payload.incomplete);
    match net {
        LaxNetSlice::Ipv4(ip) if is_incomplete => {
            let there = ip.header().slice().len() + ip.extensions().auth.map_or(0, |auth| auth.slice().len());
            usize::from(ip.header().total_len()).saturating_sub(there + ip.payload().payload.len())
        }
        LaxNetSlice::Ipv6(ip) if is_incomplete => {
            let there = ip.extensions().slice().len() + ip.payload().payload.len();
            usize::from(ip.header().payload_length()).saturating_sub(there)
        }
        _ => 0,
    }
}
