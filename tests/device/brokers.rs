//! Both brokers, played over the in-process network.

use bytes::Bytes;
use http::Response;
use thingif::mqtt::Publish;
use thingif::transport::memory::{Attempt, Broker, BrokerLink, FromDevice};

use super::{CLIENT_ID, answer, onboarding_body};

/// Plays the default broker for one onboarding.
pub(crate) async fn onboard(broker: &mut Broker, generation: u32) {
    let attempt = broker.accept().await.expect("somebody connects");
    assert!(attempt.credentials().client_id.is_anonymous());
    let mut link = attempt.accept();
    let Some(FromDevice::Publish(request)) = link.next().await else { panic!("expected the onboarding request") };
    let response = Response::new(Bytes::from(onboarding_body(generation)));
    link.publish(answer(&request, &response)).expect("the device listens");
    assert_eq!(link.next().await, Some(FromDevice::Disconnect));
    assert_eq!(link.next().await, None);
}

/// Takes the next connection at the assigned broker and grants its subscription.
pub(crate) async fn assigned(broker: &mut Broker) -> BrokerLink {
    let attempt = broker.accept().await.expect("somebody connects");
    assert_eq!(attempt.credentials().client_id.as_str(), CLIENT_ID);
    grant(attempt).await
}

pub(crate) async fn grant(attempt: Attempt) -> BrokerLink {
    let mut link = attempt.accept();
    let Some(FromDevice::Subscribe(filter)) = link.next().await else { panic!("expected a SUBSCRIBE") };
    assert_eq!(filter.as_str(), CLIENT_ID);
    link.suback(filter, true).expect("the device listens");
    link
}

pub(crate) async fn request(link: &mut BrokerLink) -> Publish {
    match link.next().await {
        Some(FromDevice::Publish(request)) => request,
        other => panic!("expected a call, got {other:?}"),
    }
}
