#![allow(clippy::disallowed_methods, reason = "a benchmark reads clocks and waits")]
#![doc = include_str!("../README.md")]

mod limit;
mod load;
mod machine;
mod mirror;
mod push;
mod report;
mod rows;
mod server;
mod world;

use clap::Parser;
use std::{path::PathBuf, process::Command, sync::OnceLock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Goodword beside what the machine could do
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these rows; all but the slowest where none is named
    rows: Vec<String>,
    /// Less of everything: a minute in place of an hour
    #[arg(long)]
    quick: bool,
    /// Where the figures are written as JSON
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    /// Where databases are made; it should be the disk that would be used in production
    #[arg(long, default_value = "/var/tmp")]
    folder: PathBuf,
    /// The program to measure, in place of the one of this working copy
    #[arg(long)]
    program: Option<PathBuf>,
    #[command(subcommand)]
    limit: Option<Internal>,
}

#[derive(Debug, clap::Subcommand)]
enum Internal {
    /// Runs a limit in this process
    #[command(subcommand, hide = true)]
    Limit(limit::Limit),
}

/// The working copy that is measured.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

static FOLDER: OnceLock<PathBuf> = OnceLock::new();
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Where databases are made.
fn folder() -> &'static PathBuf {
    FOLDER.get().expect("set in main")
}

/// The program that is measured.
fn program() -> &'static PathBuf {
    PROGRAM.get().expect("set in main")
}

/// Builds the product as it is released, and tells where it is.
fn build(profile: &str) -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo).args(["build", "--quiet", "--package", "goodword", "--profile", profile]).current_dir(ROOT).status();
    assert!(done.is_ok_and(|status| status.success()), "goodword cannot be built");
    let own = std::env::current_exe().expect("this program");
    let target = own.ancestors().nth(2).expect("the target folder");
    target.join(if profile == "dev" { "debug" } else { profile }).join("goodword")
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(Internal::Limit(limit)) = arguments.limit {
        return limit.run();
    }
    let chosen: Vec<_> =
        rows::ALL.iter().filter(|row| if arguments.rows.is_empty() { !row.on_demand } else { arguments.rows.iter().any(|name| name == row.name) }).collect();
    if let Some(unknown) = arguments.rows.iter().find(|name| !rows::ALL.iter().any(|row| row.name == name.as_str())) {
        let names: Vec<_> = rows::ALL.iter().map(|row| format!("  {:<12}{}", row.name, row.about)).collect();
        eprintln!("there is no row {unknown}; there are\n{}", names.join("\n"));
        std::process::exit(2);
    }
    FOLDER.set(arguments.folder).expect("once");
    PROGRAM.set(arguments.program.unwrap_or_else(|| build("release"))).expect("once");
    let sizes = rows::Sizes::new(arguments.quick);
    let mut report = report::Report { machine: machine::description(), quick: arguments.quick, figures: Vec::new() };
    for row in chosen {
        eprintln!("{}: {}", row.name, row.about);
        report.figures.extend((row.run)(&sizes));
    }
    println!("{}", report.table());
    let json = serde_json::to_string_pretty(&report).expect("JSON");
    if let Err(error) = std::fs::write(&arguments.json, json) {
        eprintln!("{}: {error}", arguments.json.display());
    }
}
