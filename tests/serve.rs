//! `goodword serve` as a process: one for each data folder, an end in peace, and a start after the worst.
#![allow(clippy::disallowed_methods, reason = "tests are told by the environment, and wait in threads of their own")]

mod process;

use process::{Client, Setup};
use rusqlite::{Connection, config::DbConfig};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

#[test]
fn a_second_server_on_the_same_folder_is_refused_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let setup = Setup::sqlite(data.path());
    let first = setup.start();
    let second = setup.command().output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains(&format!("another goodword process (pid {}) is using", first.pid())) && said.contains("goodword.db"), "{said}");
    assert!(!said.contains("panicked"), "{said}");

    // The first goes on, and the folder is free once it has gone, whichever way.
    let key = first.keys.clone().unwrap().live;
    let me = Client::default().ok(first.address, &key, "GET", "/v1/me", &json!(null));
    assert_eq!(me["test"], false);
    first.kill();
    setup.start().stop();
}

#[test]
fn a_request_on_its_way_is_answered_before_the_server_stops() {
    let data = tempfile::tempdir().unwrap();
    let setup = Setup::sqlite(data.path());
    let mut server = setup.start();
    let key = server.keys.clone().unwrap().test;
    let body = json!({"name": "On its way"}).to_string();
    let (head, tail) = body.split_at(5);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(process::DEADLINE)).unwrap();
    write!(stream, "POST /v1/campaigns HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\n").unwrap();
    write!(stream, "expect: 100-continue\r\ncontent-length: {}\r\n\r\n{head}", body.len()).unwrap();
    // The server has begun with it when it asks for the rest.
    let mut answer = [0; 25];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100 Continue\r\n\r\n");

    server.ask_to_stop();
    // Nobody else is let in any more: then the stop has begun.
    while TcpStream::connect(server.address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    stream.write_all(tail.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    assert!(server.wait().success());

    let server = setup.start();
    let campaigns = Client::default().ok(server.address, &key, "GET", "/v1/campaigns", &json!(null));
    assert_eq!(campaigns["data"][0]["name"], "On its way");
}

/// Told, not judged: how long a machine takes is its own affair.
#[test]
fn a_server_is_ready_soon_after_a_crash_that_left_a_long_log() {
    let data = tempfile::tempdir().unwrap();
    let setup = Setup::sqlite(data.path());
    let server = setup.start();
    let key = server.keys.clone().unwrap().live;
    server.kill();

    let database = data.path().join("goodword.db");
    let connection = Connection::open(&database).unwrap();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; CREATE TABLE ballast (bytes blob)").unwrap();
    for _ in 0..64 {
        connection.execute("INSERT INTO ballast VALUES (randomblob(1 << 20))", []).unwrap();
    }
    drop(connection);
    // Without the index of the log, as after a crash of the machine.
    let _ = std::fs::remove_file(data.path().join("goodword.db-shm"));
    let log = std::fs::metadata(data.path().join("goodword.db-wal")).unwrap().len();
    assert!(log > 64 << 20, "{log}");

    let server = setup.start();
    println!("ready {:?} after a start with a log of {} MiB", server.ready_after, log >> 20);
    Client::default().ok(server.address, &key, "GET", "/v1/me", &json!(null));
}
