//! A signed-in user, for tests that are about something else.
//!
//! His project signs with its legacy secret, so nothing need be fetched to check his token, and nothing could be.

use crate::supabase::{Project, legacy_token};

const ADDRESS: &str = "http://127.0.0.1:9";
const SECRET: &str = "the legacy secret of a project that exists in tests only";

/// What a function is told of the project.
pub const VARIABLES: [(&str, &str); 2] = [("SUPABASE_URL", ADDRESS), ("SUPABASE_JWT_SECRET", SECRET)];

/// His token, good for an hour.
pub fn token() -> String {
    legacy_token(SECRET, None, &Project::claims(&format!("{ADDRESS}/auth/v1"), "demo@example.com"))
}

/// The value of `Authorization`.
pub fn bearer() -> String {
    format!("Bearer {}", token())
}
