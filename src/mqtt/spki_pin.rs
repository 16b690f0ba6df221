//! Which key a broker must have, whoever signed its certificate.

use std::fmt;
use std::str::FromStr;

/// How a pin begins, as curl writes it.
const PREFIX: &str = "sha256//";

/// 32 bytes in Base64: 43 characters and one `=`.
const BASE64_LEN: usize = 44;

/// The SHA-256 hash of the `SubjectPublicKeyInfo` in a certificate (RFC 7469 §2.4). It is no secret.
///
/// It is read and written as curl's `--pinnedpubkey` has it, `sha256//` and 44 characters of Base64:
///
/// ```
/// use thingif::mqtt::SpkiPin;
/// let text = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
/// let pin: SpkiPin = text.parse()?;
/// assert_eq!(pin.to_string(), text);
/// # Ok::<(), thingif::mqtt::InvalidSpkiPin>(())
/// ```
///
/// What a server has to show is made with `openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der |
/// openssl dgst -sha256 -binary | base64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpkiPin([u8; 32]);

/// Why a text is not a pin. Each names the byte at which it is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSpkiPin {
    /// It does not begin with `sha256//`; no other hash is in use.
    #[error("pin must begin with sha256// and differs at byte {0}")]
    Prefix(usize),
    /// Not a character of Base64.
    #[error("pin has a character that is not Base64 at byte {0}")]
    Character(usize),
    /// More or fewer than 44 characters of Base64 after the prefix.
    #[error("pin ends at byte {0} and must have 44 characters of Base64 after sha256//, the last of them =")]
    Length(usize),
    /// Bits are set in the last character that belong to no byte: something was cut off or mistyped.
    #[error("pin's last character of Base64, at byte {0}, cannot end 32 bytes")]
    TrailingBits(usize),
}

impl SpkiPin {
    /// A pin of a hash that is known already.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// The hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for SpkiPin {
    type Err = InvalidSpkiPin;

    fn from_str(text: &str) -> Result<Self, InvalidSpkiPin> {
        let bytes = text.as_bytes();
        if let Some(at) = PREFIX.bytes().enumerate().position(|(at, b)| bytes.get(at) != Some(&b)) {
            return Err(InvalidSpkiPin::Prefix(at));
        }
        let digits = &bytes[PREFIX.len()..];
        let end = digits.len().min(BASE64_LEN - 1);
        let (mut hash, mut bits, mut held, mut len) = ([0; 32], 0u32, 0, 0);
        for (at, b) in digits[..end].iter().enumerate() {
            let value = sextet(*b).ok_or(InvalidSpkiPin::Character(PREFIX.len() + at))?;
            (bits, held) = (bits << 6 | u32::from(value), held + 6);
            if held >= 8 {
                held -= 8;
                hash[len] = (bits >> held & 0xff) as u8;
                len += 1;
            }
        }
        match &digits[end..] {
            [b'='] if bits & ((1 << held) - 1) != 0 => Err(InvalidSpkiPin::TrailingBits(PREFIX.len() + end - 1)),
            [b'='] => Ok(Self(hash)),
            [] => Err(InvalidSpkiPin::Length(text.len())),
            [b'=', ..] => Err(InvalidSpkiPin::Length(text.len())),
            [..] => Err(InvalidSpkiPin::Character(PREFIX.len() + end)),
        }
    }
}

fn sextet(b: u8) -> Option<u8> {
    Some(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

impl fmt::Display for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        f.write_str(PREFIX)?;
        for three in self.0.chunks(3) {
            let bits = three.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - three.len()));
            for at in 0..4 {
                let digit = if at <= three.len() { ALPHABET[(bits >> (18 - 6 * at) & 63) as usize] } else { b'=' };
                write!(f, "{}", char::from(digit))?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SpkiPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpkiPin({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_pin_says_where() {
        let empty = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for (text, why) in [
            (String::new(), InvalidSpkiPin::Prefix(0)),
            ("sha1//x".into(), InvalidSpkiPin::Prefix(3)),
            ("sha256/".into(), InvalidSpkiPin::Prefix(7)),
            ("sha256//".into(), InvalidSpkiPin::Length(8)),
            (empty[..20].into(), InvalidSpkiPin::Length(20)),
            (empty[..51].into(), InvalidSpkiPin::Length(51)),
            (format!("{empty}="), InvalidSpkiPin::Length(53)),
            (format!("{empty};"), InvalidSpkiPin::Length(53)),
            (empty.replace("47D", "4!D"), InvalidSpkiPin::Character(9)),
            (empty.replace("+/TI", "-_TI"), InvalidSpkiPin::Character(20)),
            (empty.replace("U=", "UU"), InvalidSpkiPin::Character(51)),
            (empty.replace("U=", "V="), InvalidSpkiPin::TrailingBits(50)),
            (empty.replace("47D", "é"), InvalidSpkiPin::Character(8)),
        ] {
            assert_eq!(text.parse::<SpkiPin>(), Err(why), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pins_are_read_as_they_are_written(hash in any::<[u8; 32]>()) {
            let pin = SpkiPin::new(hash);
            prop_assert_eq!(pin.to_string().parse::<SpkiPin>(), Ok(pin));
        }

        #[test]
        fn any_text_is_judged(text in "(sha256//)?[A-Za-z0-9+/=é]{0,60}") {
            if let Ok(pin) = text.parse::<SpkiPin>() {
                prop_assert_eq!(pin.to_string(), text);
            }
        }
    }
}
