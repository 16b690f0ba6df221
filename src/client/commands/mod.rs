//! Commands: carried out once each, in their order, reported until the service has heard.
//!
//! Commands arrive as pushes, at QoS 0 and without a session: what is pushed while the device is away, or faster than it
//! reads, is gone. So the device also asks for the list of its commands, after each connect and when pushes were
//! dropped, carries out those that nobody has reported on, and reports the ones that are too old as failed instead.
//! (`wire` §6)
//!
//! ```no_run
//! use serde::Deserialize;
//! use thingif::client::commands::{ActionTable, Commands, FileJournal};
//! use thingif::client::{Client, Connection, Pushes};
//!
//! #[derive(Deserialize)]
//! struct TurnPower {
//!     power: bool,
//! }
//!
//! async fn obey(client: Client, pushes: Pushes, mut connection: Connection) -> std::io::Result<()> {
//!     let notices = connection.notices();
//!     tokio::spawn(connection.run());
//!     let table = ActionTable::new().on("turnPower", |TurnPower { power }, _| async move {
//!         println!("the power is {}", if power { "on" } else { "off" });
//!         Ok::<(), String>(())
//!     });
//!     let journal = FileJournal::open("/var/lib/lamp/commands")?;
//!     let (commands, _events) = Commands::builder(client, table).with_journal(journal).build();
//!     commands.run(pushes, notices).await;
//!     Ok(())
//! }
//! ```

mod actuator;
mod caller;
mod event;
mod file_journal;
mod inputs;
mod journal;
mod queue;
mod received;
mod reports;
mod run;
mod service;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use actuator::{ActionTable, Actuator, Done};
pub use event::{CommandEvent, CommandEvents};
pub use file_journal::FileJournal;
pub use journal::{Journal, MemoryJournal, Unsettled};
pub use received::ReceivedCommand;

use super::lossy;
use super::{Client, Notices, Push, Pushes};
use crate::ids::ThingId;
use inputs::Arrivals;

pub(super) use caller::Caller;
pub(super) use inputs::{Input, Inputs, connected, without_the_past};
pub(super) use run::{Events, Run, end_of};
pub(super) use service::{FIND_LIMIT, Failure, Found, Service, clock, encoded, find};

/// Events kept for the reader.
const EVENT_QUEUE: usize = 256;

pub(super) type Tap = Box<dyn FnMut(&Push) + Send>;

/// How commands are treated; see [`Commands::builder`].
pub struct Builder {
    client: Client,
    actuator: Arc<dyn Actuator>,
    journal: Arc<dyn Journal>,
    tap: Option<Tap>,
    rules: Rules,
}

/// How the commands of one thing are treated.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) max_age: Duration,
    pub(super) max_missed: usize,
    pub(super) max_waiting: usize,
    pub(super) run_again: bool,
    /// Whose commands, where the journal has those of other things as well.
    pub(super) only: Option<ThingId>,
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_age: Duration::from_secs(60), max_missed: 200, max_waiting: 256, run_again: false, only: None }
    }
}

impl Rules {
    fn is_ours(&self, entry: &Unsettled) -> bool {
        self.only.as_ref().is_none_or(|thing| entry.command.thing_id == *thing)
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Builder {
    /// Where commands are written down. Default: [`MemoryJournal`], which forgets with the process.
    #[must_use]
    pub fn with_journal(mut self, journal: impl Journal) -> Self {
        self.journal = Arc::new(journal);
        self
    }

    /// A command that is older is reported failed and not carried out: nobody wants last week's "unlock". Default 60 s.
    /// The age of a missed command is by the service's clock, as far as its answers have a `Date`; time that a command
    /// waits for those before it counts.
    #[must_use]
    pub fn with_max_command_age(mut self, age: Duration) -> Self {
        self.rules.max_age = age;
        self
    }

    /// How many of the newest commands are looked at for missed ones. Default 200; at least 1.
    #[must_use]
    pub fn with_max_missed(mut self, count: usize) -> Self {
        self.rules.max_missed = count.max(1);
        self
    }

    /// How many commands may wait for their turn; one more is dropped, reported, and found in the list later. Default
    /// 256; at least 1.
    #[must_use]
    pub fn with_max_waiting(mut self, count: usize) -> Self {
        self.rules.max_waiting = count.max(1);
        self
    }

    /// A command that had begun when the program ended is carried out again after the restart, if it is not too old, instead
    /// of being reported failed. Default: at most once. Needs a journal that survives a restart.
    #[must_use]
    pub fn at_least_once(mut self) -> Self {
        self.rules.run_again = true;
        self
    }

    /// `tap` sees every push first, commands included: the way to the pushes that are none.
    #[must_use]
    pub fn with_tap(mut self, tap: impl FnMut(&Push) + Send + 'static) -> Self {
        self.tap = Some(Box::new(tap));
        self
    }

    /// The commands, to be [run](Commands::run), and what becomes of them.
    pub fn build(self) -> (Commands, CommandEvents) {
        let (events, receiver) = lossy::queue(EVENT_QUEUE);
        let events = Events::to(move |event| events.send(event));
        let client = self.client.clone();
        let service = Service::new(Arc::new(self.client));
        let run = Run::new(service, self.actuator, self.journal, self.rules, events);
        (Commands { client, run, tap: self.tap }, CommandEvents(receiver))
    }
}

/// Carries out the commands of one device.
#[must_use = "commands are carried out only while `run` is awaited"]
pub struct Commands {
    client: Client,
    run: Run,
    tap: Option<Tap>,
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.run.fmt(f)
    }
}

impl Commands {
    /// Commands that reach `client`, carried out by `actuator`.
    pub fn builder(client: Client, actuator: impl Actuator) -> Builder {
        Builder {
            client,
            actuator: Arc::new(actuator),
            journal: Arc::new(MemoryJournal::new()),
            tap: None,
            rules: Rules::default(),
        }
    }

    /// Carries out commands, one after the other, until the connection ends; then what runs is finished and written down,
    /// but no longer reported. `notices` are those of the same connection: each Ready makes the missed commands be
    /// looked for.
    ///
    /// Dropping the future leaves a running action where it is; the journal knows that its command had begun.
    pub async fn run(self, pushes: Pushes, notices: Notices) {
        let Self { client, run, tap } = self;
        // Nobody can be commanded who has no name yet.
        if client.onboarded().await.is_ok() {
            drop(client);
            run.until_the_end(Arrivals::from_now_on(pushes, notices, tap).await).await;
        }
    }
}
