//! The faults of `docs/faults.md`: a test for each row that this route has, named after it.

mod upstream;
#[path = "../../../generate-stream/tests/it/faults/upstream_connection.rs"]
mod upstream_connection;
#[expect(dead_code, reason = "the tests of `generate-stream` use the rest")]
#[path = "../../../generate-stream/tests/it/faults/upstream_row.rs"]
mod upstream_row;
