//! A Thing-IF service that misbehaves as it is told: two listeners, of which each plays one broker. It reads MQTT by itself, so
//! that what it takes for a CONNECT is not what this crate takes for one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;

pub(crate) const TOKEN: &str = "t0k3n-of-the-thing";
pub(crate) const ENDPOINT_PASSWORD: &str = "endpoint-passw0rd";
pub(crate) const CLIENT_ID: &str = "AbCdEfGhIjKlMnOpQrStUvW";

/// How the listener speaks below MQTT.
#[derive(Clone)]
pub(crate) enum Below {
    Plain,
    Tls(Arc<ServerConfig>),
    /// The upgrade is answered with this status, 101 for yes.
    WebSocket(u16),
    /// Upgraded, without the sub-protocol.
    OtherWebSocket,
    /// Takes connections and reads, and never says anything.
    Silent,
    /// Reads something, and closes.
    Closing,
    /// Reads something, and says this.
    Says(&'static str),
    /// Nobody listens.
    Nobody,
}

/// What the answer to a call is.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// As it should be.
    Good,
    /// An error with this code.
    Error(u16, &'static str),
    /// A 200 with this body.
    Body(&'static str),
    /// This payload.
    Raw(&'static str),
    Never,
    /// The end of the connection.
    Closes,
    WithoutId,
    WithOtherId,
    /// Only the request itself.
    Echo,
    /// Only a push.
    Push,
    /// An error whose words would move a terminal's cursor, and have no end.
    Rude,
    OnOtherTopic,
}

/// One broker.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) below: Below,
    pub(crate) connack: Option<u8>,
    pub(crate) suback: Option<u8>,
    /// PINGREQ is answered.
    pub(crate) pings: bool,
    /// The host of the endpoint.
    pub(crate) host: &'static str,
    pub(crate) answer: Answer,
    /// Added to the date of each answer, in seconds.
    pub(crate) ahead: i64,
    /// How many connections are ended after the answer.
    pub(crate) kicks: usize,
    /// Pushes after the answer.
    pub(crate) pushes: usize,
    /// Whether an older connection is ended when there is a newer.
    pub(crate) takes_over: bool,
    /// From which CONNECT on each is refused.
    pub(crate) refuses_from: usize,
    /// Left out of the endpoint.
    pub(crate) offers_port: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            below: Below::Plain,
            connack: Some(0),
            suback: Some(0),
            pings: true,
            host: "127.0.0.1",
            answer: Answer::Good,
            ahead: 0,
            kicks: 0,
            pushes: 0,
            takes_over: false,
            refuses_from: usize::MAX,
            offers_port: true,
        }
    }
}

/// Both brokers, and what they have in common.
pub(crate) struct Scripted {
    pub(crate) default: SocketAddr,
    assigned: Arc<Shared>,
}

struct Shared {
    script: Script,
    /// The port of the other one.
    assigned: Option<(&'static str, Option<u16>)>,
    connects: AtomicUsize,
    answered: AtomicUsize,
    newest: tokio::sync::watch::Sender<usize>,
}

impl Scripted {
    pub(crate) async fn start(default: Script, assigned: Script) -> Self {
        let (offers_port, host) = (assigned.offers_port, assigned.host);
        let (second, assigned) = listen(assigned, None).await;
        let (default, _) = listen(default, Some((host, offers_port.then(|| second.port())))).await;
        Self { default, assigned }
    }

    /// How many CONNECT came to the assigned broker.
    pub(crate) fn logins_as_the_thing(&self) -> usize {
        self.assigned.connects.load(Ordering::SeqCst)
    }
}

async fn listen(script: Script, assigned: Option<(&'static str, Option<u16>)>) -> (SocketAddr, Arc<Shared>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (newest, _) = tokio::sync::watch::channel(0);
    let shared = Shared { script, assigned, connects: AtomicUsize::new(0), answered: AtomicUsize::new(0), newest };
    let shared = Arc::new(shared);
    if matches!(shared.script.below, Below::Nobody) {
        return (address, shared);
    }
    let listening = Arc::clone(&shared);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = Arc::clone(&listening);
            // How a connection ends is for the program to judge.
            tokio::spawn(async move { drop(shared.accept(stream).await) });
        }
    });
    (address, shared)
}

impl Shared {
    async fn accept(&self, mut stream: TcpStream) -> io::Result<()> {
        match &self.script.below {
            Below::Plain => self.speak(stream).await,
            Below::Tls(config) => self.speak(TlsAcceptor::from(Arc::clone(config)).accept(stream).await?).await,
            Below::WebSocket(101) | Below::OtherWebSocket => self.websocket(stream).await,
            Below::WebSocket(status) => {
                stream.read_buf(&mut Vec::with_capacity(4096)).await?;
                let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await
            }
            Below::Silent => while_open(stream).await,
            Below::Closing => stream.read_buf(&mut Vec::with_capacity(4096)).await.map(drop),
            Below::Says(text) => {
                stream.read_buf(&mut Vec::with_capacity(4096)).await?;
                stream.write_all(text.as_bytes()).await
            }
            Below::Nobody => Ok(()),
        }
    }

    #[allow(clippy::result_large_err, reason = "tungstenite's own type")]
    async fn websocket(&self, stream: TcpStream) -> io::Result<()> {
        let names = !matches!(self.script.below, Below::OtherWebSocket);
        let upgrade = move |_: &Request, mut answer: Response| -> Result<Response, ErrorResponse> {
            if names {
                answer.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("mqtt"));
            }
            Ok(answer)
        };
        let mut socket = accept_hdr_async(stream, upgrade).await.map_err(io::Error::other)?;
        let (near, far) = duplex(64 * 1024);
        let (mut from_mqtt, mut to_mqtt) = split(far);
        let carry = async move {
            let mut buf = vec![0; 64 * 1024];
            loop {
                tokio::select! {
                    read = from_mqtt.read(&mut buf) => match read {
                        Ok(0) | Err(_) => return,
                        Ok(n) => if socket.send(Message::Binary(buf[..n].to_vec().into())).await.is_err() { return },
                    },
                    message = socket.next() => match message {
                        Some(Ok(Message::Binary(bytes))) => if to_mqtt.write_all(&bytes).await.is_err() { return },
                        Some(Ok(_)) => {}
                        _ => return,
                    },
                }
            }
        };
        tokio::join!(carry, async { drop(self.speak(near).await) });
        Ok(())
    }

    async fn speak(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let (first, _) = read_packet(&mut stream).await?;
        if first != 0x10 {
            return Ok(());
        }
        let nth = self.connects.fetch_add(1, Ordering::SeqCst);
        let code = if nth >= self.script.refuses_from { Some(5) } else { self.script.connack };
        let Some(code) = code else { return while_open(stream).await };
        stream.write_all(&[0x20, 2, 0, code]).await?;
        if code != 0 {
            return Ok(());
        }
        self.newest.send_replace(nth);
        let mut newest = self.newest.subscribe();
        let replaced = async {
            match self.script.takes_over {
                true => drop(newest.wait_for(|newest| *newest > nth).await),
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            done = self.converse(&mut stream) => done,
            () = replaced => Ok(()),
        }
    }

    async fn converse(&self, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
        loop {
            let (first, body) = read_packet(stream).await?;
            match first >> 4 {
                3 => {
                    let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let topic = String::from_utf8(body[2..2 + len].to_vec()).expect("a topic");
                    if !self.answer(stream, &topic, &body[2 + len..]).await? {
                        return Ok(());
                    }
                }
                8 => match self.script.suback {
                    Some(code) => {
                        // The pushes' filter alone: two bytes of id, the filter, its QoS.
                        stream.write_all(&[0x90, 3, body[0], body[1], code]).await?;
                        // Whoever comes back is kicked once the answer was had before.
                        let kicked = self.answered.load(Ordering::SeqCst);
                        if kicked > 0 && kicked < self.script.kicks {
                            self.answered.fetch_add(1, Ordering::SeqCst);
                            return Ok(());
                        }
                    }
                    None => return while_open(stream).await,
                },
                12 if !self.script.pings => {}
                12 => stream.write_all(&[0xD0, 0]).await?,
                _ => return Ok(()),
            }
        }
    }

    /// Answers a call; whether the connection goes on.
    async fn answer(&self, stream: &mut (impl AsyncWrite + Unpin), topic: &str, request: &[u8]) -> io::Result<bool> {
        let request = String::from_utf8(request.to_vec()).expect("text");
        let id = request.lines().find_map(|line| line.strip_prefix("X-Kii-RequestID:")).map(|id| id.trim().to_owned());
        let now = SystemTime::now();
        let date = match u64::try_from(self.script.ahead) {
            Ok(ahead) => now + Duration::from_secs(ahead),
            Err(_) => now - Duration::from_secs(self.script.ahead.unsigned_abs()),
        };
        let id = match &self.script.answer {
            Answer::WithoutId => None,
            Answer::WithOtherId => Some("another".to_owned()),
            _ => id,
        };
        let id = id.map(|id| format!("X-Kii-RequestID:{id}\r\n")).unwrap_or_default();
        let head = |status: u16| {
            format!("{status}\r\nDate:{}\r\nContent-Type:application/json\r\n{id}\r\n", httpdate::fmt_http_date(date))
        };
        let good =
            if topic.ends_with("/onboardings") { self.onboarded() } else { String::from("{\n  \"power\" : true\n}") };
        let payload = match &self.script.answer {
            Answer::Never => return Ok(true),
            Answer::Closes => return Ok(false),
            Answer::Error(status, code) => {
                // A service that repeats what it was sent.
                let said = match topic.ends_with("/onboardings") {
                    true => request.lines().last().unwrap_or_default().replace('"', "'"),
                    false => format!("{TOKEN} {ENDPOINT_PASSWORD}"),
                };
                format!("{}{{\"errorCode\":\"{code}\",\"message\":\"no: {said}\"}}", head(*status))
            }
            Answer::Push => {
                publish(stream, CLIENT_ID, "{}").await?;
                return Ok(true);
            }
            Answer::Rude => {
                let words = format!("\\u001b[2J\\r\\u0007{}", "no ".repeat(2000));
                format!("{}{{\"errorCode\":\"RUDE\",\"message\":\"{words}\"}}", head(500))
            }
            Answer::Body(body) => format!("{}{body}", head(200)),
            Answer::Raw(raw) => (*raw).to_owned(),
            Answer::Echo => request,
            _ => format!("{}{good}", head(200)),
        };
        let topic = if matches!(self.script.answer, Answer::OnOtherTopic) { "elsewhere" } else { topic };
        publish(stream, topic, &payload).await?;
        for _ in 0..self.script.pushes {
            publish(stream, CLIENT_ID, "{}").await?;
        }
        Ok(self.answered.fetch_add(1, Ordering::SeqCst) >= self.script.kicks)
    }

    fn onboarded(&self) -> String {
        let (host, port) = self.assigned.unwrap_or_default();
        let port = port.map(|port| {
            format!("\"portTCP\" : {port}, \"portSSL\" : {port}, \"portWS\" : {port}, \"portWSS\" : {port},")
        });
        format!(
            "{{\n \"accessToken\" : \"{TOKEN}\", \"thingID\" : \"th.1\", \"mqttEndpoint\" : {{ \"installationID\" : \"i\", \
             \"username\" : \"u\", \"password\" : \"{ENDPOINT_PASSWORD}\", \"mqttTopic\" : \"{CLIENT_ID}\", \
             \"host\" : \"{host}\", {} \"ttl\" : 2147483647 }} }}",
            port.unwrap_or_default()
        )
    }
}

async fn while_open(mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
    while stream.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

async fn publish(stream: &mut (impl AsyncWrite + Unpin), topic: &str, payload: &str) -> io::Result<()> {
    let mut packet = vec![0x30];
    let mut left = 2 + topic.len() + payload.len();
    loop {
        let more = if left > 127 { 0x80 } else { 0 };
        packet.push((left % 128) as u8 | more);
        left /= 128;
        if more == 0 {
            break;
        }
    }
    packet.extend_from_slice(&u16::try_from(topic.len()).expect("short").to_be_bytes());
    packet.extend_from_slice(topic.as_bytes());
    packet.extend_from_slice(payload.as_bytes());
    stream.write_all(&packet).await
}

async fn read_packet(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let (mut len, mut shift) = (0, 0);
    loop {
        let byte = stream.read_u8().await?;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 21 {
            break;
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok((first, body))
}
