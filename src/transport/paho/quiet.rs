//! Keeps what paho's Rust wrapper would log from being logged.

use log::{Level, LevelFilter};

/// Where the wrapper logs the options of a CONNECT, password included, and every message it publishes: at DEBUG.
const TARGET: &str = "paho_mqtt::async_client";

/// Runs `call`, a call of the wrapper that would log a secret at DEBUG, with DEBUG switched off.
///
/// Nothing is touched unless the application's logger really listens to that target at DEBUG. If it does, the `log`
/// crate's global level is lowered to INFO for the duration of the call, some microseconds; the cost is that a DEBUG or
/// TRACE record which another thread writes through the `log` crate in that moment is lost.
pub(super) fn quietly<R>(call: impl FnOnce() -> R) -> R {
    let level = log::max_level();
    if level <= LevelFilter::Info || !log::log_enabled!(target: TARGET, Level::Debug) {
        return call();
    }
    log::set_max_level(LevelFilter::Info);
    let _restore = Restore(level);
    call()
}

/// Puts the level back, also when the call unwinds, unless the application has set another one meanwhile.
struct Restore(LevelFilter);

impl Drop for Restore {
    fn drop(&mut self) {
        if log::max_level() == LevelFilter::Info {
            log::set_max_level(self.0);
        }
    }
}
