//! Measures requests and writes their metrics, one record a request, in CloudWatch's
//! [embedded metric format](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html).
//!
//! The record is written before the last byte of the body, which ends the invocation. The parts of a request find its
//! [`Meter`] in a task-local variable, as they find its span for the log.

use std::fmt;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::Response;
use metrique_writer_core::config::AllowSplitEntries;
use metrique_writer_core::entry::{Entry, EntryWriter};
use metrique_writer_core::format::Format;
use metrique_writer_core::unit::{NegativeScale, PositiveScale, Unit};
use metrique_writer_core::value::{MetricFlags, Observation, Value, ValueWriter};
use metrique_writer_format_emf::Emf;
use tokio::time::Instant;

use super::clock::{now, wall};
use super::http::Body;
use crate::config::{Environment, metrics_namespace};
use crate::metrics::{CallFigures, Metric, MetricUnit, RequestFigures};
use crate::problem::Code;

tokio::task_local! {
    static METER: Option<Arc<Meter>>;
}

/// The answer to a request. Boxed, because it is large: each future around it would have its size once more.
pub(super) type Answer<'a> = Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>;

/// Where the metrics of a process are written. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Option<Arc<MetricsParts>>);

struct MetricsParts {
    emf: Mutex<Emf>,
    write: WriteLines,
    /// No request has begun.
    is_new: AtomicBool,
}

/// Writes whole lines.
type WriteLines = Box<dyn Fn(&[u8]) + Send + Sync>;

impl Metrics {
    /// Writes to standard output, from where Lambda hands the lines to CloudWatch. Without `METRICS_NAMESPACE` nothing is
    /// measured.
    pub(super) fn from_env(environment: Environment<'_>) -> Self {
        let write = |lines: &[u8]| {
            // A closed output cannot be reported anywhere.
            let _ = std::io::stdout().lock().write_all(lines);
        };
        metrics_namespace(environment).map_or_else(Self::default, |namespace| Self::new(namespace, write))
    }

    /// Passes whole lines to `write`.
    pub fn new(namespace: String, write: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        let emf = Mutex::new(Emf::all_validations(namespace, vec![Vec::new()]));
        Self(Some(Arc::new(MetricsParts { emf, write: Box::new(write), is_new: true.into() })))
    }

    /// Measures a request while it is answered and while its body is sent.
    pub(super) async fn measure(&self, route: &'static str, answer: Answer<'_>) -> Response<Body> {
        let Some(parts) = &self.0 else { return answer.await };
        let is_cold = parts.is_new.swap(false, Ordering::Relaxed);
        let figures = Mutex::new(RequestFigures { route, is_cold, ..RequestFigures::default() });
        let is_written = AtomicBool::new(false);
        let meter = Arc::new(Meter { metrics: parts.clone(), begun: now(), figures, is_written });
        METER.scope(Some(meter.clone()), answer).await.map(|body| body.measured(meter))
    }
}

impl fmt::Debug for MetricsParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsParts").finish_non_exhaustive()
    }
}

/// Measures one request. What was not written when the last part of the request drops it is written then: a client that
/// left has not read the body to its end.
pub(super) struct Meter {
    metrics: Arc<MetricsParts>,
    begun: Instant,
    figures: Mutex<RequestFigures>,
    is_written: AtomicBool,
}

impl Meter {
    /// The body hands these bytes to the platform.
    pub(super) fn sent(&self, bytes: usize) {
        let mut figures = self.figures();
        if bytes > 0 && figures.first_byte.is_none() {
            figures.first_byte = Some(now() - self.begun);
        }
        figures.bytes_out += bytes as u64;
    }

    /// Writes the record, once. `end`: how the request ended, unless that is known already.
    pub(super) fn write(&self, end: Result<(), Code>) {
        if self.is_written.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut figures = self.figures();
        figures.end.get_or_insert(end);
        let (mut lines, record) = (Vec::new(), Record { at: wall(), figures: &figures });
        let mut emf = self.metrics.emf.lock().unwrap_or_else(PoisonError::into_inner);
        match emf.format(&record, &mut lines) {
            Ok(()) => (self.metrics.write)(&lines),
            Err(error) => tracing::error!(%error, "the metrics of a request are not valid"),
        }
    }

    fn figures(&self) -> MutexGuard<'_, RequestFigures> {
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.write(Err(Code::ClientClosed));
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

/// Runs work as a part of the current request, also if it is a task of its own.
pub(super) fn in_current_request<F: Future>(work: F) -> impl Future<Output = F::Output> {
    METER.scope(meter(), work)
}

/// The current request ends so, unless that is known already.
pub(super) fn ended(end: Result<(), Code>) {
    change(|figures, _| {
        figures.end.get_or_insert(end);
    });
}

/// The upstream calls of the current request have ended.
pub(super) fn called(calls: CallFigures) {
    change(|figures, _| figures.calls = Some(calls));
}

/// A whole, final picture was read.
pub(super) fn picture() {
    change(|figures, begun| {
        figures.time_to_picture.get_or_insert_with(|| now() - begun);
    });
}

/// A lease was over when the current request looked at it.
pub(super) fn expired_lease(age_ms: u64) {
    change(|figures, _| {
        figures.expired_leases += 1;
        figures.expired_age = figures.expired_age.max(Duration::from_millis(age_ms));
    });
}

/// A reservation of credits was over when the current request looked at it.
pub(super) fn expired_hold(age_ms: u64) {
    change(|figures, _| {
        figures.expired_holds += 1;
        figures.expired_age = figures.expired_age.max(Duration::from_millis(age_ms));
    });
}

/// Counts the time until it is dropped.
pub(super) struct Stopwatch {
    begun: Option<(Arc<Meter>, Instant)>,
    time: fn(&mut RequestFigures) -> &mut Duration,
}

impl Stopwatch {
    /// As time of the tables.
    pub(super) fn of_tables() -> Self {
        Self::new(|figures| &mut figures.table_time)
    }

    /// As time of the store of the pictures.
    pub(super) fn of_store() -> Self {
        Self::new(|figures| &mut figures.store_time)
    }

    fn new(time: fn(&mut RequestFigures) -> &mut Duration) -> Self {
        Self { begun: meter().map(|meter| (meter, now())), time }
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        if let Some((meter, begun)) = &self.begun {
            *(self.time)(&mut meter.figures()) += now() - *begun;
        }
    }
}

/// The meter of the current request, if it is measured.
fn meter() -> Option<Arc<Meter>> {
    METER.try_with(Clone::clone).ok().flatten()
}

fn change(change: impl FnOnce(&mut RequestFigures, Instant)) {
    if let Some(meter) = meter() {
        change(&mut meter.figures(), meter.begun);
    }
}

/// The figures of a request as a record, with a line for each set of dimensions.
struct Record<'a> {
    at: SystemTime,
    figures: &'a RequestFigures,
}

impl Entry for Record<'_> {
    fn write<'a>(&'a self, writer: &mut impl EntryWriter<'a>) {
        const SPLIT: &AllowSplitEntries = &AllowSplitEntries::new();
        writer.config(SPLIT);
        writer.timestamp(self.at);
        for (metric, value) in self.figures.values() {
            writer.value(metric.name, &MetricValue { metric, value, figures: self.figures });
        }
    }
}

struct MetricValue<'a> {
    metric: &'static Metric,
    value: f64,
    figures: &'a RequestFigures,
}

impl Value for MetricValue<'_> {
    fn write(&self, writer: impl ValueWriter) {
        let unit = match self.metric.unit {
            MetricUnit::Count => Unit::Count,
            MetricUnit::Bytes => Unit::Byte(PositiveScale::One),
            MetricUnit::Milliseconds => Unit::Second(NegativeScale::Milli),
            MetricUnit::Currency => Unit::None,
        };
        let dimensions = self.metric.dimensions.iter();
        let dimensions = dimensions.map(|dimension| (dimension.as_str(), self.figures.dimension(*dimension)));
        writer.metric([Observation::Floating(self.value)], unit, dimensions, MetricFlags::empty());
    }
}
