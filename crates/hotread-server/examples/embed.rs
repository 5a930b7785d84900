//! A program that keeps a table, serves it, and reads it in its own hot loop at the same time.
//!
//! `cargo run -p hotread-server --example embed -- flags.db 127.0.0.1:7400`, then
//! `curl -X PUT -H 'Content-Type: application/json' -d '{"value": true}' http://127.0.0.1:7400/v1/tables/flags/records/checkout-v2`

use hotread_server::{Server, Store};
use std::error::Error;
use std::time::Duration;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(address)) = (args.next(), args.next()) else {
        return Err("give a database and an address to listen at".into());
    };
    let store = Store::open(path)?;
    let flags = store.table::<bool>("flags")?;

    let mut reader = flags.reader();
    std::thread::spawn(move || {
        loop {
            let on = reader
                .current()
                .get("checkout-v2")
                .copied()
                .unwrap_or(false);
            println!("checkout-v2 is {}", if on { "on" } else { "off" });
            reader.quiescent(); // refers to no copy while it sleeps
            std::thread::sleep(Duration::from_secs(1));
        }
    });

    let listener = TcpListener::bind(address).await?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    Server::builder(store)
        .build()?
        .serve(listener, stop)
        .await?;
    Ok(())
}
