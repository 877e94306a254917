use super::reader::EnvReader;
use super::variables;
use crate::media::label::{AigcCodes, LabelRules};

/// What is written into pictures. `None` if nothing is, or after a mistake.
pub(super) fn read(reader: &mut EnvReader<'_>) -> Option<LabelRules> {
    let producer = reader.optional_text(&variables::AIGC_PRODUCER);
    let propagator = reader.optional_text(&variables::AIGC_PROPAGATOR);
    let keeps_c2pa = reader.is(&variables::AIGC_C2PA, "keep");
    let source_type = reader.word(&variables::AI_SOURCE_TYPE);
    if reader.has(&variables::AIGC_PROPAGATOR) && !reader.has(&variables::AIGC_PRODUCER) {
        reader.mistake::<()>(&variables::AIGC_PROPAGATOR, "is set without AIGC_PRODUCER".to_owned());
    }
    let codes =
        producer.map(|producer| AigcCodes { propagator: propagator.unwrap_or_else(|| producer.clone()), producer });
    let writes_source_type = source_type == "on" || (source_type == "auto" && codes.is_some());
    (codes.is_some() || writes_source_type).then_some(LabelRules {
        codes,
        writes_source_type,
        is_edit: false,
        keeps_c2pa,
    })
}

/// Whether a text is a provider's code (TC260-PG-20252A): `00`, the subject type, the kind of its number, 18 characters with
/// the number, the service (one of `services`) and four free characters; `00000` at the end stands for no service. Of an
/// organisation (`11`) the number is a unified social credit code, whose check character must be right.
pub(super) fn is_provider_code(code: &str, services: &str) -> bool {
    let is_alphabet = code.len() == 27 && code.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase());
    let (Some(number), Some(suffix)) = (code.get(4..22), code.get(22..)) else { return false };
    let has_service = suffix == "00000" || suffix.starts_with(|service| services.contains(service));
    is_alphabet && has_service && code.starts_with("00") && (!code.starts_with("0011") || is_credit_code(number))
}

/// [GB 32100-2015](https://openstd.samr.gov.cn/bzgk/gb/newGbInfo?hcno=24691C25985C1073D3A7C85629378AC0): the sum of the
/// characters' values, weighted with the powers of 3, is a multiple of 31, where the last one has the weight 1.
fn is_credit_code(number: &str) -> bool {
    const ALPHABET: &str = "0123456789ABCDEFGHJKLMNPQRTUWXY";
    let mut weights = (0..17).scan(1, |weight, _| Some(std::mem::replace(weight, *weight * 3 % 31))).chain([1]);
    let sum = number.chars().try_fold(0, |sum, c| Some(sum + ALPHABET.find(c)? * weights.next()?));
    sum.is_some_and(|sum| sum % 31 == 0)
}
