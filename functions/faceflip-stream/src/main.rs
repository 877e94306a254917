//! The Lambda function `faceflip-stream`.

#![forbid(unsafe_code)]

#[tokio::main]
async fn main() -> Result<(), shared::edge::lambda::Error> {
    shared::edge::lambda::serve_streaming(faceflip_stream::handle).await
}
