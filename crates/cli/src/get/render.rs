//! What objects look like. Pure: the same objects at the same time give the
//! same text. Colours are always in it; the output takes them out where they
//! are not wanted.

use anstyle::{AnsiColor, Style};
use chrono::{DateTime, Utc};
use clap::ValueEnum;
use serde_json::{Value, json};
use vmcp_status::{
    BackendStatus, CircuitBreakerState, Condition, ConditionStatus, DiscoveredBackend, Phase, condition_type,
};

use super::super::format::{age, counts, short_counts};
use super::liveness::Liveness;
use super::source::{Columns, Object};
use super::table::{Cell, Column, Table, block};
use crate::global::Failure;

/// What `get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OutputFormat {
    /// For a person.
    Table,
    /// With all there is to tell.
    Wide,
    /// As stored, with its age in the member vmcpStatus; all in one List.
    Json,
    /// The same in YAML.
    Yaml,
    /// Names alone, one a line.
    Name,
}

/// How objects are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) format: OutputFormat,
    pub(super) columns: Columns,
    pub(super) headers: bool,
    /// One object with all its parts, not a list of them.
    pub(super) single: bool,
}

impl View {
    /// All objects; of a single one that is not there, nothing.
    pub(super) fn text(self, objects: &[Object], now: DateTime<Utc>) -> Result<String, Failure> {
        if self.single {
            return objects.iter().map(|object| self.one(object, now)).collect();
        }
        match self.format {
            OutputFormat::Table | OutputFormat::Wide => Ok(self.list().lines(objects, now)),
            OutputFormat::Name => objects.iter().map(|object| self.one(object, now)).collect(),
            OutputFormat::Json | OutputFormat::Yaml => {
                let items: Vec<_> = objects.iter().map(Object::document).collect();
                self.document(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
            }
        }
    }

    /// One object by itself.
    pub(super) fn one(self, object: &Object, now: DateTime<Utc>) -> Result<String, Failure> {
        match self.format {
            OutputFormat::Table | OutputFormat::Wide => Ok(self.parts(object, now)),
            OutputFormat::Name => Ok(format!("{}\n", object.name)),
            OutputFormat::Json | OutputFormat::Yaml => self.document(&object.document()),
        }
    }

    /// A list to which rows are added as they change.
    pub(super) fn list(self) -> Table<Object> {
        let columns = match self.columns {
            Columns::Files => LIST,
            Columns::Namespace => &CLUSTER_LIST[1..],
            Columns::AllNamespaces => CLUSTER_LIST,
        };
        Table::new(columns, self.is_wide(), self.headers)
    }

    /// Whether it is for a person.
    pub(super) fn is_table(self) -> bool {
        matches!(self.format, OutputFormat::Table | OutputFormat::Wide)
    }

    fn is_wide(self) -> bool {
        self.format == OutputFormat::Wide
    }

    fn parts(self, object: &Object, now: DateTime<Utc>) -> String {
        let status = &object.status;
        let mut backends = Table::new(BACKENDS, self.is_wide(), self.headers);
        let mut conditions = Table::new(CONDITIONS, self.is_wide(), self.headers);
        let parts = [
            summary(object, now),
            backends.lines(status.discovered_backends.iter().map(AsRef::as_ref), now),
            conditions.lines(&status.conditions, now),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn document(self, value: &Value) -> Result<String, Failure> {
        if self.format == OutputFormat::Yaml {
            // Escapes control characters itself.
            return Ok(serde_saphyr::to_string(value)?);
        }
        let text = serde_json::to_string_pretty(value)? + "\n";
        // JSON asks for escapes below U+0020 only, terminals obey others too.
        // Outside of texts there is no control character but the newline.
        let safe = |char: char| char == '\n' || !char.is_control();
        if text.chars().all(safe) {
            return Ok(text);
        }
        let escaped = |char| if safe(char) { String::from(char) } else { format!("\\u{:04x}", u32::from(char)) };
        Ok(text.chars().map(escaped).collect())
    }
}

const LIST: &[Column<Object>] = &[
    Column::new("NAME", |object, _| Cell::new(&object.name)),
    Column::new("PHASE", |object, _| phase(object)),
    Column::new("BACKENDS", |object, _| Cell::new(&short_counts(&object.status))),
    Column::new("AGE", |object, now| Cell::new(&age(object.written, now))),
    Column::wide("UPDATED", |object, now| Cell::new(&age(object.status.timestamp, now))),
    Column::wide("REPORTER", reporter),
    Column::wide("LAST CHECK", |object, now| Cell::new(&object.liveness.checked_for(now))),
    Column::new("MESSAGE", |object, _| Cell::new(&object.status.message)),
];

/// The first is for all namespaces only.
const CLUSTER_LIST: &[Column<Object>] = &[
    Column::new("NAMESPACE", |object, _| Cell::new(&object.namespace)),
    Column::new("NAME", |object, _| Cell::new(&object.name)),
    Column::new("PHASE", |object, _| phase(object)),
    Column::new("URL", |object, _| Cell::new(&object.url)),
    Column::new("BACKENDS", |object, _| Cell::new(&short_counts(&object.status))),
    Column::new("AGE", |object, now| Cell::new(&age(object.written, now))),
    Column::new("READY", |object, _| ready(object)),
    Column::wide("REPORTER", reporter),
    Column::wide("LAST CHECK", |object, now| Cell::new(&object.liveness.checked_for(now))),
    Column::new("MESSAGE", |object, _| Cell::new(&object.status.message)),
];

const BACKENDS: &[Column<DiscoveredBackend>] = &[
    Column::new("BACKEND", |backend, _| Cell::new(&backend.name)),
    Column::new("STATUS", |backend, _| backend_status(backend.status)),
    Column::new("AUTH", |backend, _| Cell::new(&backend.auth_type)),
    Column::new("LAST CHECK", |backend, now| Cell::new(&age(backend.last_health_check, now))),
    Column::wide("URL", |backend, _| Cell::new(&backend.url)),
    Column::wide("REVISION", |backend, _| Cell::new(&backend.mcp_revision)),
    Column::wide("FAILURES", |backend, _| Cell::new(&backend.consecutive_failures.to_string())),
    Column::wide("CIRCUIT", circuit),
    Column::wide("AUTH REF", |backend, _| Cell::new(&backend.auth_config_ref)),
    Column::new("MESSAGE", |backend, _| Cell::new(&backend.message)),
];

const CONDITIONS: &[Column<Condition>] = &[
    Column::new("CONDITION", |condition, _| Cell::new(&condition.type_)),
    Column::new("STATUS", |condition, _| condition_status(condition)),
    Column::new("REASON", |condition, _| Cell::new(&condition.reason)),
    Column::new("SINCE", |condition, now| Cell::new(&age(condition.last_transition_time, now))),
    Column::new("MESSAGE", |condition, _| Cell::new(&condition.message)),
];

fn summary(object: &Object, now: DateTime<Utc>) -> String {
    let Object { name, namespace, status, url, written, stale, unfollowed, liveness, stored: _ } = object;
    let in_cluster = !namespace.is_empty();
    let mut lines = vec![("Name:", Cell::new(name))];
    if in_cluster {
        lines.push(("Namespace:", Cell::new(namespace)));
    }
    lines.push(("Phase:", phase(object)));
    if let Some(why) = stale {
        lines.push(("Stale:", Cell::styled(why, WARNING)));
    }
    if let Some(unfollowed) = unfollowed {
        let report = format!("{}; not taken over by the operator", unfollowed.report(now));
        lines.push(("Reported:", Cell::styled(&report, WARNING)));
    }
    if in_cluster {
        lines.push(("URL:", Cell::new(url)));
    }
    lines.push(("Backends:", Cell::new(&counts(status))));
    lines.push(("Message:", Cell::new(&status.message)));
    lines.push(("Age:", Cell::new(&age(*written, now))));
    if let Some(line) = liveness.line(now) {
        lines.push(("Reporter:", Cell::styled(&line, reporter_style(liveness))));
    }
    block(lines)
}

fn reporter(object: &Object, now: DateTime<Utc>) -> Cell {
    let text = object.liveness.reporter.as_ref().map(|reporter| reporter.short(now)).unwrap_or_default();
    Cell::styled(&text, reporter_style(&object.liveness))
}

fn reporter_style(liveness: &Liveness) -> Style {
    if liveness.state().is_some_and(|state| !state.is_alive()) { WARNING } else { Style::new() }
}

fn ready(object: &Object) -> Cell {
    let condition = object.status.conditions.iter().find(|condition| condition.type_ == condition_type::READY);
    condition.map_or_else(|| Cell::new(""), condition_status)
}

const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const DIM: Style = Style::new().dimmed();

fn phase(object: &Object) -> Cell {
    let phase = object.status.phase;
    if object.stale.is_some() {
        return Cell::styled(&format!("{phase} (stale)"), DIM);
    }
    if object.unfollowed.is_some() {
        return Cell::styled(&format!("{phase} (behind)"), WARNING);
    }
    let style = match phase {
        Phase::Pending => DIM,
        Phase::Ready => GOOD,
        Phase::Degraded => WARNING,
        Phase::Failed => BAD,
    };
    Cell::styled(phase.as_str(), style)
}

fn backend_status(status: BackendStatus) -> Cell {
    let style = match status {
        BackendStatus::Ready => GOOD,
        BackendStatus::Degraded | BackendStatus::Unauthenticated => WARNING,
        BackendStatus::Unavailable => BAD,
        BackendStatus::Unknown => DIM,
    };
    Cell::styled(status.as_str(), style)
}

fn circuit(backend: &DiscoveredBackend, now: DateTime<Utc>) -> Cell {
    let Some(state) = backend.circuit_breaker_state else {
        return Cell::new("");
    };
    let style = match state {
        CircuitBreakerState::Closed => GOOD,
        CircuitBreakerState::HalfOpen => WARNING,
        CircuitBreakerState::Open => BAD,
    };
    let since = backend.circuit_last_changed.map(|at| format!(" ({})", age(Some(at), now)));
    Cell::styled(&format!("{}{}", state.as_str(), since.unwrap_or_default()), style)
}

/// Whether it is good that a condition holds depends on its type.
fn condition_status(condition: &Condition) -> Cell {
    use condition_type::{AUTH_CONFIGURED, BACKENDS_DISCOVERED, DEGRADED, READY};
    let style = match (condition.type_.as_str(), condition.status) {
        (_, ConditionStatus::Unknown) => DIM,
        (READY | BACKENDS_DISCOVERED | AUTH_CONFIGURED, ConditionStatus::True) | (DEGRADED, ConditionStatus::False) => {
            GOOD
        }
        (READY | BACKENDS_DISCOVERED | AUTH_CONFIGURED, ConditionStatus::False) => BAD,
        (DEGRADED, ConditionStatus::True) => WARNING,
        _ => Style::new(),
    };
    Cell::styled(condition.status.as_str(), style)
}

#[cfg(test)]
mod tests;
