//! What came, what could not, and why.

use crate::cli::{
    Failure, Result,
    export::private_file,
    progress::{duration, grouped},
};
use serde::Serialize;
use std::{collections::HashSet, io::Write, path::Path, time::Duration};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Campaign,
    Definition,
    Referrer,
    Lead,
    Reward,
}

const KINDS: [(Kind, &str); 5] =
    [(Kind::Campaign, "campaigns"), (Kind::Definition, "reward definitions"), (Kind::Referrer, "referrers"), (Kind::Lead, "leads"), (Kind::Reward, "rewards")];

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub added: u64,
    /// Here already; something has happened since.
    pub changed: u64,
    /// Here already, as they were there.
    pub same: u64,
    pub refused: u64,
    /// Of those who are new.
    pub qualified: u64,
}

#[derive(Debug, Default)]
pub struct Report {
    tallies: [Tally; 5],
    /// About what, and what is to be known about it.
    lines: Vec<(String, String)>,
    told: HashSet<String>,
}

/// Lines that are shown where no file keeps them.
const SHOWN: usize = 20;

impl Report {
    pub fn count(&mut self, kind: Kind) -> &mut Tally {
        &mut self.tallies[kind as usize]
    }

    pub fn found(&self, kind: Kind) -> u64 {
        let tally = self.tallies[kind as usize];
        tally.added + tally.changed + tally.same + tally.refused
    }

    pub fn people(&self) -> u64 {
        self.found(Kind::Referrer) + self.found(Kind::Lead)
    }

    pub fn refused(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.refused).sum()
    }

    /// It cannot come.
    pub fn refuse(&mut self, kind: Kind, what: &str, why: &str) {
        self.count(kind).refused += 1;
        self.lines.push((what.to_owned(), format!("cannot come: {why}")));
    }

    /// It comes, with a difference.
    pub fn note(&mut self, what: &str, text: &str) {
        self.lines.push((what.to_owned(), text.to_owned()));
    }

    pub fn note_once(&mut self, what: &str, text: &str) {
        if self.told.insert(what.to_owned()) {
            self.note(what, text);
        }
    }

    /// Everything that needs a look, a line each.
    pub fn write(&self, path: &Path) -> Result {
        let failed = |error: std::io::Error| Failure::new(format!("{}: {error}", path.display()));
        let mut file = std::io::BufWriter::new(private_file(path).map_err(failed)?);
        for (what, text) in &self.lines {
            writeln!(file, "{what}: {text}").map_err(failed)?;
        }
        file.flush().map_err(failed)
    }

    pub fn print(&self, json: bool, dry_run: bool, took: Duration, file: Option<&Path>) {
        if json {
            let mut line = serde_json::json!({"dry_run": dry_run, "seconds": (took.as_secs_f64() * 1_000.0).round() / 1_000.0, "notes": self.lines.len()});
            for (kind, name) in KINDS {
                line[name.replace(' ', "_")] = serde_json::json!(self.tallies[kind as usize]);
            }
            println!("{line}");
            return;
        }
        for (what, text) in self.lines.iter().take(if file.is_some() { 0 } else { SHOWN }) {
            eprintln!("{what}: {text}");
        }
        match (file, self.lines.len()) {
            (Some(file), lines @ 1..) => eprintln!("{} to look at are in {}.", things(lines), file.display()),
            (None, lines) if lines > SHOWN => eprintln!("{} more; --report FILE keeps them all.", grouped((lines - SHOWN) as u64)),
            _ => {}
        }
        let would = if dry_run { "would be " } else { "" };
        println!("{:<20}{:>10}{:>12}{:>12}{:>12}", "", format!("{would}new"), format!("{would}changed"), "the same", "cannot come");
        for (kind, name) in KINDS {
            let Tally { added, changed, same, refused, .. } = self.tallies[kind as usize];
            println!("{name:<20}{:>10}{:>12}{:>12}{:>12}", grouped(added), grouped(changed), grouped(same), grouped(refused));
        }
        println!("{} of the new leads {would}qualified. It took {}.", grouped(self.tallies[Kind::Lead as usize].qualified), duration(took));
        if dry_run {
            println!("Nothing was kept. Run it again without --dry-run.");
        }
    }
}

fn things(n: usize) -> String {
    format!("{} thing{}", grouped(n as u64), if n == 1 { "" } else { "s" })
}
