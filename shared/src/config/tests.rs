use super::*;
use crate::media::label::AigcCodes;
use std::collections::HashSet;

const BASE: (&str, &str) = ("IMAGE_API_BASE_URL", "https://api.example.com");
/// The variables that all functions require.
const COMMON: [(&str, &str); 3] =
    [("SUPABASE_URL", "https://abc.supabase.co/"), ("RATE_LIMITS_TABLE", "rate-limits"), ("LEDGER_TABLE", "ledger")];

#[test]
fn defaults() {
    let GenerateConfig { common, image_api, chat_n, label_rules, timing, ark_size, ark_watermark } =
        generate(&[BASE]).unwrap();
    assert!(ark_size == "2K" && !ark_watermark);
    let CommonConfig { sign_in, ledger, pictures, secrets_endpoint } = common;
    assert!(!chat_n && secrets_endpoint.is_none() && label_rules.is_none());
    let SupabaseConfig { key_set, legacy_secret, rules } = sign_in.supabase.unwrap();
    assert_eq!(key_set.as_str(), "https://abc.supabase.co/auth/v1/.well-known/jwks.json");
    assert!(sign_in.is_required && matches!(legacy_secret, KeySource::Missing { .. }));
    let issuer = "https://abc.supabase.co/auth/v1".to_owned();
    assert_eq!(rules, ClaimRules { issuer, allows_anonymous: false, oauth_clients: Vec::new() });
    let expected = LedgerConfig {
        rate_limits_table: "rate-limits".into(),
        ledger_table: "ledger".into(),
        limit: 5,
        guest_limit: 2,
        window_ms: 60_000,
        daily_limit: 100,
        daily_budget: 0,
        max_in_flight: 4,
        blocked_users: Vec::new(),
        fails_open: false,
        credits_initial: None,
        log_days: 30,
        endpoint: None,
    };
    assert_eq!(ledger, expected);
    assert!(pictures.bucket.is_none() && pictures.link_hosts.is_empty());
    assert_eq!((pictures.days, pictures.put, pictures.link.as_secs()), (7, Duration::from_secs(8), 3600));
    let upstream = only(&image_api);
    assert_eq!(
        (upstream.mode, upstream.key_as, upstream.name.as_str()),
        (ImageApiMode::Chat, KeyAs::Bearer, "image-api")
    );
    assert_eq!(models(&image_api), ["gemini-2.5-flash-image"]);
    assert!(matches!(upstream.key, KeySource::Missing { given: "IMAGE_API_KEY", .. }));
    assert_eq!(
        timing,
        Timing {
            head_hold: Duration::from_secs(8),
            ping: Duration::from_secs(10),
            client_stall: Duration::from_secs(30),
            cancel_poll: Duration::from_secs(2),
            connect: Duration::from_secs(3),
            head: Duration::from_secs(150),
            idle: Duration::from_secs(120),
            progress: Duration::from_secs(150),
            total: Duration::from_secs(600),
            cooldown: Duration::from_secs(30),
        }
    );
    let FaceflipConfig { ark, timing: same, .. } = faceflip(&[]).unwrap();
    assert_eq!(same, timing);
    assert_eq!(
        ark.endpoint("/images/generations").as_str(),
        "https://ark.cn-beijing.volces.com/api/v3/images/generations"
    );
    assert_eq!(ark.model, "doubao-seedream-4-0-250828");
    assert_eq!((ark.size.as_str(), ark.max_images, ark.watermark), ("2K", 3, false));
    assert_eq!(ark.family.name, "seedream-4.0");
    assert!(matches!(ark.key, KeySource::Missing { .. }) && ark.prompt.contains("人脸"));
}

#[test]
fn values_replace_the_defaults() {
    let image_api = generate(&[
        BASE,
        ("IMAGE_API_MODE", "chat"),
        ("IMAGE_API_KEY", " canary\n"),
        ("IMAGE_CHAT_MODEL", "[线路一]gemini-3"),
        ("IMAGE_MODELS", "a/b, ,gemini-2.5-flash-image,a/b,"),
    ])
    .unwrap()
    .image_api;
    assert!(matches!(&only(&image_api).key, KeySource::Given(secret) if secret.expose() == "canary"));
    assert_eq!(models(&image_api), ["[线路一]gemini-3", "a/b", "gemini-2.5-flash-image"]);
    assert!(image_api.route(Some("a/b")).is_some() && image_api.route(Some("a")).is_none());
    assert_eq!(
        (image_api.route(None).unwrap().model.as_str(), image_api.targets()),
        ("[线路一]gemini-3", vec![0, 0, 0])
    );

    let config = faceflip(&[
        ("ARK_SIZE", "4k"),
        ("ARK_MAX_IMAGES", "15"),
        ("ARK_WATERMARK", "True"),
        ("FACEFLIP_PROMPT", "合影"),
        ("PING_MS", "50"),
        ("HEAD_HOLD_MS", "0"),
        ("ARK_MODEL", ""),
    ])
    .unwrap();
    let ark = config.ark;
    assert_eq!((ark.size.as_str(), ark.max_images, ark.watermark), ("4K", 15, true));
    assert_eq!((ark.prompt.as_str(), ark.model.as_str()), ("合影", "doubao-seedream-4-0-250828"));
    assert_eq!(config.timing.ping, Duration::from_millis(50));
    assert_eq!(config.timing.head_hold, Duration::ZERO);
    for (set, family) in [
        (&[("ARK_MODEL", "dola-seedream-5-0-pro-260628")][..], "seedream-5.0-pro"),
        (&[("ARK_MODEL", "ep-1")], "seedream-4.0"),
        (&[("ARK_MODEL", "ep-1"), ("ARK_FAMILY", "Seedream-5.0-Flash")], "seedream-5.0-flash"),
        (&[("ARK_MODEL", "a-new-one")], "any other"),
    ] {
        assert_eq!(faceflip(set).unwrap().ark.family.name, family, "{set:?}");
    }
    let sized = faceflip(&[("ARK_SIZE", "2304X1728")]).unwrap();
    assert_eq!(sized.ark.size, "2304x1728");
}

/// An invented code with a valid check character.
const CODE: &str = "001191110000100000000R10001";

#[test]
fn labels_need_a_valid_provider_code() {
    let rules = |set: &[(&'static str, &'static str)]| faceflip(set).unwrap().label_rules;
    let codes = |producer: &str, propagator: &str| {
        Some(AigcCodes { producer: producer.to_owned(), propagator: propagator.to_owned() })
    };
    let distributes = "001191110000100000000R20001";
    let all = LabelRules { codes: codes(CODE, CODE), writes_source_type: true, is_edit: false, keeps_c2pa: false };
    assert_eq!(rules(&[("AIGC_PRODUCER", CODE)]), Some(all.clone()));
    let set =
        [("AIGC_PRODUCER", CODE), ("AIGC_PROPAGATOR", distributes), ("AIGC_C2PA", "keep"), ("AI_SOURCE_TYPE", "off")];
    let expected =
        LabelRules { codes: codes(CODE, distributes), writes_source_type: false, is_edit: false, keeps_c2pa: true };
    assert_eq!(generate(&[&[BASE], set.as_slice()].concat()).unwrap().label_rules, Some(expected));
    assert_eq!(rules(&[("AI_SOURCE_TYPE", "on")]), Some(LabelRules { codes: None, ..all }));
    assert_eq!(rules(&[("AI_SOURCE_TYPE", "off")]), None);

    // No suffix, and a subject without a unified social credit code.
    for code in ["001191110000100000000R00000", "002112345678901234567810000"] {
        assert!(rules(&[("AIGC_PRODUCER", code)]).is_some(), "{code}");
    }
    // A wrong check character, two swapped digits, another service, and other forms.
    for code in [
        "001191110000100000000X10001",
        "001191110000010000000R10001",
        distributes,
        "001191110000100000000R1000",
        "001191110000100000000R100011",
        "001191110000100000000x10001",
        "101191110000100000000R10001",
        "0011I1110000100000000R10001",
        "0011911100001000000０X1001",
        "我们的公司",
    ] {
        let mistakes = faceflip(&[("AIGC_PRODUCER", code)]).unwrap_err();
        assert_eq!(variables(mistakes), ["AIGC_PRODUCER"], "{code}");
    }
    let alone = generate(&[BASE, ("AIGC_PROPAGATOR", CODE), ("AIGC_C2PA", "no"), ("AI_SOURCE_TYPE", "1")]);
    assert_eq!(variables(alone.unwrap_err()), ["AIGC_C2PA", "AI_SOURCE_TYPE", "AIGC_PROPAGATOR"]);
}

#[test]
fn the_visible_label_of_ark_follows_the_provider_code() {
    let watermark = |set: &[(&'static str, &'static str)]| faceflip(set).unwrap().ark.watermark;
    assert!(!watermark(&[]) && watermark(&[("AIGC_PRODUCER", CODE)]));
    assert!(!watermark(&[("AI_SOURCE_TYPE", "on")]));
    assert!(!watermark(&[("AIGC_PRODUCER", CODE), ("ARK_WATERMARK", "false")]));
    assert!(watermark(&[("ARK_WATERMARK", "true")]));
}

#[test]
fn each_mode_has_a_model_and_addresses_of_its_own() {
    let api = |mode, base| generate(&[("IMAGE_API_BASE_URL", base), ("IMAGE_API_MODE", mode)]).unwrap().image_api;
    let images = api("images", "https://a.test/v1");
    assert_eq!((only(&images).mode, only(&images).key_as), (ImageApiMode::Images, KeyAs::Bearer));
    assert_eq!(models(&images), ["gpt-image-2", "gemini-2.5-flash-image"]);
    assert_eq!(only(&images).endpoint("/v1/images/edits").as_str(), "https://a.test/v1/images/edits");
    let gemini = api("gemini", "https://a.test/relay/v1beta/");
    assert_eq!((only(&gemini).mode, only(&gemini).key_as), (ImageApiMode::Gemini, KeyAs::GoogApiKey));
    assert_eq!(models(&gemini), ["gemini-2.5-flash-image"]);
    assert_eq!(
        only(&gemini).gemini_endpoint("[a]b/c?d").as_str(),
        "https://a.test/relay/v1beta/models/[a]b%2Fc%3Fd:streamGenerateContent?alt=sse"
    );
    let chat = generate(&[BASE, ("CHAT_N", "on"), ("IMAGE_IMAGES_MODEL", "not read")]).unwrap();
    assert!(chat.chat_n);
    assert_eq!(
        variables(generate(&[BASE, ("IMAGE_API_MODE", "images"), ("IMAGE_IMAGES_MODEL", "a b")]).unwrap_err()),
        ["IMAGE_IMAGES_MODEL"]
    );
}

const UPSTREAMS: &str = r#"{
    "relay": {"mode": "chat", "base_url": "https://relay.example.com/v1", "key_secret_arn": "relay-key"},
    "openai": {"mode": "images", "base_url": "https://api.openai.example.com", "key": "canary"},
    "google": {"mode": "gemini", "base_url": "https://google.example.com", "key": "canary", "auth": "bearer"},
    "seedream": {"mode": "ark", "base_url": "https://ark.example.com/api/v3", "key_secret_arn": "ark-key", "auth": null}
}"#;
const ROUTES: &str = r#"{
    "gemini-2.5-flash-image": [
        {"upstream": "relay", "price": 0.039},
        "google",
        {"upstream": "seedream", "model": "doubao-seedream-4-0-250828"},
        {"upstream": "seedream", "model": "ep-1", "family": "Seedream-5.0-Flash"}
    ],
    "another": [{"upstream": "google", "model": "gemini-2.5-flash-image"}, "relay"],
    "gpt-image-2": ["openai"]
}"#;

#[test]
fn several_upstreams() {
    let api = generate(&[("IMAGE_UPSTREAMS", UPSTREAMS), ("IMAGE_ROUTES", ROUTES)]).unwrap().image_api;
    assert_eq!(models(&api), ["gemini-2.5-flash-image", "another", "gpt-image-2"], "in their order");
    let route = |model: Option<&str>| {
        let route = api.route(model).unwrap();
        let target = |target: &ImageTarget| format!("{} {} {}", target.id, target.upstream.name, target.model);
        route.targets.iter().map(target).collect::<Vec<_>>()
    };
    let expected = ["0 relay gemini-2.5-flash-image", "1 google gemini-2.5-flash-image"];
    assert_eq!(route(None)[..2], expected);
    assert_eq!(route(None)[2], "2 seedream doubao-seedream-4-0-250828");
    assert_eq!(route(Some("another")), ["1 google gemini-2.5-flash-image", "4 relay another"]);
    assert_eq!(api.targets(), [0, 2, 3, 3, 0, 1]);
    let targets = &api.route(None).unwrap().targets;
    let families: Vec<_> = targets.iter().map(|target| target.family.name).collect();
    assert_eq!(families, ["gemini-2.5", "gemini-2.5", "seedream-4.0", "seedream-5.0-flash"]);
    assert_eq!(targets[0].price.map(crate::price::Price::amount), Some(0.039));
    assert_eq!(targets[0].upstream.endpoint("/v1/x").as_str(), "https://relay.example.com/v1/x");
    assert_eq!(targets[2].upstream.endpoint("/images").as_str(), "https://ark.example.com/api/v3/images");
    assert!(
        matches!(&targets[0].upstream.key, KeySource::Managed { id, member: "IMAGE_API_KEY" } if id == "relay-key")
    );
    assert!(matches!(&targets[2].upstream.key, KeySource::Managed { member: "ARK_API_KEY", .. }));
    assert_eq!(targets[1].upstream.key_as, KeyAs::Bearer);
    assert!(!format!("{api:?}").contains("canary"));
}

#[test]
fn a_mistake_in_a_route_names_its_place() {
    let lambda = ("AWS_LAMBDA_FUNCTION_NAME", "generate-stream");
    let mistakes = generate(&[("IMAGE_UPSTREAMS", UPSTREAMS), ("IMAGE_ROUTES", ROUTES), lambda]).unwrap_err();
    let message = "must not be set on AWS: put the key in a secret, and its ARN in key_secret_arn";
    assert_eq!(
        mistakes.to_string(),
        format!("IMAGE_UPSTREAMS.openai.key {message}\nIMAGE_UPSTREAMS.google.key {message}")
    );
    let local = r#"{"a": {"mode": "chat", "base_url": "http://127.0.0.1:1", "key": "canary"}}"#;
    assert!(generate(&[("IMAGE_UPSTREAMS", local), ("IMAGE_ROUTES", r#"{"m": ["a"]}"#), lambda]).is_ok());

    let upstreams = r#"{
        "a": {"mode": "chat", "base_url": "http://canary.example.com", "key": "canary", "key_secret_arn": "canary"},
        "b": {"mode": "canary", "key": "canary\u0001canary", "auth": "canary"},
        "c": {"mode": "chat", "base_url": "https://c.example.com", "canary": 1},
        "d": {"base_url": "https://d.example.com"},
        "canary canary": {},
        "e": {"mode": "chat", "base_url": "https://e.example.com", "key_secret_arn": "canary canary"},
        "f": "canary",
        "f": {"mode": "chat", "base_url": "https://f.example.com", "key": "canary"}
    }"#;
    let routes = r#"{
        "none": [],
        "gone": ["canary"],
        "loop": ["a", {"upstream": "a", "model": "loop"}, {"upstream": "a", "model": "other"}],
        "to-a-model": ["none", {"model": "canary"}, {"upstream": "a", "model": "canary canary"}],
        "price": [{"upstream": "a", "price": "canary"}, {"upstream": "a", "price": -1, "model": "x"}],
        "two words": ["a"],
        "text": "canary"
    }"#;
    let mistakes = generate(&[("IMAGE_UPSTREAMS", upstreams), ("IMAGE_ROUTES", routes)]).unwrap_err().to_string();
    assert!(!mistakes.contains("canary"), "{mistakes}");
    let places: Vec<_> = mistakes.lines().map(|line| line.split_once(' ').unwrap()).collect();
    let expected = [
        ("IMAGE_UPSTREAMS[7]", "has the name of an earlier entry"),
        ("IMAGE_UPSTREAMS.a.base_url", "must begin with https://"),
        ("IMAGE_UPSTREAMS.a", "has key and key_secret_arn: keep one"),
        ("IMAGE_UPSTREAMS.b.mode", "must be chat, images, gemini or ark"),
        ("IMAGE_UPSTREAMS.b", "has no base_url"),
        ("IMAGE_UPSTREAMS.b.auth", "must be bearer, x-goog-api-key or api-key"),
        ("IMAGE_UPSTREAMS.b.key", "contains a control character"),
        ("IMAGE_UPSTREAMS.c", "has an unknown member"),
        ("IMAGE_UPSTREAMS.d", "has no mode"),
        ("IMAGE_UPSTREAMS.d", "has no key_secret_arn"),
        ("IMAGE_UPSTREAMS[4]", "must have a name"),
        ("IMAGE_UPSTREAMS.e.key_secret_arn", "must be the ARN"),
        ("IMAGE_UPSTREAMS.f", "must be a JSON object"),
        ("IMAGE_ROUTES.none", "has no route"),
        ("IMAGE_ROUTES.gone[0]", "is not the name of an upstream"),
        ("IMAGE_ROUTES.to-a-model[0]", "is a model: a route lists upstreams"),
        ("IMAGE_ROUTES.to-a-model[1]", "has no upstream"),
        ("IMAGE_ROUTES.to-a-model[2].model", "must be a model name"),
        ("IMAGE_ROUTES.price[0].price", "must be a number, 0 to 1000000"),
        ("IMAGE_ROUTES.price[1].price", "must be a number, 0 to 1000000"),
        ("IMAGE_ROUTES[5]", "must have a model name as its name"),
        ("IMAGE_ROUTES.text", "must be a list of upstreams"),
    ];
    assert_eq!(places.len(), expected.len(), "{mistakes}");
    for ((place, message), (expected_place, beginning)) in places.iter().zip(expected) {
        assert!(*place == expected_place && message.starts_with(beginning), "{place} {message}");
    }

    let routes =
        r#"{"m": [{"upstream": "seedream", "family": "canary"}, {"upstream": "relay", "family": "seedream-4.5"}]}"#;
    let mistakes = generate(&[("IMAGE_UPSTREAMS", UPSTREAMS), ("IMAGE_ROUTES", routes)]).unwrap_err().to_string();
    let lines: Vec<_> = mistakes.lines().collect();
    assert!(lines[0].starts_with("IMAGE_ROUTES.m[0].family must be seedream-4.0, "), "{mistakes}");
    assert_eq!(lines[1..], ["IMAGE_ROUTES.m[1].family is for upstreams of mode ark only"]);

    let looped = [("IMAGE_UPSTREAMS", UPSTREAMS), ("IMAGE_ROUTES", r#"{"m": ["relay", "google", "relay"]}"#)];
    let mistakes = generate(&looped).unwrap_err().to_string();
    assert!(mistakes.starts_with("IMAGE_ROUTES.m[2] is a loop"), "{mistakes}");
}

#[test]
fn one_upstream_and_several_exclude_each_other() {
    let both = [("IMAGE_UPSTREAMS", UPSTREAMS), ("IMAGE_ROUTES", ROUTES)];
    let one = [BASE, ("IMAGE_API_KEY", "canary"), ("IMAGE_CHAT_MODEL", "m")];
    let set: Vec<_> = both.into_iter().chain(one).collect();
    assert_eq!(variables(generate(&set).unwrap_err()), ["IMAGE_API_BASE_URL", "IMAGE_API_KEY", "IMAGE_CHAT_MODEL"]);
    for (set, variable) in [(&both[..1], "IMAGE_ROUTES"), (&both[1..], "IMAGE_UPSTREAMS")] {
        assert_eq!(variables(generate(set).unwrap_err()), [variable]);
    }
    for text in ["{", "[]", "canary", "{}", "{\"a\":1,}"] {
        let mistakes = generate(&[("IMAGE_UPSTREAMS", text), ("IMAGE_ROUTES", ROUTES)]).unwrap_err();
        assert_eq!(variables(mistakes), ["IMAGE_UPSTREAMS"], "{text}");
    }
    let secret = ("IMAGE_ROUTES_SECRET_ARN", "routes");
    let not_read = generate(&[secret]).unwrap_err().to_string();
    assert!(not_read.starts_with("IMAGE_ROUTES_SECRET_ARN names a secret that was not read"), "{not_read}");
    let twice = generate(&[secret, both[1]]).unwrap_err().to_string();
    assert!(twice.starts_with("IMAGE_ROUTES_SECRET_ARN and IMAGE_UPSTREAMS or IMAGE_ROUTES are both set"), "{twice}");
}

#[test]
fn sign_in_variables() {
    let secret = "x".repeat(32);
    let users = [
        ("SUPABASE_URL", "http://127.0.0.1:8787"),
        ("SUPABASE_JWT_SECRET", secret.as_str()),
        ("ALLOW_ANONYMOUS", "true"),
        ("ALLOWED_OAUTH_CLIENTS", " a, b,,"),
    ];
    let supabase = faceflip(&users).unwrap().common.sign_in.supabase.unwrap();
    assert!(matches!(supabase.legacy_secret, KeySource::Given(_)));
    let issuer = "http://127.0.0.1:8787/auth/v1".to_owned();
    let oauth_clients = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(supabase.rules, ClaimRules { issuer, allows_anonymous: true, oauth_clients });

    let no_project = faceflip(&[("SUPABASE_URL", ""), ("FACEFLIP_AUTH", "anonymous")]).unwrap().common.sign_in;
    assert!(no_project.supabase.is_none() && !no_project.is_required);
    let optional = faceflip(&[("FACEFLIP_AUTH", "anonymous")]).unwrap().common.sign_in;
    assert!(optional.supabase.is_some() && !optional.is_required, "a token is checked where it is sent");
    let both = [("FACEFLIP_AUTH", "anonymous"), ("CREDITS", "on")];
    assert_eq!(
        faceflip(&both).unwrap_err().to_string(),
        "FACEFLIP_AUTH must be required while CREDITS is on: only users have credits"
    );
    let required = generate(&[BASE, ("FACEFLIP_AUTH", "anonymous"), ("CREDITS", "on")]).unwrap().common.sign_in;
    assert!(required.is_required, "FACEFLIP_AUTH is for the other route");

    let wrong = [
        ("SUPABASE_URL", ""),
        ("SUPABASE_URL", "http://abc.supabase.co"),
        ("SUPABASE_JWT_SECRET", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("ALLOW_ANONYMOUS", "yes"),
        ("ALLOWED_OAUTH_CLIENTS", "a b"),
        ("FACEFLIP_AUTH", "none"),
    ];
    for (name, value) in wrong {
        let mistakes = faceflip(&[(name, value)]).unwrap_err();
        assert_eq!(mistakes.0.iter().map(|mistake| mistake.variable).collect::<Vec<_>>(), [name], "{value}");
    }
}

#[test]
fn ledger_variables() {
    let set = [
        ("CREDITS", "on"),
        ("CREDITS_INITIAL", "10"),
        ("RL_FAIL_MODE", "open"),
        ("RL_ANON_LIMIT", "1"),
        ("DAILY_LIMIT", "2"),
        ("DAILY_BUDGET", "1000"),
        ("MAX_IN_FLIGHT", "1"),
        ("BLOCKED_USERS", "0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60, 1f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60"),
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:8000"),
    ];
    let config = faceflip(&set).unwrap();
    assert_eq!(config.ark.max_images, 2, "a call asks for no more pictures than a day has");
    let ledger = config.common.ledger;
    assert_eq!((ledger.daily_limit, ledger.daily_budget, ledger.max_in_flight), (2, 1000, 1));
    let blocked: Vec<_> = ledger.blocked_users.iter().map(UserId::as_str).collect();
    assert_eq!(blocked, ["0f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60", "1f5e3c1e-6a0b-4a56-9f5e-2b1d3c4e5f60"]);
    assert_eq!((ledger.credits_initial, ledger.fails_open, ledger.guest_limit), (Some(10), true, 1));
    assert_eq!(ledger.endpoint.unwrap().port(), Some(8000));
    let wrong = [
        ("RATE_LIMITS_TABLE", ""),
        ("LEDGER_TABLE", "a table"),
        ("LEDGER_TABLE", "ab"),
        ("RL_LIMIT", "0"),
        ("RL_WINDOW_MS", "60"),
        ("RL_FAIL_MODE", "ajar"),
        ("DAILY_LIMIT", "0"),
        ("DAILY_BUDGET", "none"),
        ("MAX_IN_FLIGHT", "0"),
        ("MAX_IN_FLIGHT", "101"),
        ("BLOCKED_USERS", "demo@example.com"),
        ("BLOCKED_USERS", "0F5E3C1E-6A0B-4A56-9F5E-2B1D3C4E5F60"),
        ("CREDITS", "true"),
        ("CREDITS_INITIAL", "-1"),
        ("LOG_DAYS", "0"),
    ];
    for (name, value) in wrong {
        let mistakes = faceflip(&[(name, value)]).unwrap_err();
        assert_eq!(mistakes.0.iter().map(|mistake| mistake.variable).collect::<Vec<_>>(), [name], "{value}");
    }
}

#[test]
fn the_address_of_a_bucket() {
    let check = |set: &[(&str, &str)], expected: &str, region: &str| {
        let set: Vec<_> =
            [("PICTURES_BUCKET", "pictures"), ("AWS_REGION", "us-east-1")].iter().chain(set).copied().collect();
        let bucket = faceflip(&set).unwrap().common.pictures.bucket.unwrap();
        assert_eq!((bucket.url.as_str(), bucket.region.as_str()), (expected, region), "{set:?}");
    };
    check(&[], "https://pictures.s3.us-east-1.amazonaws.com/", "us-east-1");
    let china = [("PICTURES_REGION", "cn-north-1")];
    check(&china, "https://pictures.s3.cn-north-1.amazonaws.com.cn/", "cn-north-1");
    check(&[("PICTURES_PATH_STYLE", "on")], "https://s3.us-east-1.amazonaws.com/pictures", "us-east-1");
    let r2 = [("PICTURES_ENDPOINT", "https://a1.r2.cloudflarestorage.com"), ("PICTURES_REGION", "auto")];
    check(&r2, "https://pictures.a1.r2.cloudflarestorage.com/", "auto");
    let supabase =
        [("PICTURES_ENDPOINT", "https://abc.storage.supabase.co/storage/v1/s3/"), ("PICTURES_PATH_STYLE", "ON")];
    check(&supabase, "https://abc.storage.supabase.co/storage/v1/s3/pictures", "us-east-1");
    let local = [("PICTURES_ENDPOINT", "https://a.test"), ("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9000")];
    check(&local, "http://127.0.0.1:9000/pictures", "us-east-1");
    check(&[("AWS_ENDPOINT_URL_S3", "http://localhost:9000")], "http://localhost:9000/pictures", "us-east-1");
}

#[test]
fn picture_variables() {
    let bucket = ("PICTURES_BUCKET", "pictures");
    let pair = [("PICTURES_ACCESS_KEY_ID", "id-1"), ("PICTURES_SECRET_ACCESS_KEY", "canary")];
    let set = [
        bucket,
        pair[0],
        pair[1],
        ("PICTURES_REGION", "auto"),
        ("PICTURES_CHECKSUM", "off"),
        ("PICTURE_DAYS", "30"),
        ("PICTURE_LINK_HOSTS", ".Volces.com, img.example.com,127.0.0.1"),
    ];
    let pictures = faceflip(&set).unwrap().common.pictures;
    assert_eq!(pictures.link_hosts, [".volces.com", "img.example.com", "127.0.0.1"]);
    assert!(!format!("{pictures:?}").contains("canary"));
    let store = pictures.bucket.unwrap();
    assert!(
        matches!(&store.key, BucketKey::Given { secret, .. } if secret.expose() == "canary") && !store.sends_checksum
    );
    let managed = [bucket, ("AWS_REGION", "us-east-1"), ("PICTURES_KEY_SECRET_ARN", "store-key")];
    let store = faceflip(&managed).unwrap().common.pictures.bucket.unwrap();
    assert!(matches!(store.key, BucketKey::Managed { id } if id == "store-key"));

    let wrong: [(&[(&str, &str)], &str); 14] = [
        (&[("PICTURES_BUCKET", "my.bucket")], "PICTURES_BUCKET"),
        (&[("PICTURES_BUCKET", "ab")], "PICTURES_BUCKET"),
        (&[("AWS_REGION", "")], "PICTURES_REGION"),
        (&[("PICTURES_REGION", "us east")], "PICTURES_REGION"),
        (&[("PICTURES_ENDPOINT", "http://a.test")], "PICTURES_ENDPOINT"),
        (&[pair[0]], "PICTURES_SECRET_ACCESS_KEY"),
        (&[pair[1]], "PICTURES_ACCESS_KEY_ID"),
        (&[pair[0], ("PICTURES_KEY_SECRET_ARN", "x")], "PICTURES_KEY_SECRET_ARN"),
        (&[("PICTURE_DAYS", "0")], "PICTURE_DAYS"),
        (&[("LOG_DAYS", "6")], "PICTURE_DAYS"),
        (&[("PICTURE_LINK_S", "59")], "PICTURE_LINK_S"),
        (&[("PICTURE_LINK_HOSTS", ".com")], "PICTURE_LINK_HOSTS"),
        (&[("PICTURE_LINK_HOSTS", "a.test/x")], "PICTURE_LINK_HOSTS"),
        (&[("CANCEL_POLL_MS", "499")], "CANCEL_POLL_MS"),
    ];
    for (set, variable) in wrong {
        let set: Vec<_> = [bucket, ("AWS_REGION", "us-east-1")].iter().chain(set).copied().collect();
        assert_eq!(variables(faceflip(&set).unwrap_err()), [variable], "{set:?}");
    }
    assert!(faceflip(&[("LOG_DAYS", "6")]).is_ok(), "nothing is kept without a bucket");
}

#[test]
fn base_urls() {
    let check = |value: &str, expected: Result<&str, &str>| {
        let config = generate(&[("IMAGE_API_BASE_URL", value)]);
        let url = config.map(|config| only(&config.image_api).endpoint("/v1/chat/completions"));
        match (url, expected) {
            (Ok(url), Ok(expected)) => assert_eq!(url.as_str(), expected),
            (Err(mistakes), Err(word)) => {
                assert_eq!(mistakes.0.len(), 1, "{mistakes}");
                assert!(mistakes.to_string().contains(word), "{value}: {mistakes}");
            }
            (result, _) => panic!("{value}: {result:?}"),
        }
    };
    let whole = "https://api.example.com/v1/chat/completions";
    check("https://api.example.com", Ok(whole));
    check("https://api.example.com/", Ok(whole));
    check("https://api.example.com/v1", Ok(whole));
    check("https://api.example.com/v1/", Ok(whole));
    check("https://API.example.com//", Ok(whole));
    check("https://a.test/relay/v1/", Ok("https://a.test/relay/v1/chat/completions"));
    check("https://a.test/v10", Ok("https://a.test/v10/v1/chat/completions"));
    check("http://localhost:8787", Ok("http://localhost:8787/v1/chat/completions"));
    check("http://127.0.0.53/v1", Ok("http://127.0.0.53/v1/chat/completions"));
    check("http://[::1]:1/", Ok("http://[::1]:1/v1/chat/completions"));
    check("http://api.example.com", Err("plain http"));
    check("http://localhost.example.com", Err("plain http"));
    check("http://10.0.0.1", Err("plain http"));
    check("http://[::2]", Err("plain http"));
    check("https://user@a.test", Err("user name"));
    check("https://:pass@a.test", Err("password"));
    check("https://a.test/?key=1", Err("query"));
    check("https://a.test/#x", Err("fragment"));
    check("ftp://a.test", Err("https URL"));
    check("api.example.com", Err("https URL"));
    check("https://", Err("https URL"));
    check("", Err("is not set"));
}

#[test]
fn a_stored_url_has_no_slash_and_no_version_at_its_end() {
    let base = |value| only(&generate(&[("IMAGE_API_BASE_URL", value)]).unwrap().image_api).base_url.clone();
    assert_eq!(base("https://a.test/relay/v1/").as_str(), "https://a.test/relay");
    assert_eq!(base("https://a.test/v1").path(), "/");
}

#[test]
fn all_mistakes_are_reported_together() {
    let mistakes = generate(&[
        ("IMAGE_API_MODE", "dalle"),
        ("IMAGE_API_KEY", "a\u{7}b"),
        ("IMAGE_CHAT_MODEL", "two words"),
        ("IMAGE_MODELS", "a b"),
        ("PING_MS", "10s"),
        ("UPSTREAM_TOTAL_MS", "900001"),
        ("ARK_MODEL", "not read"),
    ])
    .unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "IMAGE_API_MODE must be chat, images or gemini\n\
         IMAGE_API_BASE_URL is not set: it must be an https URL (http for a loopback host)\n\
         IMAGE_API_KEY contains a control character\n\
         IMAGE_CHAT_MODEL must be a model name\n\
         IMAGE_MODELS must be model names, separated by commas\n\
         PING_MS must be milliseconds, 1 to 900000\n\
         UPSTREAM_TOTAL_MS must be milliseconds, 1 to 900000"
    );
    let mistakes = faceflip(&[
        ("ARK_BASE_URL", "http://ark.example.com"),
        ("ARK_SIZE", "5K"),
        ("ARK_MAX_IMAGES", "16"),
        ("ARK_FAMILY", "any other"),
        ("ARK_WATERMARK", "maybe"),
        ("UPSTREAM_IDLE_MS", "-1"),
        ("IMAGE_API_MODE", "not read"),
    ])
    .unwrap_err();
    assert_eq!(
        variables(mistakes),
        ["ARK_BASE_URL", "ARK_FAMILY", "ARK_SIZE", "ARK_MAX_IMAGES", "ARK_WATERMARK", "UPSTREAM_IDLE_MS"]
    );
    assert_eq!(variables(generate(&[BASE, ("IMAGE_API_MODE", "chats")]).unwrap_err()), ["IMAGE_API_MODE"]);
    for size in ["x", "2048x", "0x2048", "2048x2048x2", "+20x20", "2048*2048", "999999x9"] {
        assert!(faceflip(&[("ARK_SIZE", size)]).is_err(), "{size}");
    }
}

#[test]
fn a_missing_url_does_not_hide_other_mistakes() {
    let set = [("SUPABASE_URL", ""), ("ALLOW_ANONYMOUS", "yes"), ("CHAT_N", "1"), ("CLIENT_STALL_MS", "0")];
    let expected = ["IMAGE_API_BASE_URL", "SUPABASE_URL", "ALLOW_ANONYMOUS", "CHAT_N", "CLIENT_STALL_MS"];
    assert_eq!(variables(generate(&set).unwrap_err()), expected);
    let set = [("ARK_BASE_URL", "ark"), ("ARK_MODEL", "a b"), ("FACEFLIP_AUTH", "no"), ("PING_MS", "")];
    assert_eq!(variables(faceflip(&set).unwrap_err()), ["ARK_BASE_URL", "ARK_MODEL", "FACEFLIP_AUTH"]);
    let none = CommonConfig::from_env(&|_| None).unwrap_err();
    assert_eq!(variables(none), ["SUPABASE_URL", "RATE_LIMITS_TABLE", "LEDGER_TABLE"]);
}

#[test]
fn every_default_is_an_allowed_value() {
    for Variable { name, values, default, .. } in VARIABLES {
        let items = default.unwrap_or_default().split(',');
        assert!(default.is_none() || items.clone().all(|item| values.accept(item)), "{name}");
    }
}

#[test]
fn words_are_accepted_in_any_case() {
    let config = generate(&[BASE, ("IMAGE_API_MODE", "Gemini"), ("CHAT_N", "ON")]).unwrap();
    assert!(only(&config.image_api).mode == ImageApiMode::Gemini && config.chat_n);
}

#[test]
fn a_mistake_never_contains_a_value() {
    for variable in VARIABLES {
        for value in ["canary", "canary\u{1}canary", "https://u:canary@a.test", "http://canary.test?canary"] {
            for result in
                [generate(&[BASE, (variable.name, value)]).map(|_| ()), faceflip(&[(variable.name, value)]).map(|_| ())]
            {
                let printed = result.map_err(|mistakes| format!("{mistakes} {mistakes:?}"));
                assert!(!printed.err().unwrap_or_default().contains("canary"), "{}", variable.name);
            }
        }
    }
    let config = generate(&[BASE, ("IMAGE_API_KEY", "canary")]).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    let config = faceflip(&[("ARK_API_KEY", "canary")]).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn the_table_lists_the_variables_that_the_code_reads() {
    let read = std::cell::RefCell::new(HashSet::new());
    let environment = |name: &str| {
        read.borrow_mut().insert(name.to_owned());
        None
    };
    for mode in ["chat", "images", "gemini"] {
        let in_mode = |name: &str| environment(name).or_else(|| (name == "IMAGE_API_MODE").then(|| mode.to_owned()));
        assert!(GenerateConfig::from_env(&in_mode).is_err());
    }
    assert!(FaceflipConfig::from_env(&environment).is_err());
    let table: HashSet<_> = VARIABLES.iter().map(|variable| variable.name.to_owned()).collect();
    assert_eq!(table.len(), VARIABLES.len());
    assert_eq!(read.into_inner(), table);
}

#[test]
fn loopback_hosts() {
    let check = |url: &str, expected| assert_eq!(is_loopback(&Url::parse(url).unwrap()), expected, "{url}");
    check("http://localhost:1/x", true);
    check("http://LOCALHOST", true);
    check("http://127.1", true);
    check("http://127.255.255.254", true);
    check("https://[::1]", true);
    check("http://128.0.0.1", false);
    check("http://0.0.0.0", false);
    check("http://[::ffff:127.0.0.1]", false);
    check("http://localhost.test", false);
    check("data:,x", false);
}

/// The upstream of the documented variables.
fn only(api: &ImageApiConfig) -> &ImageUpstream {
    assert_eq!(api.upstreams.len(), 1);
    &api.upstreams[0]
}

fn models(api: &ImageApiConfig) -> Vec<&str> {
    api.routes.iter().map(|route| route.model.as_str()).collect()
}

fn variables(mistakes: Mistakes) -> Vec<&'static str> {
    mistakes.0.iter().map(|mistake| mistake.variable).collect()
}

fn generate(set: &[(&str, &str)]) -> Result<GenerateConfig, Mistakes> {
    GenerateConfig::from_env(&|name| look_up(set, name))
}

fn faceflip(set: &[(&str, &str)]) -> Result<FaceflipConfig, Mistakes> {
    FaceflipConfig::from_env(&|name| look_up(set, name))
}

/// The last entry with the name, or else that of [`COMMON`].
fn look_up(set: &[(&str, &str)], name: &str) -> Option<String> {
    let entry = COMMON.iter().chain(set).rev().find(|(key, _)| *key == name)?;
    Some(entry.1.to_owned())
}
