//! One probe: its time, its verdict, and who is told of it.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Examiner;
use crate::doctor::Progress;
use crate::doctor::probe::{Broker, Fault, Finding, Probe, Step, Verdict};

/// What there is to probe at each broker; the proxy only where there is one.
const REACH: [Step; 6] = [Step::Name, Step::Tcp, Step::Proxy, Step::Tls, Step::WebSocket, Step::Connack];
const AT_DEFAULT: [Step; 1] = [Step::Onboarding];
const AT_ASSIGNED: [Step; 5] = [Step::Subscribe, Step::RoundTrip, Step::DuplicateClientId, Step::Push, Step::KeepAlive];

/// Characters of what a service says that are shown.
const SHOWN: usize = 600;

impl Examiner<'_> {
    /// Runs one probe, for `limit` at most.
    pub(super) async fn probe<T>(
        &mut self,
        step: Step,
        broker: Broker,
        limit: Option<Duration>,
        work: impl Future<Output = Result<(T, Finding), Finding>>,
    ) -> Option<T> {
        self.begin(step, Some(broker));
        let began = Instant::now();
        let done = match limit {
            Some(limit) => timeout(limit, work).await.unwrap_or_else(|_| Err(silence(step, limit))),
            None => work.await,
        };
        let (value, finding) = match done {
            Ok((value, finding)) => (Some(value), finding),
            Err(finding) => (None, finding),
        };
        self.end(step, Some(broker), began.elapsed(), finding);
        value
    }

    pub(super) fn begin(&mut self, step: Step, broker: Option<Broker>) {
        if !self.is_quiet {
            (self.tell)(Progress::Begun(step, broker));
        }
    }

    pub(super) fn end(&mut self, step: Step, broker: Option<Broker>, took: Duration, finding: Finding) {
        let finding = Finding { said: one_line(&finding.said), ..finding };
        if self.is_quiet {
            if matches!(finding.verdict, Verdict::Failed(_)) {
                self.unsaid = Some(finding);
            }
            return;
        }
        let Finding { mut verdict, mut said, mut remedy } = finding;
        // Nobody typed that address, so nobody here has mistyped it.
        let is_given = broker == Some(Broker::Assigned) && self.assigned.is_some() && self.options.proxy.is_none();
        if is_given && matches!((step, verdict), (Step::Name | Step::Tcp, Verdict::Failed(_))) {
            remedy = remedy.map(|remedy| {
                format!("{remedy} The service assigned this address: its operator sets another (`thingif serve --advertise`).")
            });
        }
        if broker == Some(Broker::Default) && self.config.resume().is_some() && matches!(verdict, Verdict::Failed(_)) {
            verdict = Verdict::Warning;
            said.push_str(" (the credential works without, until it has to be renewed)");
        }
        let endpoint = match broker {
            Some(Broker::Default) => Some(self.config.broker().clone()),
            Some(Broker::Assigned) => self.assigned.clone(),
            None => None,
        };
        let probe = Probe { step, broker, endpoint, took, verdict, said, remedy };
        (self.tell)(Progress::Ended(probe.clone()));
        self.probes.push(probe);
    }

    pub(super) fn skip(&mut self, step: Step, broker: Broker, why: &str) {
        if !self.is_quiet {
            self.end(step, Some(broker), Duration::ZERO, Finding::skipped(why));
        }
    }

    /// Skips what was not come to at `broker`, because of what did not work before.
    pub(super) fn skip_rest(&mut self, broker: Broker) {
        let stopped_at = self.probes.iter().rfind(|probe| {
            probe.remedy.is_some() && (probe.broker == Some(broker) || matches!(probe.verdict, Verdict::Failed(_)))
        });
        let why = match stopped_at {
            Some(probe) => match probe.broker {
                Some(at) if at != broker => format!("because of {} at the {at}", probe.step),
                _ => format!("because of {}", probe.step),
            },
            None => "because of the step before".to_owned(),
        };
        let own: &[Step] = if broker == Broker::Default { &AT_DEFAULT } else { &AT_ASSIGNED };
        for step in REACH.iter().chain(own).copied() {
            let is_told = self.probes.iter().any(|probe| probe.step == step && probe.broker == Some(broker));
            if !is_told && (step != Step::Proxy || self.options.proxy.is_some()) {
                self.skip(step, broker, &why);
            }
        }
    }
}

/// What it means that nobody answered in a step.
pub(in crate::doctor) fn silence(step: Step, limit: Duration) -> Finding {
    let (what, remedy) = match step {
        Step::Name => (
            "the name server did not answer",
            "Check this machine's name server and the way to it (`getent hosts NAME`, /etc/resolv.conf).",
        ),
        Step::Tcp => (
            "nobody answered",
            "Check host and port; a firewall that drops packets looks like this too, and so does a machine that is off.",
        ),
        Step::Proxy => ("the proxy did not answer CONNECT", "Check --proxy: that port may be another service's."),
        Step::Tls => (
            "the TLS handshake was not answered",
            "The port may speak plain MQTT: brokers listen for TLS on 8883 and 12473, and without it on 1883 and 12470.",
        ),
        Step::WebSocket => (
            "the WebSocket upgrade was not answered",
            "The port may be one without WebSocket: Kii's brokers speak it on 12470, and over TLS on 12473.",
        ),
        Step::Connack => (
            "CONNECT was not answered",
            "The port may speak TLS or WebSocket (check that scheme and port belong together), or the broker hangs.",
        ),
        Step::KeepAlive => (
            "PINGREQ was not answered",
            "The broker hangs, or a firewall or NAT between has forgotten the connection: devices lose it, and notice late. A \
             shorter keep-alive helps against the latter.",
        ),
        Step::Subscribe => {
            ("SUBSCRIBE was not answered", "The broker hangs or is overloaded: its operator finds out in its log.")
        }
        _ => ("there was no answer", "Try again with a longer --max-time."),
    };
    Finding::failed(Fault::TimedOut, format!("{what} within {} s", limit.as_secs_f64()), remedy)
}

/// What others say, fit for a line of a terminal.
fn one_line(said: &str) -> String {
    let mut shown = String::new();
    for (at, c) in said.chars().enumerate() {
        match c {
            _ if at == SHOWN => {
                shown.push('…');
                break;
            }
            '\n' | '\t' => shown.push(' '),
            c if c.is_control() => shown.push(char::REPLACEMENT_CHARACTER),
            c => shown.push(c),
        }
    }
    shown
}
