//! Copies of generated links, which die after a day. Only hosts of a list are asked: a model can be talked into writing
//! any link, and without the list a prompt would choose what this service fetches.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::fault::StoreFault;
use super::{PictureError, Pictures};
use crate::edge::clock::now;
use crate::image_url::{LocalLinks, check_generated, is_local};
use crate::media::WholeImage;
use crate::upstream::MAX_IMAGE_BYTES;

pub(super) const CONNECT: Duration = Duration::from_secs(3);
/// The longest time without a byte.
const IDLE: Duration = Duration::from_secs(10);
/// For the whole copy, with its second attempt.
pub(in crate::edge::store) const TOTAL: Duration = Duration::from_secs(30);

/// Why a link was not copied, as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyFault {
    /// Its host is not listed, or its form is not allowed.
    NotListed,
    /// No connection, or the host answered that it is busy.
    Unreachable(&'static str),
    /// Another failure: the class.
    Failed(&'static str),
}

impl Pictures {
    /// Whether a generated link is copied: it is `https` on port 443, and its host is listed in `PICTURE_LINK_HOSTS` and
    /// is no IP address. A link that `local` allows passes if its host is listed.
    pub fn copies(&self, url: &str, local: LocalLinks) -> bool {
        self.listed(url, local).is_some()
    }

    /// Fetches the picture behind a generated link and checks it as an inline picture is checked. Ends within 30 s, and at
    /// `end_by`.
    ///
    /// # Errors
    /// [`PictureError::NotCopied`].
    pub async fn copy_link(
        &self,
        url: &str,
        local: LocalLinks,
        end_by: Instant,
    ) -> Result<(WholeImage, Bytes), PictureError> {
        let copied = async {
            let url = self.listed(url, local).ok_or(CopyFault::NotListed)?;
            match self.fetch(&url).await {
                Err(CopyFault::Unreachable(_)) => self.fetch(&url).await,
                answer => answer,
            }
        };
        let by = (now() + TOTAL).min(end_by);
        timeout_at(by, copied).await.unwrap_or(Err(CopyFault::Failed("timeout"))).map_err(|fault| {
            let (CopyFault::Unreachable(class) | CopyFault::Failed(class)) = fault else {
                return PictureError::NotCopied;
            };
            tracing::warn!(class, "a generated link was not copied");
            PictureError::NotCopied
        })
    }

    fn listed(&self, url: &str, local: LocalLinks) -> Option<Url> {
        let url = Url::parse(check_generated(url, local).ok()?).ok()?;
        let is_allowed = is_local(&url, local) || (url.port().is_none() && matches!(url.host(), Some(Host::Domain(_))));
        let host = url.host_str()?;
        let is_listed =
            |listed: &String| host == listed || (listed.starts_with('.') && host.ends_with(listed.as_str()));
        (is_allowed && self.0.link_hosts.iter().any(is_listed)).then_some(url)
    }

    async fn fetch(&self, url: &Url) -> Result<(WholeImage, Bytes), CopyFault> {
        let client = self.0.link_client.get().map_err(|_| CopyFault::Failed("no_tls"))?;
        let request = client.get(url.clone()).header(ACCEPT, "image/*").header(ACCEPT_ENCODING, "identity");
        let sent = timeout_at(now() + IDLE, request.send()).await.map_err(|_| CopyFault::Failed("timeout"))?;
        let mut response = sent.map_err(|error| match StoreFault::of(&error) {
            StoreFault::Connect => CopyFault::Unreachable("connect"),
            StoreFault::Timeout => CopyFault::Failed("timeout"),
            _ => CopyFault::Unreachable("cut"),
        })?;
        match response.status().as_u16() {
            200 => {}
            500.. => return Err(CopyFault::Unreachable("busy")),
            _ => return Err(CopyFault::Failed("refused")),
        }
        if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
            return Err(CopyFault::Failed("encoded"));
        }
        let announced = response.content_length();
        if announced.is_some_and(|bytes| !(1..=MAX_IMAGE_BYTES).contains(&bytes)) {
            return Err(CopyFault::Failed("size"));
        }
        let mut bytes = BytesMut::with_capacity(announced.unwrap_or_default() as usize);
        loop {
            let piece = timeout_at(now() + IDLE, response.chunk()).await.map_err(|_| CopyFault::Failed("timeout"))?;
            let Some(piece) = piece.map_err(|_| CopyFault::Failed("cut"))? else { break };
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > MAX_IMAGE_BYTES {
                return Err(CopyFault::Failed("size"));
            }
        }
        let bytes = bytes.freeze();
        let image = WholeImage::of(&bytes).map_err(|_| CopyFault::Failed("not_whole"))?;
        Ok((image, bytes))
    }
}
