//! The device client over a network that refuses, loses, duplicates, delays, reorders and cuts: every call ends, and no
//! answer reaches a call that it is not the answer to.
#![cfg(feature = "client")]

mod device;

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use thingif::client::{self, RequestError, SessionError};
use thingif::mqtt::LinkErrorKind;
use thingif::transport::fault::{Fault, FaultPlan, Faults};
use thingif::transport::memory::{self, Broker, BrokerLink, FromDevice};

use device::{answer, answer_to, call, config, onboarding_body};

const SECOND: Duration = Duration::from_secs(1);

/// Plays both brokers for whoever connects.
async fn serve(mut broker: Broker, with_ids: bool) {
    while let Some(attempt) = broker.accept().await {
        let anonymous = attempt.credentials().client_id.is_anonymous();
        tokio::spawn(serve_link(attempt.accept(), anonymous, with_ids));
    }
}

async fn serve_link(mut link: BrokerLink, anonymous: bool, with_ids: bool) {
    while let Some(message) = link.next().await {
        // A device that is gone, or slow, is no concern of a broker's.
        match message {
            FromDevice::Publish(request) if anonymous => {
                link.publish(answer(&request, &Response::new(Bytes::from(onboarding_body(1))))).ok();
            }
            FromDevice::Publish(request) => drop(link.publish(answer_to(&request, with_ids))),
            FromDevice::Subscribe(filter) => drop(link.suback(filter, true)),
            _ => {}
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    answered: u32,
    not_sent: u32,
    timed_out: u32,
    disconnected: u32,
}

/// Three hundred calls on three paths, up to thirty at once.
async fn live(seed: u64, faults: Faults, with_ids: bool) -> Tally {
    let plan = FaultPlan {
        refuse_connect: 0.1,
        lose_connect: 0.05,
        to_broker: faults.clone(),
        to_device: faults,
        cut_after: Some(150..=400),
        subscriptions: true,
        ..FaultPlan::new(seed)
    };
    let (network, broker) = memory::network();
    tokio::spawn(serve(broker, with_ids));
    let config = config()
        .with_seed(seed)
        .with_connect_attempts(1000)
        .and_then(|c| c.with_late_answer_window(2 * SECOND))
        .expect("in range");
    let (client, pushes, connection) = client::connect(config, Fault::new(network, plan)).await.expect("connected");
    let connection = tokio::spawn(connection.run());

    let mut callers = Vec::new();
    for caller in 0..30 {
        let client = client.clone();
        callers.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            for n in 0..10 {
                let nonce = format!("{caller}.{n}");
                let path = ["states", "commands", "triggers"][(caller + n) % 3];
                match client.send_within(call(path, &nonce), 2 * SECOND).await {
                    Ok(response) => {
                        assert_eq!(response.body(), nonce.as_bytes(), "another call's answer");
                        tally.answered += 1;
                    }
                    Err(RequestError::NotSent(_)) => {
                        tally.not_sent += 1;
                        tokio::time::sleep(SECOND).await;
                    }
                    Err(RequestError::TimedOut) => tally.timed_out += 1,
                    Err(RequestError::Disconnected(SessionError::Link(error))) => {
                        assert_eq!(error.kind(), LinkErrorKind::Closed);
                        tally.disconnected += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            tally
        }));
    }
    let mut total = Tally::default();
    for caller in callers {
        let tally = caller.await.expect("no wrong answer");
        total.answered += tally.answered;
        total.not_sent += tally.not_sent;
        total.timed_out += tally.timed_out;
        total.disconnected += tally.disconnected;
    }
    assert_eq!(total.answered + total.not_sent + total.timed_out + total.disconnected, 300);
    drop((client, pushes));
    connection.await.expect("no panic").expect("closed in order");
    total
}

#[tokio::test(start_paused = true)]
async fn with_ids_over_a_bad_network() {
    let (mut answered, mut timed_out, mut disconnected) = (0, 0, 0);
    for seed in 0..10 {
        let faults = Faults {
            drop: 0.03,
            duplicate: 0.05,
            delay: Duration::ZERO..=Duration::from_millis(200),
            reorder: 0.1,
            ..Faults::default()
        };
        let tally = live(seed, faults, true).await;
        answered += tally.answered;
        timed_out += tally.timed_out;
        disconnected += tally.disconnected;
    }
    assert!(answered > 1000, "{answered} answered");
    assert!(timed_out > 0 && disconnected > 0, "nothing went wrong: {timed_out}, {disconnected}");
}

#[tokio::test(start_paused = true)]
async fn without_ids_over_a_network_that_loses_and_reorders() {
    let mut answered = 0;
    for seed in 0..10 {
        let faults = Faults {
            drop: 0.02,
            delay: Duration::ZERO..=Duration::from_millis(200),
            reorder: 0.1,
            ..Faults::default()
        };
        answered += live(seed, faults, false).await.answered;
    }
    assert!(answered > 100, "{answered} answered");
}
