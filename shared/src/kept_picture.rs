//! Pictures that are kept in the bucket after the request.

use crate::media::WholeImage;

/// A picture in the bucket, as the record of its task lists it. Its key is made of the owner, the run and the slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptPicture {
    /// The request's slot.
    pub slot: u32,
    /// The upstream marked it as not final, and sent no final one.
    pub draft: bool,
    /// Its type, size and hash.
    pub image: WholeImage,
    /// Until when the bucket certainly has it, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// A link to a picture in the bucket. Anyone with the link can read the picture, so `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedLink {
    /// The address.
    pub url: String,
    /// When the link expires, in milliseconds since 1970. The picture may live longer.
    pub expires_ms: u64,
}

impl std::fmt::Debug for SignedLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignedLink").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}
