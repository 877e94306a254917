//! The event that a Function URL makes from an HTTP request (payload format 2.0).
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html>.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

const DOMAIN: &str = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws";

/// The event for a request. Names in `headers` are lower case, as AWS writes them, and unique. An empty body is left
/// out. With `base64` the body is encoded, as AWS does for every media type that it treats as binary.
///
/// Time, caller and domain are constants.
pub fn payload(method: &str, path: &str, headers: &[(&str, &str)], body: &str, base64: bool) -> Value {
    let mut all = Map::new();
    all.insert("host".into(), DOMAIN.into());
    all.insert("x-forwarded-for".into(), "203.0.113.7".into());
    all.insert("x-forwarded-port".into(), "443".into());
    all.insert("x-forwarded-proto".into(), "https".into());
    all.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": all,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "abcdefghijklmnopqrstuvwxyz012345",
            "domainName": DOMAIN,
            "domainPrefix": "abcdefghijklmnopqrstuvwxyz012345",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "curl/8.14.1",
            },
            "requestId": "e1506fd5-9e7b-434f-bd42-4f8fa224b599",
            "routeKey": "$default",
            "stage": "$default",
            "time": "21/Nov/2026:08:00:00 +0000",
            "timeEpoch": 1_795_248_000_000_u64,
        },
        "isBase64Encoded": base64,
    });
    if !body.is_empty() {
        event["body"] = if base64 { STANDARD.encode(body) } else { body.to_owned() }.into();
    }
    event
}
