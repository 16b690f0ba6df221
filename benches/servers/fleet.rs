//! Many clients that are connected, want pushes, and do nothing else; in a process of their own.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use thingif::mqtt::Qos;
use thingif::mqtt::packet::{self, Connect, Packet, PacketId, Protocol};
use thingif::topic::TopicFilter;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use super::world::micros;
use crate::measure::child::Process;
use crate::peers::answerer::split;

/// Connections that are being made at once.
const AT_ONCE: usize = 128;
/// Clients that share one of the addresses of 127.0.0.0/8: there are some 28,000 ports to an address.
const TO_AN_ADDRESS: usize = 5_000;

/// Connects the accounts of lines `from..to`, then tells of pushes.
pub(crate) fn start(address: SocketAddr, file: &str, from: usize, to: usize) -> (Process, f64) {
    let mut fleet = Process::again(&["fleet", &address.to_string(), file, &from.to_string(), &to.to_string()]);
    let took: f64 = fleet.line().parse().expect("seconds");
    (fleet, (to - from) as f64 / took)
}

/// The role itself. It says how many seconds it took to connect; then, for each number that it reads, when so many pushes
/// were heard, how many microseconds each took.
pub(crate) async fn run(arguments: &[String]) {
    let [address, file, from, to] = arguments else { panic!("{arguments:?}") };
    let address: SocketAddr = address.parse().expect("an address");
    let [from, to] = [from, to].map(|number| number.parse::<usize>().expect("a number"));
    let accounts = std::fs::read_to_string(file).expect("the accounts");
    let accounts: Vec<&str> = accounts.lines().skip(from).take(to - from).collect();
    let (tasks, free, began) = (LocalSet::new(), Semaphore::new(AT_ONCE), Instant::now());
    tasks
        .run_until(async {
            let connect = accounts.iter().enumerate().map(|(number, account)| {
                let free = &free;
                async move {
                    let _permit = free.acquire().await.expect("open");
                    connect(address, number, account).await
                }
            });
            let streams = futures_util::future::join_all(connect).await;
            println!("{}", began.elapsed().as_secs_f64());
            let heard = Rc::new(RefCell::new(Vec::new()));
            for stream in streams {
                tokio::task::spawn_local(hear(stream, Rc::clone(&heard)));
            }
            loop {
                let line = tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
                let Some(Ok(count)) = line.await.expect("no panic") else { return };
                let count: usize = count.parse().expect("a number");
                while heard.borrow().len() < count {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
                let latencies: Vec<String> =
                    heard.borrow_mut().drain(..).map(|micros: u64| micros.to_string()).collect();
                println!("{}", latencies.join(" "));
            }
        })
        .await;
}

async fn connect(address: SocketAddr, number: usize, account: &str) -> TcpStream {
    let [client_id, username, password] = account.splitn(4, ' ').collect::<Vec<_>>()[..3] else { panic!("{account}") };
    let socket = TcpSocket::new_v4().expect("a descriptor");
    let last = u8::try_from(2 + number / TO_AN_ADDRESS).expect("few addresses");
    socket.bind(([127, 0, 0, last], 0).into()).expect("a port");
    let mut stream = socket.connect(address).await.expect("the edge is there");
    let connect = Connect {
        protocol: Protocol::V311,
        clean_session: true,
        keep_alive: 1_200,
        client_id: client_id.to_owned(),
        will: None,
        username: Some(username.to_owned()),
        password: Some(Bytes::copy_from_slice(password.as_bytes())),
    };
    let filter = (TopicFilter::new(client_id).expect("valid"), Qos::AtMostOnce);
    let subscribe = Packet::Subscribe { id: PacketId::new(1).expect("not 0"), filters: vec![filter] };
    let mut bytes = BytesMut::new();
    for packet in [Packet::Connect(Box::new(connect)), subscribe] {
        packet::encode(&packet, Protocol::V311, &mut bytes).expect("short");
    }
    stream.write_all(&bytes).await.expect("written");
    let mut acknowledged = [0; 9];
    stream.read_exact(&mut acknowledged).await.expect("CONNACK and SUBACK");
    assert_eq!(acknowledged, *b"\x20\x02\0\0\x90\x03\0\x01\0");
    stream
}

/// A push says when it was sent.
async fn hear(mut stream: TcpStream, heard: Rc<RefCell<Vec<u64>>>) {
    let mut input = Vec::with_capacity(512);
    while stream.read_buf(&mut input).await.is_ok_and(|read| read > 0) {
        while let Some((first, body, rest)) = split(&input) {
            let now = micros();
            assert_eq!(first, 0x30, "a PUBLISH");
            let text = String::from_utf8_lossy(&body[2 + usize::from(body[1])..]);
            let sent: u64 = text.split(' ').next().and_then(|micros| micros.parse().ok()).expect("when it was sent");
            heard.borrow_mut().push(now.saturating_sub(sent));
            let left = rest.len();
            input.drain(..input.len() - left);
        }
    }
}
