//! The Runtime API, asked by a function made of plain HTTP requests.

mod hosted;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use dev::function_url::payload;
use dev::runtime_api::{Deadline, InvokeError, RuntimeApi};
use dev::samples::samples;
use futures_util::{StreamExt, stream};
use reqwest::{Body, Client, RequestBuilder, Response};
use serde_json::{Value, json};

const SOON: Deadline = Deadline::In(Duration::from_secs(60));
const ANSWER: &[u8] = b"{\"statusCode\":201,\"headers\":{\"x-a\":\"b\"},\"cookies\":[\"c=d\"]}\0\0\0\0\0\0\0\0one\0two";

#[tokio::test]
async fn an_event_has_the_headers_of_the_runtime_api() {
    let platform = Platform::start().await;
    let event = json!({"hello": "世界"});
    let (failed, ()) = tokio::join!(platform.api.invoke(&event, SOON), async {
        let next = platform.next().await;
        let header = |name: &str| next.headers()[name].to_str().unwrap().to_owned();
        assert!(header("lambda-runtime-deadline-ms").parse::<u64>().unwrap() > 1_700_000_000_000);
        assert!(header("lambda-runtime-invoked-function-arn").starts_with("arn:aws:lambda:"));
        assert!(header("lambda-runtime-trace-id").starts_with("Root="));
        let id = header("lambda-runtime-aws-request-id");
        assert_eq!(next.text().await.unwrap(), "{\"hello\":\"世界\"}");
        let error = platform.to(&format!("invocation/{id}/error")).body("{\"a\":1}");
        assert_eq!(error.send().await.unwrap().status(), 202);
        let again = platform.to(&format!("invocation/{id}/error")).body("");
        assert_eq!(again.send().await.unwrap().status(), 400, "an invocation ends once");
    });
    assert_eq!(failed.unwrap_err().to_string(), "the handler failed: {\"a\":1}");

    let answered = async { platform.api.invoke(&event, Deadline::Unknown).await.unwrap().rest().await };
    let (body, ()) = tokio::join!(answered, async {
        let next = platform.next().await;
        assert_eq!(next.headers()["lambda-runtime-deadline-ms"], "600000");
        platform.respond(&next, vec![Bytes::from_static(ANSWER)]).await.unwrap();
    });
    assert_eq!(body.unwrap(), b"one\0two");
}

#[tokio::test]
async fn the_separator_is_found_wherever_the_chunks_are_cut() {
    let platform = Platform::start().await;
    for size in 1..=ANSWER.len() {
        let event = Value::Null;
        let function = async {
            let next = platform.next().await;
            let pieces = ANSWER.chunks(size).map(Bytes::from_static).collect();
            assert_eq!(platform.respond(&next, pieces).await.unwrap().status(), 202, "chunks of {size}");
        };
        let client = async {
            let mut invocation = platform.api.invoke(&event, SOON).await.unwrap();
            assert!(invocation.is_streamed);
            let prelude = invocation.prelude.clone();
            assert_eq!((prelude.status_code, prelude.headers["x-a"].as_str()), (201, "b"), "chunks of {size}");
            assert_eq!(prelude.cookies, ["c=d"]);
            assert_eq!(invocation.rest().await.unwrap(), b"one\0two", "chunks of {size}");
        };
        tokio::join!(function, client);
    }
}

#[tokio::test]
async fn a_body_is_forwarded_as_it_arrives_and_accepted_when_it_is_whole() {
    let platform = Platform::start().await;
    let event = Value::Null;
    let (go_on, wait) = tokio::sync::oneshot::channel();
    let function = async {
        let next = platform.next().await;
        let head = Bytes::from_static(&ANSWER[..ANSWER.len() - 3]);
        let rest = async {
            wait.await.unwrap();
            Ok::<_, io::Error>(Bytes::from_static(&ANSWER[ANSWER.len() - 3..]))
        };
        let body = stream::iter([Ok(head)]).chain(stream::once(rest));
        assert_eq!(platform.post(&next, Body::wrap_stream(body)).await.unwrap().status(), 202);
    };
    let client = async {
        let mut invocation = platform.api.invoke(&event, SOON).await.unwrap();
        assert_eq!(invocation.next().await.unwrap().unwrap().bytes, "one\0");
        go_on.send(()).unwrap();
        assert_eq!(invocation.rest().await.unwrap(), b"two");
    };
    tokio::join!(function, client);
}

#[tokio::test]
async fn a_response_that_is_not_streamed_is_reported() {
    let platform = Platform::start().await;
    let rows: [(&[u8], &str); 3] = [
        (b"{\"statusCode\":200}", "the response has no prelude"),
        (b"{}\0\0\0\0\0\0\0\0", "the prelude cannot be read: missing field `statusCode` at line 1 column 2"),
        (b"", "the response has no prelude"),
    ];
    for (answer, why) in rows {
        assert_eq!(fails(&platform, answer).await.to_string(), why);
    }
    let of_another_type = async {
        let next = platform.next().await;
        let path = format!("invocation/{}/response", id(&next));
        let post = platform.to(&path).header("lambda-runtime-function-response-mode", "streaming").body(ANSWER);
        assert_eq!(post.send().await.unwrap().status(), 400);
    };
    let (failed, ()) = tokio::join!(platform.api.invoke(&Value::Null, SOON), of_another_type);
    assert_eq!(failed.unwrap_err().to_string(), "the response is not streamed as HTTP");

    let broken = async {
        let next = platform.next().await;
        let cut = [Ok(Bytes::from_static(ANSWER)), Err(io::Error::other("cut"))];
        let body = stream::iter(cut).then(|piece| async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            piece
        });
        assert!(platform.post(&next, Body::wrap_stream(body)).await.is_err());
    };
    let (invocation, ()) = tokio::join!(platform.api.invoke(&Value::Null, SOON), broken);
    assert_eq!(invocation.unwrap().rest().await.unwrap_err().to_string(), "the response is truncated");
}

#[tokio::test]
async fn a_buffered_response_comes_whole() {
    let platform = Platform::start().await;
    let buffered = async |answer: String| {
        let function = async {
            let next = platform.next().await;
            platform.to(&format!("invocation/{}/response", id(&next))).body(answer).send().await.unwrap().status()
        };
        let client = async {
            let mut invocation = platform.api.invoke(&Value::Null, SOON).await?;
            assert!(!invocation.is_streamed);
            let body = invocation.rest().await.unwrap();
            Ok::<_, InvokeError>((invocation.prelude, String::from_utf8(body).unwrap()))
        };
        let (status, answer) = tokio::join!(function, client);
        assert_eq!(status, if answer.is_ok() { 202 } else { 400 });
        answer
    };
    let head = json!({"statusCode": 201, "headers": {"x-a": "b"}, "cookies": ["c=d"], "multiValueHeaders": {}});
    let with = |more: Value| {
        let mut answer = head.clone();
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        answer.to_string()
    };
    for (more, body) in [
        (json!({"body": "{\"a\":\"世界\"}", "isBase64Encoded": false}), "{\"a\":\"世界\"}"),
        (json!({"body": "5LiW55WM", "isBase64Encoded": true}), "世界"),
        (json!({"body": "5LiW55WM"}), "5LiW55WM"),
        (json!({}), ""),
    ] {
        let (prelude, whole) = buffered(with(more)).await.unwrap();
        assert_eq!((prelude.status_code, prelude.headers["x-a"].as_str()), (201, "b"));
        assert_eq!((prelude.cookies, whole.as_str()), (vec!["c=d".to_owned()], body));
    }
    for (answer, why) in [
        ("not JSON".to_owned(), "the buffered response cannot be read: "),
        (json!({"body": "no status"}).to_string(), "the buffered response cannot be read: missing field `statusCode`"),
        (with(json!({"body": "%", "isBase64Encoded": true})), "the body is not valid base64: "),
        (with(json!({"multiValueHeaders": {"x-a": ["b"]}})), "a Function URL does not read multiValueHeaders"),
    ] {
        let failed = buffered(answer).await.unwrap_err().to_string();
        assert!(failed.starts_with(why), "{failed}");
    }
}

#[test]
fn every_sample_equals_a_generated_event() {
    let functions = ["generate-stream", "faceflip-stream", "generations"];
    let samples: Vec<_> = functions.iter().flat_map(|function| samples(function, "a.b.c").unwrap()).collect();
    let files = std::fs::read_dir(dev::samples::FOLDER).unwrap().count();
    assert_eq!(samples.len() + 1, files, "every file but the README is a sample of a function");
    for sample in samples {
        let event = &sample.event;
        let http = &event["requestContext"]["http"];
        let headers = event["headers"].as_object().unwrap().iter();
        let headers: Vec<_> = headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        let encoded = event["isBase64Encoded"].as_bool().unwrap();
        let (method, path) = (http["method"].as_str().unwrap(), event["rawPath"].as_str().unwrap());
        let body = event["body"].as_str().unwrap_or_default();
        let mut same = payload(method, path, &headers, body, false);
        same["isBase64Encoded"] = encoded.into();
        let query = event["rawQueryString"].as_str().unwrap();
        if !query.is_empty() {
            let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap());
            same["queryStringParameters"] = pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect();
            same["rawQueryString"] = query.into();
        }
        assert_eq!(event, &same, "{}", sample.name);
    }
    let encoded = payload("POST", "/", &[], "é", true);
    assert_eq!((&encoded["body"], &encoded["isBase64Encoded"]), (&json!("w6k="), &json!(true)));
}

struct Platform {
    api: RuntimeApi,
    client: Client,
}

impl Platform {
    async fn start() -> Self {
        Self { api: RuntimeApi::start().await.unwrap(), client: Client::new() }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/2018-06-01/runtime/{path}", self.api.address())
    }

    fn to(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    async fn next(&self) -> Response {
        self.client.get(self.url("invocation/next")).send().await.unwrap()
    }

    async fn respond(&self, next: &Response, pieces: Vec<Bytes>) -> reqwest::Result<Response> {
        self.post(next, Body::wrap_stream(stream::iter(pieces.into_iter().map(io::Result::Ok)))).await
    }

    async fn post(&self, next: &Response, body: Body) -> reqwest::Result<Response> {
        self.to(&format!("invocation/{}/response", id(next)))
            .header("lambda-runtime-function-response-mode", "streaming")
            .header("content-type", "application/vnd.awslambda.http-integration-response")
            .body(body)
            .send()
            .await
    }
}

fn id(next: &Response) -> &str {
    next.headers()["lambda-runtime-aws-request-id"].to_str().unwrap()
}

async fn fails(platform: &Platform, answer: &'static [u8]) -> InvokeError {
    let function = async {
        let next = platform.next().await;
        platform.respond(&next, vec![Bytes::from_static(answer)]).await.unwrap()
    };
    let (failed, response) = tokio::join!(platform.api.invoke(&Value::Null, SOON), function);
    assert_eq!(response.status(), 400);
    failed.unwrap_err()
}
