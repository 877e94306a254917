//! The Lambda function `generations`.

#![forbid(unsafe_code)]

#[tokio::main]
async fn main() -> Result<(), shared::edge::lambda::Error> {
    shared::edge::lambda::serve_buffered(generations::handle).await
}
