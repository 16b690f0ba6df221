//! Listens to everything: every event and span of tracing, and every record of the `log` crate, at every level.

use std::error::Error;
use std::fmt::{Debug, Display, Write};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What was heard so far, in this process.
struct Collector(Mutex<String>);

static HEARD: Collector = Collector(Mutex::new(String::new()));

struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").expect("a String");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // As a writer of plain text shows it, and as `Debug` does.
        write!(self.0, " {field}={value} {value:?}").expect("a String");
    }
}

impl Collector {
    fn text(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, metadata: &Metadata<'_>, values: impl FnOnce(&mut Text<'_>)) {
        // Made first and added then: showing a value may log.
        let mut line = format!("{} {} {}", metadata.level(), metadata.target(), metadata.name());
        values(&mut Text(&mut line));
        line.push('\n');
        self.text().push_str(&line);
    }
}

impl Subscriber for &'static Collector {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.write(span.metadata(), |text| span.record(text));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut line = String::new();
        values.record(&mut Text(&mut line));
        self.text().push_str(&line);
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        self.write(event.metadata(), |text| event.record(text));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {} {}\n", record.level(), record.target(), record.args());
        self.text().push_str(&line);
    }
    fn flush(&self) {}
}

/// Begins to listen, in the whole process.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(&HEARD).expect("the only subscriber");
        log::set_logger(&HEARD).expect("the only logger");
        log::set_max_level(log::LevelFilter::Trace);
    });
}

/// All that was heard, by whomever.
pub(crate) fn heard() -> String {
    HEARD.text().clone()
}

/// An error, as any program may show it, is as public as a log.
pub(crate) fn note_error(error: &(dyn Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        note(error);
        note_display(error);
        next = error.source();
    }
}

/// What is shown with `{:?}` and `{:#?}`.
pub(crate) fn note(value: &(impl Debug + ?Sized)) {
    let shown = format!("shown {value:?} {value:#?}\n");
    HEARD.text().push_str(&shown);
}

/// What is shown with `{}`.
pub(crate) fn note_display(value: &(impl Display + ?Sized)) {
    let shown = format!("shown {value} {value:#}\n");
    HEARD.text().push_str(&shown);
}

/// Ears that hear nothing would make every test here pass.
#[test]
fn a_leak_through_any_of_the_ways_is_heard() {
    type Leak = fn(&str);
    let ways: [(&str, Leak); 7] = [
        ("an event's field", |secret| tracing::trace!(secret, "said")),
        ("a field shown with Debug", |secret| tracing::trace!(field = ?secret, "said")),
        ("an event's message", |secret| tracing::trace!("said {secret}")),
        ("a span", |secret| drop(tracing::trace_span!("span", secret).entered())),
        ("a value recorded in a span", |secret| {
            let span = tracing::info_span!("span", late = tracing::field::Empty);
            span.record("late", secret);
        }),
        ("the log crate", |secret| log::trace!(target: "paho_mqtt::async_client", "said {secret}")),
        ("an error's source", |secret| {
            #[derive(Debug)]
            struct Outer(std::io::Error);
            impl Display for Outer {
                fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("outer")
                }
            }
            impl Error for Outer {
                fn source(&self) -> Option<&(dyn Error + 'static)> {
                    Some(&self.0)
                }
            }
            note_error(&Outer(std::io::Error::other(secret.to_owned())));
        }),
    ];
    listen();
    for (way, leak) in ways {
        let mut planted = super::planted::Planted::default();
        let secret = planted.make("a secret", "\"/ ");
        planted.assert_absent("silence", &heard());
        leak(&secret);
        assert!(!planted.found_in(&heard()).is_empty(), "{way} is not heard");
    }
}
