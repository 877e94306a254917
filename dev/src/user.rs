//! A signed-in user with tables, for tests of something else.
//!
//! The project signs with its legacy secret, so no key set is fetched. The tables are in memory, one set per process,
//! and the rate limit is higher than any test needs.

use std::sync::OnceLock;

use crate::dynamodb::{Engine, Place};
use crate::supabase::{Project, legacy_token};
use crate::tables;

const ADDRESS: &str = "http://127.0.0.1:9";
const SECRET: &str = "the legacy secret of a project that exists in tests only";

/// The variables of a function for this project and these tables.
///
/// # Panics
/// If the tables cannot be created.
pub fn variables() -> &'static [(&'static str, &'static str)] {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    static VARIABLES: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    VARIABLES.get_or_init(|| {
        let start = || tables::start(Place::Memory).unwrap_or_else(|error| unreachable!("no tables: {error}"));
        let engine = ENGINE.get_or_init(start);
        let mut variables = vec![
            ("SUPABASE_URL", ADDRESS),
            ("SUPABASE_JWT_SECRET", SECRET),
            ("AWS_ENDPOINT_URL_DYNAMODB", engine.url().leak()),
            ("RL_LIMIT", "1000"),
            ("RL_ANON_LIMIT", "1000"),
            ("DAILY_LIMIT", "1000000"),
            ("MAX_IN_FLIGHT", "100"),
        ];
        variables.extend(tables::VARIABLES);
        variables
    })
}

/// The value of one of [`variables`].
pub fn variable(name: &str) -> Option<String> {
    variables().iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
}

/// The user's token, valid for an hour.
pub fn token() -> String {
    legacy_token(SECRET, None, &Project::claims(&format!("{ADDRESS}/auth/v1"), "demo@example.com"))
}

/// The value of the `Authorization` header.
pub fn bearer() -> String {
    format!("Bearer {}", token())
}
