//! What the kernel knows: processor time, memory, and what else the machine is doing.

use std::{collections::HashMap, fs, time::Duration};

/// Processor time of a process and all its descendants, also of those that have ended.
pub fn cpu(root: u32) -> Duration {
    /// The kernel's unit in `/proc`; 100 a second on every Linux that matters.
    const TICK: Duration = Duration::from_millis(10);
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut ticks: HashMap<u32, u32> = HashMap::new();
    for pid in processes() {
        let Some(fields) = stat(pid) else { continue };
        let number = |i: usize| fields.get(i).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
        children.entry(number(1)).or_default().push(pid);
        ticks.insert(pid, (11..15).map(number).sum());
    }
    let (mut all, mut open) = (0, vec![root]);
    while let Some(pid) = open.pop() {
        all += ticks.get(&pid).copied().unwrap_or(0);
        open.extend(children.remove(&pid).unwrap_or_default());
    }
    TICK * all
}

fn processes() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields behind the name: state, parent, …
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

/// Resident memory now, and at its highest so far, in MiB.
pub fn memory(pid: u32) -> (f64, f64) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    (mib("VmRSS:"), mib("VmHWM:"))
}

/// The load of the last minute: how many others wanted the processors.
pub fn load() -> f64 {
    first_word("/proc/loadavg").parse().unwrap_or(0.0)
}

fn first_word(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
}

/// Machine and date in one line, for without them no figure means anything.
pub fn description() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name)).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib: f64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0.0);
    let today = goodword_core::time::Timestamp::from_ms(now_ms()).date();
    format!("{model}, {cores} cores, {:.0} GiB, Linux {}, {today}", memory_kib / 1_048_576.0, first_word("/proc/sys/kernel/osrelease"))
}

pub fn now_ms() -> i64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_millis() as i64)
}

/// Keeps the calling thread, and threads that it starts later, on one core.
pub fn pin(core: usize) {
    let thread = fs::read_link("/proc/thread-self").ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    if let Some(thread) = thread {
        let _ = std::process::Command::new("taskset").args(["-cp", &core.to_string(), &thread]).output();
    }
}
