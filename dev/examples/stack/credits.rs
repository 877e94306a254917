//! `cargo dev credits`: adds credits to users of a running local stack.

use std::io;

use dev::supabase::Project;
use dev::tables;
use serde_json::{Value, json};

/// Adds `credits` to a user of the stack at `url`. Returns a sentence with the new balance.
pub(crate) async fn grant(url: &str, user: &str, credits: u32) -> io::Result<String> {
    let id = id_of(user)?;
    let client = reqwest::Client::new();
    let engine = client.get(format!("{}{}", url.trim_end_matches('/'), super::serve::TABLES_AT)).send().await;
    let engine = engine.and_then(reqwest::Response::error_for_status).map_err(|_| no_stack(url))?;
    let initial = engine.headers().get(super::serve::CREDITS_INITIAL).and_then(|initial| initial.to_str().ok());
    let initial = initial.filter(|initial| !initial.is_empty()).unwrap_or("0").to_owned();
    let engine = engine.text().await.map_err(io::Error::other)?;
    let request = json!({
        "TableName": tables::VARIABLES[1].1,
        "Key": {"pk": {"S": format!("user:{id}")}, "sk": {"S": "BAL"}},
        "UpdateExpression": "SET credits = if_not_exists(credits, :initial) + :n, holds = if_not_exists(holds, :none)",
        "ExpressionAttributeValues": {":initial": {"N": initial}, ":n": {"N": credits.to_string()}, ":none": {"M": {}}},
        "ReturnValues": "UPDATED_NEW",
    });
    let answer = client
        .post(engine)
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-target", "DynamoDB_20120810.UpdateItem")
        // The engine requires a signature and does not verify it.
        .header(
            "authorization",
            "AWS4-HMAC-SHA256 Credential=local/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
        )
        .header("x-amz-date", "20260101T000000Z")
        .body(request.to_string())
        .send()
        .await
        .map_err(io::Error::other)?;
    let answer: Value = serde_json::from_slice(&answer.bytes().await.map_err(io::Error::other)?)?;
    match answer["Attributes"]["credits"]["N"].as_str() {
        Some(balance) => {
            Ok(format!("{user} ({id}) has {balance} credits. To use them, start the stack with CREDITS=on."))
        }
        None => Err(io::Error::other(format!("the table answered {answer}"))),
    }
}

/// The user id of `user`, which is an id or a demo user's e-mail address.
fn id_of(user: &str) -> io::Result<String> {
    if user.contains('@') {
        return Ok(Project::claims("", user)["sub"].as_str().unwrap_or_default().to_owned());
    }
    match shared::auth::UserId::parse(user) {
        Some(id) => Ok(id.as_str().to_owned()),
        None => Err(io::Error::other("the user must be the e-mail address of a demo user, or a Supabase user id")),
    }
}

fn no_stack(url: &str) -> io::Error {
    io::Error::other(format!("no local stack with its own tables at {url}: start `cargo dev`, or set --url"))
}
