//! Many requests at once, in several processes.

use std::sync::Arc;

use futures_util::future::join_all;
use generate_stream::App;
use tokio::task::JoinSet;

use super::{PICTURE, ask, refused_for_ms, wanted};
use crate::support::{Stand, Upstream, User, in_time, unix_ms};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_make_five_calls() {
    const REQUESTS: usize = 1000;
    const INSTANCES: usize = 8;
    in_time(async || {
        let (stand, user) = (Stand::new().await, User::new("thousand"));
        let upstream = Upstream::recorded(PICTURE).await;
        let apps: Vec<Arc<App>> = (0..INSTANCES).map(|_| stand.app(&upstream, &[])).collect();
        let mut requests = JoinSet::new();
        for number in 0..REQUESTS {
            let (app, request) = (apps[number % INSTANCES].clone(), wanted(&user));
            requests.spawn(async move { ask(&app, request).await });
        }
        let replies = requests.join_all().await;
        let (made, others): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 200);
        assert!(upstream.requests() <= 5, "at most 5");
        assert_eq!(made.len() as u32, upstream.requests());
        assert!(made.iter().all(|reply| reply.ending() == "done"));
        assert!(stand.vault.calls() <= INSTANCES as u32);
        let (refused, too_late): (Vec<_>, Vec<_>) = others.into_iter().partition(|reply| reply.status == 429);
        for reply in &refused {
            refused_for_ms(reply);
            assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=5;w=86400"));
        }
        if !too_late.is_empty() {
            assert!(too_late.iter().all(|reply| reply.status == 503));
            return false;
        }
        assert_eq!(upstream.requests(), 5, "and no fewer");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 5);
        let items = stand.tables.all().await;
        assert_eq!(items.len(), 6, "the bucket, and a record of each call: {items:?}");
        let calls = stand.tables.proxy.calls();
        assert!(calls < REQUESTS as u32 / 2, "{calls}: most are refused from memory");
        true
    })
    .await;
}

/// Four processes and 32 requests of one user at once, with the lowest and highest limits.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn contention_on_one_bucket_is_never_answered_with_503() {
    for (limit, window_ms) in [(1, 1_000), (1_000, 1_000), (1, 86_400_000), (1_000, 86_400_000)] {
        let (stand, user) = (Stand::new().await, User::new("contended"));
        let upstream = Upstream::recorded(PICTURE).await;
        let (limit_text, window) = (limit.to_string(), window_ms.to_string());
        let variables = [("RL_LIMIT", limit_text.as_str()), ("RL_WINDOW_MS", window.as_str())];
        let apps: Vec<Arc<App>> = (0..4).map(|_| stand.app(&upstream, &variables)).collect();
        join_all(apps.iter().map(|app| app.warm_up())).await;
        let begun_ms = unix_ms();
        let mut requests = JoinSet::new();
        for number in 0..32 {
            let (app, request) = (apps[number % 4].clone(), wanted(&user));
            requests.spawn(async move { ask(&app, request).await });
        }
        let replies = requests.join_all().await;
        let admitted = replies.iter().filter(|reply| reply.status == 200).count() as u64;
        let statuses: Vec<_> = replies.iter().map(|reply| reply.status).collect();
        assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{limit} in {window_ms}: {statuses:?}");
        let refilled = (unix_ms() - begun_ms).div_ceil(window_ms / limit);
        assert!(admitted >= 1 && admitted <= limit + refilled, "{limit} in {window_ms}: {admitted} were admitted");
        if limit == 1_000 {
            assert_eq!(admitted, 32, "{window_ms}: the bucket held them all");
        }
    }
}

#[tokio::test]
async fn a_flood_of_requests_costs_few_table_calls() {
    const INSTANCES: u64 = 4;
    const REQUESTS: u64 = 2_000;
    const INTERVAL_MS: u64 = 200;
    let (stand, user) = (Stand::new().await, User::new("hammer"));
    let upstream = Upstream::recorded(PICTURE).await;
    let variables = [("RL_LIMIT", "5"), ("RL_WINDOW_MS", "1000")];
    let begun_ms = unix_ms();
    let hammer = async |app: Arc<App>| {
        let mut made = 0;
        for _ in 0..REQUESTS {
            made += u64::from(ask(&app, wanted(&user)).await.status == 200);
        }
        made
    };
    let all = join_all((0..INSTANCES).map(|_| hammer(stand.app(&upstream, &variables)))).await;
    let (made, intervals) = (all.iter().sum::<u64>(), (unix_ms() - begun_ms) / INTERVAL_MS);
    assert!((5..=5 + intervals).contains(&made), "{made} in {intervals} intervals");
    assert_eq!(u64::from(upstream.requests()), made);
    let questions = u64::from(stand.tables.proxy.calls_on(&stand.tables.limits));
    let most = made + INSTANCES * (intervals + 5);
    assert!(questions <= most, "{questions} of {most} questions, for {} requests", INSTANCES * REQUESTS);
}
