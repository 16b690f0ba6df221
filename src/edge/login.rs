//! From the first byte to an admission, or to the CONNACK that refuses it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout, timeout_at};

use super::ending::Ending;
use super::live::Place;
use super::registry::Approach;
use super::wire::Wire;
use super::{Admission, Directory, Login, Peer};
use crate::ids::ClientId;
use crate::mqtt::packet::{Connect, Decoded, Decoder, Packet, Protocol};
use crate::mqtt::{Credentials, RefusedReason, Scheme};
use crate::secret::Secret;

/// Where a connection came from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) scheme: Scheme,
    pub(super) remote: SocketAddr,
    pub(super) local: SocketAddr,
}

/// Who was admitted.
pub(super) struct Admitted {
    pub(super) peer: Peer,
    pub(super) protocol: Protocol,
    /// How long the client may be silent: 1.5 × its keep-alive, if it has one. (`wire` §1.3)
    pub(super) silence: Option<Duration>,
    /// Whether it has a will, which nobody will hear.
    pub(super) has_will: bool,
    /// To be dropped once it is registered.
    pub(super) approach: Approach,
}

/// Reads the CONNECT and asks the directory.
pub(super) async fn login<W: Wire, D: Directory>(
    wire: &mut W,
    decoder: &mut Decoder,
    input: &mut BytesMut,
    directory: &D,
    origin: Origin,
    place: &Place,
    (deadline, admit_within): (Instant, Duration),
) -> Result<Admitted, Ending> {
    let connect = timeout_at(deadline, receive_connect(wire, decoder, input)).await;
    let connect = connect.map_err(|_| Ending::ConnectTimeout)??;
    let (protocol, keep_alive, has_will) = (connect.protocol, connect.keep_alive, connect.will.is_some());
    let login = check(connect, origin).map_err(Ending::Refused)?;
    let client_id = login.credentials.client_id.clone();
    let approach = place.live.registry.approach(&client_id, &place.session);
    let admission = timeout(admit_within, directory.admit(&login)).await;
    let Admission { role, app_id } =
        admission.unwrap_or(Err(RefusedReason::ServerUnavailable)).map_err(Ending::Refused)?;
    let Origin { scheme, remote, local } = origin;
    Ok(Admitted {
        peer: Peer { role, app_id, client_id, connection: place.session.id(), scheme, remote, local },
        protocol,
        silence: (keep_alive > 0).then(|| Duration::from_millis(1500) * u32::from(keep_alive)),
        has_will,
        approach,
    })
}

async fn receive_connect<W: Wire>(
    wire: &mut W,
    decoder: &mut Decoder,
    input: &mut BytesMut,
) -> Result<Connect, Ending> {
    loop {
        match decoder.decode(input)? {
            Some(Decoded::Packet(Packet::Connect(connect))) => return Ok(*connect),
            // The decoder expects a CONNECT and gives nothing else.
            Some(_) => return Err(Ending::ServerPacket),
            None => {}
        }
        if poll_fn(|cx| wire.poll_fill(cx, input)).await? == 0 {
            return Err(Ending::Closed);
        }
    }
}

/// What every CONNECT needs, whoever it is: an identifier that can stand in a topic, a user name and a password.
///
/// An empty client identifier is refused although 3.1.1 has servers choose one: it is the address of the answers.
fn check(connect: Connect, origin: Origin) -> Result<Login, RefusedReason> {
    let client_id = ClientId::new(&connect.client_id).map_err(|_| RefusedReason::Identifier)?;
    let bad = RefusedReason::BadUserNameOrPassword;
    let username = connect.username.ok_or(bad)?;
    let password = connect.password.ok_or(bad)?;
    let password = Secret::new(std::str::from_utf8(&password).map_err(|_| bad)?.to_owned());
    let Origin { scheme, remote, local } = origin;
    let credentials = Credentials { client_id, username, password };
    Ok(Login { protocol: connect.protocol, credentials, scheme, remote, local })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn connect() -> Connect {
        Connect {
            protocol: Protocol::V311,
            clean_session: true,
            keep_alive: 60,
            client_id: "Q2w3E4r5".to_owned(),
            will: None,
            username: Some("u".to_owned()),
            password: Some(Bytes::from_static(b"p")),
        }
    }

    fn refusal(connect: Connect) -> Option<u8> {
        let address = ([127, 0, 0, 1], 1).into();
        let origin = Origin { scheme: Scheme::Mqtt, remote: address, local: address };
        check(connect, origin).err().map(RefusedReason::code)
    }

    #[test]
    fn a_connect_needs_an_identifier_a_user_name_and_a_password() {
        assert_eq!(refusal(connect()), None);
        assert_eq!(refusal(Connect { client_id: String::new(), ..connect() }), Some(2));
        assert_eq!(refusal(Connect { client_id: "a/b".to_owned(), ..connect() }), Some(2));
        assert_eq!(refusal(Connect { username: None, ..connect() }), Some(4));
        assert_eq!(refusal(Connect { password: None, ..connect() }), Some(4));
        assert_eq!(refusal(Connect { password: Some(Bytes::from_static(b"\xff")), ..connect() }), Some(4));
    }
}
