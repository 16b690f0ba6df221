//! What the minimal device does, by an MQTT library alone: logs in at the broker it was assigned, sends its state as bytes that
//! were written by hand, prints the status of the answer, and listens. It knows no onboarding, no deadlines and no reconnecting.

#[cfg(all(feature = "paho-tcp", not(feature = "rumqttc")))]
mod paho;
#[cfg(feature = "rumqttc")]
mod rumqtt;

#[cfg(all(feature = "paho-tcp", not(feature = "rumqttc")))]
use paho::run;
#[cfg(feature = "rumqttc")]
use rumqtt::run;

const CLIENT_ID: &str = "device-1";
const TOPIC: &str = "p/device-1/thing-if/apps/a1/targets/thing:th.1/states";
const FRAME: &[u8] = b"PUT\r\nAuthorization: Bearer 0123456789abcdef0123456789abcdef01234567\r\nX-Kii-RequestID: 1\r\n\
    Content-Type: application/json\r\n\r\n{\"power\":true}";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // mqtt://HOST:PORT or mqtts://HOST:PORT
    let broker = std::env::var("DEVICE_BROKER")?;
    let (scheme, authority) = broker.split_once("://").ok_or("a scheme is missing")?;
    run(scheme == "mqtts", authority)
}

fn heard(topic: &str, payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    // An answer begins with its status.
    println!("{}", if topic == TOPIC { text.get(..3).unwrap_or_default() } else { &text });
}
