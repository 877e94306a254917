//! The product's two tables on an engine of their own.

use std::io;

use crate::dynamodb::{self, Engine, LEDGER, Place, RATE_LIMITS, Table};

/// What a function is told of them.
pub const VARIABLES: [(&str, &str); 2] = [("RATE_LIMITS_TABLE", "rate-limits"), ("LEDGER_TABLE", "ledger")];
const TABLES: [&Table; 2] = [&RATE_LIMITS, &LEDGER];

/// Starts an engine that has both.
///
/// # Errors
/// When the folder cannot be opened, or holds other tables.
pub fn start(place: Place) -> io::Result<Engine> {
    let engine = dynamodb::start(place)?;
    for ((_, name), table) in VARIABLES.iter().zip(TABLES) {
        engine.create(name, table)?;
    }
    Ok(engine)
}
