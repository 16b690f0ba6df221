//! Takes the payload out of one direction of a recorded WebSocket connection (RFC 6455).

/// The largest head of an upgrade request or of its answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Bytes that are no WebSocket that carries MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotWebSocket {
    /// The head of the HTTP upgrade is larger than 16 KiB.
    #[error("the head of the upgrade has no end")]
    Head,
    /// A frame uses an extension, such as compression.
    #[error("its frames use an extension, such as compression")]
    Extension,
    /// A frame is neither binary, nor one of control.
    #[error("it has frames that are not binary")]
    Kind,
}

/// One direction. Feed it bytes as they come; it hands out what the frames carry.
#[derive(Debug, Default)]
pub(super) struct Unwrap {
    /// What is needed to go on: of the head, or of a frame's header.
    head: Vec<u8>,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// In the HTTP head.
    #[default]
    Upgrade,
    /// In a frame's header.
    Header,
    /// In its payload.
    Payload { left: u64, mask: [u8; 4], at: usize, is_data: bool },
}

/// A frame's header: how long it is, and what it says.
struct Header {
    len: usize,
    payload: u64,
    mask: [u8; 4],
    opcode: u8,
    reserved: u8,
}

impl Header {
    /// `None` when there is not all of it.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (short, is_masked) = (second & 0x7F, second & 0x80 != 0);
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let payload = match extended {
            0 => u64::from(short),
            len => bytes.get(2..2 + len)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        };
        let len = 2 + extended + if is_masked { 4 } else { 0 };
        let mask = match is_masked {
            true => bytes.get(2 + extended..len)?.try_into().ok()?,
            false => [0; 4],
        };
        Some(Self { len, payload, mask, opcode: first & 0x0F, reserved: first & 0x70 })
    }
}

impl Unwrap {
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut deliver: impl FnMut(&[u8])) -> Result<(), NotWebSocket> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Upgrade => {
                    let before = self.head.len();
                    self.head.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD + 4 - before.min(MAX_HEAD))]);
                    // What was looked at before is not looked at again.
                    let from = before.saturating_sub(3);
                    let end = self.head[from..].windows(4).position(|four| four == b"\r\n\r\n");
                    let Some(end) = end.map(|end| from + end) else {
                        return if self.head.len() > MAX_HEAD { Err(NotWebSocket::Head) } else { Ok(()) };
                    };
                    bytes = &bytes[end + 4 - before..];
                    self.head.clear();
                    self.state = State::Header;
                }
                State::Header => {
                    self.head.push(bytes[0]);
                    bytes = &bytes[1..];
                    let Some(header) = Header::parse(&self.head) else { continue };
                    debug_assert_eq!(header.len, self.head.len());
                    if header.reserved != 0 {
                        return Err(NotWebSocket::Extension);
                    }
                    let is_data = match header.opcode {
                        0 | 2 => true,
                        8..=10 => false,
                        _ => return Err(NotWebSocket::Kind),
                    };
                    self.head.clear();
                    self.state = match header.payload {
                        0 => State::Header,
                        left => State::Payload { left, mask: header.mask, at: 0, is_data },
                    };
                }
                State::Payload { left, mask, at, is_data } => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    if *is_data {
                        let plain: Vec<u8> = bytes[..len]
                            .iter()
                            .enumerate()
                            .map(|(index, byte)| byte ^ mask[(*at + index) % 4])
                            .collect();
                        deliver(&plain);
                    }
                    *left -= len as u64;
                    *at = (*at + len) % 4;
                    bytes = &bytes[len..];
                    if *left == 0 {
                        self.state = State::Header;
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unwrapped(bytes: &[u8], piece: usize) -> Result<Vec<u8>, NotWebSocket> {
        let (mut unwrap, mut all) = (Unwrap::default(), Vec::new());
        for piece in bytes.chunks(piece) {
            unwrap.feed(piece, |bytes| all.extend_from_slice(bytes))?;
        }
        Ok(all)
    }

    #[test]
    fn frames_of_every_length_masked_or_not_are_unwrapped() {
        let mut wire = b"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n\r\n".to_vec();
        wire.extend([0x82, 0x80 | 3, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2, b'c' ^ 3]);
        wire.extend([0x89, 2, b'n', b'o']); // a ping
        wire.extend([0x02, 1, b'd']);
        wire.extend([0x80, 126, 1, 0]);
        wire.extend([b'e'; 256]);
        wire.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        wire.extend([b'f'; 65_536]);
        wire.extend([0x82, 0]);
        wire.extend([0x88, 0]);
        let expected = [b"abcd".to_vec(), vec![b'e'; 256], vec![b'f'; 65_536]].concat();
        for piece in [1, 3, 1000, 1_000_000] {
            assert_eq!(unwrapped(&wire, piece).as_deref(), Ok(&expected[..]), "in pieces of {piece}");
        }
    }

    #[test]
    fn what_is_no_websocket_is_refused() {
        assert_eq!(unwrapped(&vec![b'x'; MAX_HEAD + 10], 100), Err(NotWebSocket::Head));
        assert_eq!(unwrapped(b"x\r\n\r\n\xC2\x00", 100), Err(NotWebSocket::Extension));
        assert_eq!(unwrapped(b"x\r\n\r\n\x81\x01a", 100), Err(NotWebSocket::Kind));
    }
}
