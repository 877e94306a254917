//! What libFuzzer begins with: the data of the other tests.

use std::fs;
use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{answer, data_url, json, label, request, sse, token};
use crate::properties::SOUP;
use crate::support::rows;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
/// Longer ones repeat themselves, and make libFuzzer slow.
const MAX_SEED_BYTES: usize = 8 * 1024;

/// Every check holds for its seeds and for the inputs that it once did not hold for. Writes the seeds and a dictionary for
/// `.ci/fuzz`.
#[test]
fn every_check_holds_for_its_seeds() {
    type Row = (&'static str, fn(&[u8]), Vec<Vec<u8>>);
    let rows: [Row; 7] = [
        ("sse", sse::check, [transcripts(), streams()].concat()),
        ("json", json::check, documents()),
        ("answer", answer::check, [transcripts(), rows::texts()].concat()),
        ("token", token::check, tokens()),
        ("request", request::check, bodies()),
        ("data_url", data_url::check, pictures()),
        ("label", label::check, pictures()),
    ];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    for (name, check, seeds) in rows {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        assert!(seeds.len() > 15, "{name}: {} seeds", seeds.len());
        for (number, seed) in seeds.iter().enumerate() {
            check(seed);
            fs::write(folder.join(number.to_string()), seed).unwrap();
        }
    }
    let words = SOUP.iter().copied().filter(|word| word.len() <= 64).chain(WORDS.iter().map(|word| word.as_bytes()));
    let words = words.map(|word| {
        let bytes: String = word.iter().map(|byte| format!("\\x{byte:02X}")).collect();
        format!("\"{bytes}\"\n")
    });
    fs::write(folder.join("dictionary"), words.collect::<String>()).unwrap();
}

/// Words of requests, of tokens and of pictures that are in no answer.
const WORDS: &[&str] = &[
    "true",
    "false",
    "1.5",
    "-1",
    "1e2",
    "\\u00ff",
    "https://",
    "@",
    "%",
    "model-b",
    "16:9",
    "prompt",
    "image_inputs",
    "n",
    "model",
    "aspect_ratio",
    "format",
    "delivery",
    "task_id",
    "urls",
    "events",
    "HS256",
    "alg",
    "typ",
    "JWT",
    "kid",
    "crit",
    "b64",
    "jwk",
    "zip",
    "iss",
    "aud",
    "sub",
    "exp",
    "nbf",
    "iat",
    "role",
    "client_id",
    "is_anonymous",
    "authenticated",
    "keys",
    "use",
    "key_ops",
    "oct",
    "IHDR",
    "IDAT",
    "IEND",
    "iTXt",
    "XML:com.adobe.xmp",
    "c2pa",
    "VP8 ",
    "VP8L",
    "VP8X",
    "XMP ",
    "EXIF",
    "</rdf:RDF>",
    "AIGC",
    "Label",
    "\0",
    "\u{c0}",
    "retry: ",
    "id: ",
    "+",
];

fn files(folder: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let files = paths.iter().filter(|path| path.is_file()).map(|path| fs::read(path).unwrap());
    files.filter(|file| file.len() <= MAX_SEED_BYTES).collect()
}

fn vectors(name: &str) -> Value {
    serde_json::from_slice(&fs::read(format!("{DATA}/vectors/{name}.json")).unwrap()).unwrap()
}

/// A member of each case, as text.
fn texts(vectors: &Value, member: &str) -> Vec<String> {
    vectors["cases"].as_array().unwrap().iter().map(|case| case[member].as_str().unwrap().to_owned()).collect()
}

fn transcripts() -> Vec<Vec<u8>> {
    [files(&format!("{DATA}/fixtures")), files(&format!("{DATA}/fixtures/reports"))].concat()
}

fn streams() -> Vec<Vec<u8>> {
    let bytes = |hex: &String| -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    texts(&vectors("sse"), "input_hex").iter().map(bytes).collect()
}

/// The documents of the transcripts.
fn documents() -> Vec<Vec<u8>> {
    let lines = transcripts().concat();
    let lines = lines.split(|byte| *byte == b'\n').map(|line| line.strip_prefix(b"data: ").unwrap_or(line).to_owned());
    let mut documents: Vec<Vec<u8>> = lines.filter(|line| line.starts_with(b"{")).collect();
    documents.sort();
    documents.dedup();
    documents
}

fn tokens() -> Vec<Vec<u8>> {
    let vectors = vectors("tokens");
    let mut seeds = vec![vectors["jwks"].to_string().into_bytes()];
    for token in texts(&vectors, "token") {
        seeds.push(format!("Bearer {token}").into_bytes());
        let parts = token.split('.').take(2).map(|part| URL_SAFE_NO_PAD.decode(part).ok());
        seeds.extend(parts.collect::<Option<Vec<_>>>().map(|parts| parts.join(&b'\n')));
    }
    // Each header and each claims of a token beside a part that is accepted, for the key that the check signs with.
    let accepted = texts(&vectors, "token").swap_remove(0);
    let part = |token: &str, at: usize| {
        let part = URL_SAFE_NO_PAD.decode(token.split('.').nth(at)?).ok()?;
        let text = String::from_utf8(part).ok()?;
        Some(text.replace("ES256", "HS256").replace("RS256", "HS256").replace("\"kid\":\"", "\"kid\":\"x"))
    };
    for token in texts(&vectors, "token") {
        for (header, claims) in [(&token, &accepted), (&accepted, &token)] {
            let (header, claims) = (part(header, 0), part(claims, 1));
            seeds.extend(header.zip(claims).map(|(header, claims)| format!("{header}\n{claims}").into_bytes()));
        }
    }
    let is_accepted = |seed: &&Vec<u8>| token::is_accepted_if_signed(seed);
    assert!(seeds.iter().filter(is_accepted).count() > 5, "most seeds are refused for one reason");
    seeds
}

/// The sample events' bodies, and a body for each picture and link of the vectors.
fn bodies() -> Vec<Vec<u8>> {
    let events = files(&format!("{DATA}/../../../events"));
    let events = events.iter().filter_map(|event| serde_json::from_slice::<Value>(event).ok());
    let bodies = events.filter_map(|event| Some(event["body"].as_str()?.to_owned()));
    let pictures = [texts(&vectors("images"), "input"), texts(&vectors("urls"), "u")].concat();
    let pictures = pictures.iter().flat_map(|picture| {
        [json!({"prompt": "x", "n": 2, "image_inputs": [picture]}), json!({"task_id": "t", "urls": [picture, picture]})]
    });
    bodies.chain(pictures.map(|body| body.to_string())).map(String::into_bytes).collect()
}

/// The data URLs of the vectors, what is in them, and the pictures of other tests.
fn pictures() -> Vec<Vec<u8>> {
    let urls = texts(&vectors("images"), "input");
    let inside: Vec<_> = urls.iter().filter_map(|url| STANDARD.decode(url.split_once(',')?.1).ok()).collect();
    let urls: Vec<_> = urls.into_iter().map(String::into_bytes).collect();
    let samples = crate::sniff::samples().into_iter().map(|sample| sample.bytes).collect::<Vec<_>>();
    let labelled = crate::label::pictures().into_iter().map(|(_, picture)| picture).collect::<Vec<_>>();
    [urls, inside, samples, labelled].concat()
}
