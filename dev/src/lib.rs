//! Fake upstreams and a fake platform, for the local stack and for tests.
//!
//! Each fake speaks a real wire format over a socket, accepts exactly the requests that the functions send, and answers
//! any other with the error of the real service. Nothing here depends on `shared`: a fake with the product's encoder
//! would have its bugs.
//!
//! | File | Content |
//! |---|---|
//! | `image_api.rs` | a relay for image models: chat, OpenAI images and Gemini, with pictures in every shape |
//! | `image_api/request.rs`, `image_api/request/` | the only request that each route accepts |
//! | `image_api/refusal.rs` | each vendor's error responses |
//! | `image_api/answer.rs` | the parts of an answer and their timing |
//! | `image_api/{chat,images,gemini,responses}.rs` | the pictures in each protocol |
//! | `image_api/chunk.rs` | the chat chunks of each relay |
//! | `image_api/answer_pictures.rs`, `image_api/link.rs` | the pictures of an answer, and links to them |
//! | `image_api/size.rs` | picture sizes of each vendor |
//! | `shape.rs` | the forms in which upstreams send a picture, and their names |
//! | `ark.rs`, `ark/event.rs`, `ark/link.rs` | Volcengine ARK image generation, its events and links |
//! | `ark/request.rs` | the only ARK request that is accepted |
//! | `picture.rs` | a picture for a prompt: the same prompt gives the same bytes |
//! | `landscape.rs`, `pixel_font.rs` | the painting, and the text in it |
//! | `input.rs` | request checks that the fakes share |
//! | `secrets.rs` | AWS Secrets Manager |
//! | `dynamodb.rs` | DynamoDB: an engine in this process, in memory or in a folder |
//! | `dynamodb/table.rs` | the schemas of the tables |
//! | `dynamodb/proxy.rs` | a proxy before an engine: counts requests, and fails as DynamoDB does |
//! | `s3.rs` | S3: an engine in this process, in memory or in a folder |
//! | `s3/objects.rs`, `s3/service.rs` | the stored objects, and S3's operations on them |
//! | `s3/proxy.rs` | a proxy before an engine: counts requests, and fails as S3 does |
//! | `engine_client.rs` | forwards a request to an engine, for both proxies |
//! | `supabase.rs` | Supabase Auth: the key set, with key rotation and failures |
//! | `supabase/sign_in.rs`, `supabase/sign_up.rs`, `supabase/session.rs` | what supabase-js calls |
//! | `supabase/accounts.rs` | users, sessions and codes |
//! | `supabase/key.rs` | signing keys, and tokens signed with them |
//! | `tables.rs` | the two tables on an engine |
//! | `user.rs` | a signed-in user, for tests of something else |
//! | `canary.rs` | texts that must never appear in a response or a log, and answers that contain them |
//! | `transcript.rs` | an upstream that sends recorded bytes, and can truncate them |
//! | `runtime_api.rs` | the Lambda Runtime API |
//! | `runtime_api/response_head.rs` | reads a function's response up to its body |
//! | `runtime_api/hosted.rs` | the limits of a hosted Lambda, and its treatment of the process |
//! | `process.rs` | what a process uses, and signals to it |
//! | `function.rs` | a real function binary under that API |
//! | `function_url.rs` | the event that a Function URL makes from an HTTP request |
//! | `samples.rs` | the events in `events/`, and their expected results |
//! | `cloudwatch.rs` | reads metrics from log lines as CloudWatch does |
//! | `client.rs` | reads a response as a browser does |
//! | `line_shortener.rs` | shortens long lines for a terminal |
//! | `timed_body.rs` | response bodies as timed writes |
//! | `server.rs` | serves a router on a socket |
//! | `thread_log.rs` | the log of one thread, for tests |
//! | `page.rs` | the create page |
//! | `fault.rs` | faults that the page chooses |
//! | `upstream_calls.rs` | counts what the upstreams were asked and have sent |
//! | `fault_server.rs` | a TCP server that breaks connections by a script |
//! | `upstream_fault.rs` | the scripts of all faults of an upstream |
//! | `drawings.rs` | the pictures that were drawn last |

#![forbid(unsafe_code)]

pub mod ark;
pub mod canary;
pub mod client;
pub mod cloudwatch;
pub mod drawings;
pub mod dynamodb;
mod engine_client;
pub mod fault;
pub mod fault_server;
pub mod function;
pub mod function_url;
pub mod image_api;
mod input;
mod landscape;
pub mod line_shortener;
pub mod page;
pub mod picture;
mod pixel_font;
pub mod process;
pub mod runtime_api;
pub mod s3;
pub mod samples;
pub mod secrets;
mod server;
mod shape;
pub mod supabase;
pub mod tables;
pub mod thread_log;
mod timed_body;
pub mod transcript;
pub mod upstream_calls;
pub mod upstream_fault;
pub mod user;

pub use server::{RunningServer, serve, start};
pub use shape::{Protocol, Shape, UnknownShape};
