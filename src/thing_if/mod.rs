//! The JSON bodies of Thing-IF as types, and the one dialect in which they are written.
//!
//! Bodies are read leniently (unknown fields are ignored, known variant spellings accepted) and written in the form
//! that the strictest known reader needs. Reading never panics; an error names the field and never shows its value,
//! which may be a credential. Values with secrets in them have a `Serialize` that redacts; the wire form comes from a
//! method with `exposed` in its name, so that each such place can be found. (`wire` §4–§7)

mod action_results;
mod actions;
mod bucket_event;
mod command;
mod credential;
mod end_node;
mod endpoint;
mod error_body;
mod error_code;
mod fields;
mod installation;
pub mod json;
pub mod media_type;
mod onboarding;
mod onboarding_answer;
mod open_text;
mod predicate;
mod principal;
mod push;
mod state;
mod state_query;
mod trigger;
mod trigger_request;

use open_text::open_text;

pub use action_results::{ActionResult, ActionResults, ActionResultsUpdate, AliasResults};
pub use actions::{Action, Actions, AliasActions};
pub use bucket_event::{BucketEvent, BucketEventType};
pub use command::{Command, CommandCreated, CommandPush, CommandReportedPush, CommandRequest, CommandState, Commands};
pub use credential::Credential;
pub use end_node::{EndNodeConnection, EndNodes, ListedEndNode};
pub use endpoint::{MqttEndpoint, TtlField};
pub use error_body::ErrorBody;
pub use error_code::ErrorCode;
pub use fields::InvalidBody;
pub use installation::{Installation, InstallationCreated, InstallationRequest, Installations};
pub use onboarding::{
    DataGroupingInterval, EndNodeOnboarding, LayoutPosition, MAX_THING_PROPERTIES_LEN, OnboardingRequest,
    ThingIdentity, ThingOnboarding, ThingProfile, check_thing_properties,
};
pub use onboarding_answer::{EndNodeOnboardingAnswer, OnboardingAnswer};
pub use predicate::{Clause, Predicate, TriggersWhen};
pub use principal::{InvalidPrincipal, Principal};
pub use push::{MAX_PUSH_LEN, Push, TopicMessage};
pub use state::{BulkStates, MAX_STATE_LEN, State, TimedState, TraitStates};
pub use state_query::{
    Aggregated, Aggregation, AggregationFunction, FieldType, GroupedStates, HistoryStates, MAX_AGGREGATIONS,
    QueryClause, StateGroup, StateQuery, TimeRange,
};
pub use trigger::{
    ServerCode, ServerCodeError, ServerCodeResult, ServerCodeResults, Trigger, TriggerCommand, TriggerCreated, Triggers,
};
pub use trigger_request::{TriggerPatch, TriggerRequest, TriggerTarget, TriggersWhat};
