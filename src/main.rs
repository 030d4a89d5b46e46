//! The program. Everything is in the library; here is only what a process has once.

use clap::Parser;
use goodword::cli::Cli;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("goodword: {failure}");
            ExitCode::FAILURE
        }
    }
}
