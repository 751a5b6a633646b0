//! `vmcp-status run`, with a state file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::process::Command;
use vmcp_status::{DiscoveredBackend, Phase, StateFile};
use vmcp_status_testkit::cluster::{LogLines, Process};

use super::gateway::{Auth, Backend, BackendLook, Gateway, Look, Settings, in_words};
use super::seen::Aspect;

const NAME: &str = "ours";

pub struct Ours {
    settings: Settings,
    dir: PathBuf,
    process: Option<Process>,
    log: LogLines,
    checks: HashMap<String, usize>,
}

impl Gateway for Ours {
    fn start(settings: &Settings, backends: &[Backend], dir: &Path) -> Self {
        // JSON is YAML too.
        std::fs::write(dir.join("ours.yaml"), config(settings, backends, dir).to_string()).expect("it can be written");
        let (dir, log) = (dir.to_owned(), LogLines::of(NAME, dir));
        let mut ours = Ours { settings: *settings, dir, process: None, log, checks: HashMap::new() };
        ours.start_again();
        ours
    }

    async fn look(&mut self) -> Look {
        for line in self.log.new_lines() {
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            if let (Some("checked"), Some(backend)) = (entry["message"].as_str(), entry["backend"].as_str()) {
                *self.checks.entry(backend.to_owned()).or_default() += 1;
            }
        }
        if let Some(status) = self.process.as_mut().and_then(Process::ended) {
            panic!("vmcp-status ended with {status}");
        }
        let Ok(StateFile { status, .. }) = StateFile::load(&self.dir.join(format!("{NAME}.json"))) else {
            return Look::default();
        };
        let backend = |backend: &Arc<DiscoveredBackend>| BackendLook {
            name: backend.name.clone(),
            sights: vec![
                (Aspect::Status, backend.status.to_string()),
                (Aspect::Cause, backend.message.clone()),
                (Aspect::Revision, backend.mcp_revision.clone()),
                (Aspect::Circuit, backend.circuit_breaker_state.map_or("", |state| state.as_str()).to_owned()),
            ],
        };
        let backends = status.discovered_backends.iter().map(backend).collect();
        let mut whole = vec![(Aspect::Phase, status.phase.to_string())];
        if status.phase != Phase::Pending {
            whole.push((Aspect::Routable, status.backend_count.to_string()));
        }
        Look { backends, whole }
    }

    fn checks(&self, backend: &str) -> usize {
        self.checks.get(backend).copied().unwrap_or_default()
    }

    async fn stop(&mut self) {
        self.process.take().expect("it runs").terminate().await;
    }

    fn start_again(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vmcp-status"));
        command
            .env_clear()
            .env("VMCP_STATE_DIR", &self.dir)
            .args(["run", "--name", NAME, "--log-level", "info,vmcp_status_discovery=debug"])
            .args(["--write-interval", &in_words(self.settings.reporting), "-c"])
            .arg(self.dir.join("ours.yaml"));
        self.process = Some(Process::spawn(NAME, &mut command, &self.dir));
    }
}

fn config(settings: &Settings, backends: &[Backend], dir: &Path) -> Value {
    let backend = |backend: &Backend| {
        let Backend { name, url, auth, .. } = backend;
        let mut listed = json!({"name": name, "url": url});
        match auth {
            Auth::None => {}
            Auth::OfUsers => listed["authType"] = "token_exchange".into(),
            Auth::Token(token) => {
                let file = dir.join(format!("{name}.token"));
                std::fs::write(&file, token).expect("it can be written");
                listed["authType"] = "header_injection".into();
                listed["bearerTokenFile"] = file.to_string_lossy().into();
            }
        }
        listed
    };
    let mut config = json!({
        "interval": in_words(settings.interval),
        "timeout": in_words(settings.timeout),
        // ToolHive's, which cannot be changed there.
        "degradedAbove": "5s",
        "unhealthyThreshold": 3,
        "maxConcurrentChecks": 100,
        "backends": backends.iter().map(backend).collect::<Vec<_>>(),
    });
    if let Some((threshold, timeout)) = settings.breaker {
        config["circuitBreaker"] =
            json!({"enabled": true, "failureThreshold": threshold, "timeout": in_words(timeout)});
    }
    config
}
