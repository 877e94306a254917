use allocation_counter::measure;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shared::config::{ImageUpstream, KeyAs, KeySource};
use shared::input::InlineContent;
use shared::problem::Lang;
use shared::upstream::ModelFamily;

use super::*;

const PIXEL: &str = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mP4z8AAAAMBAQD3A0FDAAAAAElFTkSuQmCC";

fn api(modes: &[ImageApiMode]) -> ImageApiConfig {
    let upstream = |(number, mode): (usize, &ImageApiMode)| {
        Arc::new(ImageUpstream {
            number,
            name: format!("upstream-{number}"),
            mode: *mode,
            base_url: "https://relay.example.com/".parse().unwrap(),
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

fn parse(mode: ImageApiMode, body: &str) -> Result<GenerateInput, Problem> {
    GenerateInput::parse(body, &api(&[mode]), LocalLinks::Refused)
}

fn good(body: &Value) -> GenerateInput {
    parse(ImageApiMode::Chat, &body.to_string())
        .unwrap_or_else(|problem| panic!("{body}: {}", problem.reason(Lang::En)))
}

/// A picture of this many bytes.
fn picture(byte_count: usize) -> String {
    let mut bytes = STANDARD.decode(PIXEL.split_once(',').unwrap().1).unwrap();
    bytes.resize(byte_count, 0xA5);
    format!("data:image/png;base64,{}", STANDARD.encode(bytes))
}

#[test]
fn a_body_becomes_an_input() {
    let all = json!({
        "unknown": [{"prompt": "y"}], "prompt": " a cat\n", "n": 3.0, "model": "model-b", "aspect_ratio": "21:9",
        "format": "events", "image_inputs": [PIXEL, "https://EXAMPLE.com/a.png#b"],
    });
    let input = good(&all);
    assert_eq!((&*input.prompt, &*input.route.model, input.n, input.format), ("a cat", "model-b", 3, Format::Events));
    assert_eq!(input.aspect_ratio.map(|ratio| (ratio.name, ratio.width, ratio.height)), Some(("21:9", 21, 9)));
    let urls: Vec<_> = input.pictures.iter().map(|picture| picture.url().unwrap()).collect();
    assert_eq!(urls, [PIXEL, "https://example.com/a.png"]);

    let nulls = json!({
        "prompt": "x", "n": null, "model": null, "aspect_ratio": null, "format": null, "image_inputs": null,
    });
    for body in [json!({"prompt": "x"}), nulls] {
        let input = good(&body);
        assert_eq!((&*input.prompt, &*input.route.model, input.n, input.format), ("x", "model-a", 1, Format::Chat));
        assert!(input.aspect_ratio.is_none() && input.pictures.is_empty());
    }
    assert_eq!(AspectRatio::NAMES, ["1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9"]);
    for name in AspectRatio::NAMES {
        assert_eq!(good(&json!({"prompt": "x", "aspect_ratio": name})).aspect_ratio.unwrap().name, *name);
    }
}

#[test]
fn a_picture_is_kept_in_the_form_that_its_mode_sends() {
    // As PHP writes it.
    let escaped = PIXEL.replace('/', "\\/");
    for text in [PIXEL, &escaped] {
        for mode in ImageApiMode::ALL {
            let input = parse(mode, &format!(r#"{{"prompt":"x","image_inputs":["{text}"]}}"#)).ok().unwrap();
            let InputPicture::Inline(picture) = &input.pictures[0] else { panic!("{mode:?}") };
            match &picture.content {
                InlineContent::DataUrl(url) => assert_eq!((url.as_str(), mode == ImageApiMode::Images), (PIXEL, false)),
                InlineContent::Bytes(bytes) => {
                    assert_eq!(mode, ImageApiMode::Images);
                    assert_eq!(*bytes, STANDARD.decode(PIXEL.split_once(',').unwrap().1).unwrap());
                }
            }
        }
    }
}

/// Every wrong type at every place, and every other rule: code, pointer and sentence.
#[test]
fn a_refusal_names_its_place() {
    const GIF: &str = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==";
    let link = "https://example.com/a.png";
    let wrong = |types: &[&str]| -> Vec<Value> {
        let all = [
            ("string", json!("5:7")),
            ("number", json!(7)),
            ("bool", json!(true)),
            ("list", json!([PIXEL])),
            ("object", json!({"a": 1})),
        ];
        all.into_iter().filter(|(name, _)| !types.contains(name)).map(|(_, value)| value).collect()
    };
    let mut rows: Vec<(Value, String)> = Vec::new();
    for (name, right) in [("prompt", "string"), ("model", "string"), ("aspect_ratio", "string"), ("format", "string")] {
        for value in wrong(&[right]) {
            let mut body = json!({"prompt": "x"});
            body[name] = value;
            rows.push((body, format!("invalid_request /{name} {name} must be a string")));
        }
    }
    for value in wrong(&[]) {
        let body = json!({"prompt": "x", "n": value});
        rows.push((body, "invalid_request /n n must be a whole number from 1 to 4".to_owned()));
    }
    for value in wrong(&["list"]) {
        let body = json!({"prompt": "x", "image_inputs": value});
        rows.push((body, "invalid_request /image_inputs image_inputs must be a list of strings".to_owned()));
    }
    for index in 0..3 {
        for value in wrong(&["string"]).into_iter().chain([Value::Null]) {
            let mut pictures = json!([PIXEL, link, PIXEL]);
            pictures[index] = value;
            let place = format!("/image_inputs/{index} image_inputs[{index}]");
            let body = json!({"prompt": "x", "image_inputs": pictures});
            rows.push((body, format!("invalid_request {place} must be a string")));
        }
    }
    let picture = |text: &str| json!({"prompt": "x", "image_inputs": [PIXEL, text]});
    let at = "/image_inputs/1 image_inputs[1] must";
    let ratios = AspectRatio::NAMES.join(", ");
    rows.extend([
        (json!({}), "invalid_request /prompt prompt is required".to_owned()),
        (json!({"prompt": null}), "invalid_request /prompt prompt is required".to_owned()),
        (json!({"prompt": " "}), "invalid_request /prompt prompt must have 1 to 4000 characters".to_owned()),
        (json!({"prompt": "x", "n": 0}), "invalid_request /n n must be a whole number from 1 to 4".to_owned()),
        (json!({"prompt": "x", "n": 5}), "invalid_request /n n must be a whole number from 1 to 4".to_owned()),
        (
            json!({"prompt": "x", "model": "model-c"}),
            "model_not_allowed /model model is not one of the available models".to_owned(),
        ),
        (
            json!({"prompt": "x", "aspect_ratio": "16x9"}),
            format!("invalid_request /aspect_ratio aspect_ratio must be one of {ratios}"),
        ),
        (
            json!({"prompt": "x", "aspect_ratio": ""}),
            format!("invalid_request /aspect_ratio aspect_ratio must be one of {ratios}"),
        ),
        (
            json!({"prompt": "x", "format": "xml"}),
            "invalid_request /format format must be one of chat, events".to_owned(),
        ),
        (
            json!({"prompt": "x", "image_inputs": vec![PIXEL; 4]}),
            "invalid_request /image_inputs image_inputs must have at most 3 items".to_owned(),
        ),
        (picture("y"), format!("invalid_image {at} be a picture as data:image/…;base64,…")),
        (picture("data:image/png;base64,AAAA"), format!("invalid_image {at} be a picture as data:image/…;base64,…")),
        (picture(GIF), format!("unsupported_media_type {at} be a PNG, JPEG or WebP picture")),
        (picture(&self::picture(4 * 1024 * 1024 + 1)), format!("image_too_large {at} have at most 4 MB")),
        (picture("https://10.0.0.1/"), format!("invalid_url {at} be an https link to a public host name")),
        (picture(&format!("{link}{}", "a".repeat(2048))), format!("invalid_url {at} have at most 2048 bytes")),
    ]);
    for (body, expected) in rows {
        let problem = parse(ImageApiMode::Chat, &body.to_string()).map(|_| ()).unwrap_err();
        let pointer = &problem.errors()[0].pointer;
        let found = format!("{} {pointer} {}", problem.code, problem.reason(Lang::En));
        assert_eq!(found, expected, "{}", body.to_string().chars().take(200).collect::<String>());
        let name = expected.split(' ').nth(2).unwrap();
        let chinese = problem.reason(Lang::Zh);
        assert!(chinese.starts_with(&format!("{name} ")) && chinese.chars().any(|c| c > '\u{4e00}'), "{chinese}");
        assert_eq!(problem.errors()[0].code, problem.code);
    }
}

#[test]
fn a_link_is_refused_where_the_upstream_accepts_none() {
    let body = json!({"prompt": "x", "image_inputs": [PIXEL, "https://example.com/a.png"]}).to_string();
    for (mode, name) in [(ImageApiMode::Images, "images"), (ImageApiMode::Gemini, "gemini")] {
        let problem = parse(mode, &body).map(|_| ()).unwrap_err();
        let expected = format!("image_inputs[1] must be a data URL: the upstream mode {name} accepts no links");
        assert_eq!((problem.code, problem.reason(Lang::En)), (Code::InvalidImage, expected));
    }
}

#[test]
fn another_request_has_another_fingerprint() {
    let body = json!({"prompt": "x", "n": 2, "aspect_ratio": "16:9", "model": "model-a", "image_inputs": [PIXEL]});
    let fingerprint = good(&body).fingerprint();
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        good(&body).fingerprint()
    };
    let other = picture(200);
    let others = [
        with("prompt", json!("y")),
        with("n", json!(1)),
        with("aspect_ratio", json!("9:16")),
        with("aspect_ratio", json!(null)),
        with("model", json!("model-b")),
        with("image_inputs", json!([])),
        with("image_inputs", json!([PIXEL, PIXEL])),
        with("image_inputs", json!([other])),
        with("image_inputs", json!([PIXEL, other])),
        with("image_inputs", json!([other, PIXEL])),
        with("image_inputs", json!(["https://example.com/a.png"])),
    ];
    for (at, one) in others.iter().enumerate() {
        assert!(*one != fingerprint && !others[..at].contains(one), "{at}");
    }
    for same in [
        with("format", json!("events")),
        with("n", json!(2.0)),
        with("prompt", json!(" x ")),
        with("model", json!(null)),
        with("unknown", json!(1)),
        with("image_inputs", json!([PIXEL.replace("image/png", "IMAGE/PNG")])),
    ] {
        assert_eq!(same, fingerprint);
    }
    // A deployment may change its mode between two attempts.
    for mode in ImageApiMode::ALL {
        assert_eq!(parse(mode, &body.to_string()).ok().unwrap().fingerprint(), fingerprint, "{mode:?}");
    }
}

/// The decoded picture is held only where it is what the upstream is sent, and nothing is held twice.
#[test]
fn a_full_body_costs_at_most_three_times_its_size() {
    const MIB: usize = 1024 * 1024;
    let large = picture(4 * MIB);
    let two = [picture(2 * MIB), picture(2 * MIB + MIB / 4)];
    let escaped = picture(MIB + 3 * MIB / 4).replace("pa", "\\u0070a");
    // A buffer that grows by doubling would be twice as large as the text.
    let mut late = large.clone();
    late.replace_range(late.len() - 8..late.len() - 7, "\\u0070");
    let plain = |pictures: &[String]| json!(pictures).to_string();
    let rows = [
        ("a large picture", plain(std::slice::from_ref(&large)), 1.1),
        ("two pictures", plain(&two), 1.1),
        ("an escaped picture", format!("[\"{escaped}\"]"), 2.1),
        ("an escape near the end", format!("[\"{late}\"]"), 2.1),
    ];
    for (name, pictures, share) in rows {
        let body = format!(r#"{{"prompt":"x","image_inputs":{pictures}}}"#);
        assert!((5 * MIB..7 * MIB).contains(&body.len()), "{name}: {}", body.len());
        for mode in ImageApiMode::ALL {
            let mut input = None;
            let peak = measure(|| input = parse(mode, &body).ok()).bytes_max;
            assert!(input.is_some(), "{name}");
            let share = if mode == ImageApiMode::Images && share < 2.0 { 0.8 } else { share };
            assert!(peak as f64 <= share * body.len() as f64, "{name} {mode:?}: {peak} of {}", body.len());
        }
    }
}

#[test]
fn a_route_takes_what_one_of_its_upstreams_can_be_sent() {
    use ImageApiMode::{Ark, Chat, Gemini, Images};
    let body = |pictures: &[&str]| json!({"prompt": "x", "image_inputs": pictures}).to_string();
    let link = "https://example.com/a.png";
    let parsed = |modes: &[ImageApiMode], pictures: &[&str]| {
        GenerateInput::parse(&body(pictures), &api(modes), LocalLinks::Refused)
    };
    let names = |input: &GenerateInput| input.targets().map(|target| target.upstream.mode).collect::<Vec<_>>();
    for (modes, expected) in
        [(vec![Images, Chat, Gemini], vec![Chat]), (vec![Chat, Images, Ark], vec![Chat, Ark]), (vec![Ark], vec![Ark])]
    {
        assert_eq!(names(&parsed(&modes, &[PIXEL, link]).unwrap()), expected);
        assert_eq!(names(&parsed(&modes, &[PIXEL]).unwrap()), modes);
    }
    let refused = parsed(&[Images, Gemini], &[link]).err().unwrap();
    assert_eq!(refused.code, Code::InvalidImage);

    let mixed = parsed(&[Images, Chat], &[PIXEL]).unwrap();
    let only_images = parsed(&[Images], &[PIXEL]).unwrap();
    let [InputPicture::Inline(mixed), InputPicture::Inline(bytes)] = [&mixed.pictures[0], &only_images.pictures[0]]
    else {
        panic!("both are inline")
    };
    assert!(mixed.data_url().is_some() && bytes.data_url().is_none());
    assert_eq!(mixed.bytes(), bytes.bytes());
    assert_eq!(mixed.bytes(), Some(STANDARD.decode(PIXEL.split_once(',').unwrap().1).unwrap()));
}
