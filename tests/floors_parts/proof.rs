//! The checker is shown bad sources and must flag each; and good ones, which it must let pass.

use super::rules::{Rule, Source, violations};

fn check(files: &[(&str, &str)]) -> Vec<(String, Rule)> {
    let sources: Vec<_> =
        files.iter().map(|(name, text)| Source { name: (*name).into(), text: (*text).into() }).collect();
    violations(&sources).into_iter().map(|v| (v.file, v.rule)).collect()
}

/// Flags exactly `rule`, once or more, in the first file.
fn assert_flagged(files: &[(&str, &str)], rule: Rule) {
    let found = check(files);
    let only = found.iter().all(|(file, of)| file == files[0].0 && *of == rule);
    assert!(!found.is_empty() && only, "{files:?}: wanted {rule:?}, found {found:?}");
}

#[test]
fn a_name_from_above_is_found_wherever_it_stands() {
    for text in [
        "use crate::client::Client;",
        "use crate::{ids::AppId, client::{self, Client}};",
        "use crate::ids::AppId; use crate::{client as c};",
        "pub use crate::client::*;",
        "use super::client::Client;",
        "use {super::super::client};",
        "fn f() { crate::client::connect(); }",
        "fn f(c: crate::client::Client) {}",
        "fn f() { use crate::client; }",
        "impl crate::client::Trait for X {}",
        "type T = Vec<Option<crate::client::Client>>;",
        "fn f(x: X) { match x { crate::client::X::Y => {} _ => {} } }",
        "fn f() { let x = vec![crate::client::new()]; }",
        "fn f() { assert!(matches!(x, Some(crate::client::X))); }",
        "macro_rules! m { () => { $crate::client::connect() } }",
        "#[serde(with = \"crate::client::codec\")] struct S;",
        "#[derive(crate::client::Derive)] struct S;",
        "use crate as k; fn f() { k::client::connect() }",
        "mod inner { use super::super::client::Client; }",
        "mod inner { fn f() { super::super::client::connect() } }",
        "use thingif::client::Client;",
        "#[cfg(test)] mod tests { use crate::client::Client; }",
    ] {
        // `use crate as k` names the root itself as well.
        let rule = if text.contains("as k") { None } else { Some(Rule::Upwards) };
        let found = check(&[("topic.rs", text), ("client/mod.rs", "")]);
        let right = found.iter().all(|(file, of)| file == "topic.rs" && rule.is_none_or(|rule| *of == rule));
        assert!(!found.is_empty() && right, "{text}: {found:?}");
    }
}

#[test]
fn the_two_ends_do_not_know_each_other() {
    for above in ["proto", "client", "transport"] {
        for file in ["edge/session.rs", "cloud/mod.rs"] {
            let text = format!("use crate::{above}::X;");
            assert_flagged(&[(file, &text)], Rule::Upwards);
        }
    }
    assert_flagged(&[("proto/session.rs", "use crate::edge::X;")], Rule::Upwards);
    assert_flagged(&[("transport/memory.rs", "use crate::proto::X;")], Rule::Upwards);
    assert_flagged(&[("bin/thingif.rs", "fn main() { thingif::client::connect() }")], Rule::Upwards);
}

#[test]
fn a_re_export_at_the_root_does_not_hide_where_a_name_is_from() {
    let root = ("lib.rs", "pub mod client; pub mod topic; pub use client::Client; pub use topic::Topic as T;");
    assert_flagged(&[("frame/mod.rs", "use crate::Client;"), root], Rule::Upwards);
    assert_flagged(&[("frame/mod.rs", "fn f() { crate::Client::new() }"), root], Rule::Upwards);
    assert_eq!(check(&[("frame/mod.rs", "use crate::T;"), root]), []);
    assert_flagged(&[("frame/mod.rs", "use crate::Unheard;"), root], Rule::CrateRoot);
    assert_flagged(&[("frame/mod.rs", "use crate::*;"), root], Rule::CrateRoot);
    assert_flagged(&[("frame/mod.rs", "use super::*;"), root], Rule::CrateRoot);
}

#[test]
fn pure_modules_name_no_clock_socket_thread_or_runtime() {
    for text in [
        "use std::time::Instant;",
        "use std::time::{Duration, SystemTime};",
        "use std::time; fn f() { time::Instant::now(); }",
        "use std::time::*;",
        "use std::{thread, fmt};",
        "use std as s; fn f() { s::thread::sleep(d) }",
        "fn f() { ::std::thread::spawn(g); }",
        "fn f() -> std::net::TcpStream { todo() }",
        "use std::net::ToSocketAddrs;",
        "fn f() { std::fs::read(x); }",
        "fn f() { std::env::var(x); }",
        "use tokio::time::Instant;",
        "#[tokio::main] fn f() {}",
        "fn f() { tokio::select! { _ = x => {} } }",
        "fn f() { assert_eq!(std::time::Instant::now(), x); }",
        "fn f() { tracing::debug!(\"x\"); }",
        "use futures_core::Stream;",
        "fn f() { println!(\"x\"); }",
        "fn f() { fastrand::u64(..); }",
        "use fastrand::Rng; fn f() { Rng::new(); }",
    ] {
        assert_flagged(&[("proto/backoff.rs", text)], Rule::Impure);
        assert_flagged(&[("frame/mod.rs", text)], Rule::Impure);
    }
}

#[test]
fn what_has_a_home_is_named_nowhere_else() {
    for file in ["transport/mod.rs", "transport/memory.rs", "client/mod.rs", "cli/doctor.rs"] {
        assert_flagged(&[(file, "use paho_mqtt as mqtt;")], Rule::CrateHome);
        assert_flagged(&[(file, "fn f(e: paho_mqtt::Error) {}")], Rule::CrateHome);
    }
    assert_flagged(&[("edge/mod.rs", "#[cfg(test)] mod tests { use paho_mqtt::Client; }")], Rule::CrateHome);
    assert_flagged(&[("client/mod.rs", "use crate::mqtt::packet::Packet;")], Rule::InnerModule);
    assert_flagged(&[("client/mod.rs", "use crate::mqtt::{Qos, packet};")], Rule::InnerModule);
    assert_flagged(&[("client/mod.rs", "use crate::transport::paho::Paho;")], Rule::InnerModule);
    for text in ["const P: &[u8] = b\"MQIsdp\";", "fn f() { buf.put(\"\\x00\\x06MQIsdp\"); g!(b\"MQIsdp\") }"] {
        assert_flagged(&[("edge/session.rs", text)], Rule::PacketCode);
    }
}

#[test]
fn unsafe_is_found_wherever_it_stands() {
    for text in [
        "fn f() { unsafe { g() } }",
        "unsafe fn f() {}",
        "unsafe impl Send for X {}",
        "unsafe trait T {}",
        "extern \"C\" { fn f(); }",
        "#[unsafe(no_mangle)] fn f() {}",
        "fn f() { m! { unsafe { g() } } }",
        "#[cfg(test)] mod tests { fn f() { unsafe { g() } } }",
        "struct X; impl X { unsafe fn f() {} }",
    ] {
        assert_flagged(&[("transport/paho/link.rs", text)], Rule::Unsafe);
    }
}

#[test]
fn the_rest_is_found_too() {
    let long = "// a line\n".repeat(401);
    assert_flagged(&[("ids.rs", &long)], Rule::TooLong);
    assert_flagged(&[("helpers/mod.rs", "")], Rule::UnknownModule);
    assert_flagged(&[("lib.rs", "mod helpers {}")], Rule::UnknownModule);
    assert_flagged(&[("ids.rs", "fn {")], Rule::NotRust);
}

#[test]
fn good_sources_pass() {
    let long = format!("{}#[cfg(test)]\nmod tests {{}}\n{}", "// a line\n".repeat(400), "// a test\n".repeat(900));
    let files = [
        ("lib.rs", "pub mod ids; pub mod client; pub use client::Client; #[cfg(feature = \"cli\")] pub mod cli;"),
        ("ids.rs", long.as_str()),
        ("secret.rs", "use std::time::Duration; use std::net::{IpAddr, SocketAddr}; pub(crate) fn f() {}"),
        ("topic.rs", "/// See [`crate::client::Client`].\nuse crate::ids::AppId; mod inner { use super::AppId; }"),
        ("mqtt/mod.rs", "mod packet; pub use packet::Packet; fn f() { let client = 1; client.unsafe_code(); }"),
        ("mqtt/packet/mod.rs", "const NAME: &str = \"MQIsdp\"; use super::Qos;"),
        ("proto/mod.rs", "#[cfg(test)] mod tests { use std::time::Instant; use tokio::time; use super::*; }"),
        ("proto/backoff.rs", "use fastrand::Rng; fn f() { Rng::with_seed(1); } #[cfg(test)] mod sim;"),
        ("proto/backoff/sim.rs", &format!("use std::thread; use tokio::time;{}", "\n// a test".repeat(900))),
        ("transport/paho/guard.rs", "fn f() { unsafe { g() } } use paho_mqtt::Client;"),
        ("client/mod.rs", "use crate::{proto::Lifecycle, transport::Link, config}; fn f() { config::X; }"),
        ("edge/mod.rs", "use crate::mqtt::packet; fn f() { tokio::spawn(g()); packet::encode(); }"),
        ("cloud/mod.rs", "use crate::edge::Directory; use rusqlite::Connection;"),
        ("cli/mod.rs", "use crate::{client, cloud, edge, transport::paho}; use crate::Client;"),
        ("bin/thingif.rs", "fn main() { thingif::cli::main() }"),
    ];
    assert_eq!(check(&files), []);
}
