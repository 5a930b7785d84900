// A second process: prints the flags each time that they change.

#[derive(Clone, serde::Deserialize)]
struct Flag {
    percent: u8,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = hotread_client::Client::new(&std::env::var("HOTREAD_URL")?)?;
    let flags = client.table::<Flag>("flags").await?; // returns when all records are here
    let mut reader = flags.reader(); // one for each thread or task
    while reader.changed().await.is_ok() {
        for (name, flag) in reader.current() {
            println!("{name} is on for {} %", flag.percent);
        }
        println!("{:?}, {:?} old at most", flags.status(), flags.age());
    }
    Ok(())
}
