//! The pictures that the fakes drew last, so that a page can compare them with those that arrived.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::picture::Picture;

/// Number of pictures that are kept, some megabytes each.
const KEPT: usize = 16;

/// The last drawn pictures, without drafts.
#[derive(Clone, Debug, Default)]
pub struct Drawings(Arc<Mutex<Recent>>);

#[derive(Debug, Default)]
struct Recent {
    /// Number of the newest picture; the first is 1.
    count: u64,
    /// Oldest first.
    pictures: VecDeque<Picture>,
}

impl Recent {
    fn numbered(&self) -> impl Iterator<Item = (u64, &Picture)> {
        (self.count + 1 - self.pictures.len() as u64..).zip(&self.pictures)
    }
}

impl Drawings {
    pub(crate) fn add(&self, picture: &Picture) {
        let mut recent = self.recent();
        // A link draws its picture each time it is fetched.
        if recent.pictures.iter().any(|known| known.sha256 == picture.sha256) {
            return;
        }
        recent.count += 1;
        recent.pictures.push_back(picture.clone());
        if recent.pictures.len() > KEPT {
            recent.pictures.pop_front();
        }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /dev/drawings?after=<number>`: the newer pictures, oldest first. `GET /dev/drawings/<number>`: one picture.
pub fn routes(drawings: Drawings) -> Router {
    Router::new().route("/dev/drawings", get(list)).route("/dev/drawings/{number}", get(picture)).with_state(drawings)
}

async fn list(State(drawings): State<Drawings>, RawQuery(query): RawQuery) -> Response {
    let after = query.as_deref().and_then(|query| query.strip_prefix("after=")?.parse().ok()).unwrap_or(0);
    let newer: Vec<Value> = drawings
        .recent()
        .numbered()
        .filter(|(number, _)| *number > after)
        .map(|(number, Picture { bytes, media_type, width, height, sha256 })| {
            let bytes = bytes.len();
            json!({"number": number, "sha256": sha256, "media_type": media_type, "bytes": bytes, "width": width,
                   "height": height})
        })
        .collect();
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], Value::from(newer).to_string())
        .into_response()
}

async fn picture(State(drawings): State<Drawings>, Path(number): Path<u64>) -> Response {
    let found = drawings.recent().numbered().find(|(known, _)| *known == number).map(|(_, picture)| picture.clone());
    match found {
        Some(Picture { bytes, media_type, .. }) => {
            ([(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "no-store")], bytes).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::{PictureFormat, draw};

    #[test]
    fn the_last_pictures_are_kept_with_their_numbers() {
        let drawings = Drawings::default();
        for variant in 0..KEPT as u32 + 3 {
            let picture = draw("a lake", variant, PictureFormat::Png, 8, 8);
            drawings.add(&picture);
            drawings.add(&picture);
        }
        let numbers: Vec<_> = drawings.recent().numbered().map(|(number, _)| number).collect();
        assert_eq!(numbers, (4..=KEPT as u64 + 3).collect::<Vec<_>>());
    }
}
