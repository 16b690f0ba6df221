//! What each knob is set to.

use std::time::Duration;

use super::{Config, Identity};
use crate::ids::AppId;
use crate::mqtt::{Endpoint, Scheme, SpkiPin};
use crate::secret::Secret;
use crate::thing_if::Credential;

impl Config {
    /// The default broker.
    pub fn broker(&self) -> &Endpoint {
        &self.broker
    }

    /// The application.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// The application's key.
    pub fn app_key(&self) -> &Secret<String> {
        &self.app_key
    }

    /// Who the device is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// See [`with_assigned_scheme`](Config::with_assigned_scheme).
    pub fn assigned_scheme(&self) -> Scheme {
        self.assigned_scheme
    }

    /// See [`with_call_deadline`](Config::with_call_deadline).
    pub fn call_deadline(&self) -> Duration {
        self.call_deadline
    }

    /// See [`with_connect_timeout`](Config::with_connect_timeout).
    pub fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// See [`with_detect_dead_peer`](Config::with_detect_dead_peer).
    pub fn detect_dead_peer(&self) -> Duration {
        self.detect_dead_peer
    }

    /// See [`with_max_in_flight`](Config::with_max_in_flight).
    pub fn max_in_flight(&self) -> usize {
        self.max_in_flight
    }

    /// See [`with_max_frame`](Config::with_max_frame).
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Shortest limit of the pause before reconnecting; see [`with_backoff`](Config::with_backoff).
    pub fn backoff_min(&self) -> Duration {
        self.backoff.0
    }

    /// Longest limit of the pause before reconnecting; see [`with_backoff`](Config::with_backoff).
    pub fn backoff_max(&self) -> Duration {
        self.backoff.1
    }

    /// See [`with_pushes`](Config::with_pushes).
    pub fn pushes(&self) -> bool {
        self.pushes
    }

    /// See [`with_response_filter`](Config::with_response_filter).
    pub fn response_filter(&self) -> bool {
        self.response_filter
    }

    /// See [`with_pipelined_connect`](Config::with_pipelined_connect).
    pub fn pipelined_connect(&self) -> bool {
        self.pipelined_connect
    }

    /// See [`with_push_queue`](Config::with_push_queue).
    pub fn push_queue(&self) -> usize {
        self.push_queue
    }

    /// See [`with_quarantine`](Config::with_quarantine).
    pub fn quarantine(&self) -> usize {
        self.quarantine
    }

    /// See [`with_late_answer_window`](Config::with_late_answer_window).
    pub fn late_answer_window(&self) -> Duration {
        self.late_answer_window
    }

    /// See [`with_connect_attempts`](Config::with_connect_attempts).
    pub fn connect_attempts(&self) -> usize {
        self.connect_attempts
    }

    /// See [`with_reonboard_after`](Config::with_reonboard_after).
    pub fn reonboard_after(&self) -> usize {
        self.reonboard_after
    }

    /// See [`with_seed`](Config::with_seed).
    pub fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// How many onboardings may succeed within the window; see [`with_onboarding_budget`](Config::with_onboarding_budget).
    pub fn onboarding_budget(&self) -> (usize, Duration) {
        self.onboarding_budget
    }

    /// See [`with_refusals`](Config::with_refusals).
    pub fn refusals(&self) -> usize {
        self.refusals
    }

    /// See [`with_refusal_pause`](Config::with_refusal_pause).
    pub fn refusal_pause(&self) -> Duration {
        self.refusal_pause
    }

    /// See [`with_rest_after_refusal`](Config::with_rest_after_refusal).
    pub fn rest_after_refusal(&self) -> Option<Duration> {
        self.rest_after_refusal
    }

    /// See [`with_spki_pins`](Config::with_spki_pins).
    pub fn spki_pins(&self) -> &[SpkiPin] {
        &self.spki_pins
    }

    /// See [`with_resume`](Config::with_resume).
    pub fn resume(&self) -> Option<&Credential> {
        self.resume.as_ref()
    }
}
