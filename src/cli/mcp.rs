use super::{
    Failure, Result,
    client::{self, Client},
};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::Write;
use tokio::io::{AsyncBufReadExt, BufReader};

/// Connect an assistant by the Model Context Protocol on standard input and output
///
/// For assistants that start their servers themselves. Every message goes to a running
/// server, which answers it at /mcp; what the assistant may do is what the key may do.
#[derive(Debug, clap::Args)]
pub struct Mcp {
    /// The running server
    #[arg(long, value_name = "URL", env = "GOODWORD_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The API key; better given by the environment, which other users cannot see
    #[arg(long, value_name = "KEY", env = "GOODWORD_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

const ANSWER_BYTES_MAX: usize = 16 << 20;
/// An error of our own making, in the range that JSON-RPC leaves to servers.
const SERVER_ERROR: i64 = -32000;

impl Mcp {
    pub fn run(self) -> Result {
        let client = Client::new(&self.url, Some(client::key(self.api_key)?))?;
        super::block_on(async move {
            let mut lines = BufReader::new(tokio::io::stdin()).lines();
            while let Some(line) = lines.next_line().await? {
                if line.trim().is_empty() {
                    continue;
                }
                let answer = match forward(&client, &line).await {
                    Ok(answer) => answer,
                    Err(failure) => refusal(&line, &failure),
                };
                // Only messages of the protocol may be on standard output, one on a line.
                if let Some(answer) = answer {
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{answer}")?;
                    out.flush()?;
                }
            }
            Ok(())
        })
    }
}

/// What the server answers to a message; nothing to a notification.
async fn forward(client: &Client, line: &str) -> Result<Option<Value>> {
    let response = client.send(Method::POST, "/mcp", Some("application/json"), client::whole(line.to_owned())).await?;
    let status = response.status();
    if status == StatusCode::ACCEPTED {
        return Ok(None);
    }
    let bytes = client::read(response, ANSWER_BYTES_MAX).await?;
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    if answer["jsonrpc"] == "2.0" {
        return Ok(Some(answer));
    }
    Err(client::refused(status, &answer))
}

/// Why there is no answer, to a message that waits for one.
fn refusal(line: &str, failure: &Failure) -> Option<Value> {
    let message: Value = serde_json::from_str(line).unwrap_or_default();
    match (message.get("id"), message.get("method")) {
        (Some(id), Some(_)) => Some(json!({"jsonrpc": "2.0", "id": id, "error": {"code": SERVER_ERROR, "message": failure.to_string()}})),
        _ => {
            eprintln!("goodword: {failure}");
            None
        }
    }
}
