//! The product's two tables on an engine.

use std::io;

use crate::dynamodb::{self, Engine, LEDGER, Place, RATE_LIMITS, Table};

/// The variables that name the tables, with their values.
pub const VARIABLES: [(&str, &str); 2] = [("RATE_LIMITS_TABLE", "rate-limits"), ("LEDGER_TABLE", "ledger")];
const TABLES: [&Table; 2] = [&RATE_LIMITS, &LEDGER];

/// Starts an engine with both tables.
///
/// # Errors
/// If the folder cannot be opened, or holds tables with other keys.
pub fn start(place: Place) -> io::Result<Engine> {
    let engine = dynamodb::start(place)?;
    for ((_, name), table) in VARIABLES.iter().zip(TABLES) {
        engine.create(name, table)?;
    }
    Ok(engine)
}
