//! The Lambda function `generate-stream`.

#![forbid(unsafe_code)]

#[tokio::main]
async fn main() -> Result<(), shared::edge::lambda::Error> {
    shared::edge::lambda::serve_streaming(generate_stream::handle).await
}
