//! Writers with a common rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::Answer;
use crate::process::Failure;

/// Writers at work, until they are stopped.
pub(super) struct Paced {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    writers: Vec<JoinHandle<()>>,
    began: Instant,
}

impl Paced {
    /// Starts writers, which together make `rate` requests a second, as far as answers arrive in
    /// time; `ask` receives the number of requests that its writer has made.
    pub(super) fn start<F>(
        runtime: &Runtime,
        writers: u64,
        rate: u32,
        ask: impl Fn(u64, u64) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Answer, Failure>> + Send + 'static,
    {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let every = Duration::from_secs(writers) / rate;
        let began = Instant::now();
        let writers = (0..writers).map(|writer| {
            let (stop, done, ask) = (Arc::clone(&stop), Arc::clone(&done), ask.clone());
            runtime.spawn(async move {
                let mut due = began + every.mul_f64(writer as f64 / writers as f64);
                for number in 0.. {
                    tokio::time::sleep_until(due).await;
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if ask(writer, number).await.is_ok_and(|answer| answer.is_ok()) {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    due += every;
                }
            })
        });
        let writers = writers.collect();
        Self {
            stop,
            done,
            writers,
            began,
        }
    }

    /// Acknowledged requests a second so far.
    pub(super) fn rate(&self) -> f64 {
        self.done.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64()
    }

    /// Stops the writers, and waits for their last answers.
    pub(super) fn finish(self, runtime: &Runtime) {
        self.stop.store(true, Ordering::Relaxed);
        for writer in self.writers {
            runtime.block_on(writer).expect("a writer does not panic");
        }
    }
}
