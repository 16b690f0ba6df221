//! What hashing passwords costs in memory, with passwords as dear as they are by default.
#![cfg(all(feature = "cloud", target_os = "linux"))]

mod cloud_support;

use cloud_support::{APP, BY_THING, KEY, Recorder, Road, basic, options};
use thingif::cloud::{Cloud, PasswordCost};
use thingif::edge::PushOutcome;

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn many_who_onboard_at_once_take_turns_and_memory() {
    const DEVICES: usize = 200;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut options = options();
        options.password_cost = PasswordCost::default();
        let cloud = Cloud::open(options, Recorder::new(PushOutcome::NotConnected)).expect("opens");
        let road = Road::Service(cloud.service());
        let before = status("VmRSS");
        let devices: Vec<_> = (0..DEVICES)
            .map(|i| {
                let road = road.clone();
                tokio::spawn(async move {
                    let basic = basic(APP, KEY);
                    let headers = [("Authorization", basic.as_str()), ("Content-Type", BY_THING)];
                    let body = format!(r#"{{"vendorThingID":"v{i}","thingPassword":"secret {i}"}}"#);
                    road.send("POST", &format!("/thing-if/apps/{APP}/onboardings"), &headers, &body).await.status
                })
            })
            .collect();
        for device in devices {
            assert_eq!(device.await.expect("no panic"), 200);
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let allowed = cores * u64::from(PasswordCost::default().memory_kib) + 32 * 1024;
        let (after, peak) = (status("VmRSS"), status("VmHWM"));
        println!("{DEVICES} onboardings: {before} KiB before, {peak} KiB at most, {after} KiB after, on {cores} cores");
        assert!(peak <= before + allowed, "{before} KiB before, {peak} KiB at most, {allowed} KiB more allowed");
        cloud.close().await;
    });
}
