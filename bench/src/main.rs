//! `benchmark`: load on an etcd server, over gRPC made by hand on the `h2` crate, so that the server is measured and not a client library.
//!
//! ```text
//! args ──▶ command/* ──▶ load (clients, pace) ──▶ grpc ──▶ server
//!                              │                            ▲
//!                              ▼                            │ started, measured, killed
//!                           report, ledger              process ◀── command/figures, command/crash
//! ```
//!
//! The commands of etcd's tool take the flags and print the reports of etcd's tool. `verify-ledger`, `crash` and `figures`
//! are ours. Everything runs on one thread; what it cost is said after each report.

mod args;
mod command;
mod crash;
mod figures;
mod grpc;
mod ledger;
mod load;
mod process;
mod report;
mod rng;

use args::ArgsError;
use command::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (command, args) = match args::parse(&words, command::COMMANDS) {
        Ok(found) => found,
        Err(ArgsError::Help(name)) => {
            print!("{}", args::help(command::COMMANDS, name));
            return ExitCode::SUCCESS;
        }
        Err(ArgsError::Wrong(what)) => {
            eprintln!("Error: {what}\nRun 'benchmark --help' for usage.\n{what}");
            return ExitCode::from(255);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match tokio::task::LocalSet::new().block_on(&runtime, command::run(command, args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(what)) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
