//! Fake upstreams and a fake platform, for the local stack and for tests.
//!
//! Each speaks a real wire format over a socket, accepts exactly the requests that we mean to send
//! and refuses everything else as the real service would. Nothing here knows our own code: a fake
//! that shared our encoder would share its bugs.
//!
//! | File | What it is |
//! |---|---|
//! | `image_api.rs` | chat relay in the style of new-api: a picture inside `chat.completion.chunk`s |
//! | `image_api/request.rs` | the one chat request it accepts |
//! | `image_api/chunk.rs` | what it writes: the chunks, field for field |
//! | `shape.rs` | the forms in which a chat relay hands over a picture |
//! | `ark.rs` | Volcengine ARK image generation, and the links it hands out |
//! | `ark/request.rs` | the one ARK request it accepts |
//! | `picture.rs` | a picture from a prompt: always the same bytes for the same prompt |
//! | `landscape.rs`, `letters.rs` | how that picture is painted and labelled |
//! | `input.rs` | what both ask of a request |
//! | `secrets.rs` | AWS Secrets Manager |
//! | `dynamodb.rs` | DynamoDB: an engine in this process, in memory or in a folder |
//! | `dynamodb/table.rs` | which tables there are |
//! | `dynamodb/proxy.rs` | what stands before an engine: counts, and fails as the real one would |
//! | `supabase.rs` | Supabase Auth: the key set, which can be turned and can fail |
//! | `supabase/sign_in.rs` | who signs in with a password, and what they get |
//! | `supabase/key.rs` | the keys, and tokens signed with them |
//! | `tables.rs` | the two tables on an engine of their own |
//! | `user.rs` | a signed-in user, for tests that are about something else |
//! | `canary.rs` | texts that must never come out, and an upstream that tells them |
//! | `transcript.rs` | an upstream that plays recorded bytes, and can break off |
//! | `runtime_api.rs` | the Lambda Runtime API, from the function's side of the wall |
//! | `function.rs` | a real function binary that runs under it |
//! | `function_url.rs` | an HTTP request as the event that AWS makes of it |
//! | `samples.rs` | the events in `events/`, and what each should give |
//! | `client.rs` | what a browser would make of an answer |
//! | `cut.rs` | long lines, shortened for a terminal |
//! | `script.rs` | an answer as timed writes |
//! | `server.rs` | a router on a socket |
//! | `page.html` | the page that shows both routes at work |
//!
//! More shapes and faults get files of their own.

#![forbid(unsafe_code)]

pub mod ark;
pub mod canary;
pub mod client;
pub mod cut;
pub mod dynamodb;
pub mod function;
pub mod function_url;
pub mod image_api;
mod input;
mod landscape;
mod letters;
pub mod picture;
pub mod runtime_api;
pub mod samples;
mod script;
pub mod secrets;
mod server;
mod shape;
pub mod supabase;
pub mod tables;
pub mod transcript;
pub mod user;

pub use server::{Running, serve, start};
pub use shape::{Shape, UnknownShape};

/// The page that the local stack serves at `/`: one file, nothing loaded from elsewhere.
pub const PAGE: &str = include_str!("page.html");
