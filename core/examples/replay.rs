//! Replays logs: `cargo run -p plimsoll-core --example replay -- users.plog …`. CI runs it under WebAssembly, on logs that
//! machines on tokio have written.

use std::process::ExitCode;
use std::{env, fs};

use plimsoll_core::replay::{self, Query};

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in env::args().skip(1) {
        let log = match fs::read(&path) {
            Ok(log) => log,
            Err(error) => {
                eprintln!("{path}: {error}");
                code = ExitCode::from(2);
                continue;
            }
        };
        match replay::replay(&log) {
            Ok(replayed) => println!("{path}: {:?}, {replayed}", replayed.subject),
            Err(error) => {
                eprintln!("{path}: {error}");
                code = ExitCode::FAILURE;
            }
        }
        if let Ok(story) = replay::explain(&log, Query::Changes) {
            println!("{} changes", story.lines.len());
        }
    }
    code
}
