//! How far a long command has come, on stderr: one line that changes on a terminal, a line now and then
//! elsewhere.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

const EVERY_TERMINAL: Duration = Duration::from_millis(100);
const EVERY_LOG: Duration = Duration::from_secs(10);

pub struct Progress {
    terminal: bool,
    begun: Instant,
    told: Option<Instant>,
    shown: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), begun: Instant::now(), told: None, shown: false }
    }

    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tells it if it is time to.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let every = if self.terminal { EVERY_TERMINAL } else { EVERY_LOG };
        if self.told.unwrap_or(self.begun).elapsed() < every && (self.terminal || self.told.is_some() || self.elapsed() < every) {
            return;
        }
        self.told = Some(Instant::now());
        let mut err = std::io::stderr().lock();
        // Whoever closed stderr does not want to know.
        let _ = if self.terminal { write!(err, "\r\x1b[2K{}", text()).and_then(|()| err.flush()) } else { writeln!(err, "{}", text()) };
        self.shown = true;
    }

    /// Clears the line, before something else is printed.
    pub fn clear(&mut self) {
        if self.terminal && self.shown {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
            self.shown = false;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.char_indices() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2,000 rows`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

/// `1.9 s`, `2 min 5 s`.
pub fn duration(took: Duration) -> String {
    match took.as_secs() {
        0..60 => format!("{:.1} s", took.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_read_well() {
        for (n, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
        assert_eq!(count(1, "row"), "1 row");
        assert_eq!(duration(Duration::from_millis(1_940)), "1.9 s");
        assert_eq!(duration(Duration::from_secs(125)), "2 min 5 s");
    }
}
