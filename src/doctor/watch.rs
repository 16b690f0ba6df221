//! A connection that only listens: does somebody end it, and does a push come?

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::login::lost;
use super::probe::{Fault, Finding};
use super::trust::Trust;
use super::wire::{Broken, Link};
use crate::mqtt::packet::Packet;
use crate::topic::Topic;

/// Well within the keep-alive of the CONNECT; an answer takes no longer either.
pub(super) const PING: Duration = Duration::from_secs(20);

/// What was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watched {
    pub(super) pushes: usize,
    pub(super) end: End,
}

/// What became of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nobody ended it.
    Stands,
    /// The peer ended it, so long after listening began.
    Closed(Duration),
    /// A PINGREQ was not answered.
    Silent,
}

/// Listens on `link` for `time`.
pub(super) async fn watch(link: &mut Link, pushes: &Topic, time: Duration) -> Watched {
    let began = Instant::now();
    let (end, mut ping) = (began + time, began + PING);
    let (mut count, mut is_answered) = (0, true);
    let end = loop {
        let received = tokio::select! {
            received = link.receive() => received,
            () = sleep_until(end) => break End::Stands,
            () = sleep_until(ping) => {
                if !is_answered {
                    break End::Silent;
                }
                (ping, is_answered) = (ping + PING, false);
                match timeout(PING, link.send(&Packet::PingReq)).await {
                    Ok(sent) => sent.map(|()| Packet::PingReq),
                    Err(_) => break End::Silent,
                }
            }
        };
        match received {
            Ok(Packet::Publish(publish)) if publish.topic == *pushes => count += 1,
            Ok(Packet::PingResp) => is_answered = true,
            Ok(_) => {}
            Err(_) => break End::Closed(began.elapsed()),
        }
    };
    Watched { pushes: count, end }
}

/// A PINGREQ to its answer.
pub(super) async fn keep_alive(link: &mut Link, trust: &Trust) -> Result<((), Finding), Finding> {
    match ping(link).await {
        Ok(()) => Ok(((), Finding::ok("PINGREQ was answered"))),
        Err(broken) => Err(lost(broken, trust)),
    }
}

async fn ping(link: &mut Link) -> Result<(), Broken> {
    link.send(&Packet::PingReq).await?;
    while link.receive().await? != Packet::PingResp {}
    Ok(())
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

/// With `newer`, a second connection of the same client id: whether it takes over from `older`. One that stands and is silent
/// has.
pub(super) async fn take_over(older: &mut Link, newer: &mut Link, limit: Duration) -> Finding {
    let ended = timeout(limit, async {
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
    match timeout(limit, ping(newer)).await {
        Ok(Ok(())) | Err(_) => {
            Finding::ok("nobody else came; a second connection with the same client id took over, as it should")
        }
        Ok(Err(_)) => Finding::failed(
            Fault::Other,
            "a second connection with the same client id ended both",
            "A device that reconnects after a change of network is shut out: the broker must keep the newer connection.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::doctor::wire::Wire;
    use crate::ids::ClientId;

    fn link() -> (Link, DuplexStream) {
        let (near, far) = duplex(64);
        (Link::new(Wire::Plain(Box::new(near))), far)
    }

    async fn watched(link: &mut Link, time: u64) -> Watched {
        let pushes = Topic::for_pushes(&ClientId::anonymous());
        watch(link, &pushes, Duration::from_secs(time)).await
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_no_ping_is_silent() {
        let (mut link, _peer) = link();
        let began = Instant::now();
        assert_eq!(watched(&mut link, 90).await, Watched { pushes: 0, end: End::Silent });
        assert_eq!(began.elapsed(), 2 * PING);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_answers_stands_until_it_closes() {
        let (mut link, mut peer) = link();
        let answering = tokio::spawn(async move {
            for _ in 0..4 {
                let mut asked = [0; 2];
                peer.read_exact(&mut asked).await.expect("a packet");
                assert_eq!(asked, [0xC0, 0], "PINGREQ");
                peer.write_all(&[0xD0, 0]).await.expect("taken");
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        assert_eq!(watched(&mut link, 70).await.end, End::Stands);
        // The fourth PINGREQ comes 20 s into the second time, and the end 5 s later.
        assert_eq!(watched(&mut link, 70).await.end, End::Closed(Duration::from_secs(25)));
        answering.await.expect("asked as it should be");
    }
}
