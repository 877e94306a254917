use super::*;
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

#[test]
fn every_error_body_in_the_fixtures() {
    let manifest: Value = serde_json::from_str(&fixture("MANIFEST.json")).unwrap();
    let mut seen = 0;
    for row in manifest["fixtures"].as_array().unwrap() {
        let status = row["status"].as_u64().unwrap() as u16;
        if status < 400 {
            continue;
        }
        let file = row["file"].as_str().unwrap();
        let failure = classify(Some(status), &[fields(&fixture(file))]);
        assert_eq!(failure.class(), row["expect"]["code"], "{file}");
        seen += 1;
    }
    assert!(seen >= 16, "only {seen} fixtures");
}

#[test]
fn every_error_within_an_answer_in_the_fixtures() {
    let manifest: Value = serde_json::from_str(&fixture("MANIFEST.json")).unwrap();
    for file in [
        "a04_all_failed.sse",
        "a05_error_event.sse",
        "e09_error_openrouter.sse",
        "e11_error_event_named.sse",
        "e13_error_vllm_object.sse",
        "e18_json_200_error_body.json",
        "o04_images_stream_error.sse",
        "o11_responses_failed.sse",
    ] {
        let rows = manifest["fixtures"].as_array().unwrap();
        let row = rows.iter().find(|row| row["file"] == file).unwrap();
        let text = fixture(file);
        let error =
            text.lines().map(|line| line.trim_start_matches("data: ")).find(|line| line.contains("error\"")).unwrap();
        for status in [None, Some(200)] {
            let failure = classify(status, &[fields(error)]);
            assert_eq!(failure.class(), row["expect"]["code"], "{file}");
        }
    }
}

#[test]
fn codes_win_over_the_status() {
    use Failure::*;
    for (status, code, expected) in [
        // ARK
        (400, "SensitiveContentDetected.Violence", ContentBlocked),
        (400, "InputTextSensitiveContentDetected", ContentBlocked),
        (400, "InputImageSensitiveContentDetected.PrivacyInformation", ContentBlocked),
        (400, "OutputImageSensitiveContentDetected.DeepFake", ContentBlocked),
        (400, "InputTextRiskDetection", ContentBlocked),
        (400, "OutputImageRiskDetection", ContentBlocked),
        (400, "ContentSecurityDetectionError", Error),
        (400, "MissingParameter", BadRequest),
        (400, "InvalidParameter.UnsupportedImageFormat", BadRequest),
        (400, "InvalidEndpoint.ClosedEndpoint", ModelUnavailable),
        (400, "InvalidImageURL.EmptyURL", InputImageUnreachable),
        (401, "InvalidAccountStatus", Auth),
        (403, "AccountOverdueError", Quota),
        (403, "OperationDenied.ServiceOverdue", Quota),
        (403, "OperationDenied.ServiceNotOpen", ModelUnavailable),
        (403, "AccessDenied", ModelUnavailable),
        (404, "InvalidEndpointOrModel.ModelIDAccessDisabled", ModelUnavailable),
        (404, "UnsupportedModel", ModelUnavailable),
        (429, "ModelAccountRpmRateLimitExceeded", RateLimited),
        (429, "RateLimitExceeded.EndpointTPMExceeded", RateLimited),
        (429, "AccountRateLimitExceeded", RateLimited),
        (429, "ServerOverloaded", RateLimited),
        (429, "RequestBurstTooFast", RateLimited),
        (429, "InflightBatchsizeExceeded", RateLimited),
        (429, "QuotaExceeded", Quota),
        (499, "RequestCanceled", Error),
        // relays
        (500, "insufficient_user_quota", Quota),
        (400, "sensitive_words_detected", ContentBlocked),
        (500, "channel:no_available_key", ModelUnavailable),
        (500, "do_request_failed", Error),
        (429, "bad_response_status_code", RateLimited),
        (500, "429", RateLimited),
        (500, "1001", Error),
        (400, "400", BadRequest),
        // OpenAI
        (400, "content_policy_violation", ContentBlocked),
        (401, "invalid_api_key", Auth),
        (429, "insufficient_quota", Quota),
        (429, "rate_limit_exceeded", RateLimited),
        (400, "billing_hard_limit_reached", Quota),
        (404, "model_not_found", ModelUnavailable),
        (302, "invalid_api_key", Redirect),
    ] {
        let failure = classify(Some(status), &[named(code, "", "")]);
        assert_eq!(failure, expected, "{status} {code}");
    }
}

#[test]
fn the_status_decides_where_the_body_names_nothing() {
    use Failure::*;
    for (status, expected) in [
        (301, Redirect),
        (307, Redirect),
        (400, BadRequest),
        (401, Auth),
        (402, Quota),
        (403, Auth),
        (404, ModelUnavailable),
        (408, Timeout),
        (413, PayloadTooLarge),
        (422, BadRequest),
        (429, RateLimited),
        (500, Error),
        (502, Error),
        (503, Unavailable),
        (504, Timeout),
        (520, Error),
        (524, Timeout),
        (529, Unavailable),
        (200, Error),
        (0, Error),
    ] {
        for kind in ["", "upstream_error", "new_api_error", "invalid_request_error"] {
            if (status, kind) != (200, "invalid_request_error") {
                let failure = classify(Some(status), &[named("", kind, "<html>")]);
                assert_eq!(failure, expected, "{status} {kind}");
            }
        }
    }
}

#[test]
fn kinds_and_numbers() {
    use Failure::*;
    for (status, code, kind, expected) in [
        (Some(429), "429", "RESOURCE_EXHAUSTED", RateLimited),
        (Some(403), "403", "PERMISSION_DENIED", Auth),
        (Some(401), "401", "UNAUTHENTICATED", Auth),
        (Some(400), "400", "INVALID_ARGUMENT", BadRequest),
        (Some(400), "400", "FAILED_PRECONDITION", ModelUnavailable),
        (Some(503), "503", "UNAVAILABLE", Unavailable),
        (Some(504), "504", "DEADLINE_EXCEEDED", Timeout),
        (None, "503", "UNAVAILABLE", Unavailable),
        (None, "400", "INVALID_ARGUMENT", BadRequest),
        (Some(400), "", "prompt_blocked", ContentBlocked),
        (None, "400", "BadRequestError", Error),
        (None, "422", "", Error),
        (None, "429", "", RateLimited),
        (None, "502", "server_error", Error),
        (None, "401", "", Auth),
        (None, "", "rate_limit_error", RateLimited),
        (None, "", "authentication_error", Auth),
        (None, "", "overloaded_error", Error),
        (Some(529), "", "overloaded_error", Unavailable),
        (None, "", "image_generation_user_error", BadRequest),
        (Some(401), "", "invalid_request_error", Auth),
        (None, "", "", Error),
        (None, "99999999", "", Error),
    ] {
        let failure = classify(status, &[named(code, kind, "")]);
        assert_eq!(failure, expected, "{status:?} {code} {kind}");
    }
}

#[test]
fn messages() {
    use Failure::*;
    let unfetched = "Timeout while downloading url=https://example.com/1.png";
    for (status, code, message, expected) in [
        (Some(400), "InvalidParameter", unfetched, InputImageUnreachable),
        (None, "InvalidParameter", unfetched, InputImageUnreachable),
        (Some(401), "", "该令牌额度已用尽 !token.UnlimitedQuota", Quota),
        (Some(403), "", "user quota is not enough", Quota),
        (Some(403), "", "用户额度不足, 剩余额度: ＄0.000000", Quota),
        (Some(403), "403", "Your chosen model requires moderation and your input was flagged", ContentBlocked),
        (Some(503), "", "当前分组 default 下对于模型 X 无可用渠道", ModelUnavailable),
        (Some(503), "", "No available channel for model X under group default", ModelUnavailable),
        (Some(503), "", "当前分组上游负载已饱和", Unavailable),
        (Some(400), "400", "API key not valid. Please pass a valid API key.", Auth),
        (Some(400), "", "Your request was rejected by our safety system.", ContentBlocked),
        // A quoted prompt earns no refund.
        (Some(400), "", "bad prompt: 该令牌额度已用尽", BadRequest),
        (Some(400), "", "bad prompt: API key not valid", BadRequest),
        (Some(400), "", "bad prompt: 无可用渠道", BadRequest),
        (None, "", "额度不足, no available channel", Error),
    ] {
        let failure = classify(status, &[named(code, "", message)]);
        assert_eq!(failure, expected, "{status:?} {code} {message}");
    }
}

#[test]
fn classes_map_as_documented() {
    const TABLE: &str = "\
upstream_auth service_unavailable Refund Error alarm
upstream_quota service_unavailable Refund Error alarm
model_unavailable service_unavailable Refund Error alarm
rate_limited upstream_busy Refund Warn -
upstream_unavailable upstream_busy Refund Warn -
bad_request upstream_rejected_input Keep Warn -
input_image_unreachable invalid_url Keep Warn -
content_blocked content_rejected Keep Info -
payload_too_large payload_too_large Keep Info -
no_image no_image Keep Warn -
upstream_truncated stream_interrupted Keep Error -
upstream_timeout upstream_timeout Keep Warn -
upstream_error upstream_error Keep Error -
upstream_bad_content_type upstream_protocol_error Keep Error -
upstream_unreachable upstream_unreachable Refund Error -
upstream_tls upstream_unreachable Refund Error alarm
upstream_connect_timeout upstream_timeout Refund Error -
upstream_redirect upstream_protocol_error Refund Error alarm
upstream_protocol_error upstream_protocol_error Keep Error -
deadline_exceeded deadline_exceeded Keep Error -
client_closed client_closed Keep Info -
cancelled cancelled Keep Info -
internal_error internal_error Keep Error alarm";
    let written: Vec<String> = Failure::ALL
        .iter()
        .map(|failure| {
            let alarm = if failure.alarm().is_some() { "alarm" } else { "-" };
            format!("{failure} {} {:?} {:?} {alarm}", failure.problem(), failure.token(), failure.level())
        })
        .collect();
    assert_eq!(written, TABLE.lines().collect::<Vec<_>>());
    let classes: HashSet<_> = Failure::ALL.iter().map(|failure| failure.class()).collect();
    assert_eq!(classes.len(), Failure::ALL.len());
    assert_eq!(Problem::from(Failure::RateLimited).retry_after_ms(), Some(10_000));
}

#[test]
fn no_name_stands_in_two_classes() {
    let mut seen = HashSet::new();
    for (name, _) in names::WHOLE.iter().chain(names::PREFIXES).chain(names::PARTS).chain(names::KINDS) {
        assert!(seen.insert(name), "{name}");
    }
}

#[test]
fn debug_prints_no_field() {
    let fields = named("canary", "canary", "canary");
    assert!(!format!("{fields:?}").contains("canary"));
}

fn named(code: &str, kind: &str, message: &str) -> ErrorFields {
    ErrorFields { code: code.into(), kind: kind.into(), message: message.into(), param: String::new() }
}

fn fixture(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fixtures").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The fields where each upstream puts them.
fn fields(body: &str) -> ErrorFields {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let error =
        [&body["error"], &body["response"]["error"]].into_iter().find(|error| error.is_object()).unwrap_or(&body);
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let one_of = |places: &[&Value]| places.iter().find_map(|&place| text(place)).unwrap_or_default();
    ErrorFields {
        code: one_of(&[&error["code"]]),
        kind: one_of(&[&error["status"], &error["type"]]),
        message: one_of(&[
            &error["message"],
            &body["error"],
            &body["message"],
            &body["msg"],
            &body["err"],
            &body["error_msg"],
            &body["header"]["message"],
        ]),
        param: one_of(&[&error["param"]]),
    }
}
