//! A connection that only listens: does somebody end it, and does a push come?

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::probe::{Fault, Finding};
use super::wire::{Broken, Link};
use crate::mqtt::packet::Packet;
use crate::topic::Topic;

/// Well within the keep-alive of the CONNECT.
const PING: Duration = Duration::from_secs(20);

/// What was seen.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) pushes: usize,
    /// When the peer ended the connection, if it did.
    pub(super) ended_after: Option<Duration>,
}

/// Listens on `link` for `time`.
pub(super) async fn watch(link: &mut Link, pushes: &Topic, time: Duration) -> Watched {
    let began = Instant::now();
    let (end, mut ping) = (began + time, began + PING);
    let mut watched = Watched::default();
    loop {
        let received = tokio::select! {
            received = link.receive() => received,
            () = sleep_until(end) => return watched,
            () = sleep_until(ping) => {
                ping += PING;
                link.send(&Packet::PingReq).await.map(|()| Packet::PingReq)
            }
        };
        match received {
            Ok(Packet::Publish(publish)) if publish.topic == *pushes => watched.pushes += 1,
            Ok(_) => {}
            Err(_) => return Watched { ended_after: Some(began.elapsed()), ..watched },
        }
    }
}

const SHARED: &str = "If the thing's own device runs elsewhere, it is that one coming back: stop it and run this again. Otherwise \
                      find the other one: two devices with one vendor thing id, a copied credential, or an old process that \
                      still runs. Give each device an id of its own and onboard it again.";

/// What it means that the connection was ended, when no other is made to learn more.
pub(super) fn ended(after: Duration) -> Finding {
    Finding::warning(
        format!(
            "the connection was ended {:.1} s after it stood: by another device with the same client id, or by a server that \
             hangs up",
            after.as_secs_f64()
        ),
        "The thing's own device does that when it comes back: stop it and run this again. Then --disruptive connects once more, \
         which tells another device from a server that hangs up.",
    )
}

/// What it means that the connection was ended, and perhaps the one after it.
pub(super) fn kicked(first: Duration, second: Option<Duration>) -> Finding {
    match second {
        Some(second) => Finding::failed(
            Fault::Other,
            format!(
                "the connection was ended twice, after {:.1} s and {:.1} s: another device connects with the same client id",
                first.as_secs_f64(),
                second.as_secs_f64()
            ),
            SHARED,
        ),
        None => Finding::warning(
            format!("the connection was ended once, after {:.1} s, and not again", first.as_secs_f64()),
            "Either the broker restarted, or another device with the same client id comes back slowly: watch longer with \
             --watch 60.",
        ),
    }
}

/// With `newer`, a second connection of the same client id: whether it takes over from `older`.
pub(super) async fn take_over(older: &mut Link, newer: &mut Link, limit: Duration) -> Finding {
    let ended = tokio::time::timeout(limit, async {
        loop {
            if older.receive().await.is_err() {
                return;
            }
        }
    });
    if ended.await.is_err() {
        return Finding::warning(
            "a second connection with the same client id was accepted, and the first one stays",
            "Answers and pushes may go to a connection that is dead: a broker must end the older one (MQTT 3.1.1 §3.1.4).",
        );
    }
    let alive = tokio::time::timeout(limit, async {
        newer.send(&Packet::PingReq).await?;
        while newer.receive().await? != Packet::PingResp {}
        Ok::<_, Broken>(())
    });
    match alive.await {
        Ok(Ok(())) => {
            Finding::ok("nobody else came; a second connection with the same client id took over, as it should")
        }
        _ => Finding::failed(
            Fault::Other,
            "a second connection with the same client id ended both",
            "A device that reconnects after a change of network is shut out: the broker must keep the newer connection.",
        ),
    }
}
