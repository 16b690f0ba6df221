//! The edge when file descriptors run out. Runs itself again under a low limit, because a limit is a process's own.
#![cfg(all(feature = "edge", unix))]

#[path = "support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "support/scripted_edge.rs"]
mod scripted_edge;

use std::process::Command;

use raw_mqtt::{Client, PATIENCE};
use scripted_edge::{anonymous, echo, start};
use tokio::net::TcpStream;
use tokio::time::timeout;

const INNER: &str = "THINGIF_TEST_FEW_DESCRIPTORS";

#[test]
fn accepting_pauses_when_descriptors_run_out_and_goes_on_when_there_are_some() {
    if std::env::var_os(INNER).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(async {
            timeout(PATIENCE, exhaust()).await.expect("in time");
        });
    }
    let myself = std::env::current_exe().expect("a path");
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" --nocapture"])
        .arg(myself)
        .env(INNER, "1")
        .output()
        .expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("exhausted and recovered"), "{said}{output:?}");
}

async fn exhaust() {
    let edge = start(echo()).await;
    let mut clients = Vec::new();
    // The last connection finds a descriptor for its own end and none for the edge's.
    while edge.registry.metrics().accept_errors == 0 {
        match TcpStream::connect(edge.address).await {
            Ok(stream) => clients.push(stream),
            Err(_) => {
                clients.pop();
                // Gives the edge a moment to accept or to fail.
                tokio::task::yield_now().await;
            }
        }
    }
    drop(clients);
    let mut client = timeout(PATIENCE, Client::login(edge.address, anonymous())).await.expect("accepts again");
    client.ping().await;
    println!("exhausted and recovered");
}
