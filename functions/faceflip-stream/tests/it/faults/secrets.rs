//! Secrets Manager fails. The rest is in the tests of `generate-stream`: the code is the same.

use std::sync::Arc;

use dev::secrets::SecretsFault;
use faceflip_stream::{App, handle};
use serde_json::json;

use crate::log::Log;
use crate::support::{KEY_ID, Reply, Stand, Upstream, User};

#[tokio::test]
async fn s1_a_secret_that_may_not_be_read_is_503_and_an_alarm() {
    let stand = Stand::new().await;
    let upstream = Upstream::recorded("a01_three_ok.sse").await;
    for fault in [Some(SecretsFault::AccessDenied), Some(SecretsFault::DecryptionFailure), None] {
        let (log, user) = (Log::new(), User::new(&format!("{fault:?}")));
        stand.vault.fail(fault);
        if fault.is_none() {
            stand.vault.remove(KEY_ID);
        }
        let app: Arc<App> = stand.app(&upstream, &[("CREDITS", "on"), ("CREDITS_INITIAL", "3")]);
        let body = json!({"urls": ["https://example.com/a.jpg"], "task_id": "task"});
        let reply = Reply::read(handle(app, user.post("/api/v1/faceflip/generate/stream", &body)).await).await;
        // This route has only events.
        assert_eq!((reply.status, reply.ending().as_str()), (503, "error service_unavailable"), "{fault:?}");
        assert_eq!(reply.events().len(), 1, "{fault:?}");
        assert_eq!(stand.tables.missing(&user.owner(), 5).await, 0, "{fault:?}: the token came back");
        assert_eq!(stand.tables.balance(&user.owner()).await, Some((3, 0)), "{fault:?}");
        assert_eq!(stand.tables.record(&user.owner(), "task").await, None, "{fault:?}");
        let [alarm] = &log.alarms()[..] else { panic!("{fault:?}: {}", log.text()) };
        assert_eq!((&alarm["level"], &alarm["id"]), (&json!("ERROR"), &json!(KEY_ID)));
    }
    assert_eq!(upstream.requests(), 0);
}
