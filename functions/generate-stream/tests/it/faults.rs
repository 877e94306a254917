//! The faults of `docs/faults.md`: a test for each row, named after it.

mod calls;
mod upstream;
mod upstream_connection;
pub(crate) mod upstream_row;
