//! The requested part of the log.

use shared::edge::Cursor;
use shared::problem::{Code, Detail, Problem};
use url::form_urlencoded;

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;

/// A page of the log.
#[derive(Debug)]
pub(crate) struct Page {
    /// The number of generations.
    pub(crate) limit: u32,
    /// The end of the previous page.
    pub(crate) after: Option<Cursor>,
}

impl Page {
    /// Reads a query. Unknown parameters are ignored.
    pub(crate) fn parse(query: &str) -> Result<Self, Problem> {
        let refuse = |detail| Problem::new(Code::InvalidRequest).detail(detail);
        let mut page = Self { limit: DEFAULT_LIMIT, after: None };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    page.limit = limit.ok_or_else(|| refuse(Detail::PageLimit { min: 1, max: MAX_LIMIT }))?;
                }
                "cursor" => {
                    page.after = Some(Cursor::parse(&value).ok_or_else(|| refuse(Detail::CursorForm))?);
                }
                _ => {}
            }
        }
        Ok(page)
    }
}
