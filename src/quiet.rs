//! Keeps what dependencies would log of secrets from being logged.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter};

/// The calls under way that must not be heard, and the level to go back to after the last of them.
struct Lowered {
    calls: usize,
    before: LevelFilter,
}

static LOWERED: Mutex<Lowered> = Mutex::new(Lowered { calls: 0, before: LevelFilter::Off });

/// Whether the level was ever lowered. Until then most calls cost two loads.
static EVER: AtomicBool = AtomicBool::new(false);

/// Where tungstenite logs messages and frames, at TRACE. A filter may name the second without the first.
#[cfg(any(feature = "native", feature = "edge"))]
pub(crate) const WEBSOCKET: &[&str] = &["tungstenite::protocol", "tungstenite::protocol::frame"];

/// Runs `call`, a call of a dependency that would log a secret at `level` under one of `targets`, with that level switched off.
///
/// Nothing is touched unless the application's logger really listens there. If it does, the `log` crate's global level is
/// lowered to INFO for the duration of the call, some microseconds; the cost is that a DEBUG or TRACE record which another
/// thread writes through the `log` crate in that moment is lost. Calls on several threads share one lowering.
pub(crate) fn quietly<R>(targets: &[&str], level: Level, call: impl FnOnce() -> R) -> R {
    debug_assert!(level > Level::Info, "what is said at INFO is not switched off");
    // A level that another thread has lowered is no reason to do nothing: it may be back in a moment. Whoever sees the
    // lowered level sees the flag as well, which was set before it.
    let is_low = log::max_level() < level.to_level_filter();
    fence(Ordering::SeqCst);
    if is_low && !EVER.load(Ordering::Relaxed) {
        return call();
    }
    let _restore = lower(targets, level);
    call()
}

fn lower(targets: &[&str], level: Level) -> Option<Restore> {
    let mut lowered = LOWERED.lock().unwrap_or_else(PoisonError::into_inner);
    if lowered.calls == 0 {
        let before = log::max_level();
        let is_heard = |target: &&str| log::log_enabled!(target: *target, level);
        if before < level.to_level_filter() || !targets.iter().any(is_heard) {
            return None;
        }
        lowered.before = before;
        EVER.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        log::set_max_level(LevelFilter::Info);
    }
    lowered.calls += 1;
    Some(Restore)
}

/// Ends a call's share, also when it unwinds; the last one puts the level back, unless the application has set another one
/// meanwhile.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        let mut lowered = LOWERED.lock().unwrap_or_else(PoisonError::into_inner);
        lowered.calls -= 1;
        if lowered.calls == 0 && log::max_level() == LevelFilter::Info {
            log::set_max_level(lowered.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use log::{Log, Metadata, Record};

    use super::*;

    const TARGET: &str = "somebody::else";

    /// Counts what is said under [`TARGET`].
    struct Heard(AtomicUsize);

    impl Log for Heard {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target() == TARGET
        }
        fn log(&self, record: &Record<'_>) {
            self.0.fetch_add(usize::from(record.target() == TARGET), Ordering::SeqCst);
        }
        fn flush(&self) {}
    }

    static HEARD: Heard = Heard(AtomicUsize::new(0));

    #[test]
    fn nothing_is_heard_from_many_threads_at_once_and_the_level_comes_back() {
        log::set_logger(&HEARD).expect("no other test of this crate has one");
        log::set_max_level(LevelFilter::Trace);
        log::trace!(target: TARGET, "listening");
        assert_eq!(HEARD.0.load(Ordering::SeqCst), 1);
        std::thread::scope(|scope| {
            for level in [Level::Debug, Level::Trace, Level::Trace, Level::Debug] {
                scope.spawn(move || {
                    for _ in 0..5_000 {
                        quietly(&["somebody", TARGET], level, || log::log!(target: TARGET, level, "secret"));
                        std::thread::yield_now();
                    }
                });
            }
        });
        assert_eq!(HEARD.0.load(Ordering::SeqCst), 1);
        assert_eq!(log::max_level(), LevelFilter::Trace);
        let unwound = std::panic::catch_unwind(|| quietly(&[TARGET], Level::Trace, || panic!("on purpose")));
        assert!(unwound.is_err());
        assert_eq!(log::max_level(), LevelFilter::Trace);
        // An application that wants to hear nothing is left alone.
        log::set_max_level(LevelFilter::Warn);
        quietly(&[TARGET], Level::Trace, || assert_eq!(log::max_level(), LevelFilter::Warn));
    }
}
