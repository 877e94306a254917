//! One or more tests for each row of the fault table: the name of a test begins with its row.
//!
//! | Rows | File |
//! |---|---|
//! | S1–S5 | `secrets.rs`: Secrets Manager |
//! | J1–J6 | `sign_in.rs`: the key set of sign-in |
//! | C1–C5 | `client.rs`: the client |
//! | L1–L6 | `function.rs`: the function and its platform |

mod client;
mod function;
mod secrets;
mod sign_in;
