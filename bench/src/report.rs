//! What was measured, as a table and as JSON.

use serde::Serialize;

/// One figure of the product, beside its limit in the same run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Figure {
    pub row: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub ours: f64,
    pub limit: Option<f64>,
    /// The median of the rounds' ratios, where there were rounds.
    pub ratio: Option<f64>,
    pub goal: String,
    pub met: Option<bool>,
    /// Processor time per operation over the process tree: ours, and the limit's.
    pub cpu_us: Option<f64>,
    pub limit_cpu_us: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    /// The machine's load when it was measured.
    pub load: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: String,
    pub quick: bool,
    pub figures: Vec<Figure>,
}

impl Figure {
    pub fn new(row: &'static str, what: impl Into<String>, unit: &'static str, ours: f64) -> Self {
        Self { row, what: what.into(), unit, ours, load: crate::machine::load(), ..Self::default() }
    }

    /// The goal is a share of the limit.
    pub fn at_least(mut self, limit: f64, ratio: f64, goal: f64) -> Self {
        (self.limit, self.ratio, self.met, self.goal) = (Some(limit), Some(ratio), Some(ratio >= goal), format!("≥ {goal} of limit"));
        self
    }

    /// The goal is a multiple of the limit.
    pub fn at_most(mut self, limit: f64, ratio: f64, goal: f64) -> Self {
        (self.limit, self.ratio, self.met, self.goal) = (Some(limit), Some(ratio), Some(ratio <= goal), format!("≤ {goal} × limit"));
        self
    }

    /// The goal is a figure.
    pub fn below(mut self, goal: f64) -> Self {
        (self.met, self.goal) = (Some(self.ours <= goal), format!("≤ {goal} {}", self.unit));
        self
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    if values.is_empty() { 0.0 } else { values[values.len() / 2] }
}

impl Report {
    /// Markdown, so that it can be kept as it is.
    pub fn table(&self) -> String {
        let mut text = format!("{}{}\n\n", self.machine, if self.quick { " (quick run)" } else { "" });
        text += "| row | what | ours | limit | ratio | goal | met | CPU µs ours / limit | p50 / p99 ms | load |\n|---|---|--:|--:|--:|---|---|--:|--:|--:|\n";
        for figure in &self.figures {
            let met = figure.met.map_or("", |met| if met { "yes" } else { "**no**" });
            let pair = |a: Option<f64>, b: Option<f64>| match (a, b) {
                (Some(a), Some(b)) => format!("{} / {}", short(a), short(b)),
                (Some(a), None) => short(a),
                _ => String::new(),
            };
            text += &format!(
                "| {} | {} | {} {} | {} | {} | {} | {met} | {} | {} | {:.1} |\n",
                figure.row,
                figure.what,
                short(figure.ours),
                figure.unit,
                figure.limit.map(short).unwrap_or_default(),
                figure.ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default(),
                figure.goal,
                pair(figure.cpu_us, figure.limit_cpu_us),
                pair(figure.p50_ms, figure.p99_ms),
                figure.load,
            );
        }
        text
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
