//! This crate's own client under `thingif conformance client`: it keeps the contract of `thingif::conformance::format`.
//!
//! ```console
//! $ thingif conformance client --exec target/debug/examples/conformance_client
//! ```

use std::env;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use thingif::client::{self, Client, NotSent, Push, RequestError};
use thingif::config::{Config, Identity};
use thingif::transport::paho::{Options, Paho};
use tokio::io::{AsyncBufReadExt, BufReader};

// One thread: calls begin in the order of their lines.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let app_id = env::var("THINGIF_APP_ID")?;
    let transport = Paho::new(Options::default())?;
    let (client, mut pushes, connection) = client::connect(config()?, transport).await?;
    let connection = tokio::spawn(connection.run());
    tokio::spawn(async move {
        while let Some(push) = pushes.next().await {
            match push {
                Push::Message(payload) => println!("push {}", json!({"payload": String::from_utf8_lossy(&payload)})),
                Push::Lagged(lost) => eprintln!("{lost} pushes were lost"),
                _ => {}
            }
        }
    });
    println!("ready");

    let client = client.waiting_for_link();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let mut words = line.splitn(5, ' ');
        let (Some("call"), Some(name), Some(verb), Some(path)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let path = path.replace("{thing}", client.onboarded().await?.thing_id.as_str());
        let mut request = Request::builder().method(verb).uri(format!("/thing-if/apps/{app_id}/{path}"));
        let body = words.next().map(|body| Bytes::from(body.to_owned()));
        if body.is_some() {
            request = request.header("Content-Type", "application/json");
        }
        tokio::spawn(call(client.clone(), name.to_owned(), request.body(body.unwrap_or_default())?));
    }
    client.close().await;
    connection.await??;
    Ok(())
}

fn config() -> Result<Config, Box<dyn Error>> {
    let identity = Identity::vendor_thing(env::var("THINGIF_THING")?.parse()?, env::var("THINGIF_PASSWORD")?.into());
    let broker = env::var("THINGIF_BROKER")?.parse()?;
    let config =
        Config::new(broker, env::var("THINGIF_APP_ID")?.parse()?, env::var("THINGIF_APP_KEY")?.into(), identity)?;
    let call_timeout = seconds("THINGIF_CALL_TIMEOUT", 10.0)?;
    Ok(config
        .with_call_deadline(call_timeout)?
        .with_connect_timeout(call_timeout)?
        .with_detect_dead_peer(seconds("THINGIF_DEAD_PEER", 90.0)?)?
        // Nobody waits to be told that the network is down.
        .with_connect_attempts(usize::MAX)?
        .with_reonboard_after(2)?)
}

fn seconds(variable: &str, usual: f64) -> Result<Duration, Box<dyn Error>> {
    let seconds = env::var(variable).map_or(Ok(usual), |text| text.parse::<f64>())?;
    Ok(Duration::try_from_secs_f64(seconds)?)
}

async fn call(client: Client, name: String, request: Request<Bytes>) {
    let result = match client.send(request).await {
        Ok(response) => answer(&response),
        Err(error) => json!({"error": word(&error), "why": error.to_string()}),
    };
    println!("result {name} {result}");
}

fn answer(response: &Response<Bytes>) -> Value {
    json!({"status": response.status().as_u16(), "body": String::from_utf8_lossy(response.body())})
}

fn word(error: &RequestError) -> &'static str {
    match error {
        RequestError::NotSent(NotSent::DeadlineExceeded) | RequestError::TimedOut => "timed-out",
        RequestError::NotSent(_) => "not-sent",
        RequestError::Disconnected(_) | RequestError::Closed => "disconnected",
        _ => "unreadable",
    }
}
