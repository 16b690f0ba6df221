//! Access tokens: 256 random bits outside, their SHA-256 inside.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::random;
use crate::ids::AccessToken;
use crate::secret::Secret;

/// What is stored of a token. A copy of the database opens nothing: there is no way back to the token, and no
/// dictionary for 256 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token as it was sent.
    pub(crate) fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A new token, 43 characters of base64url, and its hash.
pub(crate) fn generate() -> (Secret<AccessToken>, TokenHash) {
    let bytes = Secret::new(random::<32>());
    let text = URL_SAFE_NO_PAD.encode(bytes.expose());
    let hash = TokenHash::of(text.as_bytes());
    (Secret::new(AccessToken::new(text).expect("base64url is printable")), hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_43_characters_and_is_found_by_its_hash() {
        let (token, hash) = generate();
        assert_eq!(token.expose().as_str().len(), 43);
        assert_eq!(TokenHash::of(token.expose().as_str().as_bytes()), hash);
        assert_ne!(generate().1, hash);
    }
}
