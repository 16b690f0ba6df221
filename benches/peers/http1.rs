//! hyper over connections that are kept alive: what a device with an HTTPS stack would use. HTTP/1.1 has one request at a time
//! on a connection, so there are as many connections as requests in flight.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::Load;
use super::device::{STATE, states};
use crate::measure::slices::Figures;

/// `load.payload` is not looked at: the request is the device's.
pub(crate) async fn run(load: &Load) -> Figures {
    let mut senders = Vec::new();
    for _ in 0..load.in_flight {
        let stream = TcpStream::connect(load.address).await.expect("the server is there");
        stream.set_nodelay(true).expect("a TCP socket");
        let (sender, connection) =
            http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.expect("a connection");
        tokio::spawn(connection);
        senders.push(sender);
    }
    let figures = Rc::new(RefCell::new(Figures::begin()));
    let tasks = LocalSet::new();
    for mut sender in senders {
        let (figures, slice, address) = (Rc::clone(&figures), load.slice, load.address.to_string());
        tasks.spawn_local(async move {
            while figures.borrow().elapsed() < slice {
                let begun = Instant::now();
                let request = Request::put(states())
                    .header("Host", &address)
                    .header("Authorization", "Bearer 0123456789abcdef0123456789abcdef01234567")
                    .header("Content-Type", "application/json")
                    .body(Full::new(Bytes::from_static(STATE)))
                    .expect("valid");
                let answer = sender.send_request(request).await.expect("an answer");
                assert_eq!(answer.status(), 200);
                assert!(!answer.into_body().collect().await.expect("its body").to_bytes().is_empty());
                figures.borrow_mut().count(begun.elapsed());
            }
        });
    }
    tasks.await;
    Rc::into_inner(figures).expect("every task has ended").into_inner().end()
}
