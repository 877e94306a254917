//! The key set of sign-in fails, changes, or does not list the key of a token.

use std::time::Duration;

use dev::supabase::{Algorithm, Fault, legacy_token};
use futures_util::future::join_all;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use shared::problem::Code;

use crate::log::Log;
use crate::sign_in::{Route, SECRET, SignInStand, after, claims, made_up};
use crate::support::EVER;

const BODY: &str = r#"{"prompt":"x","format":"events"}"#;

#[tokio::test]
async fn j1_a_key_set_that_was_never_fetched_is_503_and_no_verdict_on_the_token() {
    for fault in [Fault::Status(500), Fault::Drop, Fault::Hang] {
        let (log, route) = (Log::new(), Route::new(&[]).await);
        route.project.fail(Some(fault));
        let bearer = format!("Bearer {}", route.project.token(&route.claims()));
        let answer = route.ask(Some(bearer.as_bytes()), BODY);
        let response = tokio::time::timeout(Duration::from_secs(10), answer).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"5".parse().unwrap()));
        assert!(!response.headers().contains_key("www-authenticate"), "the frontend must not sign the user out");
        let problem = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Value = serde_json::from_slice(&problem).unwrap();
        assert_eq!((&problem["code"], &problem["retry_after_ms"]), (&json!("auth_unavailable"), &json!(5000)));
        assert_eq!((route.upstream.requests(), route.vault.calls(), route.tables.calls()), (0, 0, 0), "{fault:?}");
        let [line] = &log.of_level("WARN")[..] else { panic!("{fault:?}: {}", log.text()) };
        assert_eq!(line["level"], "ERROR", "{fault:?}");
    }
}

#[tokio::test]
async fn j1_concurrent_callers_share_one_failed_fetch() {
    let stand = SignInStand::new(None).await;
    stand.project.fail(Some(Fault::Status(503)));
    let token = stand.token(after(0));
    let refused = join_all((0..50).map(|_| stand.check(after(0), &token))).await;
    assert!(refused.iter().all(|verdict| *verdict == Err(Code::AuthUnavailable)));
    assert_eq!(stand.project.fetches(), 1);
    stand.project.fail(None);
    assert!(stand.check(after(2), &token).await.is_ok());
}

/// The last key set is used for an hour while this fault lasts, then every token is 503; afterwards all is as before.
async fn is_bridged(fault: Fault) {
    let (log, stand) = (Log::new(), SignInStand::new(None).await);
    let begun = after(0);
    assert!(stand.check(begun, &stand.token(begun)).await.is_ok());
    stand.project.fail(Some(fault));
    let fetches = stand.project.fetches();
    let token = stand.token(after(601));
    assert!(stand.check(after(601), &token).await.is_ok(), "{fault:?}");
    assert_eq!(stand.project.fetches(), fetches + 1, "{fault:?}");
    assert!(stand.check(after(605), &token).await.is_ok(), "{fault:?}");
    assert_eq!(stand.project.fetches(), fetches + 1, "{fault:?}: five seconds' pause");
    let [line] = &log.of_level("WARN")[..] else { panic!("{fault:?}: {}", log.text()) };
    assert_eq!(line["level"], "WARN", "{fault:?}");
    let unknown = stand.check(after(605), &made_up(1)).await;
    assert_eq!(unknown, Err(Code::AuthUnavailable), "{fault:?}: the key may be a new one");
    assert_eq!(stand.project.redirected(), 0);

    let late = stand.token(after(3600));
    assert_eq!(stand.check(after(3600), &late).await, Err(Code::AuthUnavailable), "{fault:?}");
    assert_eq!(log.of_level("ERROR").len(), 1, "{fault:?}: {}", log.text());
    assert!(log.alarms().is_empty(), "{fault:?}: {}", log.text());
    stand.project.fail(None);
    assert_eq!(stand.check(after(3600), &late).await, Err(Code::AuthUnavailable), "a second's pause");
    assert!(stand.check(after(3601), &late).await.is_ok(), "{fault:?}: recovered");
}

#[tokio::test]
async fn j2_old_keys_are_used_for_an_hour_while_the_set_is_unavailable() {
    for fault in [Fault::Status(500), Fault::Status(404), Fault::Drop, Fault::Hang] {
        tokio::time::timeout(EVER, is_bridged(fault)).await.unwrap();
    }
}

#[tokio::test]
async fn j3_a_rotated_key_works_after_one_fetch_and_the_old_one_until_it_is_removed() {
    let (log, stand) = (Log::new(), SignInStand::new(None).await);
    let fetches = || stand.project.fetches();
    let (good, first_kid) = (stand.token(after(0)), stand.project.kid());
    stand.project.delay(Duration::from_millis(100));
    let cold = join_all((0..200).map(|_| stand.check(after(0), &good))).await;
    assert!(cold.iter().all(Result::is_ok));
    assert_eq!(fetches(), 1, "200 cold callers");
    stand.project.delay(Duration::ZERO);
    for _ in 0..1000 {
        assert!(stand.check(after(1), &good).await.is_ok());
    }
    assert_eq!(fetches(), 1, "1000 warm");

    stand.project.rotate(Algorithm::Es256);
    let fresh = stand.token(after(80));
    let both = join_all((0..20).map(|_| stand.check(after(80), &fresh))).await;
    assert!(both.iter().all(Result::is_ok));
    assert_eq!(fetches(), 2, "the first tokens with a new name");
    assert!(stand.check(after(81), &good).await.is_ok(), "the old key is still listed");

    stand.project.revoke(&first_kid);
    assert!(stand.check(after(680), &fresh).await.is_ok());
    assert_eq!(fetches(), 3, "the time is over");
    assert_eq!(stand.check(after(681), &good).await, Err(Code::TokenInvalid), "revoked");
    assert_eq!(fetches(), 4, "it might have been a new one");
    assert_eq!(stand.check(after(682), &good).await, Err(Code::TokenInvalid));
    assert_eq!(fetches(), 4);
    assert!(log.of_level("WARN").is_empty(), "{}", log.text());
}

#[tokio::test]
async fn j4_1000_made_up_keys_are_one_fetch_in_half_a_minute() {
    let stand = SignInStand::new(None).await;
    assert!(stand.check(after(0), &stand.token(after(0))).await.is_ok());
    let strangers: Vec<_> = (0..1000).map(made_up).collect();
    for (at, expected) in [(after(40), 2), (after(69), 2), (after(70), 3)] {
        let refused = join_all(strangers.iter().map(|token| stand.check(at, token))).await;
        assert!(refused.iter().all(|verdict| *verdict == Err(Code::TokenInvalid)));
        assert_eq!(stand.project.fetches(), expected);
    }
}

#[tokio::test]
async fn j4_a_flood_of_unknown_keys_costs_no_call_and_few_log_lines() {
    let (log, route) = (Log::new(), Route::new(&[]).await);
    let begun = crate::support::unix_ms();
    for number in 0..500 {
        let response = route.ask(Some(format!("Bearer {}", made_up(number)).as_bytes()), BODY).await;
        assert_eq!(response.status(), 401);
        let problem = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(serde_json::from_slice::<Value>(&problem).unwrap()["code"], "token_invalid");
    }
    let seconds = (crate::support::unix_ms() - begun).div_ceil(1000);
    assert_eq!((route.upstream.requests(), route.vault.calls(), route.tables.calls()), (0, 0, 0));
    assert!(route.project.fetches() as u64 <= 2 + seconds / 30, "{} fetches", route.project.fetches());
    let refusals = log.with("token refused");
    assert!(!refusals.is_empty() && refusals.len() as u64 <= seconds + 1, "{} lines in {seconds} s", refusals.len());
    assert!(refusals.iter().all(|line| line["level"] == "INFO"));
}

#[tokio::test]
async fn j5_a_body_without_a_key_set_is_not_used() {
    for fault in [Fault::Html, Fault::Redirect, Fault::Huge] {
        tokio::time::timeout(EVER, is_bridged(fault)).await.unwrap();
    }
}

#[tokio::test]
async fn j5_one_bad_member_does_not_hide_the_others() {
    let stand = SignInStand::new(None).await;
    let listed = reqwest::get(stand.server.url("/auth/v1/.well-known/jwks.json")).await.unwrap().text().await.unwrap();
    let good = serde_json::from_str::<Value>(&listed).unwrap()["keys"][0].clone();
    let mut short = good.clone();
    (short["kid"], short["x"]) = (json!("short"), json!("AAAA"));
    stand.project.list(Some(json!({"keys": [7, {}, {"kty": "EC"}, {"kty": "new", "kid": "a"}, short, good]})));
    assert!(stand.check(after(0), &stand.token(after(0))).await.is_ok());
    assert_eq!(stand.project.fetches(), 1 + 1, "the test's own, and one");
}

#[tokio::test]
async fn j5_with_an_empty_set_only_the_legacy_secret_works() {
    let log = Log::new();
    let stand = SignInStand::new(None).await;
    let legacy = legacy_token(SECRET, None, &claims(after(0)));
    for list in [json!({"keys": []}), json!({"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]})] {
        stand.project.list(Some(list));
        assert_eq!(stand.check(after(0), &legacy).await, Err(Code::ServiceMisconfigured));
        assert_eq!(stand.check(after(0), &stand.token(after(0))).await, Err(Code::ServiceMisconfigured));
    }
    assert!(log.with("SUPABASE_JWT_SECRET_ARN").iter().all(|line| line["level"] == "ERROR" && line["alarm"] == true));
    assert!(!log.alarms().is_empty(), "the remedy is in the log: {}", log.text());
    stand.project.list(None);
    assert!(stand.check(after(31), &stand.token(after(31))).await.is_ok(), "a signing key was made");
    assert_eq!(stand.check(after(32), &legacy).await, Err(Code::TokenInvalid));

    let stand = SignInStand::new(Some(SECRET)).await;
    stand.project.list(Some(json!({"keys": []})));
    assert!(stand.check(after(0), &legacy).await.is_ok());
    assert_eq!(stand.check(after(0), &stand.token(after(0))).await, Err(Code::TokenInvalid));
}

#[tokio::test]
async fn j6_clocks_may_differ_by_ten_seconds_and_not_by_ten_minutes() {
    let stand = SignInStand::new(None).await;
    let token = stand.token(after(10_000));
    let second = |offset: i64| after((10_000 + offset) as u64);
    for (offset, verdict) in [
        (-600, Err(Code::TokenInvalid)),
        (-10, Ok(())),
        (10, Ok(())),
        // It lives for an hour.
        (3610, Ok(())),
        (3600 + 600, Err(Code::TokenExpired)),
    ] {
        assert_eq!(stand.check(second(offset), &token).await.map(drop), verdict, "{offset} s");
    }
}

#[tokio::test]
async fn j6_a_clock_that_is_set_back_makes_the_key_set_stale() {
    let stand = SignInStand::new(None).await;
    assert!(stand.check(after(3601), &stand.token(after(3601))).await.is_ok());
    assert!(stand.check(after(3591), &stand.token(after(3591))).await.is_ok());
    assert_eq!(stand.project.fetches(), 1, "ten seconds are nothing");
    let earlier = after(0) - Duration::from_secs(1400);
    assert!(stand.check(earlier, &stand.token(earlier)).await.is_ok());
    assert_eq!(stand.project.fetches(), 2, "5000 seconds back");
}
