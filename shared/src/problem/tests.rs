use super::*;
use serde_json::{Value, json};
use std::collections::HashSet;

/// A copy of the documented catalogue: status | code | zh | en | retry.
const CATALOGUE: &str = "\
400 | invalid_json | 请求体不是合法的 JSON | The request body is not valid JSON | no
400 | invalid_request | 请求参数不正确 | The request is invalid | no
400 | invalid_image | 参考图片无效 | A reference image is invalid | no
400 | invalid_url | 图片链接无效或不被允许 | An image URL is invalid or not allowed | no
400 | model_not_allowed | 不支持该模型 | This model is not available | no
401 | auth_required | 请先登录 | Please sign in | no
401 | token_expired | 登录已过期，请刷新后重试 | Your session has expired | no
401 | token_invalid | 登录凭证无效 | Your sign-in token is not valid | no
401 | api_key_not_accepted | 不接受 API Key，请使用用户登录凭证 | API keys are not accepted here | no
402 | insufficient_credits | 积分不足 | Not enough credits | no
403 | anonymous_not_allowed | 匿名用户无法使用此功能，请先注册 | Anonymous users cannot use this feature | no
403 | oauth_client_not_allowed | 该应用无权调用此接口 | This application may not call the API | no
403 | user_blocked | 该账户已被停用 | This account is blocked | no
404 | route_not_found | 接口不存在 | No such endpoint | no
404 | task_not_found | 没有这个任务 | No such task | no
405 | method_not_allowed | 不支持的请求方法 | Method not allowed | no
409 | task_in_progress | 相同任务正在处理中 | This task is already running | 1000
409 | task_already_completed | 该任务已完成 | This task is already completed | no
409 | cancelled | 任务已取消 | The task was cancelled | no
413 | payload_too_large | 请求内容过大（上限 6 MB） | The request is too large (6 MB limit) | no
413 | image_too_large | 图片尺寸过大 | An image is too large | no
415 | unsupported_media_type | 不支持的内容类型 | Unsupported content type | no
422 | content_rejected | 内容未通过安全审核，请更换后重试 | The content was rejected by safety checks | no
422 | upstream_rejected_input | 生成服务无法处理该输入 | The generator could not use this input | no
422 | task_id_reused | 任务编号已用于其他请求 | This task id was used for a different request | no
429 | rate_limited | 请求过于频繁，请稍后再试 | Too many requests | 1000
429 | daily_limit | 今日生成数量已达上限 | Today's limit is reached | 3600000
429 | too_many_running | 同时进行的任务过多，请等待其中一个完成 | Too many of your tasks are running | 5000
499 | client_closed | 客户端已断开 | The client closed the request | no
500 | internal_error | 服务内部错误 | Internal error | 1000
500 | service_misconfigured | 服务配置错误 | The service is misconfigured | no
502 | upstream_unreachable | 无法连接生成服务 | The generator cannot be reached | 2000
502 | upstream_error | 生成服务出错 | The generator failed | 1000
502 | upstream_protocol_error | 生成服务返回了无法识别的数据 | The generator returned unreadable data | 1000
502 | stream_interrupted | 生成过程中断，请重试 | The stream was interrupted | 1000
502 | no_image | 未生成图片，请重试 | No image was produced | 1000
503 | auth_unavailable | 暂时无法验证登录 | Sign-in verification is unavailable | 5000
503 | limiter_unavailable | 服务繁忙，请稍后再试 | The service is busy | 2000
503 | upstream_busy | 生成服务繁忙，请稍后再试 | The generator is busy | 10000
503 | budget_exhausted | 今日生成总量已用完，请明天再试 | The service has reached its limit for today | 3600000
503 | service_unavailable | 服务暂不可用 | The service is unavailable | 1000
504 | upstream_timeout | 生成超时，请重试 | The generator timed out | 1000
504 | deadline_exceeded | 处理超时，请重试 | Processing took too long | 1000";

#[test]
fn every_code_matches_the_documented_catalogue() {
    let written: Vec<String> = Code::ALL
        .iter()
        .map(|&code| {
            let wait = Problem::new(code).retry_after_ms();
            format!(
                "{} | {code} | {} | {} | {}",
                code.status(),
                code.title(Lang::Zh),
                code.title(Lang::En),
                wait.map_or("no".to_owned(), |ms| ms.to_string()),
            )
        })
        .collect();
    assert_eq!(written, CATALOGUE.lines().collect::<Vec<_>>());
}

#[test]
fn every_code_has_a_unique_name_and_both_sentences() {
    let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
    for &code in Code::ALL {
        assert!((400..600).contains(&code.status()), "{code}");
        assert!(code.title(Lang::Zh).chars().any(|c| c > '\u{4e00}'), "{code}");
        assert!(code.title(Lang::En).is_ascii() && !code.title(Lang::En).is_empty(), "{code}");
        assert_eq!(code.retryable(), Problem::new(code).retry_after_ms().is_some(), "{code}");
    }
}

#[test]
fn a_document_has_all_members_in_order() {
    let detail = Detail::RateLimit { limit: 5, window_ms: 60_000 };
    let problem = Problem::new(Code::RateLimited).detail(detail).with_retry_after_ms(12_000);
    assert_eq!(
        String::from_utf8(problem.document(Lang::En, "r-1")).unwrap(),
        concat!(
            r#"{"type":"urn:imagegw:problem:rate_limited","title":"Too many requests","status":429,"#,
            r#""detail":"At most 5 generations in 60 seconds","instance":"urn:imagegw:request:r-1","#,
            r#""code":"rate_limited","request_id":"r-1","retryable":true,"retry_after_ms":12000,"#,
            r#""error":"Too many requests","message":"Too many requests"}"#
        )
    );
}

#[test]
fn a_document_names_the_wrong_members() {
    let problem =
        Problem::new(Code::InvalidRequest).at("/image_inputs/0", Code::InvalidImage).at("/n", Code::InvalidRequest);
    let document: Value = serde_json::from_slice(&problem.document(Lang::Zh, "r")).unwrap();
    assert_eq!(
        document["errors"],
        json!([
            {"pointer": "/image_inputs/0", "code": "invalid_image"},
            {"pointer": "/n", "code": "invalid_request"},
        ])
    );
    assert_eq!(document["detail"], "请求参数不正确");
    assert_eq!(document["retryable"], false);
    assert!(document.get("retry_after_ms").is_none());

    // Older frontends show `error` or `message`.
    let document: Value =
        serde_json::from_slice(&Problem::invalid("/urls/3", Detail::NotAString).document(Lang::En, "r")).unwrap();
    for name in ["detail", "error", "message"] {
        assert_eq!(document[name], "urls[3] must be a string", "{name}");
    }
    assert_eq!(document["title"], "The request is invalid");
}

#[test]
fn every_document_and_event_is_json() {
    for &code in Code::ALL {
        for lang in [Lang::Zh, Lang::En] {
            let problem = Problem::from(code);
            let document: Value = serde_json::from_slice(&problem.document(lang, "\"\r\n")).unwrap();
            assert_eq!(document["message"], code.title(lang));
            assert_eq!(document["error"], document["message"]);
            assert_eq!(document["detail"], document["title"]);
            assert_eq!(document["request_id"], "\"\r\n");
            let event = problem.chat_error(lang, "r");
            assert!(!event.contains(&b'\n'));
            let event: Value = serde_json::from_slice(&event).unwrap();
            assert_eq!(event["error"]["message"], problem.message(lang));
        }
    }
}

#[test]
fn a_chat_event_has_all_members_in_order() {
    let check = |code, json: &str| {
        let event = Problem::new(code).chat_error(Lang::Zh, "r-1");
        assert_eq!(String::from_utf8(event).unwrap(), json);
    };
    check(
        Code::UpstreamBusy,
        r#"{"error":{"code":"upstream_busy","message":"生成服务繁忙，请稍后再试","type":"urn:imagegw:problem:upstream_busy","retryable":true,"request_id":"r-1","retry_after_ms":10000}}"#,
    );
    check(
        Code::ContentRejected,
        r#"{"error":{"code":"content_rejected","message":"内容未通过安全审核，请更换后重试","type":"urn:imagegw:problem:content_rejected","retryable":false,"request_id":"r-1"}}"#,
    );
}

#[test]
fn only_a_retryable_code_has_a_retry_delay() {
    let check = |code, set: Option<u64>, ms: Option<u64>, seconds: Option<u64>| {
        let mut problem = Problem::new(code);
        if let Some(set) = set {
            problem = problem.with_retry_after_ms(set);
        }
        assert_eq!((problem.retry_after_ms(), problem.retry_after_seconds()), (ms, seconds));
    };
    check(Code::RateLimited, Some(1_001), Some(1_001), Some(2));
    check(Code::RateLimited, Some(0), Some(0), Some(1));
    check(Code::RateLimited, None, Some(1_000), Some(1));
    check(Code::InvalidJson, Some(5_000), None, None);
}
