use std::cmp::Reverse;

/// The language of a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Lang {
    /// Chinese, the default.
    #[default]
    Zh,
    /// English.
    En,
}

impl Lang {
    /// Picks the language by `Accept-Language`
    /// ([RFC 9110, section 12.5.4](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4)): English if it has the
    /// higher weight, or the same weight and the earlier position; otherwise Chinese. Only the primary subtag counts,
    /// so `en-GB` is English and `zh-TW` is Chinese. Malformed ranges are ignored.
    pub fn from_accept_language(header: Option<&str>) -> Self {
        let ranges = header.unwrap_or_default().split(',').filter_map(weighted).enumerate();
        let best = |language: &str| {
            let matches = ranges.clone().filter(|(_, (primary, _))| primary.eq_ignore_ascii_case(language));
            matches.map(|(position, (_, weight))| (weight, Reverse(position))).max()
        };
        let any = best("*");
        let (en, zh) = (best("en").or(any), best("zh").or(any));
        if en > zh && en.is_some_and(|(weight, _)| weight > 0) { Lang::En } else { Lang::Zh }
    }

    /// The value for `Content-Language` and `lang`.
    pub const fn as_tag(self) -> &'static str {
        match self {
            Lang::Zh => "zh-CN",
            Lang::En => "en",
        }
    }
}

/// The primary subtag of a language range, and the range's weight in thousandths.
fn weighted(range: &str) -> Option<(&str, u16)> {
    let (tag, weight) = match range.split_once(';') {
        None => (range, 1.0),
        Some((tag, parameter)) => {
            let (name, value) = parameter.split_once('=')?;
            let is_weight = name.trim().eq_ignore_ascii_case("q");
            (tag, value.trim().parse::<f32>().ok().filter(|_| is_weight)?)
        }
    };
    let primary = tag.trim().split('-').next()?;
    (0.0..=1.0).contains(&weight).then(|| (primary, (weight * 1_000.0).round() as u16))
}

#[cfg(test)]
mod tests {
    use super::Lang::{self, En, Zh};

    #[test]
    fn english_needs_a_higher_rank_than_chinese() {
        let rows = [
            (None, Zh),
            (Some(""), Zh),
            (Some("*"), Zh),
            (Some("en"), En),
            (Some("EN-us"), En),
            (Some("zh-CN"), Zh),
            (Some("zh-TW,en;q=0.9"), Zh),
            (Some("en-US,en;q=0.9,zh-CN;q=0.8,zh;q=0.7"), En),
            (Some("zh-CN,zh;q=0.9,en;q=0.8"), Zh),
            (Some("en;q=0.5, zh;q=0.8"), Zh),
            (Some("zh;q=0.5 , en ; q = 0.8"), En),
            (Some("en,zh"), En),
            (Some("zh,en"), Zh),
            (Some("fr-FR,en;q=0.3"), En),
            (Some("fr-FR,de"), Zh),
            (Some("en;q=0"), Zh),
            (Some("en;q=0,*"), Zh),
            (Some("zh;q=0,en;q=0.1"), En),
            (Some("zh;q=0,*"), En),
            (Some("zh;q=0"), Zh),
            (Some("zh;q=0,en;q=0"), Zh),
            (Some("en;q=0.5,*"), Zh),
            (Some("en,*;q=0.5"), En),
            (Some("en;q=0.1,en-US,zh;q=0.9"), En),
            (Some("en;q=2"), Zh),
            (Some("en;q=1.001"), Zh),
            (Some("en;q=NaN"), Zh),
            (Some("en;q=NaN,zh;q=NaN"), Zh),
            (Some("en;q=inf"), Zh),
            (Some("en;q=-1"), Zh),
            (Some("en;level=1"), Zh),
            (Some("english"), Zh),
            (Some(",,;;==, \u{7f},-"), Zh),
        ];
        for (header, expected) in rows {
            assert_eq!(Lang::from_accept_language(header), expected, "{header:?}");
        }
        assert_eq!((Zh.as_tag(), En.as_tag()), ("zh-CN", "en"));
    }
}
