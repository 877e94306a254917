//! What is measured about requests: the metrics, and the figures of one request.
//!
//! CloudWatch bills every combination of a metric and the values of its dimensions. So there are three dimensions, whose
//! values are fixed names of this code. Nothing here contains a user, a prompt, a model or a link.

use std::time::Duration;

use crate::price::Price;
use crate::problem::Code;

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its unit.
    pub unit: MetricUnit,
    /// Its dimensions.
    pub dimensions: &'static [Dimension],
    /// What a request contributes to it, as docs/operate.md states it.
    pub description: &'static str,
}

/// The unit of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricUnit {
    /// A number of things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// The currency of the configured prices.
    Currency,
}

/// A dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// The route's path.
    Route,
    /// See [`RequestFigures::outcome`].
    Outcome,
    /// The code of the problem.
    Code,
}

impl Dimension {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Route => "Route",
            Self::Outcome => "Outcome",
            Self::Code => "Code",
        }
    }
}

macro_rules! metrics {
    ($($name:ident $metric:literal $unit:ident $dimensions:expr, $description:literal;)+) => {
        $(const $name: Metric = Metric {
            name: $metric,
            unit: MetricUnit::$unit,
            dimensions: $dimensions,
            description: $description,
        };)+

        /// All metrics, in the order of docs/operate.md.
        pub const METRICS: &[Metric] = &[$($name,)+];
    };
}

const BY_ROUTE: &[Dimension] = &[Dimension::Route];

metrics! {
    REQUESTS "Requests" Count &[Dimension::Route, Dimension::Outcome], "1";
    PROBLEMS "Problems" Count &[Dimension::Code], "1, if it ended with a problem: also every 429, by its code";
    FAILED "Failed" Count &[], "1 if its outcome is `failed`, else 0: the average is the error rate";
    FIRST_BYTE "FirstByte" Milliseconds BY_ROUTE, "the time until the first byte of the body";
    TIME_TO_PICTURE "TimeToPicture" Milliseconds BY_ROUTE, "the time until the first whole, final picture was read";
    PICTURES "Pictures" Count BY_ROUTE, "the whole pictures that its upstream calls made";
    FAILED_PICTURES "FailedPictures" Count BY_ROUTE, "the pictures that failed beside whole ones";
    UPSTREAM_TIME "UpstreamTime" Milliseconds BY_ROUTE, "the time of its upstream calls, without that of a client that does not read";
    UPSTREAM_COST "UpstreamCost" Currency BY_ROUTE, "the price of its pictures, where `IMAGE_ROUTES` has prices";
    BYTES_IN "BytesIn" Bytes &[], "the bytes that upstreams sent";
    BYTES_OUT "BytesOut" Bytes &[], "the bytes of the body that were handed to the platform";
    TABLE_TIME "TableTime" Milliseconds &[], "the time of its calls to DynamoDB, without looking for a cancel";
    STORE_TIME "StoreTime" Milliseconds &[], "the time of its calls to the store of the pictures";
    COLD_STARTS "ColdStarts" Count &[], "1, if it is the first of its process";
    EXPIRED_LEASES "ExpiredLeases" Count &[], "1, if the lease of its task's last run was over: the function died";
    EXPIRED_HOLDS "ExpiredHolds" Count &[], "the reservations of credits that dead functions left to its user";
    EXPIRED_AGE "ExpiredAge" Milliseconds &[], "how long the oldest of these was over";
}

/// The figures of one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestFigures {
    /// The route's path.
    pub route: &'static str,
    /// How it ended; `None` before that.
    pub end: Option<Result<(), Code>>,
    /// See `FirstByte`.
    pub first_byte: Option<Duration>,
    /// See `TimeToPicture`.
    pub time_to_picture: Option<Duration>,
    /// What its upstream calls did; `None` if there were none.
    pub calls: Option<CallFigures>,
    /// See `BytesOut`.
    pub bytes_out: u64,
    /// See `TableTime`.
    pub table_time: Duration,
    /// See `StoreTime`.
    pub store_time: Duration,
    /// See `ColdStarts`.
    pub is_cold: bool,
    /// See `ExpiredLeases`.
    pub expired_leases: u64,
    /// See `ExpiredHolds`.
    pub expired_holds: u64,
    /// See `ExpiredAge`.
    pub expired_age: Duration,
}

/// The figures of a request's upstream calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallFigures {
    /// See `Pictures`.
    pub pictures: usize,
    /// See `FailedPictures`.
    pub failed_pictures: usize,
    /// See `BytesIn`.
    pub bytes_in: u64,
    /// See `UpstreamTime`.
    pub time: Duration,
    /// See `UpstreamCost`.
    pub cost: Option<Price>,
}

impl RequestFigures {
    /// `succeeded`; `limited` for every 429; `left` if the client left or cancelled; `refused` for what another request
    /// would not meet; `failed` for what an operator or an upstream must answer for.
    pub fn outcome(&self) -> &'static str {
        match self.code() {
            None => "succeeded",
            Some(Code::ClientClosed | Code::Cancelled) => "left",
            Some(code) if code.status() == 429 => "limited",
            Some(code) if code.status() < 500 => "refused",
            Some(_) => "failed",
        }
    }

    /// The value of a dimension.
    pub fn dimension(&self, dimension: Dimension) -> &'static str {
        match dimension {
            Dimension::Route => self.route,
            Dimension::Outcome => self.outcome(),
            Dimension::Code => self.code().map_or("", Code::as_str),
        }
    }

    /// The metrics to which the request contributes, with its values.
    pub fn values(&self) -> impl Iterator<Item = (&'static Metric, f64)> {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let is_failed = self.outcome() == "failed";
        let calls = self.calls.as_ref();
        let has_expired = self.expired_leases + self.expired_holds > 0;
        // A float is exact up to 9 PB.
        let values = [
            (&REQUESTS, Some(1.0)),
            (&PROBLEMS, self.code().map(|_| 1.0)),
            (&FAILED, Some(f64::from(u8::from(is_failed)))),
            (&FIRST_BYTE, self.first_byte.map(ms)),
            (&TIME_TO_PICTURE, self.time_to_picture.map(ms)),
            (&PICTURES, calls.map(|calls| calls.pictures as f64)),
            (&FAILED_PICTURES, calls.map(|calls| calls.failed_pictures as f64)),
            (&UPSTREAM_TIME, calls.map(|calls| ms(calls.time))),
            (&UPSTREAM_COST, calls.and_then(|calls| Some(calls.cost?.amount()))),
            (&BYTES_IN, calls.map(|calls| calls.bytes_in as f64)),
            (&BYTES_OUT, Some(self.bytes_out as f64)),
            (&TABLE_TIME, (!self.table_time.is_zero()).then(|| ms(self.table_time))),
            (&STORE_TIME, (!self.store_time.is_zero()).then(|| ms(self.store_time))),
            (&COLD_STARTS, self.is_cold.then_some(1.0)),
            (&EXPIRED_LEASES, has_expired.then_some(self.expired_leases as f64)),
            (&EXPIRED_HOLDS, has_expired.then_some(self.expired_holds as f64)),
            (&EXPIRED_AGE, has_expired.then(|| ms(self.expired_age))),
        ];
        values.into_iter().filter_map(|(metric, value)| Some((metric, value?)))
    }

    fn code(&self) -> Option<Code> {
        self.end?.err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_outcome() {
        let outcome = |end| RequestFigures { end: Some(end), ..RequestFigures::default() }.outcome();
        assert_eq!(outcome(Ok(())), "succeeded");
        for code in Code::ALL {
            let expected = match code.as_str() {
                "client_closed" | "cancelled" => "left",
                _ => match code.status() {
                    429 => "limited",
                    400..500 => "refused",
                    _ => "failed",
                },
            };
            assert_eq!(outcome(Err(*code)), expected, "{code}");
        }
    }

    #[test]
    fn a_request_with_everything_contributes_to_every_metric_once() {
        let figures = RequestFigures {
            end: Some(Err(Code::RateLimited)),
            first_byte: Some(Duration::ZERO),
            time_to_picture: Some(Duration::ZERO),
            calls: Some(CallFigures { cost: Some(Price::default()), ..CallFigures::default() }),
            table_time: Duration::from_millis(1),
            store_time: Duration::from_millis(1),
            is_cold: true,
            expired_leases: 1,
            ..RequestFigures::default()
        };
        assert_eq!(figures.values().map(|(metric, _)| *metric).collect::<Vec<_>>(), METRICS);
        let refused = RequestFigures { end: Some(Err(Code::AuthRequired)), ..RequestFigures::default() };
        let names: Vec<_> = refused.values().map(|(metric, _)| metric.name).collect();
        assert_eq!(names, ["Requests", "Problems", "Failed", "BytesOut"]);
    }
}
