//! The edge against the numbered statements of MQTT 3.1.1, in bytes written by hand. `src/edge/conformance.md` says for
//! each statement whether it is tested here, broken on purpose, or none of a server's business; `list` compares the two.
#![cfg(feature = "edge")]

#[path = "../support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "../support/scripted_edge.rs"]
mod scripted_edge;

/// Names a case by the statements that it shows: `cases! { what_it_shows: mqtt_3_1_0_1 mqtt_3_1_0_2 }` makes the tests
/// `what_it_shows::mqtt_3_1_0_1` and so on. A case that shows a deviation begins with `by_design_`.
macro_rules! cases {
    ($($case:ident: $($number:ident)+;)+) => {
        $(mod $case {
            use super::$case as shown;
            $(#[tokio::test]
            async fn $number() {
                shown().await;
            })+
        })+
    };
}

mod bench;
mod connect;
mod life;
mod list;
mod publish;
mod strings;
mod subscribe;
mod version_3_1;
mod websocket;
