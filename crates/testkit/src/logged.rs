//! What the crate logs while a test runs on one thread.

#![allow(dead_code, reason = "each user takes the part it needs")]

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::Level;
use tracing::subscriber::DefaultGuard;

/// Lines from now on, as JSON, until it is dropped.
pub struct Logged {
    bytes: Bytes,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no test panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logged {
    pub fn start() -> Self {
        let bytes = Bytes::default();
        let writer = bytes.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .json()
            .flatten_event(true)
            .with_writer(move || writer.clone())
            .finish();
        Logged { bytes, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// At this level or a more serious one.
    pub fn at(&self, level: Level) -> Vec<Value> {
        let bytes = self.bytes.0.lock().expect("no test panics here").clone();
        let text = String::from_utf8(bytes).expect("JSON is text");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
        let text_of = |line: &Value, member: &str| line[member].as_str().unwrap_or_default().to_owned();
        let ours = |line: &Value| text_of(line, "target").starts_with("vmcp_status");
        let serious = |line: &Value| text_of(line, "level").parse::<Level>().expect("a level") <= level;
        lines.filter(|line| ours(line) && serious(line)).collect()
    }

    pub fn with_message(&self, message: &str) -> Vec<Value> {
        self.at(Level::TRACE).into_iter().filter(|line| line["message"] == message).collect()
    }

    /// At this level or a more serious one, with this word.
    pub fn lines(&self, level: Level, word: &str) -> Vec<String> {
        self.at(level).iter().map(Value::to_string).filter(|line| line.contains(word)).collect()
    }
}
