//! AWS's Signature Version 4, as S3 expects it: unlike other services' paths, S3's are encoded once and never normalised.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SignatureLocation, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;

use super::fault::StoreFault;

/// The SHA-256 of no bytes.
pub(super) const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// What is signed with headers.
pub(super) struct SignedPayload<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) sha256: &'a [u8; 32],
    pub(super) signed_at: SystemTime,
}

/// What is signed as a link.
pub(super) struct SignedQuery {
    pub(super) url: String,
    pub(super) life: Duration,
    pub(super) signed_at: SystemTime,
}

/// The headers to add: the signature, its time, the payload's digest and the session token.
pub(super) fn signed_headers(
    payload: &SignedPayload<'_>,
    credentials: &Credentials,
    region: &str,
) -> Result<Vec<(String, String)>, StoreFault> {
    let mut settings = settings();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let body = SignableBody::Precomputed(hex(payload.sha256));
    let request = SignableRequest::new(payload.method, payload.url, payload.headers.iter().copied(), body);
    let signed = signed(request, settings, payload.signed_at, credentials, region)?;
    Ok(signed.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The link with its signature.
pub(super) fn signed_query(query: &SignedQuery, credentials: &Credentials, region: &str) -> Result<String, StoreFault> {
    let mut settings = settings();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(query.life);
    let request = SignableRequest::new("GET", query.url.as_str(), std::iter::empty(), SignableBody::UnsignedPayload);
    let signed = signed(request, settings, query.signed_at, credentials, region)?;
    let mut link = http::Request::get(query.url.as_str()).body(()).map_err(|_| StoreFault::Unsigned)?;
    signed.apply_to_request_http1x(&mut link);
    Ok(link.uri().to_string())
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings
}

fn signed(
    request: Result<SignableRequest<'_>, aws_sigv4::http_request::SigningError>,
    settings: SigningSettings,
    signed_at: SystemTime,
    credentials: &Credentials,
    region: &str,
) -> Result<aws_sigv4::http_request::SigningInstructions, StoreFault> {
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder().identity(&identity).region(region).name("s3").time(signed_at);
    let params = params.settings(settings).build().map_err(|_| StoreFault::Unsigned)?.into();
    let request = request.map_err(|_| StoreFault::Unsigned)?;
    Ok(sign(request, &params).map_err(|_| StoreFault::Unsigned)?.into_parts().0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
