//! Metrics for Prometheus, encoded at each scrape: without scrapes a reporter pays
//! for its counters only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

use crate::handle::{StatusHandle, View};
use crate::leadership::LeadershipState;
use crate::metrics::{Counts, Metrics};
use crate::sink::Location;
use crate::status::{BackendStatus, DiscoveredBackend, Omitted, Phase, Status};

/// Options of a reporter's metrics.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricsOptions {
    /// Maximum number of backends with a series of their own. Backends that are not
    /// routable come first, then the order is by name. Default 100; 0 for none.
    pub max_backends: usize,
}

impl Default for MetricsOptions {
    fn default() -> Self {
        MetricsOptions { max_backends: 100 }
    }
}

impl MetricsOptions {
    /// Sets [`max_backends`](Self::max_backends).
    #[must_use]
    pub fn max_backends(mut self, backends: usize) -> Self {
        self.max_backends = backends;
        self
    }
}

/// The metrics of one reporter, or of several in one process, as a collector
/// for a [`Registry`]. It does not keep the reporters alive; for a reporter that has
/// ended it keeps showing the last numbers.
///
/// | name | type | |
/// |---|---|---|
/// | `vmcp_status_updates_received_total` | counter | updates taken from the mailbox |
/// | `vmcp_status_updates_total{outcome}` | counter | each update received, by what became of it: `written`, the first of a write; `merged` into one; `equal` to what was stored. The sum is the number received once all is stored, and never more |
/// | `vmcp_status_writes_total{result}` | counter | every write tried: `stored`, `unchanged`, `conflict`, `throttled`, `transient`, `blocked`, `refused`, `too_large` |
/// | `vmcp_status_writes_saved_total` | counter | writes that were due and not needed, because the store held the same |
/// | `vmcp_status_reads_total` | counter | reads tried |
/// | `vmcp_status_conflicts_total` | counter | reads and writes that met a conflict |
/// | `vmcp_status_failures_total` | counter | reads and writes that failed for another reason |
/// | `vmcp_status_repairs_total` | counter | faults of reported statuses that were repaired |
/// | `vmcp_status_trims_total` | counter | writes that left out backends because of the size limit |
/// | `vmcp_status_write_duration_seconds` | histogram | how long writes took, failed ones included |
/// | `vmcp_status_mailbox_depth` | gauge | updates that wait; senders merge their updates once it is full, and it does not grow |
/// | `vmcp_status_oldest_pending_age_seconds` | gauge | age of the oldest change that is not stored; 0 if there is none, and on standby |
/// | `vmcp_status_last_write_timestamp_seconds` | gauge | when a write last stored something; absent before the first |
/// | `vmcp_status_is_leader` | gauge | 1 if this process may write: it leads, or there is no election |
/// | `vmcp_status_location{location,reason}` | gauge | 1 for the place in the store where the status lives, and why there; absent for a store with only one place |
/// | `vmcp_status_unfollowed_seconds` | gauge | for how long the readers of the status have seen something other than what is stored there; 0 while they see it; absent for a store with only one place |
/// | `vmcp_status_overwrites_total` | counter | how many times another writer has overwritten what this process had stored; absent for a store with only one place |
/// | `vmcp_status_overwriter{manager,fields}` | gauge | 1 for the writer that keeps overwriting it (three times within ten minutes, or at three looks in a row), and the kinds of fields; absent while there is none |
/// | `vmcp_status_phase{phase}` | gauge | 1 for the phase of the status, 0 for the others; all 0 until something is reported |
/// | `vmcp_status_backends{status}` | gauge | backends in each status, those left out for size included |
/// | `vmcp_status_backend_up{backend}` | gauge | 1 if requests are routed to the backend, else 0 |
/// | `vmcp_status_backends_without_series` | gauge | backends that have no `backend_up` of their own |
///
/// ```
/// use prometheus_client::encoding::text::encode;
/// use prometheus_client::registry::Registry;
/// use vmcp_status::{MetricsOptions, NoOpSink, Reporter};
///
/// # let rt = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # rt.block_on(async {
/// let (handle, _reporter) = Reporter::builder(NoOpSink::silent()).start();
/// let mut registry = Registry::default();
/// handle.register_metrics(&mut registry, MetricsOptions::default());
///
/// let mut text = String::new();
/// encode(&mut text, &registry).expect("a string takes everything");
/// assert!(text.contains("vmcp_status_is_leader 1\n"));
/// # });
/// ```
#[derive(Debug)]
pub struct StatusMetrics {
    reporters: Vec<Observed>,
    options: MetricsOptions,
}

#[derive(Debug)]
struct Observed {
    /// The value of the label `vmcp`; `None` where there is only one reporter.
    name: Option<String>,
    view: View,
}

impl StatusHandle {
    /// Registers the [`StatusMetrics`] of this reporter. Call it once for a registry;
    /// for several reporters see [`StatusMetrics::of_several`].
    pub fn register_metrics(&self, registry: &mut Registry, options: MetricsOptions) {
        registry.register_collector(Box::new(StatusMetrics::of(self, options)));
    }
}

impl StatusMetrics {
    /// Makes the metrics of one reporter.
    pub fn of(handle: &StatusHandle, options: MetricsOptions) -> Self {
        StatusMetrics { reporters: vec![Observed { name: None, view: handle.view() }], options }
    }

    /// Makes the metrics of several reporters, each with its name in the label
    /// `vmcp`. Of two reporters with one name, the last counts.
    ///
    /// Sub-registries with labels of your own work too, and Prometheus reads them.
    /// But they describe each metric once for every reporter, which `OpenMetrics`
    /// does not allow and stricter readers refuse.
    ///
    /// ```
    /// use prometheus_client::registry::Registry;
    /// use vmcp_status::{MetricsOptions, NoOpSink, Reporter, StatusMetrics};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    /// # runtime.block_on(async {
    /// let (weather, _) = Reporter::builder(NoOpSink::silent()).start();
    /// let (files, _) = Reporter::builder(NoOpSink::silent()).start();
    /// let metrics = StatusMetrics::of_several([("weather", &weather), ("files", &files)], MetricsOptions::default());
    /// Registry::default().register_collector(Box::new(metrics));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn of_several<'a, N: Into<String>>(
        reporters: impl IntoIterator<Item = (N, &'a StatusHandle)>,
        options: MetricsOptions,
    ) -> Self {
        let mut observed: Vec<Observed> = Vec::new();
        for (name, handle) in reporters {
            let name = Some(name.into());
            observed.retain(|other| other.name != name);
            observed.push(Observed { name, view: handle.view() });
        }
        StatusMetrics { reporters: observed, options }
    }
}

impl Collector for StatusMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let looks: Vec<Look<'_>> = self.reporters.iter().map(|reporter| reporter.look(Instant::now())).collect();
        let mut families = Families { encoder, looks: &looks };
        encode_work(&mut families)?;
        encode_state(&mut families)?;
        encode_status(&mut families, self.options)
    }
}

/// Counters of the reporter's work.
fn encode_work(families: &mut Families<'_, '_>) -> fmt::Result {
    families.counter("updates_received", "Updates taken from the mailbox.", |look| one(look.counts.received))?;
    families.counter("updates", "Updates by where they went: each one received goes to one of these.", |look| {
        let Counts { written, merged, equal, .. } = look.counts;
        by("outcome", [("written", written), ("merged", merged), ("equal", equal)])
    })?;
    families.counter("writes", "Writes tried, by how they ended.", |look| by("result", look.results))?;
    families.counter("writes_saved", "Writes that were due and turned out to be needless.", |look| {
        one(look.counts.saved)
    })?;
    families.counter("reads", "Reads tried.", |look| one(look.counts.reads))?;
    families.counter("conflicts", "Reads and writes that met a conflict.", |look| one(look.counts.conflicts))?;
    families.counter("failures", "Reads and writes that failed otherwise.", |look| one(look.counts.failures))?;
    families.counter("repairs", "Faults of reported statuses that were repaired.", |look| one(look.counts.repaired))?;
    families.counter("trims", "Writes that had to leave out backends for size.", |look| one(look.counts.truncated))?;
    families.durations("write_duration", "How long writes took, failed ones included.")
}

/// The state of the reporter.
fn encode_state(families: &mut Families<'_, '_>) -> fmt::Result {
    families.gauge("mailbox_depth", "Updates that wait for the reporter.", |look| one(number(look.depth)))?;
    families.seconds(
        "oldest_pending_age",
        "Age of the oldest change that is not stored; 0 if there is none, and on standby.",
        |look| one(look.age.as_secs_f64()),
    )?;
    families.seconds("last_write_timestamp", "When a write last stored something.", |look| {
        look.stored_at.map(|at| (Vec::new(), seconds_since_1970(at))).into_iter().collect()
    })?;
    families.gauge("is_leader", "1 if this process may write: it leads, or there is no election.", |look| {
        one(i64::from(look.leadership_state.may_write()))
    })?;
    families.gauge("location", "1 for the place in the store where the status lives, and why there.", |look| {
        let located = look.location.iter();
        located.map(|at| (vec![("location", at.place), ("reason", at.reason.as_str())], 1)).collect()
    })?;
    families.seconds(
        "unfollowed",
        "For how long what is stored has not reached its readers; 0 while it has.",
        |look| look.location.iter().map(|location| (Vec::new(), unfollowed_for(location, Utc::now()))).collect(),
    )?;
    families.counter("overwrites", "How often another writer has overwritten what was stored.", |look| {
        look.location.iter().map(|location| (Vec::new(), location.overwrites)).collect()
    })?;
    families.gauge("overwriter", "1 for the writer that keeps overwriting what was stored, and where.", |look| {
        let overwriter = look.overwriter.iter();
        overwriter.map(|(manager, fields)| (vec![("manager", manager.as_str()), ("fields", fields)], 1)).collect()
    })
}

/// The status itself.
fn encode_status(families: &mut Families<'_, '_>, options: MetricsOptions) -> fmt::Result {
    families.gauge("phase", "1 for the phase of the status, 0 for the others.", |look| {
        let now = look.status.as_ref().map(|status| status.phase);
        by("phase", Phase::ALL.map(|phase| (phase.as_str(), i64::from(now == Some(phase)))))
    })?;
    families.gauge("backends", "Backends by status.", |look| {
        let counts = look.backends_by_status();
        by("status", BackendStatus::ALL.map(|status| (status.as_str(), number(counts[status as usize]))))
    })?;
    families.gauge("backend_up", "1 if requests are routed to the backend, else 0.", |look| {
        let shown = look.backends_with_series(options.max_backends).into_iter();
        by("backend", shown.map(|backend| (backend.name.as_str(), i64::from(backend.is_routable()))))
    })?;
    families.gauge("backends_without_series", "Backends that have no backend_up of their own.", |look| {
        let all: usize = look.backends_by_status().iter().sum();
        one(number(all - look.backends_with_series(options.max_backends).len()))
    })
}

/// One reporter in one scrape.
struct Look<'a> {
    name: Option<&'a str>,
    results: [(&'static str, u64); 8],
    counts: Counts,
    depth: usize,
    leadership_state: LeadershipState,
    age: Duration,
    stored_at: Option<DateTime<Utc>>,
    status: Option<Arc<Status>>,
    omitted: Option<Omitted>,
    location: Option<Location>,
    /// The name of the writer that keeps overwriting us, and the kinds of fields.
    overwriter: Option<(String, String)>,
    metrics: &'a Metrics,
}

impl Observed {
    fn look(&self, now: Instant) -> Look<'_> {
        let View { mailbox, progress, metrics, .. } = &self.view;
        let leadership_state = self.view.leadership_state();
        // Held only briefly, because the reporter waits for it.
        let (status, omitted, location, since) = {
            let progress = progress.borrow();
            let since = progress.pending_since.filter(|_| progress.pending);
            (progress.current.clone(), progress.omitted, progress.location.clone(), since)
        };
        // A replica on standby does not have to store anything.
        let since = since.filter(|_| leadership_state != LeadershipState::Standby);
        Look {
            name: self.name.as_deref(),
            results: metrics.results.by_name(),
            counts: metrics.counts(),
            depth: mailbox.depth(),
            leadership_state,
            age: since.map(|since| now.saturating_duration_since(since)).unwrap_or_default(),
            stored_at: metrics.stored_at.get(),
            status,
            omitted,
            overwriter: location.as_ref().and_then(|location| location.overwriter.as_ref()).map(|overwriter| {
                (overwriter.manager.clone().unwrap_or_else(|| "unknown".into()), overwriter.kinds_of_fields())
            }),
            location,
            metrics,
        }
    }
}

impl Look<'_> {
    fn backends(&self) -> &[Arc<DiscoveredBackend>] {
        self.status.as_ref().map_or(&[], |status| &status.discovered_backends)
    }

    /// In the order of [`BackendStatus::ALL`].
    fn backends_by_status(&self) -> [usize; BackendStatus::ALL.len()] {
        let mut counts = self.omitted.map(|omitted| omitted.by_status).unwrap_or_default();
        for backend in self.backends() {
            counts[backend.status as usize] += 1;
        }
        counts
    }

    fn backends_with_series(&self, most: usize) -> Vec<&DiscoveredBackend> {
        let mut backends: Vec<&DiscoveredBackend> = self.backends().iter().map(AsRef::as_ref).collect();
        if backends.len() > most {
            backends.sort_unstable_by_key(|backend| (backend.is_routable(), backend.name.as_str()));
            backends.truncate(most);
        }
        backends
    }
}

type Label<'a> = (&'static str, &'a str);
/// The values of one metric, each with the labels that tell it from the others.
type Samples<'a, V> = Vec<(Vec<Label<'a>>, V)>;

fn one<V>(value: V) -> Samples<'static, V> {
    vec![(Vec::new(), value)]
}

fn by<'a, V>(label: &'static str, values: impl IntoIterator<Item = (&'a str, V)>) -> Samples<'a, V> {
    values.into_iter().map(|(name, value)| (vec![(label, name)], value)).collect()
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

// A double has room for milliseconds of some hundred thousand years.
#[allow(clippy::cast_precision_loss)]
fn seconds_since_1970(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1000.0
}

/// In seconds.
fn unfollowed_for(location: &Location, now: DateTime<Utc>) -> f64 {
    let lasting = location.unfollowed_since.and_then(|since| (now - since).to_std().ok());
    lasting.unwrap_or_default().as_secs_f64()
}

/// Writes one metric after the other, each for all reporters.
struct Families<'e, 'a> {
    encoder: DescriptorEncoder<'e>,
    looks: &'a [Look<'a>],
}

impl<'a> Families<'_, 'a> {
    fn counter(&mut self, name: &str, help: &str, samples: impl Fn(&'a Look<'a>) -> Samples<'a, u64>) -> fmt::Result {
        self.family(name, help, None, MetricType::Counter, samples, |mut encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    fn gauge(&mut self, name: &str, help: &str, samples: impl Fn(&'a Look<'a>) -> Samples<'a, i64>) -> fmt::Result {
        self.family(name, help, None, MetricType::Gauge, samples, |mut encoder, value| encoder.encode_gauge(&value))
    }

    fn seconds(&mut self, name: &str, help: &str, samples: impl Fn(&'a Look<'a>) -> Samples<'a, f64>) -> fmt::Result {
        let unit = Some(Unit::Seconds);
        self.family(name, help, unit, MetricType::Gauge, samples, |mut encoder, value| encoder.encode_gauge(&value))
    }

    fn durations(&mut self, name: &str, help: &str) -> fmt::Result {
        let unit = Some(Unit::Seconds);
        let samples = |look: &'a Look<'a>| one(look.metrics.write_seconds.histogram());
        self.family(name, help, unit, MetricType::Histogram, samples, |encoder, histogram| histogram.encode(encoder))
    }

    fn family<V>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        type_: MetricType,
        samples: impl Fn(&'a Look<'a>) -> Samples<'a, V>,
        put: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let all: Vec<_> = self.looks.iter().map(|look| (look, samples(look))).collect();
        if all.iter().all(|(_, samples)| samples.is_empty()) {
            return Ok(());
        }
        let name = format!("vmcp_status_{name}");
        let mut encoder = self.encoder.encode_descriptor(&name, help, unit.as_ref(), type_)?;
        for (look, samples) in all {
            for (labels, value) in samples {
                let labels: Vec<Label<'_>> = look.name.map(|name| ("vmcp", name)).into_iter().chain(labels).collect();
                if labels.is_empty() {
                    // A value without labels is the only one.
                    return put(encoder, value);
                }
                put(encoder.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}
