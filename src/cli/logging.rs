//! Logs go to standard error, and no filter can make a dependency print what it must not.

use std::io::IsTerminal;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt;

/// Targets that print passwords or payloads at debug, capped after whatever the user asked for.
const CAPPED: [&str; 5] = ["paho_mqtt=warn", "hyper=info", "rustls=info", "tungstenite=info", "tokio_tungstenite=info"];

/// Sets up logging for the process. `THINGIF_LOG`, else `RUST_LOG`, in the syntax of `tracing-subscriber`'s filters, else
/// `verbosity`: 0 warnings, 1 what happens, 2 and above every step.
pub(crate) fn init(verbosity: u8) {
    let asked =
        ["THINGIF_LOG", "RUST_LOG"].into_iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    let log = fmt().with_env_filter(filter(asked.as_deref(), verbosity)).with_writer(std::io::stderr);
    // Colours are for people: a file or a journal gets plain text.
    let has_colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A second call finds a subscriber in place and leaves it.
    let _ = log.with_ansi(has_colours).try_init();
}

fn filter(asked: Option<&str>, verbosity: u8) -> EnvFilter {
    let by_verbosity = match verbosity {
        0 => "warn",
        1 => "warn,thingif=info",
        2 => "info,thingif=debug",
        _ => "debug,thingif=trace",
    };
    let base = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
    let mut filter = match asked {
        // A directive on a capped target or a part of it would outlive the cap: the more specific one wins.
        Some(asked) => base.parse_lossy(asked.split(',').filter(|one| !is_capped(one)).collect::<Vec<_>>().join(",")),
        None => base.parse_lossy(by_verbosity),
    };
    for directive in CAPPED {
        filter = filter.add_directive(directive.parse().expect("a literal that parses"));
    }
    filter
}

fn is_capped(directive: &str) -> bool {
    let target = directive.trim().split(['=', '[']).next().unwrap_or_default();
    CAPPED.iter().filter_map(|cap| cap.split('=').next()).any(|cap| target.starts_with(cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_opens_a_capped_target() {
        for asked in [
            None,
            Some("trace"),
            Some("paho_mqtt=trace"),
            Some("paho_mqtt::async_client=debug,paho_mqtt:=trace,info"),
            Some(" paho_mqtt_c=trace"),
        ] {
            for verbosity in 0..4 {
                let shown = filter(asked, verbosity).to_string();
                assert!(shown.contains("paho_mqtt=warn"), "{asked:?}: {shown}");
                assert!(!shown.contains("paho_mqtt:") && !shown.contains("paho_mqtt_c"), "{asked:?}: {shown}");
                assert!(!shown.contains("paho_mqtt=trace"), "{asked:?}: {shown}");
            }
        }
    }

    #[test]
    fn other_directives_stay() {
        let shown = filter(Some("warn,thingif::edge=trace"), 0).to_string();
        assert!(shown.contains("thingif::edge=trace"), "{shown}");
    }
}
