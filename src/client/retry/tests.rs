use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll};

use tower_service::Service;

use super::*;
use crate::mqtt::LinkErrorKind;
use crate::proto::SessionError;

type Reply = Result<Response<Bytes>, RequestError>;
type Asked = Vec<(Instant, Request<Bytes>)>;

/// Answers from a list, and keeps what it was asked and when.
#[derive(Clone)]
struct Scripted {
    replies: Arc<Mutex<VecDeque<Reply>>>,
    asked: Arc<Mutex<Asked>>,
}

impl Scripted {
    fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        Self { replies: Arc::new(Mutex::new(replies.into_iter().collect())), asked: Arc::default() }
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("not poisoned").len()
    }
}

impl Service<Request<Bytes>> for Scripted {
    type Response = Response<Bytes>;
    type Error = RequestError;
    type Future = std::future::Ready<Reply>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        self.asked.lock().expect("not poisoned").push((Instant::now(), request));
        let reply = self.replies.lock().expect("not poisoned").pop_front();
        std::future::ready(reply.unwrap_or_else(|| answer(200, None)))
    }
}

fn answer(status: u16, retry_after: Option<&'static str>) -> Reply {
    let mut answer = Response::builder().status(status);
    if let Some(wait) = retry_after {
        answer = answer.header("retry-after", wait);
    }
    Ok(answer.body(Bytes::new()).expect("valid"))
}

fn disconnected() -> Reply {
    Err(RequestError::Disconnected(SessionError::Link(LinkErrorKind::Closed.into())))
}

fn not_sent(reason: NotSent) -> Reply {
    Err(reason.into())
}

fn get() -> Request<Bytes> {
    Request::get("/thing-if/apps/a/targets/thing:t/states").body(Bytes::new()).expect("valid")
}

fn post() -> Request<Bytes> {
    Request::post("/thing-if/apps/a/targets/thing:t/commands").body(Bytes::from_static(b"{}")).expect("valid")
}

fn plenty() -> Retry {
    Retry::new().with_budget(1000, 10.0)
}

async fn call(retry: &Retry, service: &Scripted, request: Request<Bytes>) -> Reply {
    use tower::Layer as _;
    retry.layer(service.clone()).call(request).await
}

#[tokio::test(start_paused = true)]
async fn a_safe_call_is_made_again_until_it_is_answered() {
    let failures = [Err(RequestError::TimedOut), disconnected(), answer(503, None), answer(429, None)];
    let service = Scripted::new(failures);
    let reply = call(&plenty().with_tries(5), &service, get()).await.expect("answered");
    assert_eq!((reply.status(), service.asked()), (StatusCode::OK, 5));
}

#[tokio::test(start_paused = true)]
async fn what_may_have_happened_is_repeated_only_if_the_caller_says_so() {
    for lost in [Err(RequestError::TimedOut), disconnected(), answer(503, Some("1")), answer(504, None)] {
        let service = Scripted::new([lost.clone()]);
        assert_eq!(call(&plenty(), &service, post()).await.is_ok(), lost.is_ok());
        assert_eq!(service.asked(), 1, "{lost:?}");

        let service = Scripted::new([lost]);
        let mut marked = post();
        marked.extensions_mut().insert(Idempotent);
        assert_eq!(call(&plenty(), &service, marked).await.expect("answered").status(), StatusCode::OK);
        assert_eq!(service.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn what_did_not_happen_is_repeated_whatever_its_method_unless_it_never_can() {
    for reason in [NotSent::NotConnected, NotSent::Overloaded, NotSent::Link(LinkErrorKind::Closed.into())] {
        let service = Scripted::new([not_sent(reason)]);
        assert!(call(&plenty(), &service, post()).await.is_ok());
        assert_eq!(service.asked(), 2);
    }
    for reason in [NotSent::Closed, NotSent::TooLarge { len: 2, max: 1 }, NotSent::DeadlineExceeded] {
        let service = Scripted::new([not_sent(reason.clone())]);
        assert_eq!(call(&plenty(), &service, get()).await.expect_err("refused"), reason.into());
        assert_eq!(service.asked(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn tries_end_and_the_last_reply_is_handed_out() {
    let service = Scripted::new((0..9).map(|n| answer(503, (n == 8).then_some("never"))));
    let reply = call(&plenty().with_tries(9).with_time_limit(Duration::from_secs(900)), &service, get()).await;
    let reply = reply.expect("an answer");
    assert_eq!((reply.status().as_u16(), reply.headers().contains_key("retry-after")), (503, true));
    assert_eq!(service.asked(), 9);
    for status in [200, 204, 400, 401, 404, 409, 500, 501] {
        let service = Scripted::new([answer(status, None)]);
        assert_eq!(call(&plenty(), &service, get()).await.expect("an answer").status().as_u16(), status);
        assert_eq!(service.asked(), 1, "{status} is no better the second time");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_the_least_that_is_waited() {
    let mut dated = answer(503, Some("Sun, 06 Nov 1994 12:00:09 GMT")).expect("an answer");
    dated.headers_mut().insert("date", "Sun, 06 Nov 1994 12:00:00 GMT".parse().expect("a value"));
    for (reply, seconds) in [(answer(429, Some("7")), 7), (Ok(dated), 9)] {
        let service = Scripted::new([reply]);
        call(&plenty(), &service, get()).await.expect("answered");
        let asked = service.asked.lock().expect("not poisoned");
        assert!(asked[1].0 - asked[0].0 >= Duration::from_secs(seconds));
    }
}

#[test]
fn a_date_alone_is_measured_by_the_systems_clock() {
    let wait = |date: SystemTime| {
        let mut answer = answer(503, None).expect("an answer");
        answer.headers_mut().insert(RETRY_AFTER, httpdate::fmt_http_date(date).parse().expect("a value"));
        retry_after(&answer).expect("a date")
    };
    let hour = Duration::from_secs(3600);
    assert!(wait(SystemTime::now() + hour) > hour / 2);
    assert_eq!(wait(SystemTime::now() - hour), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_try_begins_after_the_time_limit_and_each_knows_what_is_left() {
    let limit = Duration::from_secs(20);
    let service = Scripted::new([answer(503, Some("8")), answer(503, Some("8")), answer(503, Some("8"))]);
    let began = Instant::now();
    let retry = plenty().with_tries(100).with_time_limit(limit);
    assert_eq!(call(&retry, &service, get()).await.expect("an answer").status().as_u16(), 503);
    let asked = service.asked.lock().expect("not poisoned");
    assert!((2..=3).contains(&asked.len()), "{}", asked.len());
    for (at, request) in asked.iter() {
        let TimeLimit(left) = *request.extensions().get().expect("a limit");
        assert_eq!(left, limit - (*at - began));
    }
    assert!(began.elapsed() < limit);
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_shared_and_ends() {
    let retry = Retry::new().with_budget(1, 0.0).with_tries(100).with_backoff(Duration::ZERO, Duration::ZERO);
    let service = Scripted::new((0..1000).map(|_| answer(503, None)));
    for _ in 0..20 {
        assert_eq!(call(&retry, &service, get()).await.expect("an answer").status().as_u16(), 503);
    }
    // One a second over ten seconds, by a clock that all but stands still here.
    assert!(service.asked() <= 20 + 11, "{} tries", service.asked());
    assert!(service.asked() > 20, "some are repeated");
}

#[tokio::test(start_paused = true)]
async fn every_try_is_the_same_request() {
    let service = Scripted::new([answer(503, None), disconnected()]);
    let mut request = get();
    request.headers_mut().insert("x-kii-requestid", "mine".parse().expect("a value"));
    call(&plenty(), &service, request).await.expect("answered");
    for (_, request) in service.asked.lock().expect("not poisoned").iter() {
        assert_eq!(request.headers()["x-kii-requestid"], "mine");
        assert_eq!(request.uri().path(), "/thing-if/apps/a/targets/thing:t/states");
    }
}
