//! Fake upstreams and a fake platform, for the local stack and for tests.
//!
//! Each speaks a real wire format over a socket, accepts exactly the requests that we mean to send
//! and refuses everything else as the real service would. Nothing here knows our own code: a fake
//! that shared our encoder would share its bugs.
//!
//! | File | What it is |
//! |---|---|
//! | `image_api.rs` | a relay for image models: chat, OpenAI images and Gemini, with pictures in every shape |
//! | `image_api/request.rs`, `image_api/request/` | the one request that each of its routes accepts |
//! | `image_api/refusal.rs` | what it answers to any other, as each vendor does |
//! | `image_api/answer.rs` | what all its answers share: what comes when |
//! | `image_api/{chat,images,gemini,responses}.rs` | its pictures in each protocol |
//! | `image_api/chunk.rs` | the chat chunks of each relay, member for member |
//! | `image_api/easel.rs`, `image_api/link.rs` | the pictures that it draws, and links to them |
//! | `shape.rs` | the forms in which upstreams hand over a picture, and their names |
//! | `ark.rs` | Volcengine ARK image generation, and the links it hands out |
//! | `ark/request.rs` | the one ARK request it accepts |
//! | `picture.rs` | a picture from a prompt: always the same bytes for the same prompt |
//! | `landscape.rs`, `letters.rs` | how that picture is painted and labelled |
//! | `input.rs` | what they ask of a request |
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
//! | `transcript.rs` | an upstream that plays recorded bytes, others for each call, and can break off |
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
//! More faults get files of their own.

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
pub use shape::{Protocol, Shape, UnknownShape};

/// The page that the local stack serves at `/`: one file, nothing loaded from elsewhere.
///
/// It offers every [`Shape`] of `model`. Without one it offers none: real upstreams know no shapes.
pub fn page(model: Option<&str>) -> String {
    let offers = model.iter().flat_map(|model| {
        let offer = move |shape: &Shape| {
            let says = shape.says();
            format!("<option value=\"{model}@{shape}\" lang=\"en\" title=\"{says}\">{shape}</option>")
        };
        Shape::ALL.iter().map(offer)
    });
    include_str!("page.html").replace("<!-- shapes -->", &offers.collect::<String>())
}
