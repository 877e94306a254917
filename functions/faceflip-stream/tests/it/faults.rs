//! The faults of `docs/faults.md`: a test for each row that this route has, named after it.

mod of_route;
mod secrets;
#[path = "../../../generate-stream/tests/it/faults/upstream.rs"]
mod upstream;
#[path = "../../../generate-stream/tests/it/faults/upstream_connection.rs"]
mod upstream_connection;
#[path = "../../../generate-stream/tests/it/faults/upstream_row.rs"]
mod upstream_row;
