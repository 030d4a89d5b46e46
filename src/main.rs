//! The program. Everything is in the library; here is only what a process has once.

use clap::Parser;
use goodword::cli::Cli;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A page of 2 MiB is resident for one byte: with them the server took half as much memory again under load, and
    // was no faster. Kernels that know none refuse.
    #[cfg(target_os = "linux")]
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("goodword: {failure}");
            ExitCode::FAILURE
        }
    }
}
