//! The bodies of both routes. The functions' own code reads them, without the AWS SDKs that their crates need.

use std::sync::{Arc, LazyLock};

use shared::config::{ImageApiConfig, ImageApiMode, ImageRoute, ImageTarget, ImageUpstream, KeyAs, KeySource};
use shared::image_url::LocalLinks;
use shared::upstream::ModelFamily;

use self::faceflip_stream::input::FaceflipInput;
use self::generate_stream::input::GenerateInput;
use crate::checks::fuzz::request::{check_accepted, check_problem};

#[path = "../../../functions/generate-stream/src"]
#[expect(dead_code, reason = "the function uses it")]
mod generate_stream {
    pub(super) mod input;
}

#[path = "../../../functions/faceflip-stream/src"]
#[expect(dead_code, reason = "the function uses it")]
mod faceflip_stream {
    pub(super) mod input;
}

/// Both routes refuse with the name of a member, and accept within their limits.
pub(crate) fn check(input: &[u8]) {
    let task_id = FaceflipInput::task_id_of(input);
    let Ok(body) = std::str::from_utf8(input) else { return };
    for api in &*APIS {
        match GenerateInput::parse(body, api, LocalLinks::Refused) {
            Ok(input) => {
                assert!((1..=4000).contains(&input.prompt.chars().count()) && input.prompt.trim() == input.prompt);
                assert!((1..=4).contains(&input.n) && input.pictures.len() <= 3 && input.targets().count() > 0);
                input.pictures.iter().for_each(check_accepted);
            }
            Err(problem) => {
                check_problem(&problem, &["prompt", "image_inputs", "n", "model", "aspect_ratio", "format", "delivery"])
            }
        }
    }
    match FaceflipInput::parse(body, LocalLinks::Refused) {
        Ok(input) => {
            assert_eq!(task_id.as_ref(), Some(&input.task_id));
            assert!((1..=256).contains(&input.task_id.chars().count()) && (1..=10).contains(&input.pictures.len()));
            input.pictures.iter().for_each(check_accepted);
        }
        Err(problem) => check_problem(&problem, &["task_id", "urls", "prompt"]),
    }
}

/// Routes that accept links, and that do not.
static APIS: LazyLock<[ImageApiConfig; 3]> = LazyLock::new(|| {
    [&[ImageApiMode::Chat][..], &[ImageApiMode::Images], &[ImageApiMode::Gemini, ImageApiMode::Ark]].map(api)
});

fn api(modes: &[ImageApiMode]) -> ImageApiConfig {
    let upstream = |(number, mode): (usize, &ImageApiMode)| {
        Arc::new(ImageUpstream {
            number,
            name: format!("upstream-{number}"),
            mode: *mode,
            base_url: "https://relay.example.com/".parse().expect("a URL"),
            key: KeySource::Missing { given: "", managed: "" },
            key_as: KeyAs::Bearer,
        })
    };
    let upstreams: Vec<_> = modes.iter().enumerate().map(upstream).collect();
    let route = |model: &str| {
        let target = |upstream: &Arc<ImageUpstream>| ImageTarget {
            id: upstream.number,
            upstream: upstream.clone(),
            model: model.to_owned(),
            family: ModelFamily::of(model),
            price: None,
        };
        Arc::new(ImageRoute { model: model.to_owned(), targets: upstreams.iter().map(target).collect() })
    };
    ImageApiConfig { routes: ["model-a", "model-b"].map(route).into(), upstreams, previews: 0 }
}
