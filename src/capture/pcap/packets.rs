//! The packets of a .pcap or .pcapng file, one after the other.

use std::io::{self, Read};
use std::time::Duration;

use pcap_parser::traits::{PcapNGPacketBlock as _, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

/// The largest block of a file that is read, in bytes. tcpdump's largest packets have 256 KiB.
const MAX_BLOCK: usize = 1024 * 1024;

/// What is read at once; the buffer grows for larger blocks.
const FIRST_BUFFER: usize = 64 * 1024;

/// Interfaces of one section of a .pcapng file; packets of further ones are counted as unreadable.
const MAX_INTERFACES: usize = 1024;

/// Why a file cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapFileError {
    /// It begins neither as .pcap nor as .pcapng.
    #[error("this is neither a .pcap nor a .pcapng file")]
    NotPcap,
    /// The source could not be read.
    #[error("the packets cannot be read")]
    Io,
    /// The last packet is incomplete, as when tcpdump was killed. All before it were read.
    #[error("the file ends in the middle of a packet; everything before it was read")]
    Torn,
    /// A block is larger than 1 MiB, which no program writes.
    #[error("a block of the file is larger than {MAX_BLOCK} bytes")]
    BlockTooLarge,
    /// A block is malformed; nothing can be read after it.
    #[error("a block of the file is malformed; everything before it was read")]
    Malformed,
}

/// A packet as the network interface has seen it.
#[derive(Debug)]
pub(super) struct Packet {
    /// Since the epoch; `None` in blocks that have no time.
    pub(super) time: Option<Duration>,
    pub(super) link_type: Linktype,
    pub(super) bytes: Vec<u8>,
}

/// Reads packets.
pub(super) struct Packets<'r> {
    reader: Box<dyn PcapReaderIterator + Send + 'r>,
    form: Form,
    capacity: usize,
}

/// What packets mean, told by blocks before them.
enum Form {
    Legacy { link_type: Linktype, nanoseconds: bool },
    Ng(Vec<Interface>),
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: Linktype,
    /// Units a second.
    resolution: u128,
    /// Seconds.
    offset: i64,
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> Option<Duration> {
        let units = u128::from(u64::from(high) << 32 | u64::from(low));
        let nanoseconds = u64::try_from(units * 1_000_000_000 / self.resolution).ok()?;
        let offset = Duration::from_secs(self.offset.unsigned_abs());
        let time = Duration::from_nanos(nanoseconds);
        if self.offset < 0 { time.checked_sub(offset) } else { time.checked_add(offset) }
    }
}

/// Units a second of `if_tsresol`: a power of ten, or of two with the highest bit set. Microseconds if it makes no sense.
fn resolution(exponent: u8) -> u128 {
    match exponent {
        exponent @ 0..=19 => 10u128.pow(exponent.into()),
        exponent @ 0x80..=0xBF => 1 << (exponent & 0x7F),
        _ => 1_000_000,
    }
}

/// Fills whatever it is given, so that the file's header is never cut.
struct Whole<R>(R);

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl<'r> Packets<'r> {
    pub(super) fn new(source: impl Read + Send + 'r) -> Result<Self, PcapFileError> {
        let reader = create_reader(FIRST_BUFFER, Whole(source)).map_err(|error| match error {
            PcapError::ReadError => PcapFileError::Io,
            _ => PcapFileError::NotPcap,
        })?;
        Ok(Self { reader, form: Form::Ng(Vec::new()), capacity: FIRST_BUFFER })
    }

    /// The next packet. `None` at the end. A block that cannot be one of an interface that was described is given with the
    /// link type -1, which nobody knows.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, PcapFileError> {
        loop {
            let (len, packet) = match self.reader.next() {
                Ok((len, block)) => (len, self.form.read(block)),
                Err(PcapError::Eof) => return Ok(None),
                Err(PcapError::Incomplete(_)) => {
                    let had = self.reader.data().len();
                    self.reader.refill().map_err(|_| PcapFileError::Io)?;
                    if self.reader.data().len() == had {
                        // Nothing came, and there is no room or nothing left.
                        return match (self.reader.reader_exhausted(), had) {
                            (true, 0) => Ok(None),
                            (true, _) => Err(PcapFileError::Torn),
                            (false, _) => Err(PcapFileError::BlockTooLarge),
                        };
                    }
                    continue;
                }
                Err(PcapError::UnexpectedEof) => return Err(PcapFileError::Torn),
                Err(PcapError::BufferTooSmall) => {
                    if self.capacity > MAX_BLOCK {
                        return Err(PcapFileError::BlockTooLarge);
                    }
                    self.capacity *= 2;
                    self.reader.grow(self.capacity);
                    continue;
                }
                Err(PcapError::ReadError) => return Err(PcapFileError::Io),
                Err(_) => return Err(PcapFileError::Malformed),
            };
            if len == 0 {
                return Err(PcapFileError::Malformed);
            }
            self.reader.consume(len);
            if packet.is_some() {
                return Ok(packet);
            }
        }
    }
}

impl Form {
    fn read(&mut self, block: PcapBlockOwned<'_>) -> Option<Packet> {
        match (block, &mut *self) {
            (PcapBlockOwned::LegacyHeader(header), _) => {
                let nanoseconds = header.is_nanosecond_precision();
                *self = Self::Legacy { link_type: header.network, nanoseconds };
                None
            }
            (PcapBlockOwned::Legacy(packet), Self::Legacy { link_type, nanoseconds }) => {
                let unit = if *nanoseconds { 1 } else { 1_000 };
                let fraction = Duration::from_nanos(u64::from(packet.ts_usec) * unit);
                let time = Duration::from_secs(packet.ts_sec.into()) + fraction;
                // The upper half of the field says other things.
                let link_type = Linktype(link_type.0 & 0xFFFF);
                Some(Packet { time: Some(time), link_type, bytes: packet.data.to_vec() })
            }
            (PcapBlockOwned::NG(block), Self::Ng(interfaces)) => read_block(&block, interfaces),
            _ => None,
        }
    }
}

fn read_block(block: &Block<'_>, interfaces: &mut Vec<Interface>) -> Option<Packet> {
    let unknown = Linktype(-1);
    match block {
        Block::SectionHeader(_) => {
            interfaces.clear();
            None
        }
        Block::InterfaceDescription(described) => {
            if interfaces.len() < MAX_INTERFACES {
                interfaces.push(Interface {
                    link_type: described.linktype,
                    resolution: resolution(described.if_tsresol),
                    offset: described.if_tsoffset,
                });
            }
            None
        }
        Block::EnhancedPacket(packet) => {
            let interface = usize::try_from(packet.if_id).ok().and_then(|index| interfaces.get(index));
            Some(Packet {
                time: interface.and_then(|interface| interface.time(packet.ts_high, packet.ts_low)),
                link_type: interface.map_or(unknown, |interface| interface.link_type),
                bytes: packet.packet_data().to_vec(),
            })
        }
        Block::SimplePacket(packet) => Some(Packet {
            time: None,
            link_type: interfaces.first().map_or(unknown, |interface| interface.link_type),
            bytes: packet.packet_data().to_vec(),
        }),
        _ => None,
    }
}
