//! The page over a made-up shop, to work on the page without a cluster.
//!
//! `cargo run -p taproot-server --example page [shop|empty] [ADDRESS]`

#[path = "../tests/shop/mod.rs"]
mod shop;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use taproot_model::Timestamp;
use taproot_server::{DEFAULT_ADDR, Server, Watch, WorldState};
use taproot_store::{SqliteStore, StoreOptions};
use taproot_world::{Config, World};

/// How much past the shop has.
const SECONDS: u64 = 300;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let empty = args.next().is_some_and(|what| what == "empty");
    let addr = args.next().unwrap_or_else(|| DEFAULT_ADDR.into()).parse()?;
    let file = std::env::temp_dir().join(format!("taproot-page-{}.db", std::process::id()));
    let store = SqliteStore::open(&file, StoreOptions::default())?;
    let version = env!("CARGO_PKG_VERSION");
    let state = WorldState::new(World::new(Config::default()), Some(Box::new(store)), version);
    let server = Server::bind(addr).await?;
    println!("http://{}", server.addr());
    if !empty {
        state.add(&shop::signals(Timestamp::now(), SECONDS, true))?;
        tokio::spawn(go_on(Arc::clone(&state)));
    }
    let interrupted = async {
        // Without a handler Ctrl-C ends the process anyway.
        let _ = tokio::signal::ctrl_c().await;
    };
    server.run(state, interrupted).await?;
    for ending in ["", "-wal", "-shm", ".lock"] {
        let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
    }
    Ok(())
}

/// One more second of the same, and a look, every second.
async fn go_on(state: Arc<WorldState>) {
    let mut watch = Watch::new();
    loop {
        let found = watch.look(&state.world());
        match found {
            Ok(Some(report)) => state.put_report(&report).unwrap_or_else(|e| eprintln!("{e}")),
            Ok(None) => {}
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        if let Err(error) = state.add(&shop::signals(Timestamp::now(), 1, true)) {
            eprintln!("{error}");
        }
    }
}
