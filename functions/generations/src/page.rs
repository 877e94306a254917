//! Which part of the log is asked for.

use shared::edge::Cursor;
use shared::problem::{Code, Detail, Problem};
use url::form_urlencoded;

const DEFAULT_LIMIT: u32 = 20;
const MAX_LIMIT: u32 = 100;

/// A page of the log.
#[derive(Debug)]
pub(crate) struct Page {
    /// How many generations.
    pub(crate) limit: u32,
    /// Where the page before it ended.
    pub(crate) after: Option<Cursor>,
}

impl Page {
    /// Reads a query. What it does not know is nothing to it.
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
