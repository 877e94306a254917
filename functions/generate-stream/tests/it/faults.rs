//! The faults of `docs/faults.md`: a test for each row, named after it.

mod calls;
mod of_route;
mod upstream;
mod upstream_connection;
mod upstream_row;
