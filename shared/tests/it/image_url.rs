//! Every case of `urls.json`, how links are written again, and what a model may link to.

use LocalLinks::{Allowed, Refused};
use proptest::prelude::*;
use serde_json::Value;
use shared::image_url::{LocalLinks, UrlRefusal, check_generated};
use shared::input::check_input;

#[test]
fn every_vector() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/vectors/urls.json");
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(cases.len() >= 45);
    for case in cases {
        let raw = case["u"].as_str().unwrap();
        // The local stack adds plain http to loopback and changes nothing else.
        for local in [Refused, Allowed] {
            let verdict = check_input(raw, local);
            assert_eq!(verdict.is_ok(), case["e"] == "accept", "{raw:?} {verdict:?}");
        }
    }
}

#[test]
fn input_links_are_written_again() {
    let rows = [
        ("https://example.com/a.png", "https://example.com/a.png"),
        ("https://example.com", "https://example.com/"),
        ("https://Example.COM:443/A.png", "https://example.com/A.png"),
        ("https://例子.中国/图.png", "https://xn--fsqu00a.xn--fiqs8s/%E5%9B%BE.png"),
        ("https://example.com/a.png?b=1#c", "https://example.com/a.png?b=1"),
        ("https://example.com/a/../b.png", "https://example.com/b.png"),
        ("https://a_b.example.com/<\"'>", "https://a_b.example.com/%3C%22'%3E"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
    ];
    for (raw, written) in rows {
        let url = check_input(raw, Refused).unwrap();
        assert_eq!(url.as_str(), written);
        assert_eq!(check_input(url.as_str(), Refused), Ok(url.clone()), "stable");
    }
}

#[test]
fn input_links_that_are_refused() {
    let long = format!("https://example.com/{}", "a".repeat(2029));
    let rows = [
        (long.as_str(), UrlRefusal::Length),
        ("", UrlRefusal::Length),
        (" https://example.com/", UrlRefusal::Character),
        ("https://example.com/\u{0}", UrlRefusal::Character),
        ("https://example.com/\u{85}", UrlRefusal::Character),
        ("https://example.com/\u{3000}", UrlRefusal::Character),
        ("https://example.com/\u{200B}a", UrlRefusal::Character),
        ("https://exam\u{AD}ple.com/", UrlRefusal::Character),
        ("https://example.com/\u{2066}a", UrlRefusal::Character),
        ("https://exam\nple.com", UrlRefusal::Character),
        ("https:///a.jpg", UrlRefusal::Scheme),
        ("https:example.com", UrlRefusal::Scheme),
        ("https://?a", UrlRefusal::Scheme),
        ("https://#a", UrlRefusal::Scheme),
        ("HTTPS://example.com/", UrlRefusal::Scheme),
        ("wss://example.com/", UrlRefusal::Scheme),
        ("https://user@example.com/", UrlRefusal::Authority),
        ("https://user:pass@example.com/", UrlRefusal::Authority),
        ("https://@example.com/", UrlRefusal::Authority),
        ("https://ex%61mple.com/", UrlRefusal::Authority),
        ("https://example.com:x/", UrlRefusal::Malformed),
        ("https://example.com:8443/", UrlRefusal::Port),
        ("https://example.com:0/", UrlRefusal::Port),
        ("https://ⓛocalhost/", UrlRefusal::Host),
        ("https://2130706433/", UrlRefusal::Host),
        ("https://0x7f.1/", UrlRefusal::Host),
        ("https://[::ffff:127.0.0.1]/", UrlRefusal::Host),
        ("https://printer.local/", UrlRefusal::Host),
        ("https://a.LAN/", UrlRefusal::Host),
        ("https://nip.io/", UrlRefusal::Host),
        ("https://a.b.lvh.me/", UrlRefusal::Host),
        ("https://a..example.com/", UrlRefusal::Host),
        ("https://a*b.example.com/", UrlRefusal::Host),
        ("https://a(b.example.com/", UrlRefusal::Host),
    ];
    for (raw, refusal) in rows {
        assert_eq!(check_input(raw, Refused), Err(refusal), "{raw:?}");
    }
    assert!(check_input(&long[..2048], Refused).is_ok());
    assert!(check_input("https://notnip.io/a@b%20c", Refused).is_ok());
}

#[test]
fn loopback_only_where_it_is_allowed() {
    let local = [
        "http://127.0.0.1/a.png",
        "http://127.0.0.1:9000/a.png?x=1",
        "http://127.9.8.7:1/",
        "http://localhost:3000/a.png",
        "http://[::1]:3000/a.png",
    ];
    for raw in local {
        assert_eq!(check_input(raw, Refused), Err(UrlRefusal::Scheme), "{raw}");
        assert_eq!(check_generated(raw, Refused), Err(UrlRefusal::Scheme), "{raw}");
        assert!(check_input(raw, Allowed).is_ok(), "{raw}");
        assert_eq!(check_generated(raw, Allowed), Ok(raw));
    }
    let foreign = [
        "http://example.com/a.png",
        "http://10.0.0.1:9000/",
        "http://128.0.0.1/",
        "http://0.0.0.0/",
        "http://a.localhost/",
        "http://localhost.example.com/",
        "http://[::2]/",
        "http://user@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "https://127.0.0.1:9000/",
        "https://localhost/",
    ];
    for raw in foreign {
        assert!(check_input(raw, Allowed).is_err(), "{raw}");
        assert!(check_generated(raw, Allowed).is_err(), "{raw}");
    }
}

#[test]
fn generated_links_keep_every_byte() {
    let rows = [
        "https://bucket.tos-cn-beijing.volces.com/a/b.jpeg?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AKLT%2f20250101%2Fcn&X-Tos-Expires=86400&X-Tos-Signature=0a1B%2b/=~*&x=%e5%9B%be",
        "https://Example.COM:443/a/../b.png?q={1}|2^3#Fragment",
        "https://cdn.example.com:8443/图.png",
        "https://cdn/a.png",
    ];
    for raw in rows {
        assert_eq!(check_generated(raw, Refused), Ok(raw));
    }
    let longest = format!("https://example.com/?s={}", "a".repeat(4096 - 23));
    assert_eq!(longest.len(), 4096);
    assert_eq!(check_generated(&longest, Refused), Ok(longest.as_str()));
}

#[test]
fn generated_links_that_are_refused() {
    let long = format!("https://example.com/{}", "a".repeat(4980));
    assert_eq!(long.len(), 5000);
    let rows = [
        (long.as_str(), UrlRefusal::Length),
        ("", UrlRefusal::Length),
        ("http://example.com/a.png", UrlRefusal::Scheme),
        ("javascript:alert%281%29", UrlRefusal::Scheme),
        ("data:image/png;base64,AAAA", UrlRefusal::Scheme),
        ("//example.com/a.png", UrlRefusal::Scheme),
        ("https:///example.com/a.png", UrlRefusal::Scheme),
        ("https://user@example.com/", UrlRefusal::Authority),
        ("https://user:pass@example.com/", UrlRefusal::Authority),
        ("https://:@example.com/", UrlRefusal::Authority),
        ("https://example.com:99999/", UrlRefusal::Malformed),
        ("https://127.0.0.1/", UrlRefusal::Host),
        ("https://8.8.8.8/a.png", UrlRefusal::Host),
        ("https://0x7f000001/", UrlRefusal::Host),
        ("https://①②⑦.⓪.⓪.①/", UrlRefusal::Host),
        ("https://[2606:4700::1111]/", UrlRefusal::Host),
        ("https://LocalHost/", UrlRefusal::Host),
        ("https://localhost.:8443/", UrlRefusal::Host),
        ("https://a.localhost/", UrlRefusal::Host),
    ];
    for (raw, refusal) in rows {
        assert_eq!(check_generated(raw, Refused), Err(refusal), "{raw:?}");
    }
    let breaking = [
        ' ', '\t', '\n', '\r', '\0', '\u{7F}', '\u{85}', '\u{A0}', '\u{2028}', '\u{202E}', '\u{200B}', '\u{FEFF}',
        '\\', '"', '\'', '`', '<', '>',
    ];
    for c in breaking {
        for raw in [
            format!("https://example.com/a{c}b"),
            format!("https://example.com/?a={c}"),
            format!("{c}https://example.com/"),
        ] {
            let verdict = check_generated(&raw, Refused);
            assert_eq!(verdict, Err(UrlRefusal::Character), "{raw:?}");
        }
    }
}

proptest! {
    #[test]
    fn accepted_links_are_safe_to_pass_on(raw in "(https?://)?[a-z0-9@:.\\[\\]%\\\\/?#①。 -]{0,30}\\PC{0,12}") {
        if let Ok(url) = check_input(&raw, Refused) {
            prop_assert_eq!(url.scheme(), "https");
            prop_assert_eq!(url.port_or_known_default(), Some(443));
            prop_assert!(url.domain().is_some_and(|name| name.contains('.')));
            prop_assert!(url.fragment().is_none() && url.username().is_empty());
            prop_assert!(url.as_str().bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(check_input(url.as_str(), Refused), Ok(url));
        }
        if let Ok(same) = check_generated(&raw, Refused) {
            prop_assert_eq!(same, raw.as_str());
            prop_assert!(raw.starts_with("https://") && !raw.contains(char::is_whitespace));
        }
    }
}
