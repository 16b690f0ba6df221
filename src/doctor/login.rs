//! CONNECT and its answer, SUBSCRIBE and its answer.

use bytes::Bytes;

use super::probe::{Broker, Fault, Finding};
use super::tls::client_certificate_wanted;
use super::trust::Trust;
use super::wire::{Broken, Link};
use crate::config::Config;
use crate::mqtt::packet::{Connect, Packet, PacketId, Protocol};
use crate::mqtt::{Credentials, Qos, RefusedReason};
use crate::topic::{Topic, TopicFilter};

/// Seconds; a probe is over before, unless it watches.
const KEEP_ALIVE: u16 = 60;

/// Logs in as `credentials`.
pub(super) async fn connack(
    link: &mut Link,
    broker: Broker,
    credentials: &Credentials,
    trust: &Trust,
) -> Result<((), Finding), Finding> {
    let connect = Connect {
        protocol: Protocol::V311,
        clean_session: true,
        keep_alive: KEEP_ALIVE,
        client_id: credentials.client_id.as_str().to_owned(),
        will: None,
        username: Some(credentials.username.clone()),
        password: Some(Bytes::copy_from_slice(credentials.password.expose().as_bytes())),
    };
    let answer = match link.send(&Packet::Connect(Box::new(connect))).await {
        Ok(()) => link.receive().await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(Packet::ConnAck { code: 0, .. }) => Ok(((), Finding::ok(format!("logged in as {}", credentials.client_id)))),
        Ok(Packet::ConnAck { code, .. }) => Err(refused(code, broker)),
        Ok(_) => Err(Finding::failed(
            Fault::Other,
            "CONNECT was answered with another packet than CONNACK",
            "What answers breaks the MQTT protocol: check host and port, and tell the broker's operator.",
        )),
        Err(broken) => Err(no_connack(&broken, trust)),
    }
}

fn refused(code: u8, broker: Broker) -> Finding {
    let reason = RefusedReason::from_code(code);
    let said = match reason {
        Some(reason) => format!("CONNACK {code}: {reason}"),
        None => format!("CONNACK {code}, which MQTT does not define"),
    };
    let renew = "The stored credential is out of date: onboard again with `thingif onboard`, and let the device do so.";
    let remedy = match (reason, broker) {
        (Some(RefusedReason::ProtocolVersion), _) => {
            "The broker speaks neither MQTT 3.1.1 nor 3.1: check that it is the right one."
        }
        (Some(RefusedReason::Identifier), Broker::Default) => {
            "It takes no client id `anonymous`, so it is no Thing-IF default broker: check --broker."
        }
        (Some(RefusedReason::ServerUnavailable), _) => {
            "The broker is overloaded or just starting: try again in a minute, then ask its operator. Devices have to back off."
        }
        (Some(RefusedReason::BadUserNameOrPassword), Broker::Default) => {
            "The app id or its key is wrong, or they are another site's: compare --app with what `thingif app list` or the \
             operator says."
        }
        (Some(RefusedReason::NotAuthorised), Broker::Default) => {
            "The broker does not know the app, or it is disabled: check the app id and that this is the app's site."
        }
        (Some(RefusedReason::Identifier | RefusedReason::BadUserNameOrPassword | RefusedReason::NotAuthorised), _) => {
            renew
        }
        (None, _) => "What answers breaks the MQTT protocol: check host and port, and tell the broker's operator.",
    };
    Finding::failed(Fault::Login, said, remedy)
}

fn no_connack(broken: &Broken, trust: &Trust) -> Finding {
    let schemes = "Check that scheme and port belong together: mqtt:// 1883, mqtts:// 8883, ws:// 12470, wss:// 12473.";
    match broken {
        Broken::ClientCertificate => client_certificate_wanted(trust),
        Broken::Closed => Finding::failed(
            Fault::Connect,
            "the connection was closed instead of an answer to CONNECT",
            format!("{schemes} A broker that is full, or has an address blocked, closes like this, too."),
        ),
        Broken::NotMqtt(first) if first.starts_with(&[0x15, 0x03]) => {
            Finding::failed(Fault::Connect, "what answers speaks TLS", "Use mqtts:// or wss:// for this port.")
        }
        Broken::NotMqtt(first) if first.starts_with(b"HTTP") => Finding::failed(
            Fault::Connect,
            "what answers is a web server",
            "Use ws:// or wss:// for a WebSocket port, or the broker's own port.",
        ),
        Broken::NotMqtt(_) => Finding::failed(Fault::Connect, "what answers does not speak MQTT", schemes),
        Broken::Io(why) => Finding::failed(Fault::Connect, why.as_str(), schemes),
    }
}

/// What it means that the connection is over in a step after CONNACK.
pub(super) fn lost(broken: Broken, trust: &Trust) -> Finding {
    match broken {
        Broken::ClientCertificate => client_certificate_wanted(trust),
        Broken::Closed | Broken::NotMqtt(_) => Finding::failed(
            Fault::Connect,
            "the broker closed the connection instead of answering",
            "Look for another device with the same client id, which takes the connection over (two devices onboarded with \
             one vendor thing id, or one credential copied); otherwise the broker's log says why it closed.",
        ),
        Broken::Io(why) => Finding::failed(
            Fault::Connect,
            why,
            "The network broke the connection, or the broker broke the protocol: try again, then look into its log.",
        ),
    }
}

/// Subscribes as the device would: to its pushes, and at an ordinary broker to the answers as well.
pub(super) async fn subscribe(
    link: &mut Link,
    config: &Config,
    credentials: &Credentials,
    trust: &Trust,
) -> Result<((), Finding), Finding> {
    let client = &credentials.client_id;
    let mut filters = vec![(TopicFilter::for_pushes(client), Qos::AtMostOnce)];
    if config.response_filter() {
        filters.push((TopicFilter::for_responses(client), Qos::AtMostOnce));
    }
    let asked = filters.iter().map(|(filter, _)| filter.as_str()).collect::<Vec<_>>().join(" and ");
    let refusal = filters.clone();
    let codes = subscribe_to(link, filters).await.map_err(|broken| lost(broken, trust))?;
    if codes.len() != refusal.len() {
        return Err(Finding::failed(
            Fault::Other,
            format!("SUBACK answers {} of {} topic filters", codes.len(), refusal.len()),
            "The broker breaks the MQTT protocol (3.1.1 §3.9.3): tell its operator.",
        ));
    }
    match codes.iter().position(|code| *code == 0x80) {
        None => Ok(((), Finding::ok(format!("subscribed to {asked}")))),
        Some(at) => Err(Finding::failed(
            Fault::Other,
            format!("the subscription to {} was refused", refusal.get(at).map_or("", |(filter, _)| filter.as_str())),
            "The broker lets this client subscribe to nothing there, so no command arrives: its access rules must allow a \
             client its own topic. An ordinary broker needs a rule for it.",
        )),
    }
}

/// Subscribes to the one topic on which an ordinary broker brings the answer.
pub(super) async fn subscribe_to_answer(link: &mut Link, topic: &Topic, trust: &Trust) -> Result<(), Finding> {
    let Ok(filter) = TopicFilter::new(topic.as_str()) else { return Ok(()) };
    let codes = subscribe_to(link, vec![(filter, Qos::AtMostOnce)]).await.map_err(|broken| lost(broken, trust))?;
    match codes.first() {
        Some(0x80) => Err(Finding::failed(
            Fault::Other,
            format!("the subscription to {topic} was refused"),
            "The broker's access rules must allow the onboarding topic, or leave --response-filter away.",
        )),
        _ => Ok(()),
    }
}

async fn subscribe_to(link: &mut Link, filters: Vec<(TopicFilter, Qos)>) -> Result<Vec<u8>, Broken> {
    let id = PacketId::MIN;
    link.send(&Packet::Subscribe { id, filters }).await?;
    loop {
        // A push may come before.
        if let Packet::SubAck { id: answered, codes } = link.receive().await?
            && answered == id
        {
            return Ok(codes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::probe::Verdict;

    #[test]
    fn each_refusal_has_a_remedy_of_its_broker() {
        for (code, broker, part) in [
            (1, Broker::Default, "MQTT 3.1.1"),
            (2, Broker::Default, "no Thing-IF default broker"),
            (3, Broker::Assigned, "back off"),
            (4, Broker::Default, "app id or its key"),
            (4, Broker::Assigned, "thingif onboard"),
            (5, Broker::Default, "disabled"),
            (5, Broker::Assigned, "thingif onboard"),
        ] {
            let finding = refused(code, broker);
            assert_eq!(finding.verdict, Verdict::Failed(Fault::Login), "{finding:?}");
            assert!(finding.remedy.as_ref().is_some_and(|remedy| remedy.contains(part)), "{finding:?}");
        }
    }
}
