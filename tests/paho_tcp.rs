//! Paho without OpenSSL: what is left works, and what is gone says so.
#![cfg(feature = "paho-tcp")]

use thingif::ids::ClientId;
use thingif::mqtt::Credentials;
use thingif::transport::paho::{Options, Paho};
use thingif::transport::{ConnectOptions, Transport as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn credentials() -> Credentials {
    Credentials { client_id: ClientId::new("device-1").expect("valid"), username: "u".into(), password: "p".into() }
}

#[tokio::test]
async fn tcp_works() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let endpoint = format!("mqtt://{}", listener.local_addr().expect("bound")).parse().expect("an endpoint");
    let broker = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut first = [0];
            // The first connection only finds out whether anybody listens.
            if stream.read(&mut first).await.expect("readable") == 1 {
                assert_eq!(first, [0x10], "CONNECT");
                stream.write_all(b"\x20\x02\0\0").await.expect("CONNACK");
                return stream;
            }
        }
    });
    let paho = Paho::new(Options::default()).expect("usable options");
    let link = paho.connect(&endpoint, &credentials(), &ConnectOptions::default()).await.expect("accepted");
    drop((link, broker.await.expect("no panic")));
}

#[cfg(not(feature = "paho"))]
#[tokio::test]
async fn tls_is_refused() {
    let paho = Paho::new(Options::default()).expect("usable options");
    for endpoint in ["mqtts://127.0.0.1", "wss://127.0.0.1"] {
        let endpoint = endpoint.parse().expect("an endpoint");
        let refused = paho.connect(&endpoint, &credentials(), &ConnectOptions::default()).await.err().expect("no TLS");
        assert_eq!(refused.kind(), thingif::mqtt::LinkErrorKind::Config, "{refused}");
        assert!(refused.to_string().contains("without TLS"), "{refused}");
    }
}
