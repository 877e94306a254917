//! Requests with a repeated key.

use shared::kept_picture::KeptPicture;
use shared::media::{WholeImage, sniff::MediaType};
use shared::outcome::{DeliveredImage, FailedSlot, ImageSource, Success};
use shared::problem::Code;
use shared::task::{Repeat, Replay, StoredResult, TaskRecord, TaskState, fingerprint};
use shared::upstream::Failure;

const NOW: u64 = 1_795_248_000_000;
const HOUR: u64 = 3_600_000;

fn record(state: TaskState) -> TaskRecord {
    TaskRecord {
        task_id: "task-1".into(),
        route: "/route".into(),
        state,
        attempts: 1,
        images: 0,
        created_ms: NOW - HOUR,
        updated_ms: NOW - HOUR,
        run: "run-1".into(),
        fingerprint: "asked".into(),
        result: None,
        pictures: Vec::new(),
        is_cancelled: false,
        credits: None,
        upstream: None,
        cost: None,
    }
}

fn success(urls: &[&str]) -> Success {
    let image = |(slot, url): (usize, &&str)| {
        let source = ImageSource::Link { url: (*url).to_owned(), pixels: Some((2, 1)) };
        DeliveredImage::new(slot as u32, source, false)
    };
    let failed = vec![FailedSlot { slot: 7, failure: Failure::ContentBlocked }];
    Success { images: urls.iter().enumerate().map(image).collect(), failed, usage: None, cut_short: None }
}

fn replay(success: Success, kept: Vec<KeptPicture>) -> Repeat {
    Repeat::Replay(Box::new(Replay { success, kept, run: "run-1".into() }))
}

fn picture(slot: u32, expires_ms: u64) -> KeptPicture {
    let image =
        WholeImage { media_type: MediaType::Png, bytes: 9, width: 2, height: 1, sha256: [slot as u8; 32], label: None };
    KeptPicture { slot, draft: false, image, expires_ms }
}

/// The picture as a replay delivers it.
fn inline(picture: &KeptPicture) -> DeliveredImage {
    DeliveredImage::new(picture.slot, ImageSource::Inline(picture.image.clone()), false)
}

#[test]
fn kept_pictures_are_delivered_again_until_they_expire() {
    let pictures = [picture(0, NOW + HOUR), picture(1, NOW + 2 * HOUR)];
    let mut succeeded = record(TaskState::Succeeded);
    succeeded.pictures = pictures.to_vec();
    succeeded.result = Some(StoredResult::of(&success(&[])));
    let both = Success { images: pictures.iter().map(inline).collect(), ..success(&[]) };
    assert_eq!(succeeded.repeat("asked", "run-2", NOW), replay(both, pictures.to_vec()));
    let second = Success { images: vec![inline(&pictures[1])], ..success(&[]) };
    assert_eq!(succeeded.repeat("asked", "run-2", NOW + HOUR), replay(second, pictures[1..].to_vec()));
    assert_eq!(succeeded.repeat("asked", "run-2", NOW + 2 * HOUR), Repeat::Completed);
    assert_eq!(succeeded.repeat("other", "run-2", NOW), Repeat::Reused);
}

#[test]
fn the_copy_of_a_link_replaces_it_when_it_has_expired() {
    let links = success(&["https://links.example.com/a.jpeg"]);
    let copy = picture(0, NOW + 48 * HOUR);
    let mut succeeded = record(TaskState::Succeeded);
    succeeded.result = Some(StoredResult::of(&links));
    succeeded.pictures = vec![copy.clone()];
    let copied = Success { images: vec![inline(&copy)], ..links.clone() };
    assert_eq!(succeeded.repeat("asked", "run-2", NOW), replay(links, vec![copy.clone()]));
    assert_eq!(succeeded.repeat("asked", "run-2", NOW + 24 * HOUR), replay(copied, vec![copy]));
}

#[test]
fn a_task_that_died_after_its_pictures_has_succeeded() {
    let mut running = record(TaskState::Running { lease_ms: NOW + 5 });
    running.pictures = vec![picture(0, NOW + HOUR)];
    assert_eq!(running.repeat("asked", "run-2", NOW), Repeat::InProgress);
    assert_eq!((running.state_at(NOW + 5), running.images_made()), (TaskState::Succeeded, 1));
    assert!(matches!(running.repeat("asked", "run-2", NOW + 5), Repeat::Replay(_)));
    assert_eq!(
        running.repeat("asked", "run-2", NOW + 5 + HOUR),
        Repeat::Completed,
        "it was paid, and is not run again"
    );
}

#[test]
fn a_repeated_key() {
    let running = record(TaskState::Running { lease_ms: NOW + 5 });
    assert_eq!(running.repeat("asked", "run-2", NOW), Repeat::InProgress);
    assert_eq!(running.repeat("asked", "run-2", NOW + 5), Repeat::Again, "its lease has ended");
    assert_eq!(running.repeat("asked", "run-1", NOW), Repeat::Ours);
    assert_eq!(running.repeat("other", "run-2", NOW), Repeat::Reused);
    assert_eq!(running.repeat("other", "run-2", NOW + 5), Repeat::Reused);

    let failed = record(TaskState::Failed { code: Some(Code::NoImage) });
    assert_eq!(failed.repeat("asked", "run-2", NOW), Repeat::Again);
    assert_eq!(failed.repeat("other", "run-2", NOW), Repeat::Reused);

    let mut succeeded = record(TaskState::Succeeded);
    assert_eq!(succeeded.repeat("asked", "run-2", NOW), Repeat::Completed, "its pixels are not kept");
    assert_eq!(succeeded.repeat("other", "run-2", NOW), Repeat::Reused);
    let success = success(&["https://links.example.com/a.jpeg"]);
    succeeded.result = Some(StoredResult::of(&success));
    assert_eq!(succeeded.repeat("asked", "run-2", NOW), replay(success, Vec::new()));
}

#[test]
fn stored_links_are_sent_again_until_they_expire() {
    let check = |urls: &[&str], at: u64, lives: bool| {
        let mut record = record(TaskState::Succeeded);
        record.result = Some(StoredResult::of(&success(urls)));
        let repeat = record.repeat("asked", "run-2", at);
        assert_eq!(matches!(repeat, Repeat::Replay(_)), lives, "{urls:?} at {}: {repeat:?}", at as i64 - NOW as i64);
    };
    let plain = "https://links.example.com/a.jpeg";
    check(&[plain], NOW + 22 * HOUR, true);
    check(&[plain], NOW + 23 * HOUR - 600_000 - 1, true);
    check(&[plain], NOW + 23 * HOUR - 600_000, false);
    // Signed at 08:00:00, which is now, for two hours.
    for names in ["X-Tos-Date=20261121T080000Z&X-Tos-Expires=7200", "X-Amz-Expires=7200&X-Amz-Date=20261121T080000Z"] {
        let signed = format!("https://links.example.com/a.jpeg?{names}&X-Tos-Signature=0");
        check(&[&signed], NOW + 2 * HOUR - 600_000 - 1, true);
        check(&[&signed], NOW + 2 * HOUR - 600_000, false);
        check(&[plain, &signed], NOW + 2 * HOUR, false);
    }
    for odd in ["X-Tos-Date=yesterday", "X-Tos-Date=20261340T080000Z", "X-Tos-Expires=-1", "X-Tos-Expires=1e9"] {
        let url = format!("https://links.example.com/a.jpeg?{odd}");
        check(&[&url], NOW + 22 * HOUR, true);
        check(&[&url], NOW + 23 * HOUR, false);
    }
    check(&["https://a.example.com/?X-Tos-Expires=18446744073709551615"], NOW + 22 * HOUR, true);
    check(&["not a link"], NOW, false);
}

#[test]
fn a_stored_success_is_replayed_as_it_was() {
    let stored_success =
        success(&["https://links.example.com/a.jpeg?X-Tos-Expires=86400", "https://links.example.com/b.jpeg"]);
    let links = StoredResult::of(&stored_success);
    let stored = serde_json::to_string(&links).unwrap();
    let again: StoredResult = serde_json::from_str(&stored).unwrap();
    assert_eq!(again, links);
    let mut record = record(TaskState::Succeeded);
    record.result = Some(again);
    assert_eq!(record.repeat("asked", "run-2", NOW), replay(stored_success, Vec::new()));
}

#[test]
fn a_fingerprint_is_of_all_parts() {
    let all = [
        fingerprint([]),
        fingerprint([""]),
        fingerprint(["ab"]),
        fingerprint(["a", "b"]),
        fingerprint(["", "ab"]),
        fingerprint(["ab", ""]),
    ];
    for (at, one) in all.iter().enumerate() {
        assert_eq!(one.len(), 64);
        assert!(!all[..at].contains(one), "{at}");
    }
    assert_eq!(fingerprint(["a", "b"]), fingerprint(["a", "b"]));
}
