//! The README's walk through a referral works as it is printed.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

/// A server of its own, killed at the end.
struct Server {
    child: Child,
    url: String,
    test_key: String,
    _data: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() -> Server {
    let data = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_goodword"))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut url, mut test_key) = (None, None);
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let word = |prefix: &str| line.split_whitespace().find(|word| word.starts_with(prefix)).map(str::to_owned);
        url = url.or_else(|| word("http://"));
        test_key = test_key.or_else(|| word("gw_test_"));
        if url.is_some() && test_key.is_some() {
            break;
        }
    }
    Server { child, url: url.expect("the address is printed"), test_key: test_key.expect("a test key is printed"), _data: data }
}

#[test]
fn a_referral_in_ten_lines_works_as_printed() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("<!-- tests/readme.rs").unwrap();
    let (_, rest) = rest.split_once("```sh\n").unwrap();
    let (lines, _) = rest.split_once("```").unwrap();
    assert_eq!(lines.trim().lines().count(), 10, "ten lines");

    let server = serve();
    let lines = lines.replace("http://127.0.0.1:8080", &server.url).replace("gw_test_…", &server.test_key);
    // Behind the campaign, every line twice: nothing happens twice.
    let (campaign, rest) = lines.split_at(lines.match_indices('\n').nth(2).unwrap().0 + 1);
    let script = format!("set -euo pipefail\n{campaign}{rest}{rest}gw $URL/v1/rewards\ngw $URL/v1/statistics\n");
    let output = Command::new("bash").arg("-c").arg(&script).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("<title>Priya invites you"), "the friend's page is shown: {text}");
    assert!(text.contains("Qualified: all conditions were met."), "{text}");
    let rewards = text.lines().rev().find(|line| line.starts_with(r#"{"data":"#)).unwrap();
    assert_eq!(rewards.matches(r#""state":"issued""#).count(), 1, "{rewards}");
    assert!(text.contains(r#""visits":2,"#) && text.contains(r#""qualified":1,"#), "{text}");
}
