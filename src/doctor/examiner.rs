//! The way, step by step.

mod telling;

use std::time::Duration;

use tokio::time::{Instant, timeout};

pub(super) use self::telling::silence;
use super::clock::{self, Reading};
use super::exchange::{self, Answered};
use super::probe::{Broker, Fault, Finding, Probe, Step};
use super::trust::Trust;
use super::watch::{self, End, Watched};
use super::wire::{Link, Stream, Wire};
use super::{Examined, Options, Progress, login, reach, tls, websocket};
use crate::config::Config;
use crate::ids::ClientId;
use crate::mqtt::{Credentials, Endpoint, Scheme};
use crate::thing_if::Credential;
use crate::topic::Topic;

/// What a call through another process may take beyond its deadline.
const HELD_GRACE: Duration = Duration::from_secs(10);

const ONBOARDED: &str = "there is a credential already";

pub(super) struct Examiner<'a> {
    config: &'a Config,
    options: &'a Options,
    trust: Trust,
    tell: &'a mut (dyn FnMut(Progress) + Send),
    probes: Vec<Probe>,
    /// Nothing is told: a connection is made again, which was told of before.
    is_quiet: bool,
    /// What failed last while that was so.
    unsaid: Option<Finding>,
    readings: Vec<Reading>,
    clock_doubt: Option<String>,
    /// Pushes that came.
    pushes: usize,
    /// Where the assigned broker is, when that is known.
    assigned: Option<Endpoint>,
}

impl<'a> Examiner<'a> {
    pub(super) fn new(
        config: &'a Config,
        options: &'a Options,
        trust: Trust,
        tell: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Self {
        Self {
            config,
            options,
            trust,
            tell,
            probes: Vec::new(),
            is_quiet: false,
            unsaid: None,
            readings: Vec::new(),
            clock_doubt: None,
            pushes: 0,
            assigned: None,
        }
    }

    pub(super) async fn run(mut self) -> Examined {
        let resumed = self.config.resume().cloned();
        let onboarded = self.default_broker(resumed.is_some()).await;
        match resumed.as_ref().or(onboarded.as_ref()) {
            Some(credential) => {
                self.assigned_broker(credential).await;
                self.skip_rest(Broker::Assigned);
            }
            None => self.skip_rest(Broker::Assigned),
        }
        (self.tell)(Progress::Begun(Step::Clock, None));
        let finding = clock::judge(&self.readings, self.clock_doubt.as_deref());
        self.end(Step::Clock, None, Duration::ZERO, finding);
        Examined { probes: self.probes, credential: onboarded }
    }

    /// To the default broker, and the onboarding unless there `is_credential`.
    async fn default_broker(&mut self, is_credential: bool) -> Option<Credential> {
        let config = self.config;
        let onboarded = async {
            let mut link = self.reach(Broker::Default, config.broker()).await?;
            if is_credential && config.app_key().expose().is_empty() {
                self.skip(Step::Connack, Broker::Default, "the app's key is not known here");
                self.skip(Step::Onboarding, Broker::Default, ONBOARDED);
                return None;
            }
            let credentials = Credentials::anonymous(config.app_id(), config.app_key());
            self.log_in(Broker::Default, &mut link, &credentials).await?;
            if is_credential {
                self.skip(
                    Step::Onboarding,
                    Broker::Default,
                    "there is a credential already; --onboard asks for another",
                );
                link.close().await;
                return None;
            }
            let credential = self.onboard(&mut link).await;
            link.close().await;
            credential
        }
        .await;
        self.skip_rest(Broker::Default);
        onboarded
    }

    async fn onboard(&mut self, link: &mut Link) -> Option<Credential> {
        let (config, trust, mut readings) = (self.config, self.trust.clone(), Vec::new());
        let path = format!("/thing-if/apps/{}/onboardings", config.app_id());
        let topic = Topic::for_call(&ClientId::anonymous(), &path).ok()?;
        let work = async {
            if config.response_filter() {
                let asked = login::subscribe_to_answer(link, &topic, &trust);
                timeout(config.call_deadline(), asked)
                    .await
                    .unwrap_or_else(|_| Err(silence(Step::Subscribe, config.call_deadline())))?;
            }
            let request = exchange::onboarding_request(config);
            let answer = exchange::exchange(link, &topic, &request, config, &trust, &mut readings, None).await?;
            exchange::onboarded(&answer.response, config)
        };
        let credential = self.probe(Step::Onboarding, Broker::Default, None, work).await;
        self.readings.append(&mut readings);
        credential
    }

    async fn assigned_broker(&mut self, credential: &Credential) -> Option<()> {
        let scheme = self.config.assigned_scheme();
        let Some(endpoint) = credential.endpoint(scheme) else {
            let offered: Vec<_> = Scheme::ALL
                .into_iter()
                .filter(|scheme| credential.endpoint(*scheme).is_some())
                .map(Scheme::as_str)
                .collect();
            let said = format!("the service assigned {} without a port for {scheme}", credential.endpoint.host);
            let remedy = format!("Name another way with --assigned; there is: {}.", offered.join(", "));
            return self
                .probe(
                    Step::Name,
                    Broker::Assigned,
                    None,
                    std::future::ready(Err(Finding::failed(Fault::Connect, said, remedy))),
                )
                .await;
        };
        self.assigned = Some(endpoint.clone());
        let mut link = self.reach(Broker::Assigned, &endpoint).await?;
        if let Some(held) = &self.options.held {
            let why = format!("{} holds the thing's connection, and a second one would end it", held.holder);
            self.skip(Step::Connack, Broker::Assigned, &why);
            self.skip(Step::Subscribe, Broker::Assigned, &why);
            self.call_through(credential).await?;
            self.skip(Step::DuplicateClientId, Broker::Assigned, &why);
            self.skip(Step::Push, Broker::Assigned, &format!("pushes go to {}", held.holder));
            self.skip(Step::KeepAlive, Broker::Assigned, &why);
            return Some(());
        }
        let credentials = credential.credentials();
        self.log_in(Broker::Assigned, &mut link, &credentials).await?;
        self.subscribe(&mut link, &credentials).await?;
        self.round_trip(&mut link, credential).await?;
        self.listen(link, &endpoint, &credentials).await;
        Some(())
    }

    /// From the name to the WebSocket, if there is one.
    async fn reach(&mut self, broker: Broker, endpoint: &Endpoint) -> Option<Link> {
        let limit = Some(self.config.connect_timeout());
        let proxy = self.options.proxy.clone();
        let (host, port) = match &proxy {
            Some(proxy) => (proxy.host.as_str(), proxy.port),
            None => (endpoint.host.as_str(), endpoint.port),
        };
        let addresses = self.probe(Step::Name, broker, limit, reach::name(host, port)).await?;
        let mut stream = self.probe(Step::Tcp, broker, limit, reach::tcp(addresses)).await?;
        if let Some(proxy) = &proxy {
            stream = self.probe(Step::Proxy, broker, limit, reach::tunnel(proxy, stream, endpoint)).await?;
        }
        let stream: Stream = if endpoint.scheme.is_tls() {
            let (trust, mut doubt) = (self.trust.clone(), None);
            let work = tls::handshake(&trust, endpoint, stream, self.config.connect_timeout(), &mut doubt);
            let shaken = self.probe(Step::Tls, broker, None, work).await;
            self.clock_doubt = doubt.or(self.clock_doubt.take());
            Box::new(shaken?)
        } else {
            self.skip(Step::Tls, broker, &format!("{}:// has none", endpoint.scheme));
            Box::new(stream)
        };
        if !endpoint.scheme.is_websocket() {
            self.skip(Step::WebSocket, broker, &format!("{}:// has none", endpoint.scheme));
            return Some(Link::new(Wire::Plain(stream)));
        }
        let mut readings = Vec::new();
        let upgrade = websocket::upgrade(endpoint, stream, &mut readings);
        let wire = self.probe(Step::WebSocket, broker, limit, upgrade).await;
        self.readings.append(&mut readings);
        Some(Link::new(wire?))
    }

    async fn log_in(&mut self, broker: Broker, link: &mut Link, credentials: &Credentials) -> Option<()> {
        let (limit, trust) = (Some(self.config.connect_timeout()), self.trust.clone());
        self.probe(Step::Connack, broker, limit, login::connack(link, broker, credentials, &trust)).await
    }

    async fn subscribe(&mut self, link: &mut Link, credentials: &Credentials) -> Option<()> {
        let (config, trust) = (self.config, self.trust.clone());
        let asked = login::subscribe(link, config, credentials, &trust);
        self.probe(Step::Subscribe, Broker::Assigned, Some(config.call_deadline()), asked).await
    }

    async fn round_trip(&mut self, link: &mut Link, credential: &Credential) -> Option<()> {
        let (config, trust, mut readings) = (self.config, self.trust.clone(), Vec::new());
        let mut request = exchange::state_request(credential);
        exchange::authorize(&mut request, credential);
        let topic = Topic::for_call(&credential.endpoint.mqtt_topic, request.uri().path());
        let (pushes, mut heard) = (Topic::for_pushes(&credential.endpoint.mqtt_topic), 0);
        let work = async {
            let topic = topic.map_err(|error| {
                Finding::failed(
                    Fault::Other,
                    error.to_string(),
                    "The service gave ids that no topic can carry: tell its operator.",
                )
            })?;
            let pushes = Some((&pushes, &mut heard));
            let Answered { response, has_id } =
                exchange::exchange(link, &topic, &request, config, &trust, &mut readings, pushes).await?;
            exchange::round_trip(&response, has_id, credential)
        };
        let done = self.probe(Step::RoundTrip, Broker::Assigned, None, work).await;
        self.readings.append(&mut readings);
        self.pushes += heard;
        done
    }

    /// The round trip through the process that holds the connection.
    async fn call_through(&mut self, credential: &Credential) -> Option<()> {
        let held = self.options.held.clone()?;
        let (request, mut readings) = (exchange::state_request(credential), Vec::new());
        let sent = std::time::SystemTime::now();
        let work = async {
            let answer = (held.call)(request).await.map_err(|(fault, why)| {
                let remedy = format!("Look at what {} says: it reports why its connection is lost.", held.holder);
                Finding::failed(fault, why, remedy)
            })?;
            readings.extend(clock::reading(answer.headers(), sent, std::time::SystemTime::now()));
            let ((), finding) = exchange::round_trip(&answer, true, credential)?;
            Ok(((), Finding { said: format!("through {}: {}", held.holder, finding.said), ..finding }))
        };
        // It has the deadline itself, and says more precisely what became of the call.
        let limit = self.config.call_deadline().saturating_add(HELD_GRACE);
        let done = self.probe(Step::RoundTrip, Broker::Assigned, Some(limit), work).await;
        self.readings.append(&mut readings);
        done
    }

    /// Listens for somebody else with the same client id, and for pushes, and asks at last whether the broker still does.
    async fn listen(&mut self, mut link: Link, endpoint: &Endpoint, credentials: &Credentials) {
        let (time, broker) = (self.options.watch, Broker::Assigned);
        let began = Instant::now();
        let standing = if time.is_zero() && !self.options.disruptive {
            self.skip(Step::DuplicateClientId, broker, "no time to listen is given (--watch)");
            Ok(link)
        } else {
            self.begin(Step::DuplicateClientId, Some(broker));
            let pushes = Topic::for_pushes(&credentials.client_id);
            let watched = watch::watch(&mut link, &pushes, time).await;
            self.pushes += watched.pushes;
            let (finding, standing) = self.judge(watched, link, &pushes, endpoint, credentials).await;
            self.end(Step::DuplicateClientId, Some(broker), began.elapsed(), finding);
            standing
        };
        let listened = began.elapsed();
        match self.pushes {
            0 if time.is_zero() => self.skip(Step::Push, broker, "no time to listen is given (--watch)"),
            0 => {
                let time = time.as_secs_f64();
                let why =
                    format!("none came within {time} s: have the owner post a command while this runs with --watch 60");
                self.skip(Step::Push, broker, &why);
            }
            came => {
                self.begin(Step::Push, Some(broker));
                self.end(Step::Push, Some(broker), listened, Finding::ok(format!("{came} came")));
            }
        }
        match standing {
            Ok(mut link) => {
                let (limit, trust) = (self.config.connect_timeout(), self.trust.clone());
                self.probe(Step::KeepAlive, broker, Some(limit), watch::keep_alive(&mut link, &trust)).await;
                link.close().await;
            }
            Err(End::Silent) => {
                self.begin(Step::KeepAlive, Some(broker));
                self.end(Step::KeepAlive, Some(broker), watch::PING, silence(Step::KeepAlive, watch::PING));
            }
            Err(_) => self.skip(Step::KeepAlive, broker, "the connection was ended before"),
        }
    }

    /// What it means how `link` was left after it was listened on, and the connection that stands then.
    async fn judge(
        &mut self,
        watched: Watched,
        mut link: Link,
        pushes: &Topic,
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> (Finding, Result<Link, End>) {
        let time = self.options.watch;
        match watched.end {
            End::Closed(first) if !self.options.disruptive => (watch::ended(first), Err(watched.end)),
            End::Closed(first) => match self.again(endpoint, credentials).await {
                Err(finding) => (finding, Err(watched.end)),
                Ok(mut second) => {
                    let again = watch::watch(&mut second, pushes, time).await;
                    self.pushes += again.pushes;
                    match again.end {
                        End::Closed(after) => (watch::kicked(first, Some(after)), Err(again.end)),
                        End::Silent => (watch::kicked(first, None), Err(again.end)),
                        End::Stands => (watch::kicked(first, None), Ok(second)),
                    }
                }
            },
            End::Stands if self.options.disruptive => match self.again(endpoint, credentials).await {
                Err(finding) => (finding, Ok(link)),
                Ok(mut newer) => {
                    let limit = self.config.connect_timeout();
                    let finding = watch::take_over(&mut link, &mut newer, limit).await;
                    link.close().await;
                    (finding, Ok(newer))
                }
            },
            end => {
                let finding = Finding::ok(format!("nobody else came within {} s", time.as_secs_f64()));
                (finding, if end == End::Silent { Err(end) } else { Ok(link) })
            }
        }
    }

    /// Another connection with the same client id, without a word, unless it fails.
    async fn again(&mut self, endpoint: &Endpoint, credentials: &Credentials) -> Result<Link, Finding> {
        self.is_quiet = true;
        self.unsaid = None;
        let link = async {
            let mut link = self.reach(Broker::Assigned, endpoint).await?;
            self.log_in(Broker::Assigned, &mut link, credentials).await?;
            self.subscribe(&mut link, credentials).await?;
            Some(link)
        }
        .await;
        self.is_quiet = false;
        link.ok_or_else(|| match self.unsaid.take() {
            Some(finding) => Finding { said: format!("connecting again failed: {}", finding.said), ..finding },
            None => Finding::failed(Fault::Other, "connecting again failed", "Run it again."),
        })
    }
}
