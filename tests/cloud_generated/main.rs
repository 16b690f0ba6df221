//! Generated requests against the whole service: the cases of `rest_table` in their order, told in many applications, as they
//! are and changed in seeded ways: parts of paths and bodies that are gone, extreme, of another type or another application's,
//! wrong tokens and media types, two at once. Whatever is asked, the service answers as it says it does, and does not fail.
//!
//! `GENERATED_CASES` says how many requests there are (default 10,000), `GENERATED_SEED` with which seed the first thousand
//! begins (default 1); `make fuzz-service` sets both. Requests go to the router in memory, and some thousand over MQTT on a socket.
#![cfg(feature = "cloud")]

#[path = "../rest_table/case.rs"]
#[allow(dead_code, reason = "the answers are judged here, not compared")]
mod case;
mod change;
#[path = "../cloud_support/mod.rs"]
mod cloud_support;
mod judge;
#[path = "../support/raw_mqtt.rs"]
mod raw_mqtt;
#[path = "../support/routes.rs"]
mod routes;
#[path = "../rest_table/rows/mod.rs"]
#[allow(dead_code, unused_imports, reason = "what MQTT answers otherwise is compared in `rest_table`")]
mod rows;
mod story;
mod world;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use change::{Known, change};
use cloud_support::Answer;
use fastrand::Rng;
use serde_json::Value;
use story::{Asked, Next, Story};
use world::{Device, KEY, World, app};

/// Requests with one seed, in one cloud.
const ROUND: usize = 1_000;
/// Requests over MQTT in a plain test run.
const OVER_MQTT: usize = 1_500;
/// How often, in each 10,000 requests, every route succeeds, and refuses, at least.
const AT_LEAST: u64 = 2;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics of every thread, those that become a 500 and those that nobody sees.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The tests' own threads are those that judge.
            if !std::thread::current().name().is_some_and(|name| name.starts_with("whatever_is_asked")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            default(info);
        }));
    });
}

fn number(name: &str, default: usize) -> usize {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty());
    text.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// By route: how often it succeeded, and refused.
type Coverage = BTreeMap<(String, String), (u64, u64)>;

/// One round: a seed, a cloud, and what became known in it.
struct Round {
    seed: u64,
    rng: Rng,
    world: World,
    known: Known,
    errors: BTreeMap<&'static str, u16>,
    /// Tokens of earlier stories too.
    tokens: VecDeque<String>,
    /// Requests that read something that is there.
    reads: VecDeque<Asked>,
    sent: usize,
    /// What no message can say.
    unsaid: usize,
}

impl Round {
    async fn start(seed: u64) -> Self {
        Self {
            seed,
            rng: Rng::with_seed(seed),
            world: World::start().await,
            known: Known::default(),
            errors: judge::known_errors(),
            tokens: VecDeque::from(["nonsense".to_owned()]),
            reads: VecDeque::new(),
            sent: 0,
            unsaid: 0,
        }
    }

    fn fail(&self, asked: &Asked, answer: &Answer, problem: &str) -> ! {
        let body: String = String::from_utf8_lossy(&answer.body).chars().take(4_000).collect();
        panic!(
            "{problem}\n--- request {} of seed {}\n{}\n--- answer {}\n{:?}\n{body}\n--- again: make fuzz-service SEED={} \
             CASES={ROUND}",
            self.sent,
            self.seed,
            asked.shown(),
            answer.status,
            answer.headers,
            self.seed
        )
    }

    /// Judges an answer, and learns from it.
    fn take(&mut self, story: &mut Story, next: &Next, answer: Option<Answer>) -> Option<Value> {
        let Some(answer) = answer else {
            self.unsaid += 1;
            return None;
        };
        self.sent += 1;
        let told = match judge::judge(&next.asked, &answer, &self.errors) {
            Ok(told) => told,
            Err(problem) => self.fail(&next.asked, &answer, &problem),
        };
        if PANICS.load(Ordering::SeqCst) > 0 {
            self.fail(&next.asked, &answer, "something panicked");
        }
        if answer.status < 300 {
            story.learn(next, &told);
            self.known.learn(&told);
            if let Some(token) = story::token_of(&told) {
                self.tokens.push_back(token);
                self.tokens.truncate(200);
            }
            let is_new = || self.reads.iter().all(|read| read.path != next.asked.path);
            if next.asked.method == "GET" && next.asked.path.len() < 500 && is_new() {
                self.reads.push_back(next.asked.clone());
                if self.reads.len() > 20 {
                    self.reads.pop_front();
                }
            }
        }
        Some(told)
    }

    /// What has to be before a story can begin.
    async fn set_up(&mut self, story: &mut Story) {
        for case in story.setup() {
            let next = story.exactly(case);
            let answer = self.world.ask(&next.asked).await;
            let status = answer.as_ref().map(|answer| answer.status);
            self.take(story, &next, answer);
            assert_eq!(status, Some(case.4), "{}", next.asked.shown());
        }
    }

    fn next(&mut self, story: &mut Story) -> Next {
        let mut tokens = story.tokens();
        // Mostly somebody of this application.
        if self.rng.u8(..3) == 0 {
            tokens.extend(self.tokens.iter().cloned());
        }
        if tokens.is_empty() {
            tokens.push("nonsense".to_owned());
        }
        story.next(&self.known, &tokens, &mut self.rng)
    }

    /// What is read again and again stays as it is, whatever else is read meanwhile.
    async fn reading_changes_nothing(&mut self) {
        let before = self.settled().await;
        for _ in 0..20 {
            if self.reads.is_empty() {
                return;
            }
            let mut asked = self.reads[self.rng.usize(..self.reads.len())].clone();
            let tokens: Vec<_> = self.tokens.iter().cloned().collect();
            for _ in 0..self.rng.usize(..3) {
                change(&mut asked, &self.known, &tokens, &mut self.rng);
            }
            asked.method = (if self.rng.u8(..4) == 0 { "HEAD" } else { "GET" }).to_owned();
            if let Some(answer) = self.world.ask(&asked).await {
                self.sent += 1;
                if let Err(problem) = judge::judge(&asked, &answer, &self.errors) {
                    self.fail(&asked, &answer, &problem);
                }
            }
        }
        let after = self.read_all().await;
        for ((asked, before), after) in self.reads.iter().zip(before).zip(after) {
            let same = |a: &Answer, b: &Answer| {
                (a.status, &a.body, a.headers.get("etag")) == (b.status, &b.body, b.headers.get("etag"))
            };
            if !same(&before, &after) {
                self.fail(asked, &after, &format!("reading has changed it; it was {before:?}"));
            }
        }
    }

    async fn read_all(&self) -> Vec<Answer> {
        let mut all = Vec::new();
        for asked in &self.reads {
            all.push(self.world.ask(asked).await.expect("it was asked before"));
        }
        all
    }

    /// What there is to read once the outcomes of pushes are recorded, which happens after their answers.
    async fn settled(&self) -> Vec<Answer> {
        for _ in 0..1_000 {
            let all = self.read_all().await;
            if !all.iter().any(|answer| answer.body.windows(9).any(|part| part == b"\"SENDING\"")) {
                return all;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("a command is still being sent");
    }

    fn cover(&self, coverage: &mut Coverage) {
        for operation in self.world.cloud.operations() {
            let all = coverage.entry((operation.method.to_owned(), operation.path)).or_default();
            for (status, count) in operation.answers {
                match status {
                    200..300 => all.0 += count,
                    // Of those from 500 on only the documented ones get here.
                    400..600 => all.1 += count,
                    _ => {}
                }
            }
        }
    }
}

/// In memory.
async fn round(seed: u64, coverage: &mut Coverage) -> (usize, usize) {
    let mut round = Round::start(seed).await;
    // About as many stories as a round has.
    let (first, mut told) = (seed as usize * 18, 0);
    while round.sent < ROUND {
        let mut story = Story::new(first + told, &app(told), &app(told + 1), KEY, &mut round.rng);
        told += 1;
        round.set_up(&mut story).await;
        while !story.is_over() {
            let next = round.next(&mut story);
            if !story.is_quiet() && round.rng.u8(..8) == 0 {
                let other = if round.rng.bool() { round.next(&mut story) } else { next.clone() };
                let (one, two) = tokio::join!(round.world.ask(&next.asked), round.world.ask(&other.asked));
                round.take(&mut story, &next, one);
                round.take(&mut story, &other, two);
            } else {
                let answer = round.world.ask(&next.asked).await;
                round.take(&mut story, &next, answer);
            }
            match round.rng.u8(..100) {
                0 => round.world.pass(3_600_000),
                1..=4 => round.world.pass(501),
                5..=30 => round.world.pass(1),
                _ => {}
            }
            if round.rng.u8(..200) == 0 {
                round.reading_changes_nothing().await;
            }
        }
    }
    round.cover(coverage);
    let counts = (round.sent, round.unsaid);
    round.world.stop().await;
    counts
}

/// The routes that the generator does not get to often enough.
fn rare(coverage: &Coverage, at_least: u64) -> Vec<String> {
    let mut rare = Vec::new();
    for (method, path) in routes::routes() {
        let of = |method: &str| coverage.get(&(method.to_owned(), path.clone())).copied().unwrap_or_default();
        // What there is only to be refused.
        let every = ["GET", "POST", "PUT", "PATCH", "DELETE"].iter().map(|method| of(method).1).sum();
        let (succeeded, refused) = if method == "ANY" { (at_least, every) } else { of(&method) };
        if succeeded < at_least || refused < at_least {
            rare.push(format!("{method} {path}: {succeeded} times 2xx, {refused} times an error"));
        }
    }
    rare
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_is_answered_as_it_is_written() {
    count_panics();
    let (cases, seed) = (number("GENERATED_CASES", 10_000), number("GENERATED_SEED", 1));
    let began = Instant::now();
    let (mut coverage, mut sent, mut unsaid) = (Coverage::new(), 0, 0);
    for number in 0..cases.div_ceil(ROUND) {
        let (more, cannot) = round((seed + number) as u64, &mut coverage).await;
        sent += more;
        unsaid += cannot;
    }
    assert!(unsaid * 20 <= sent, "{unsaid} of {sent} could not even be said");
    let least = routes::routes().into_iter().filter_map(|key| coverage.get(&key)).map(|(a, b)| *a.min(b)).min();
    println!(
        "{sent} requests from seed {seed} in {:.1} s; of the rarest route's successes and refusals the fewer are {}",
        began.elapsed().as_secs_f64(),
        least.unwrap_or_default()
    );
    if cases >= 10_000 {
        let rare = rare(&coverage, AT_LEAST * (cases as u64 / 10_000));
        assert!(rare.is_empty(), "the generator hardly gets to\n{}", rare.join("\n"));
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

/// A connection as a thing of the story's application.
async fn device(round: &mut Round, story: &mut Story) -> Device {
    let probe = (
        "POST /thing-if/apps/{APP}/onboardings",
        "$key",
        cloud_support::BY_THING,
        r#"{"vendorThingID":"probe","thingPassword":"secret of probe"}"#,
        200,
        "{}",
    );
    let next = story.exactly(Box::leak(Box::new(probe)));
    let answer = round.world.ask(&next.asked).await;
    let told = round.take(story, &next, answer).expect("onboarded");
    round.world.device(&told["mqttEndpoint"]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_asked_over_mqtt_is_answered_as_it_is_written() {
    count_panics();
    let seed = number("GENERATED_SEED", 1);
    let mut round = Round::start(seed as u64).await;
    let (mut told, mut over_mqtt, mut succeeded) = (0, 0, 0);
    while over_mqtt < OVER_MQTT {
        let mut story = Story::new(told, &app(told), &app(told + 1), KEY, &mut round.rng);
        told += 1;
        round.set_up(&mut story).await;
        let mut device = device(&mut round, &mut story).await;
        while !story.is_over() && over_mqtt < OVER_MQTT {
            let next = round.next(&mut story);
            if !next.asked.path.starts_with("/thing-if/") {
                let answer = round.world.ask(&next.asked).await;
                round.take(&mut story, &next, answer);
                continue;
            }
            let all =
                if round.rng.u8(..4) == 0 { vec![next.clone(), round.next(&mut story), next] } else { vec![next] };
            let asked: Vec<_> = all.iter().map(|next| next.asked.clone()).collect();
            for (next, answer) in all.iter().zip(device.ask(&asked).await) {
                over_mqtt += usize::from(answer.is_some());
                succeeded += usize::from(answer.as_ref().is_some_and(|answer| answer.status < 300));
                round.take(&mut story, next, answer);
            }
        }
    }
    println!("{over_mqtt} requests over MQTT, of which {succeeded} succeeded");
    assert!(succeeded * 10 >= over_mqtt && succeeded * 10 <= over_mqtt * 9, "{succeeded} of {over_mqtt} succeeded");
    round.world.stop().await;
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}
