//! Seen from the kernel: between reading a write and answering it, its bytes go to the log and a sync of the
//! log is completed. A crash of the program cannot show this, for the kernel keeps what it was given.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment, and wait in threads of their own")]

mod process;

use process::{Client, Setup};
use serde_json::json;
use std::{path::Path, process::Command};

const WRITES: usize = 60;
const READS: usize = 40;

/// What the server did for one request, in order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    is_write: bool,
    status: u16,
    /// Bytes went to the log, and a sync that began afterwards was completed.
    written: bool,
    synced: bool,
}

/// Reads strace's lines, for requests that came one after the other.
fn requests(trace: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut current: Option<Request> = None;
    // Threads whose sync began after the bytes of this request were written.
    let mut syncing = Vec::new();
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').map_or(("", line), |(thread, call)| (thread, call.trim_start()));
        if call.contains("\"POST /") || call.contains("\"GET /") {
            current = Some(Request { is_write: call.contains("\"POST /"), ..Request::default() });
            syncing.clear();
        }
        let Some(request) = &mut current else { continue };
        let is_log = call.contains("goodword.db-wal>");
        if call.starts_with("pwrite64(") && is_log {
            request.written = true;
        }
        if (call.starts_with("fdatasync(") || call.starts_with("fsync(")) && is_log && request.written {
            syncing.push(thread);
        }
        let done = call.contains("sync") && call.ends_with("= 0");
        request.synced |= done && syncing.contains(&thread);
        if let Some((_, answer)) = call.split_once("\"HTTP/1.1 ") {
            request.status = answer.get(..3).and_then(|status| status.parse().ok()).unwrap_or_default();
            requests.extend(current.take());
        }
    }
    requests
}

fn traced(setup: &Setup, to: &Path) -> Command {
    let server = setup.command();
    let mut strace = Command::new("strace");
    // -D: the tracer is the grandchild, so that our child is the server itself.
    strace.args(["-D", "-f", "-qq", "-y", "-s", "32", "-e", "trace=fsync,fdatasync,pwrite64,read,recvfrom,write,writev,sendto,sendmsg", "-o"]);
    strace.arg(to).arg(server.get_program()).args(server.get_args());
    strace
}

#[test]
fn a_sync_is_completed_before_every_answer_to_a_write() {
    if Command::new("strace").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "strace is not installed, and CI has this audit");
        eprintln!("\n*** strace is not installed: nobody has looked whether writes are synced before they are answered ***\n");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let setup = Setup::sqlite(data.path());
    let trace = data.path().join("trace");
    let server = setup.start_as(traced(&setup, &trace));
    let key = server.keys.clone().unwrap().test;
    let (mut client, to) = (Client::default(), server.address);

    let campaign = client.ok(to, &key, "POST", "/v1/campaigns", &json!({"name": "Audit", "status": "live"}));
    let referrer = client.ok(to, &key, "POST", "/v1/referrers", &json!({"campaign_id": campaign["id"], "email": "a@audit.example"}));
    for n in 0..WRITES / 2 {
        let lead = json!({"code": referrer["code"], "email": format!("lead{n}@audit.example")});
        let lead = client.ok(to, &key, "POST", "/v1/leads", &lead);
        client.ok(to, &key, "POST", "/v1/qualifications", &json!({"lead_id": lead["lead"]["id"]}));
    }
    for _ in 0..READS {
        client.ok(to, &key, "GET", "/v1/leads", &json!(null));
    }
    server.stop();

    let trace = std::fs::read_to_string(&trace).unwrap();
    let seen = requests(&trace);
    let (writes, reads): (Vec<_>, Vec<_>) = seen.iter().partition(|request| request.is_write);
    assert_eq!((writes.len(), reads.len()), (WRITES + 2, READS), "every request is seen in the trace");
    let unsynced: Vec<_> = writes.iter().filter(|request| !(200..300).contains(&request.status) || !request.synced).collect();
    assert!(unsynced.is_empty(), "answered before a sync: {unsynced:?}");

    // Reads sync nothing, but for what the server does by itself meanwhile.
    let synced = reads.iter().filter(|request| request.synced).count();
    assert!(synced * 10 <= READS, "{synced} of {READS} reads were synced: the audit does not tell them from writes");
    println!("{} writes, each synced before its answer; {synced} of {READS} reads", writes.len());

    // A server that does not sync is found out.
    let careless: Vec<&str> = trace.lines().filter(|line| !line.contains("sync")).collect();
    assert!(requests(&careless.join("\n")).iter().all(|request| !request.synced), "the audit is blind");
}
