use super::ErrorFields;

/// A member of our requests that an upstream refused by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedParameter {
    /// The name. It is one of a fixed list, so it can be logged.
    pub name: &'static str,
    /// What the operator can do.
    pub remedy: &'static str,
    /// Whether a setting decides it, so that every request is refused; otherwise the user's input does.
    pub is_setting: bool,
}

const ANOTHER_FAMILY: &str =
    "the model does not take it: set ARK_FAMILY to the model's family, or choose a model of docs/upstream-requests.md";
const OTHER_MODEL: &str =
    "the model does not take it: choose a model of docs/upstream-requests.md, or another IMAGE_API_MODE";
const OTHER_SIZE: &str = "the model does not make this size: set ARK_SIZE to one of the model's; in mode images, choose a model of docs/upstream-requests.md";
const OTHER_RATIO: &str = "the model or the relay does not take an aspect ratio: send requests without aspect_ratio";
const OF_THE_USER: &str = "the user's input breaks a rule of the model";

/// The members that the upstreams are sent.
const PARAMETERS: &[RefusedParameter] = &[
    setting("sequential_image_generation_options", ANOTHER_FAMILY),
    setting("sequential_image_generation", ANOTHER_FAMILY),
    setting("max_images", "set ARK_MAX_IMAGES to a smaller number"),
    setting("response_format", OTHER_MODEL),
    setting("output_format", ANOTHER_FAMILY),
    setting("stream_options", OTHER_MODEL),
    setting(
        "stream",
        "the model does not stream: set ARK_FAMILY to the model's family, or choose a model of docs/upstream-requests.md",
    ),
    setting("partial_images", "set IMAGE_PARTIAL_IMAGES to 0"),
    setting("watermark", "set ARK_WATERMARK to the value that the model takes"),
    setting("modalities", OTHER_MODEL),
    setting("responseModalities", OTHER_MODEL),
    setting("response_modalities", OTHER_MODEL),
    setting("size", OTHER_SIZE),
    setting("n", OTHER_MODEL),
    setting("model", "set the model to one that the upstream has: ARK_MODEL, or the model of IMAGE_API_MODE"),
    of_user("extra_body", OTHER_RATIO),
    of_user("aspect_ratio", OTHER_RATIO),
    of_user("aspectRatio", OTHER_RATIO),
    of_user("image_config", OTHER_RATIO),
    of_user("imageConfig", OTHER_RATIO),
    of_user("image", OF_THE_USER),
    of_user("prompt", OF_THE_USER),
    of_user("messages", OF_THE_USER),
    of_user("contents", OF_THE_USER),
];

const fn setting(name: &'static str, remedy: &'static str) -> RefusedParameter {
    RefusedParameter { name, remedy, is_setting: true }
}

const fn of_user(name: &'static str, remedy: &'static str) -> RefusedParameter {
    RefusedParameter { name, remedy, is_setting: false }
}

impl RefusedParameter {
    /// The parameter that an error is about: that of its `param`, or the first word that its message quotes, because ARK
    /// mostly leaves `param` empty. Later words may be the user's.
    pub(super) fn of(fields: &ErrorFields) -> Option<&'static Self> {
        named(fields.param.trim()).or_else(|| named(first_quoted(&fields.message)?))
    }
}

/// The parameter of a name, or of a path such as `messages[0].content`.
fn named(path: &str) -> Option<&'static RefusedParameter> {
    let name = path.split(['.', '[']).next()?;
    PARAMETERS.iter().find(|parameter| parameter.name == name)
}

/// The first text in quotes. An apostrophe within a word is none.
fn first_quoted(message: &str) -> Option<&str> {
    let mut before = ' ';
    for (at, mark) in message.char_indices() {
        if matches!(mark, '`' | '\'' | '"') && !before.is_alphanumeric() {
            let rest = message.get(at + 1..)?;
            return rest.split_once(mark).map(|(quoted, _)| quoted);
        }
        before = mark;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_that_an_error_names() {
        let rows = [
            ("stream", "", Some("stream")),
            ("sequential_image_generation_options.max_images", "", Some("sequential_image_generation_options")),
            ("messages[0].content", "", Some("messages")),
            ("", "The parameter `stream` specified in the request is not valid", Some("stream")),
            ("", "The parameter `sequential_image_generation` specified", Some("sequential_image_generation")),
            ("", "The parameter `size` specified in the request is not valid: image size must be", Some("size")),
            ("", "Unknown parameter: 'response_format'.", Some("response_format")),
            ("", "Unknown name \"imageConfig\" at 'generation_config'", Some("imageConfig")),
            ("size", "The parameter `stream` is fine", Some("size")),
            ("", "The model doesn't take 'partial_images'", Some("partial_images")),
            ("", "InvalidParameter: the parameter `size` of \"stream\"", Some("size")),
            ("", "the text \"a cat\" has no `stream`", None),
            ("", "the text 'a cat", None),
            ("", "cannot stream", None),
            ("seed", "", None),
            ("streams", "", None),
            ("", "", None),
        ];
        for (param, message, name) in rows {
            let fields = ErrorFields { param: param.into(), message: message.into(), ..ErrorFields::default() };
            assert_eq!(RefusedParameter::of(&fields).map(|parameter| parameter.name), name, "{param} {message}");
        }
    }
}
