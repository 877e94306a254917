use super::TokenRefusal;

/// The longest accepted value of `Authorization`, in bytes.
const MAX_BYTES: usize = 8192;

/// Returns the token in the values of a request's `Authorization` headers. More than one value is refused
/// ([RFC 6750, section 2.1](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)).
///
/// Only the characters of a signed token may follow the scheme and one space. A comma is not among them: Function URLs
/// join repeated headers with one.
///
/// # Errors
/// [`TokenRefusal::NoToken`], [`TokenRefusal::ApiKey`] or [`TokenRefusal::NotBearer`].
pub fn bearer<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a str, TokenRefusal> {
    let value = values.next().ok_or(TokenRefusal::NoToken)?;
    if values.next().is_some() || value.len() > MAX_BYTES {
        return Err(TokenRefusal::NotBearer);
    }
    let value = std::str::from_utf8(value).map_err(|_| TokenRefusal::NotBearer)?;
    let (scheme, token) = value.split_once(' ').ok_or(TokenRefusal::NotBearer)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenRefusal::NotBearer);
    }
    if token.starts_with("sb_") {
        return Err(TokenRefusal::ApiKey);
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(TokenRefusal::NotBearer);
    }
    Ok(token)
}
