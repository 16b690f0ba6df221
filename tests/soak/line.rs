//! The line between devices and server: a TCP proxy that cuts connections at random.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

#[derive(Default)]
struct Shared {
    open: Mutex<HashMap<u64, AbortHandle>>,
    per_second: AtomicU64,
    cuts: AtomicU64,
}

pub(crate) struct Line {
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

impl Line {
    /// Listens at `port` and leads to `to`.
    pub(crate) fn new(to: u16, port: u16, seed: u64) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let shared = Arc::new(Shared::default());
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        runtime.spawn(accept(listener, to, Arc::clone(&shared)));
        runtime.spawn(cut(Arc::clone(&shared), seed));
        Ok(Self { shared, _runtime: runtime })
    }

    /// From now on as many connections are cut each second.
    pub(crate) fn cut(&self, per_second: u64) {
        self.shared.per_second.store(per_second, Ordering::Relaxed);
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, to: u16, shared: Arc<Shared>) {
    for number in 0.. {
        let Ok((mut near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let end = Arc::clone(&shared);
        let mut open = shared.open.lock().expect("no panic");
        let carrying = tokio::spawn(async move {
            if let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await {
                let _either_end_has_closed = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
            end.open.lock().expect("no panic").remove(&number);
        });
        open.insert(number, carrying.abort_handle());
    }
}

async fn cut(shared: Arc<Shared>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    loop {
        let per_second = shared.per_second.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs_f64((1.0 / per_second.max(1) as f64).min(0.25))).await;
        if per_second == 0 {
            continue;
        }
        let mut open = shared.open.lock().expect("no panic");
        let mut numbers: Vec<u64> = open.keys().copied().collect();
        numbers.sort_unstable();
        if let Some(number) = random.choice(numbers)
            && let Some(carrying) = open.remove(&number)
        {
            carrying.abort();
            shared.cuts.fetch_add(1, Ordering::Relaxed);
        }
    }
}
