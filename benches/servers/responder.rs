//! The service as a client of an ordinary broker: reads requests, calls [`Fixed`], publishes the answers.
//!
//! It says that it is a bridge (the high bit of the protocol level), so that mosquitto sends it no copy of what it publishes
//! itself: the best that can be done for this arrangement.

use std::net::SocketAddr;

use bytes::BytesMut;
use http::header::{CONTENT_TYPE, DATE};
use thingif::frame::{self, REQUEST_ID};
use thingif::mqtt::packet::{Decoded, Decoder, Limits, Packet, encode_publish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower_service::Service as _;

use super::fixed::Fixed;

/// CONNECT of a bridge called `svc`, without keep-alive, and SUBSCRIBE to `p/#`.
const BEGIN: &[u8] = b"\x10\x0F\0\x04MQTT\x84\x02\0\0\0\x03svc\x82\x08\0\x01\0\x03p/#\0";

pub(crate) async fn run(broker: &str) {
    let address: SocketAddr = broker.parse().expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("mosquitto is there");
    stream.set_nodelay(true).expect("a TCP socket");
    stream.write_all(BEGIN).await.expect("written");
    let (mut input, mut output) = (BytesMut::with_capacity(64 * 1024), BytesMut::with_capacity(64 * 1024));
    let mut decoder = Decoder::new(Limits::default());
    loop {
        while let Some(decoded) = decoder.decode(&mut input).expect("mosquitto speaks MQTT") {
            match decoded {
                Decoded::Packet(Packet::Publish(publish)) => {
                    let request = frame::decode_request(&publish.topic, publish.payload).expect("a request");
                    let id = request.headers().get(REQUEST_ID).cloned();
                    let mut answer = Fixed.call(request).await.unwrap_or_else(|never| match never {});
                    let headers = answer.headers_mut();
                    let json = headers.remove(CONTENT_TYPE).expect("the service sets it");
                    for (name, value) in [("accept-ranges", "bytes"), ("age", "0")] {
                        headers.insert(name, value.parse().expect("valid"));
                    }
                    headers.insert("cache-control", "max-age=0, no-cache, no-store".parse().expect("valid"));
                    headers.insert(CONTENT_TYPE, json);
                    headers.insert(DATE, "Thu, 01 Jan 1970 00:00:00 GMT".parse().expect("valid"));
                    headers.insert("connection", "keep-alive".parse().expect("valid"));
                    headers.extend(id.map(|id| (REQUEST_ID.clone(), id)));
                    let mut payload = BytesMut::with_capacity(512);
                    frame::encode_response(&answer, &mut payload);
                    encode_publish(&publish.topic, &payload, &mut output).expect("short");
                }
                Decoded::Packet(Packet::SubAck { .. }) => println!("ready"),
                _ => {}
            }
        }
        stream.write_all(&output).await.expect("mosquitto reads");
        output.clear();
        if stream.read_buf(&mut input).await.expect("mosquitto writes") == 0 {
            return;
        }
    }
}
