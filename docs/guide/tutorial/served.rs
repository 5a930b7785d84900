// A worker that reads a table of flags, and a main thread that changes it.

use hotread_client::blocking::Client;
use std::thread;
use std::time::Duration;

#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Flag {
    percent: u8,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let flags = Client::new(&std::env::var("HOTREAD_URL")?)?.table::<Flag>("flags")?;

    let mut reader = flags.reader(); // one for each thread
    let worker = thread::spawn(move || {
        // The hot path: `current` costs one load and one compare, and waits for nothing.
        while !reader.current().contains_key("checkout") {
            thread::sleep(Duration::from_millis(1)); // the worker's other tasks
        }
        let percent = reader.current()["checkout"].percent;
        println!("worker: checkout is on for {percent} %");
    });

    flags.put("checkout", &Flag { percent: 5 })?; // on disk when this returns
    worker.join().expect("the worker does not panic");
    println!("written at seq {}", flags.position().seq);
    Ok(())
}
