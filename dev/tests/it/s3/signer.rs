//! Signs requests that `shared` never sends: wrong digests, old links, session tokens.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use dev::client::hash;
use dev::s3::{BUCKET, KEY_PAIR, REGION};
use reqwest::{Client, Method, Response};

use super::BROWSER;

/// A caller of the store at `url`.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) url: String,
    pub(crate) credentials: Credentials,
    pub(crate) signed_at: SystemTime,
    pub(crate) life: Duration,
    pub(crate) client: Client,
}

impl Signer {
    /// A caller with the engine's key.
    pub(crate) fn new(url: &str) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a signature has a time")]
        let signed_at = SystemTime::now();
        let credentials = Credentials::new(KEY_PAIR.0, KEY_PAIR.1, None, None, "test");
        Self { url: url.to_owned(), credentials, signed_at, life: Duration::from_secs(3_600), client: BROWSER.clone() }
    }

    pub(crate) fn object(&self, key: &str) -> String {
        format!("{}/{BUCKET}/{key}", self.url)
    }

    /// Sends a request whose signature covers `headers` and `sha256`, the hexadecimal digest of the body.
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        sha256: &str,
        body: Bytes,
    ) -> Response {
        let mut settings = settings();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let payload = SignableBody::Precomputed(sha256.to_owned());
        let request = SignableRequest::new(method.as_str(), url, headers.iter().copied(), payload).unwrap();
        let instructions = self.sign(request, settings);
        let mut to_send = self.client.request(method.clone(), url).body(body);
        for (name, value) in headers.iter().copied().chain(instructions.headers()) {
            to_send = to_send.header(name, value);
        }
        to_send.send().await.unwrap()
    }

    /// Stores an object with the right digest.
    pub(crate) async fn put(&self, key: &str, body: &'static str) -> Response {
        let headers = [("content-type", "image/png")];
        self.send(Method::PUT, &self.object(key), &headers, &hash(body.as_bytes()), body.into()).await
    }

    /// A link to an object.
    pub(crate) fn link(&self, key: &str) -> String {
        let url = self.object(key);
        let mut settings = settings();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(self.life);
        let request =
            SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::UnsignedPayload).unwrap();
        let mut link = axum::http::Request::get(&url).body(()).unwrap();
        self.sign(request, settings).apply_to_request_http1x(&mut link);
        link.uri().to_string()
    }

    pub(crate) async fn status(&self, link: &str) -> u16 {
        self.client.get(link).send().await.unwrap().status().as_u16()
    }

    fn sign(
        &self,
        request: SignableRequest<'_>,
        settings: SigningSettings,
    ) -> aws_sigv4::http_request::SigningInstructions {
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder().identity(&identity).region(REGION).name("s3");
        let params = params.time(self.signed_at).settings(settings).build().unwrap().into();
        sign(request, &params).unwrap().into_parts().0
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}
