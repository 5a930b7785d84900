//! Use from tokio tasks, in the two ways that suit them.
//!
//! - `read`: a task may move to another thread at every `await` and needs no handle. The state is
//!   held only while the closure runs.
//! - A handle for each worker: cheaper still, for tasks that loop. A reference from `current()`
//!   that lives across an `await` keeps its copy from being updated in the meantime, so look up
//!   what you need, and call `quiescent()` before an `await` that may take long.
//!
//! The writer awaits `published(seq)` to know when every reader that asks sees its update.
//!
//! ```sh
//! cargo run --release -p hotread --example tokio_tasks
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hotread::{HotRead, HotReadHandle, MapUpdate};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Prices in cents. Maps are ready-made states; see `MapUpdate`.
type Prices = HashMap<String, u64>;

const BASKET: [&str; 3] = ["apple", "bread", "cheese"];

/// A request handler that prices one basket after another, each from a single state.
async fn handle_requests(prices: HotRead<Prices>, requests: u64) -> (u64, u64) {
    let (mut lowest, mut highest) = (u64::MAX, 0);
    for request in 0..requests {
        let total = prices.read(|prices| BASKET.iter().filter_map(|item| prices.get(*item)).sum());
        lowest = lowest.min(total);
        highest = highest.max(total);
        if request % 64 == 0 {
            sleep(Duration::from_millis(1)).await; // as if for a database
        }
    }
    (lowest, highest)
}

/// A worker with a handle of its own, which answers orders until there are no more.
async fn work(mut reader: HotReadHandle<Prices>, mut orders: mpsc::Receiver<Order>) -> u64 {
    let mut answered = 0;
    loop {
        // The wait for an order may never end. Hold no copy in the meantime.
        reader.quiescent();
        let Some(order) = orders.recv().await else {
            return answered;
        };
        // Copy out what is needed; do not keep the reference across an `await`.
        let price = reader.current().get(order.item).copied();
        sleep(Duration::from_millis(1)).await; // as if to ship it
        // An error means that the answer is no longer awaited.
        let _ = order.answer.send(price).await;
        answered += 1;
    }
}

struct Order {
    item: &'static str,
    answer: mpsc::Sender<Option<u64>>,
}

async fn run() -> Result<(), Box<dyn Error>> {
    let prices = HotRead::new(Prices::from(BASKET.map(|item| (item.to_owned(), 100))));

    // 1. Readers with `read`, on any thread of the runtime.
    let mut handlers = JoinSet::new();
    for _ in 0..4 {
        handlers.spawn(handle_requests(prices.clone(), 64 * 200));
    }

    // 2. Workers with a handle each.
    let mut workers = JoinSet::new();
    let mut queues = Vec::new();
    for index in 0..2 {
        let (orders, queue) = mpsc::channel(16);
        let reader = prices.create_named_handle(format!("worker {index}"));
        workers.spawn(work(reader, queue));
        queues.push(orders);
    }

    // 3. A writer that knows when its update can be seen.
    let mut slowest = Duration::ZERO;
    let (answer, mut answers) = mpsc::channel(16);
    for price in 101..=200 {
        let batch = BASKET.map(|item| MapUpdate::Insert(item.to_owned(), price));
        let start = Instant::now();
        let result = prices.queue_updates(batch);
        // Often true immediately (`result.published`). If a reader still holds the other copy, the
        // future starts a thread that publishes as soon as the reader lets go.
        timeout(Duration::from_secs(5), prices.published(result.last_seq)).await??;
        slowest = slowest.max(start.elapsed());

        // From here on every reader that asks sees this price, also a worker on another thread.
        for (queue, item) in queues.iter().zip(BASKET) {
            let answer = answer.clone();
            queue.send(Order { item, answer }).await?;
        }
        for _ in &queues {
            let seen = answers.recv().await.flatten();
            if seen != Some(price) {
                return Err(
                    format!("a worker sold for {seen:?} after {price} was published").into(),
                );
            }
        }
    }
    println!(
        "100 price changes: each seen by every worker that was asked after published(seq).await"
    );
    println!("  slowest publication  {slowest:.1?}");

    drop(queues);
    let answered: u64 = workers.join_all().await.iter().sum();
    println!("  orders answered      {answered}");

    for (lowest, highest) in handlers.join_all().await {
        // All three prices change in one batch, so a basket of one state costs 3 x 100 to 3 x 200.
        println!("  request handler      12800 baskets, from {lowest} to {highest}");
        if lowest % 3 != 0 || highest % 3 != 0 {
            return Err("a basket mixed the prices of two batches".into());
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(arg) = std::env::args_os().nth(1) {
        eprintln!("tokio_tasks: takes no arguments, found {}", arg.display());
        return ExitCode::from(2);
    }
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tokio_tasks: {error}");
            ExitCode::FAILURE
        }
    }
}
