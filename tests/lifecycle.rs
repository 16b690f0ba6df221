//! The whole life of a device in virtual time, against a model of both brokers and a network that loses, duplicates,
//! delays and reorders. Each call carries a nonce and its answer repeats it, so an answer that reaches the wrong call
//! is seen. Every simulation runs until nothing is left: no call, no memory of one, nothing to be done.

mod device;
mod world;

use std::time::Duration;

use thingif::config::Config;
use thingif::mqtt::{LinkErrorKind, Publish, RefusedReason};
use thingif::proto::{
    Action, ConnectError, Event, EventKind, IfDown, Instant, Lifecycle, LinkId, NotSent, Notice, OnboardingError,
    RequestError, SessionError,
};

use thingif::thing_if::{ErrorBody, ErrorCode};

use device::{answer, call, config, credential};
use world::{Faults, Script, World};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// For simulations with faults: patient before the first Ready, and with a window longer than any message travels.
fn patient() -> Config {
    let config = config().with_connect_attempts(1000).and_then(|c| c.with_late_answer_window(4 * SECOND));
    config.expect("in range")
}

#[test]
fn a_device_onboards_moves_and_calls() {
    let mut world = World::new(config(), Script::default(), 1);
    world.run_for(SECOND);
    assert!(world.lifecycle.is_ready());
    assert_eq!(world.onboardings, 1);
    assert_eq!(world.stored.len(), 1);
    world.call("states", SECOND);
    world.finish();
    assert_eq!(world.answered(), 1);
    let seen: Vec<&str> = world.story();
    assert_eq!(seen, ["onboarding", "onboarded", "connecting", "connected", "ready"]);
}

#[test]
fn the_new_credential_is_stored_before_the_default_broker_is_left() {
    let mut world = World::new(config(), Script::default(), 1);
    world.run_for(SECOND);
    let stored = world.order.iter().position(|action| action.starts_with("Store")).expect("stored");
    let left = world.order.iter().position(|action| action == "Disconnect(link 1)").expect("left");
    assert!(stored < left, "{:?}", world.order);
}

#[test]
fn with_a_stored_credential_the_default_broker_is_not_asked() {
    let mut world = World::new(config().with_resume(credential(0)), Script::default(), 1);
    world.run_for(SECOND);
    assert!(world.lifecycle.is_ready());
    assert_eq!(world.onboardings, 0);
    world.finish();
}

#[test]
fn a_stored_credential_of_another_application_or_without_the_scheme_is_not_used() {
    let mut other = credential(0);
    other.app_id = thingif::ids::AppId::new("another").expect("valid");
    let mut world = World::new(config().with_resume(other), Script::default(), 1);
    world.run_for(SECOND);
    assert_eq!(world.onboardings, 1);
    world.finish();

    let mut closed = credential(0);
    closed.endpoint.port_tcp = None;
    let mut world = World::new(config().with_resume(closed), Script::default(), 1);
    world.run_for(SECOND);
    assert_eq!(world.onboardings, 1);
    world.finish();
}

#[test]
fn connack_4_and_5_lead_back_to_the_default_broker() {
    for reason in [RefusedReason::BadUserNameOrPassword, RefusedReason::NotAuthorised] {
        let script = Script { refuse_generation: Some((0, reason)), ..Script::default() };
        let mut world = World::new(config().with_resume(credential(0)), script, 1);
        world.run_for(5 * SECOND);
        assert!(world.lifecycle.is_ready(), "{reason:?}: {:?}", world.notices);
        assert_eq!(world.onboardings, 1);
        assert_eq!(world.lifecycle.credential().map(|c| c.endpoint.username.as_str()), Some("user-1"));
        world.call("states", SECOND);
        world.finish();
        assert_eq!(world.answered(), 1);
    }
}

#[test]
fn a_fresh_credential_that_is_refused_ends_the_first_attempt() {
    let refused = RefusedReason::NotAuthorised;
    let script = Script { refuse_generation: Some((1, refused)), ..Script::default() };
    let mut world = World::new(config(), script, 1);
    world.run_for(5 * SECOND);
    match world.closed.take().expect("ended") {
        Some(ConnectError::Session(error)) => assert_eq!(error.refusal(), Some(refused)),
        other => panic!("{other:?}"),
    }
    assert!(world.lifecycle.is_closed() && world.lifecycle.is_idle());
}

#[test]
fn an_onboarding_that_is_refused_ends_it_with_what_the_service_said() {
    let script = Script { reject_onboarding: Some(401), ..Script::default() };
    let mut world = World::new(config().with_connect_attempts(9).expect("in range"), script, 1);
    world.run_for(60 * SECOND);
    match world.closed.take().expect("ended") {
        Some(ConnectError::Onboarding(OnboardingError::Rejected { status, body, .. })) => {
            assert_eq!(status, 401);
            assert_eq!(body.expect("the documented body").error_code.to_string(), "WRONG_PASSWORD");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.onboardings, 1, "asking again would not help");
}

#[test]
fn a_service_that_is_busy_is_asked_again() {
    let script = Script { reject_onboarding: Some(503), ..Script::default() };
    let mut world = World::new(config().with_connect_attempts(3).expect("in range"), script, 1);
    world.run_for(60 * SECOND);
    assert!(matches!(world.closed, Some(Some(ConnectError::Onboarding(OnboardingError::Rejected { .. })))));
    assert_eq!(world.onboardings, 3);
}

#[test]
fn an_onboarding_that_nobody_answers_has_a_deadline() {
    let script = Script { silent: true, ..Script::default() };
    let mut world = World::new(config(), script, 1);
    world.run_for(60 * SECOND);
    assert!(matches!(world.closed, Some(Some(ConnectError::Onboarding(OnboardingError::TimedOut)))));
    assert!(world.order.iter().any(|action| action == "Disconnect(link 1)"));
}

#[test]
fn a_connect_that_nobody_answers_has_a_deadline() {
    // To the default broker, and to the assigned one.
    for config in [config(), config().with_resume(credential(0))] {
        let script = Script { connect_silently: true, ..Script::default() };
        let mut world = World::new(config, script, 1);
        world.run_for(60 * SECOND);
        match world.closed.take().expect("ended") {
            Some(error) => {
                assert_eq!(error.link_error().map(|e| e.kind()), Some(LinkErrorKind::ConnectTimedOut));
            }
            None => panic!("it was not asked to close"),
        }
        assert!(world.order.iter().any(|action| action == "Abort(link 1)"));
    }
}

#[test]
fn a_suback_that_does_not_come_or_refuses_ends_the_session() {
    let script = Script { withhold_suback: true, ..Script::default() };
    let mut world = World::new(config(), script, 1);
    world.run_for(60 * SECOND);
    assert!(matches!(world.closed, Some(Some(ConnectError::Session(SessionError::SubscribeTimedOut)))));

    let script = Script { refuse_subscription: true, ..Script::default() };
    let mut world = World::new(config(), script, 1);
    world.run_for(60 * SECOND);
    assert!(matches!(world.closed, Some(Some(ConnectError::Session(SessionError::SubscriptionRefused(_))))));
}

#[test]
fn without_pushes_there_is_no_subscribe_and_calls_work_all_the_same() {
    let mut world = World::new(config().with_pushes(false), Script::default(), 1);
    world.run_for(SECOND);
    assert!(world.lifecycle.is_ready());
    assert!(!world.order.iter().any(|action| action.starts_with("Subscribe")), "{:?}", world.order);
    world.call("states", SECOND);
    world.finish();
    assert_eq!(world.answered(), 1);
}

#[test]
fn after_a_cut_calls_fail_at_once_and_the_device_comes_back_by_itself() {
    let mut world = World::new(config(), Script { mute: true, ..Script::default() }, 1);
    world.run_for(SECOND);
    let lost = world.call("states", 10 * SECOND);
    world.run_for(Duration::from_millis(100));
    world.cut();
    world.run_for(Duration::from_millis(10));
    assert!(matches!(world.error(lost), Some(RequestError::Disconnected(_))));
    let refused = world.try_call("states", 10 * SECOND);
    assert_eq!(refused, Err(NotSent::NotConnected.into()));
    world.run_for(2 * SECOND);
    assert!(world.lifecycle.is_ready(), "the first reconnect comes within a second");
    assert_eq!(world.onboardings, 1, "the credential is still good");
    world.finish();
}

#[test]
fn when_the_assigned_broker_is_gone_the_default_one_is_asked_again() {
    let config = config().with_reonboard_after(3).expect("in range");
    let mut world = World::new(config, Script::default(), 1);
    world.run_for(SECOND);
    assert!(world.lifecycle.is_ready());
    world.script.assigned_host = "elsewhere.invalid".to_owned();
    world.cut();
    world.run_for(60 * SECOND);
    assert!(world.lifecycle.is_ready(), "{:?}", world.notices);
    assert_eq!(world.onboardings, 2);
    assert_eq!(world.lifecycle.credential().map(|c| c.endpoint.host.as_str()), Some("elsewhere.invalid"));
    world.finish();
}

#[test]
fn a_network_that_is_down_for_an_hour_costs_few_attempts_and_no_end() {
    let mut world = World::new(config(), Script::default(), 1);
    world.run_for(SECOND);
    world.script.unreachable = true;
    world.cut();
    let before = world.connects;
    world.run_for(3600 * SECOND);
    let attempts = world.connects - before;
    assert!((60..400).contains(&attempts), "{attempts} attempts in an hour");
    assert!(!world.lifecycle.is_closed());
    world.script.unreachable = false;
    world.run_for(120 * SECOND);
    assert!(world.lifecycle.is_ready());
    world.finish();
}

#[test]
fn a_device_that_is_kicked_again_and_again_slows_down() {
    let script = Script { kick_after: Some(SECOND), ..Script::default() };
    let mut world = World::new(config().with_resume(credential(0)), script, 1);
    world.run_for(600 * SECOND);
    assert!(world.connects < 60, "{} connects in ten minutes", world.connects);
    world.finish();
}

/// Calls once a minute for `minutes`, each with ten seconds to be answered.
fn call_each_minute(world: &mut World, minutes: usize) {
    for _ in 0..minutes {
        drop(world.try_call("states", 10 * SECOND));
        world.run_for(60 * SECOND);
    }
}

fn silences(world: &World) -> usize {
    let silent = |notice: &&Notice| match notice {
        Notice::Lost { cause, .. } => {
            matches!(**cause, ConnectError::Session(SessionError::Unanswered { .. }))
        }
        _ => false,
    };
    world.notices.iter().filter(silent).count()
}

#[test]
fn a_connection_on_which_nothing_is_answered_is_made_anew_each_time_later() {
    let mut world = World::new(config(), Script { mute: true, ..Script::default() }, 1);
    call_each_minute(&mut world, 3);
    assert_eq!(silences(&world), 0, "three minutes have not passed since it was ready");
    call_each_minute(&mut world, 1);
    assert_eq!(silences(&world), 1);
    assert!(world.lifecycle.is_ready(), "the next connection is made at once");
    call_each_minute(&mut world, 5);
    assert_eq!(silences(&world), 1, "the second one is borne for six minutes");
    call_each_minute(&mut world, 2);
    assert_eq!(silences(&world), 2);
    world.script.mute = false;
    call_each_minute(&mut world, 1);
    assert_eq!(world.answered(), 1);
    world.script.mute = true;
    call_each_minute(&mut world, 2);
    assert_eq!(silences(&world), 2);
    call_each_minute(&mut world, 1);
    assert_eq!(silences(&world), 3, "one on which something was heard is not borne for longer than the first");
    assert_eq!(world.onboardings, 1);
    world.finish();
}

#[test]
fn a_device_that_calls_nothing_keeps_its_connection() {
    let mut world = World::new(config(), Script { mute: true, ..Script::default() }, 1);
    world.run_for(3600 * SECOND);
    call_each_minute(&mut world, 2);
    world.run_for(3600 * SECOND);
    assert_eq!((silences(&world), world.connects), (0, 2), "two calls without an answer say nothing yet");
    world.push("{}");
    call_each_minute(&mut world, 2);
    assert_eq!(silences(&world), 0, "a push is a sign of life");
    world.finish();
}

#[test]
fn a_broker_that_never_answers_is_asked_about_at_the_default_one() {
    let config = config().with_reonboard_after(2).expect("in range");
    let mut world = World::new(config, Script { mute: true, ..Script::default() }, 1);
    call_each_minute(&mut world, 4);
    assert_eq!((silences(&world), world.onboardings), (1, 1));
    world.script.assigned_host = "elsewhere.invalid".to_owned();
    call_each_minute(&mut world, 7);
    assert_eq!((silences(&world), world.onboardings), (2, 2));
    assert_eq!(world.lifecycle.credential().map(|c| c.endpoint.host.as_str()), Some("elsewhere.invalid"));
    world.script.mute = false;
    call_each_minute(&mut world, 1);
    assert_eq!(world.answered(), 1);
    world.finish();
}

#[test]
fn closing_in_every_state_leaves_nothing() {
    for elapsed in (0..400).step_by(7) {
        let mut world = World::new(config(), Script::default(), 1);
        world.run_for(Duration::from_millis(elapsed));
        if world.lifecycle.is_ready() {
            world.call("states", SECOND);
        }
        world.close();
        assert_eq!(world.try_call("states", SECOND), Err(NotSent::Closed.into()));
    }
}

#[test]
fn a_late_event_of_the_first_broker_cannot_speak_in_the_life_of_the_second() {
    let mut world = World::new(config(), Script::default(), 1);
    world.run_for(SECOND);
    let before = world.lifecycle.counters().stale_events;
    world.onboarding_answer_again();
    world.lost_again(LinkErrorKind::Closed);
    assert!(world.lifecycle.is_ready(), "the second link stands");
    assert_eq!(world.lifecycle.counters().stale_events, before + 2);
    assert_eq!(world.stored.len(), 1);
    world.finish();
}

#[test]
fn one_late_timer_ends_everything_that_was_due() {
    let config = config().with_resume(credential(0)).with_response_filter(true).with_pushes(false);
    let config = config.with_late_answer_window(SECOND).expect("in range");
    let mut now = Instant::ORIGIN;
    let mut device = Lifecycle::new(now, config, 1);
    let link = LinkId(1);
    device.handle_event(now, Event { link, kind: EventKind::Connected });
    let filter = std::iter::from_fn(|| device.poll_action()).find_map(|action| match action {
        Action::Subscribe { filter, .. } => Some(filter),
        _ => None,
    });
    let filter = filter.expect("the response filter");
    device.handle_event(now, Event { link, kind: EventKind::Subscribed { filter, granted: true } });
    device.submit(now, call("states", "x"), now + SECOND, IfDown::Fail).expect("taken");
    device.handle_event(now, Event { link, kind: EventKind::Lost(LinkErrorKind::Closed.into()) });
    // Both the pause and the window in which the answer may still come are over by now.
    now = now + 60 * SECOND;
    device.handle_timeout(now);
    assert!(device.next_deadline().is_none_or(|next| next > now), "{:?}", device.next_deadline());
}

/// A device that is ready over link 1, without any subscription.
fn ready_at_once() -> Lifecycle {
    let mut device = Lifecycle::new(Instant::ORIGIN, config().with_resume(credential(0)).with_pushes(false), 1);
    device.handle_event(Instant::ORIGIN, Event { link: LinkId(1), kind: EventKind::Connected });
    drained(&mut device);
    device
}

fn drained(device: &mut Lifecycle) -> Vec<Action> {
    std::iter::from_fn(|| device.poll_action()).collect()
}

#[test]
fn a_call_that_a_dying_link_does_not_take_waits_and_has_all_its_exits() {
    let (now, link) = (Instant::ORIGIN, LinkId(1));
    // The link says that it has ended, before its end is reported.
    let waiting = || {
        let mut device = ready_at_once();
        let call = device.submit(now, call("states", "x"), now + SECOND, IfDown::Wait).expect("taken");
        assert!(matches!(drained(&mut device)[..], [Action::Publish { .. }]));
        let kind = EventKind::NotSent { call: Some(call), error: LinkErrorKind::Closed.into() };
        device.handle_event(now, Event { link, kind });
        assert!(drained(&mut device).is_empty(), "neither failed nor sent again over that link");
        (device, call)
    };
    let (mut device, _) = waiting();
    let refused = device.submit(now, call("states", "y"), now + SECOND, IfDown::Fail);
    assert_eq!(refused, Err(RequestError::NotSent(NotSent::NotConnected)));

    let over = |actions: &[Action], reason: NotSent| match actions {
        [Action::Resolve { result: Err(error), .. }, ..] => assert_eq!(*error, RequestError::NotSent(reason)),
        other => panic!("{other:?}"),
    };
    assert_eq!(device.next_deadline(), Some(now + SECOND));
    device.handle_timeout(now + SECOND);
    over(&drained(&mut device), NotSent::DeadlineExceeded);

    let (mut device, _) = waiting();
    device.close(now);
    let actions = drained(&mut device);
    assert!(matches!(&actions[0], Action::Disconnect { .. }), "{actions:?}");
    over(&actions[1..], NotSent::Closed);

    let (mut device, cancelled) = waiting();
    device.cancel(now, cancelled);
    assert!(device.is_idle());

    let (mut device, _) = waiting();
    device.handle_event(now, Event { link, kind: EventKind::Lost(LinkErrorKind::Closed.into()) });
    let pause = device.next_deadline().expect("a pause");
    device.handle_timeout(pause.min(now + SECOND));
    device.handle_event(now, Event { link: LinkId(2), kind: EventKind::Connected });
    let actions = drained(&mut device);
    assert!(actions.iter().any(|action| matches!(action, Action::Publish { link: LinkId(2), .. })), "{actions:?}");
}

#[test]
fn a_late_timer_keeps_no_call_for_the_next_link_whose_time_is_over() {
    let now = Instant::ORIGIN;
    let config = config().with_resume(credential(0)).with_response_filter(true);
    let mut device = Lifecycle::new(now, config.with_connect_attempts(9).expect("in range"), 1);
    device.handle_event(now, Event { link: LinkId(1), kind: EventKind::Connected });
    device.submit(now, call("states", "x"), now + SECOND, IfDown::Wait).expect("queued until the SUBACK");
    drained(&mut device);
    let late = now + 60 * SECOND;
    device.handle_timeout(late);
    let over = RequestError::NotSent(NotSent::DeadlineExceeded);
    let actions = drained(&mut device);
    let ended = |action: &Action| matches!(action, Action::Resolve { result: Err(error), .. } if *error == over);
    assert!(actions.iter().any(ended), "{actions:?}");
    assert!(device.next_deadline().is_none_or(|next| next > late), "{:?}", device.next_deadline());
}

#[test]
fn nothing_is_sent_after_the_disconnect_of_a_session_whose_token_is_refused() {
    let (now, link) = (Instant::ORIGIN, LinkId(1));
    let mut device = ready_at_once();
    let published = |actions: &[Action]| {
        let publish = actions.iter().find_map(|action| match action {
            Action::Publish { publish, .. } => Some(publish.clone()),
            _ => None,
        });
        publish.unwrap_or_else(|| panic!("{actions:?}"))
    };
    // Refused without an id: a call on the topic of the client's own question has to wait for the answer to that.
    let refuse = |device: &mut Lifecycle, request: &Publish| {
        let response = ErrorBody::new(ErrorCode::Unauthorized, "no").to_response();
        let kind = EventKind::Received(answer(request, &response));
        device.handle_event(now, Event { link, kind });
        drained(device)
    };
    device.submit(now, call("targets/thing:th.1/states", "x"), now + SECOND, IfDown::Fail).expect("taken");
    let request = published(&drained(&mut device));
    let question = published(&refuse(&mut device, &request));
    device.submit(now, call("targets/thing:th.1/states", "y"), now + SECOND, IfDown::Fail).expect("taken");
    assert!(drained(&mut device).is_empty(), "it waits its turn");
    let actions = refuse(&mut device, &question);
    let left = actions.iter().position(|action| matches!(action, Action::Disconnect { .. })).expect("it leaves");
    let after = &actions[left..];
    assert!(!after.iter().any(|action| matches!(action, Action::Publish { .. })), "{actions:?}");
    assert!(after.iter().any(|action| matches!(action, Action::Resolve { result: Err(_), .. })), "{actions:?}");
}

#[test]
fn what_is_remembered_runs_out_while_the_device_onboards() {
    let config = config().with_resume(credential(0)).with_response_filter(true).with_pushes(false);
    let config = config.with_late_answer_window(SECOND).and_then(|c| c.with_backoff(MILLISECOND, MILLISECOND));
    let mut now = Instant::ORIGIN;
    let mut device = Lifecycle::new(now, config.expect("in range"), 1);
    // The newest link, and what it subscribes to.
    let mut newest = LinkId(0);
    let mut drain = |device: &mut Lifecycle| {
        let mut subscribed = None;
        while let Some(action) = device.poll_action() {
            match action {
                Action::Connect { link, .. } => newest = link,
                Action::Subscribe { filter, .. } => subscribed = Some(filter),
                _ => {}
            }
        }
        (newest, subscribed)
    };

    let (link, _) = drain(&mut device);
    device.handle_event(now, Event { link, kind: EventKind::Connected });
    let filter = drain(&mut device).1.expect("the response filter");
    device.handle_event(now, Event { link, kind: EventKind::Subscribed { filter, granted: true } });
    device.submit(now, call("states", "x"), now + SECOND, IfDown::Fail).expect("taken");
    device.handle_event(now, Event { link, kind: EventKind::Lost(LinkErrorKind::Closed.into()) });
    assert!(!device.is_idle(), "an ordinary broker may still deliver the answer");
    for _ in 0..2 {
        now = device.next_deadline().expect("the pause");
        device.handle_timeout(now);
        let (link, _) = drain(&mut device);
        if link == LinkId(2) {
            let refused = LinkErrorKind::Refused(RefusedReason::NotAuthorised);
            device.handle_event(now, Event { link, kind: EventKind::Lost(refused.into()) });
        }
    }
    assert_eq!(drain(&mut device).0, LinkId(3), "it onboards");
    now = now + 2 * SECOND;
    device.handle_timeout(now);
    assert!(device.next_deadline().is_some_and(|deadline| deadline > now), "nothing is overdue");
    assert!(device.is_idle());
}

#[test]
fn with_ids_no_fault_gives_a_call_a_wrong_answer() {
    let mut answered = 0;
    for seed in 0..60 {
        let faults =
            Faults { lose: 0.1, duplicate: 0.1, max_delay: Duration::from_millis(1500), cut_every: Some(20 * SECOND) };
        let mut world = World::new(patient(), Script { faults, ..Script::default() }, seed);
        world.workload(150);
        world.finish();
        answered += world.answered();
    }
    assert!(answered > 60 * 20, "{answered} answered");
}

#[test]
fn without_ids_no_fault_gives_a_call_a_wrong_answer() {
    // Without ids a duplicate cannot be told from an answer, and a connection does not duplicate QoS 0.
    let mut answered = 0;
    for seed in 0..60 {
        let faults =
            Faults { lose: 0.05, duplicate: 0.0, max_delay: Duration::from_millis(1500), cut_every: Some(40 * SECOND) };
        // With a small quarantine as well, which overflows.
        let config = patient().with_quarantine(if seed % 3 == 0 { 2 } else { 1024 }).expect("in range");
        let mut world = World::new(config, Script { faults, strip_ids: 1.0, ..Script::default() }, seed);
        world.workload(150);
        world.finish();
        answered += world.answered();
    }
    assert!(answered > 60 * 20, "{answered} answered");
}

#[test]
fn a_peer_that_echoes_ids_now_and_then_gives_no_call_a_wrong_answer() {
    let mut answered = 0;
    for seed in 0..60 {
        let faults =
            Faults { lose: 0.05, duplicate: 0.0, max_delay: Duration::from_millis(1500), cut_every: Some(40 * SECOND) };
        let mut world = World::new(patient(), Script { faults, strip_ids: 0.5, ..Script::default() }, seed);
        world.workload(150);
        world.finish();
        answered += world.answered();
    }
    assert!(answered > 60 * 20, "{answered} answered");
}

#[test]
fn an_ordinary_broker_that_echoes_and_delivers_across_links_gives_no_call_a_wrong_answer() {
    let mut answered = 0;
    for (seed, strip_ids) in (0..60).map(|seed| (seed, if seed % 2 == 0 { 0.0 } else { 1.0 })) {
        let faults =
            Faults { lose: 0.05, duplicate: 0.0, max_delay: Duration::from_millis(1500), cut_every: Some(20 * SECOND) };
        let script = Script { faults, strip_ids, ordinary: true, ..Script::default() };
        let mut world = World::new(patient().with_response_filter(true), script, seed);
        world.workload(150);
        world.finish();
        answered += world.answered();
        assert!(world.lifecycle.counters().own_echoes > 0, "seed {seed}");
    }
    assert!(answered > 60 * 20, "{answered} answered");
}

#[test]
fn equal_seeds_give_equal_lives() {
    let life = |seed| {
        let faults = Faults { lose: 0.1, max_delay: SECOND, cut_every: Some(20 * SECOND), ..Faults::none() };
        let mut world = World::new(patient(), Script { faults, ..Script::default() }, seed);
        world.workload(50);
        world.finish();
        world.order
    };
    assert_eq!(life(5), life(5));
    assert_ne!(life(5), life(6));
}

#[test]
fn pushes_reach_the_program() {
    let mut world = World::new(config(), Script::default(), 1);
    world.run_for(SECOND);
    world.push("{\"commandID\":\"c1\"}");
    world.run_for(SECOND);
    assert_eq!(world.pushes, ["{\"commandID\":\"c1\"}"]);
    let foreign = world.lifecycle.counters().foreign_messages;
    world.message_on("somebody/else", "{}");
    world.run_for(SECOND);
    assert_eq!(world.lifecycle.counters().foreign_messages, foreign + 1);
    assert!(!world.notices.iter().any(|notice| matches!(notice, Notice::Waiting { .. })));
    world.finish();
}
