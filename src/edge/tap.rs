//! What passes, for whoever looks: frames of devices, answers and pushes.

use std::fmt;

use bytes::Bytes;
use tokio::sync::broadcast;

use crate::ids::ClientId;
use crate::secret::Redacted;
use crate::topic::Topic;

/// Frames that wait for one who looks; older ones are lost to them, and counted.
const WAITING: usize = 256;

/// A message that passed. Shown without its secrets.
#[derive(Clone)]
#[non_exhaustive]
pub struct Passed {
    /// Whether the device sent it.
    pub from_device: bool,
    /// The device.
    pub client: ClientId,
    /// The topic.
    pub topic: Topic,
    /// The payload as it is, secrets included.
    pub payload: Bytes,
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passed")
            .field("from_device", &self.from_device)
            .field("topic", &self.topic)
            .field("payload", &Redacted::new(&self.payload))
            .finish_non_exhaustive()
    }
}

/// What one who looks sees next.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A message.
    Passed(Passed),
    /// So many messages passed too quickly to be seen.
    Lost(u64),
}

/// What passes, from now on. At most 256 messages wait; nobody else waits for it.
#[derive(Debug)]
pub struct Tap(broadcast::Receiver<Passed>);

impl Tap {
    /// The next message; `None` once the registry is gone.
    pub async fn next(&mut self) -> Option<Seen> {
        match self.0.recv().await {
            Ok(passed) => Some(Seen::Passed(passed)),
            Err(broadcast::error::RecvError::Lagged(lost)) => Some(Seen::Lost(lost)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Where messages are shown.
pub(super) struct Taps(broadcast::Sender<Passed>);

impl Default for Taps {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Taps {
    pub(super) fn open(&self) -> Tap {
        Tap(self.0.subscribe())
    }

    /// Shows a message to those who look, if there is one.
    pub(super) fn show(&self, from_device: bool, client: &ClientId, topic: &Topic, payload: &Bytes) {
        if self.0.receiver_count() > 0 {
            let passed = Passed { from_device, client: client.clone(), topic: topic.clone(), payload: payload.clone() };
            // The last one may just have gone.
            let _ = self.0.send(passed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_was_lost() {
        let taps = Taps::default();
        let (client, topic) = (ClientId::new("device").expect("valid"), Topic::new("device").expect("valid"));
        taps.show(true, &client, &topic, &Bytes::from_static(b"before anybody looked"));
        let mut tap = taps.open();
        for number in 0..300_u32 {
            taps.show(true, &client, &topic, &Bytes::from(number.to_string()));
        }
        assert!(matches!(tap.next().await, Some(Seen::Lost(44))));
        match tap.next().await {
            Some(Seen::Passed(passed)) => assert_eq!(passed.payload, "44"),
            other => panic!("{other:?}"),
        }
        drop(taps);
        let mut left = 0;
        while tap.next().await.is_some() {
            left += 1;
        }
        assert_eq!(left, 255);
    }

    #[test]
    fn nothing_secret_is_shown() {
        let passed = Passed {
            from_device: true,
            client: ClientId::new("device").expect("valid"),
            topic: Topic::new("p/device/x").expect("valid"),
            payload: Bytes::from_static(b"GET\r\nAuthorization: Bearer t0k3n\r\n\r\n"),
        };
        assert!(!format!("{passed:?}").contains("t0k3n"));
    }
}
