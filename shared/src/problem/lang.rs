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
    /// ([RFC 9110, section 12.5.4](https://www.rfc-editor.org/rfc/rfc9110#section-12.5.4)): English
    /// when it has the higher weight, or the same weight and comes first; otherwise Chinese. Only
    /// the primary subtag counts, so `en-GB` is English and `zh-TW` Chinese. A range that cannot be
    /// read is passed over.
    pub fn from_accept_language(header: Option<&str>) -> Self {
        let (mut zh, mut en, mut any) = (None, None, None);
        for (position, range) in header.unwrap_or_default().split(',').enumerate() {
            let Some((tag, weight)) = weighted(range) else {
                continue;
            };
            let rank = Rank { weight, position };
            let primary = tag.split('-').next().unwrap_or_default();
            let best = match primary.to_ascii_lowercase().as_str() {
                "zh" => &mut zh,
                "en" => &mut en,
                "*" => &mut any,
                _ => continue,
            };
            if best.is_none_or(|best: Rank| rank.beats(best)) {
                *best = Some(rank);
            }
        }
        match (en.or(any), zh.or(any)) {
            (Some(en), _) if en.weight == 0 => Lang::Zh,
            (Some(en), Some(zh)) if en.beats(zh) => Lang::En,
            (Some(_), None) => Lang::En,
            _ => Lang::Zh,
        }
    }

    /// The value for `Content-Language` and `lang`.
    pub const fn as_tag(self) -> &'static str {
        match self {
            Lang::Zh => "zh-CN",
            Lang::En => "en",
        }
    }
}

#[derive(Clone, Copy)]
struct Rank {
    /// Thousandths; 0 is "not acceptable".
    weight: u16,
    position: usize,
}

impl Rank {
    fn beats(self, other: Rank) -> bool {
        self.weight > other.weight || (self.weight == other.weight && self.position < other.position)
    }
}

fn weighted(range: &str) -> Option<(&str, u16)> {
    let Some((tag, parameter)) = range.split_once(';') else {
        return Some((range.trim(), 1_000));
    };
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    Some((tag.trim(), thousandths(value.trim())?))
}

/// `0`, `0.8`, `1.000`: at most one whole digit and three decimals, at most 1
/// ([RFC 9110, section 12.4.2](https://www.rfc-editor.org/rfc/rfc9110#section-12.4.2)).
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = match whole {
        "0" => 0,
        "1" => 1_000,
        _ => return None,
    };
    let weight = whole + format!("{decimals:0<3}").parse::<u16>().ok()?;
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::Lang::{self, En, Zh};

    #[test]
    fn english_only_when_it_ranks_higher() {
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
