//! A device in a process of its own that makes calls which nobody answers.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Request;
use thingif::client;
use thingif::config::{Config, Identity};
use thingif::transport::native::{self, Native};
use thingif::transport::paho::{self, Paho};
use thingif::transport::{Tls, Transport};

use crate::measure::child;
use crate::peers::device::{STATE, states};
use crate::servers::fixed::APP;

/// Longer than any bench.
const DEADLINE: Duration = Duration::from_secs(3_600);

/// Its transport, the broker, the authority's file, and how many calls; they are made at the first line that it reads.
pub(crate) fn run(role: &[String]) {
    let [feature, broker, ca, calls] = role else { panic!("{role:?}") };
    let calls: usize = calls.parse().expect("a number");
    let tls = Tls { ca_file: Some(ca.into()), ..Tls::default() };
    let transport: Box<dyn Transport> = if feature.starts_with("paho") {
        let mut options = paho::Options::default();
        (options.tls, options.max_outgoing) = (tls, 10_000);
        Box::new(Paho::new(options).expect("usable options"))
    } else {
        let mut options = native::Options::default();
        options.tls = tls;
        Box::new(Native::new(options).expect("usable options"))
    };
    let identity = Identity::vendor_thing("lamp-1".parse().expect("valid"), "pw".to_owned().into());
    let app = APP.parse().expect("valid");
    let config = Config::new(broker.parse().expect("an endpoint"), app, "key".to_owned().into(), identity)
        .and_then(|config| config.with_max_in_flight(10_000)?.with_call_deadline(DEADLINE))
        .expect("within their ranges");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, _pushes, connection) = client::connect(config, transport).await.expect("connects");
        tokio::spawn(connection.run());
        let report = Request::put(states()).body(Bytes::from_static(STATE)).expect("valid");
        assert_eq!(client.send(report).await.expect("an answer").status(), 200);
        println!("ready");
        let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        told.await.expect("no panic").expect("a line");
        std::thread::spawn(child::until_the_bench_ends);
        // Of one thing, calls to one path wait for each other, also for those that an earlier connection has left.
        let own = std::process::id();
        let send = |number: usize| {
            let path = format!("/thing-if/apps/{APP}/targets/thing:th.1/commands/{own}-{number}");
            client.send(Request::get(path).body(Bytes::new()).expect("valid"))
        };
        let answers = join_all((0..calls).map(send)).await;
        panic!("{answers:?}: nobody answers");
    });
}
