//! Times as text.

use time::OffsetDateTime;
use time::macros::format_description;

/// `2026-11-21T08:00:00.123Z`, as [RFC 3339](https://www.rfc-editor.org/rfc/rfc3339) and JavaScript write it. `ms` are
/// milliseconds since 1970.
pub fn rfc3339(ms: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    // A time after the year 9999 is not valid; it is written as an empty string.
    time.ok().and_then(|time| time.format(format).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_248_000_120), "2026-11-21T08:00:00.120Z");
        assert_eq!(rfc3339(u64::MAX), "");
    }
}
