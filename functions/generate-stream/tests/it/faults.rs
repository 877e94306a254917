//! The faults of `docs/faults.md`: a test for each row, named after it.
//!
//! | Rows | File |
//! |---|---|
//! | U1–U45 | `upstream.rs`, `upstream_connection.rs`, in rows of `upstream_row.rs`; `calls.rs` |
//! | S1–S5 | `secrets.rs`: Secrets Manager |
//! | J1–J6 | `sign_in.rs`: the key set of sign-in |
//! | C1–C5 | `client.rs`: the client |
//! | L1–L7 | `function.rs`: the function and its platform; `hosted.rs`: the platform as AWS hosts it |

mod calls;
mod client;
mod function;
mod hosted;
mod of_route;
mod secrets;
mod sign_in;
mod upstream;
mod upstream_connection;
mod upstream_row;
