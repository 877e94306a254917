use crate::json::Segment;

/// The path of a value in an upstream's document.
pub(super) type MemberPath = [Segment<Member>];

macro_rules! members {
    ($($(#[$doc:meta])* $member:ident: $($name:literal)|+,)+) => {
        /// The name of a member of an upstream's document.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Member {
            $($(#[$doc])* $member,)+
            /// A name that no dialect reads and that contains a word for pictures that are not final.
            AnyPreview,
            /// One that contains a word for thoughts.
            AnyThoughts,
            /// One that contains `error`.
            AnyError,
            /// Any other name.
            Other,
        }

        impl Member {
            /// Reads a name as it is written in the document.
            pub(super) fn of(name: &[u8]) -> Self {
                match name {
                    $($($name)|+ => Self::$member,)+
                    name => Self::family(name),
                }
            }
        }
    };
}

// The names that the dialects read.
members! {
    Choices: b"choices",
    Index: b"index",
    Delta: b"delta",
    Message: b"message",
    Content: b"content",
    FinishReason: b"finish_reason",
    FinishReasonCamel: b"finishReason",
    NativeFinishReason: b"native_finish_reason",
    Text: b"text",
    Candidates: b"candidates",
    Parts: b"parts",
    Thought: b"thought",
    InlineData: b"inlineData" | b"inline_data",
    FileData: b"fileData" | b"file_data",
    FileUri: b"fileUri" | b"file_uri",
    PromptFeedback: b"promptFeedback" | b"prompt_feedback",
    BlockReason: b"blockReason" | b"block_reason",
    Data: b"data",
    Images: b"images",
    Results: b"results",
    ImageUrls: b"image_urls",
    ImageBase64: b"image_base64",
    Image: b"image",
    Url: b"url",
    ImageUrl: b"image_url",
    B64Json: b"b64_json",
    ImageB64Json: b"image_b64_json",
    ImageIndex: b"image_index",
    PartialImageIndex: b"partial_image_index",
    Size: b"size",
    Item: b"item",
    Output: b"output",
    Response: b"response",
    Result: b"result",
    OutputIndex: b"output_index",
    PartialImageB64: b"partial_image_b64",
    IncompleteDetails: b"incomplete_details",
    Reason: b"reason",
    Type: b"type",
    Phase: b"phase",
    Error: b"error",
    Errors: b"errors",
    Err: b"err",
    Code: b"code",
    Msg: b"msg",
    ErrorMsg: b"error_msg",
    ErrorCode: b"error_code",
    ErrorMessage: b"error_message",
    Header: b"header",
    Object: b"object",
    HttpCode: b"http_code",
    StatusCode: b"status_code",
    Status: b"status",
    Detail: b"detail",
    Param: b"param",
    Raw: b"raw",
    StatusMsg: b"status_msg",
    /// In MiniMax's answers, an error if its code is not 0.
    MinimaxStatus: b"base_resp",
    /// What Azure's filter found, and that the filter itself failed.
    FilterResults: b"content_filter_results",
    Usage: b"usage",
    UsageMetadata: b"usageMetadata" | b"usage_metadata",
    InputTokens: b"prompt_tokens" | b"input_tokens" | b"promptTokenCount" | b"prompt_token_count",
    OutputTokens: b"completion_tokens" | b"output_tokens" | b"candidatesTokenCount" | b"candidates_token_count",
    TotalTokens: b"total_tokens" | b"totalTokenCount" | b"total_token_count",
    GeneratedImages: b"generated_images",
}

impl Member {
    /// The family of a name that no dialect reads.
    pub(super) fn family(name: &[u8]) -> Self {
        let family_at = |at: usize| {
            let rest = name.get(at..).unwrap_or_default();
            let begins = |word: &[u8]| rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
            match rest.first().map(u8::to_ascii_lowercase) {
                Some(b'r') if begins(b"reasoning") => Some(Self::AnyThoughts),
                Some(b't') if begins(b"thinking") || begins(b"thought") => Some(Self::AnyThoughts),
                Some(b'e') if begins(b"error") => Some(Self::AnyError),
                Some(b't') if begins(b"thumb") => Some(Self::AnyPreview),
                Some(b'p') if begins(b"partial") || begins(b"preview") => Some(Self::AnyPreview),
                Some(b'd') if begins(b"draft") => Some(Self::AnyPreview),
                Some(b'i') if begins(b"interim") || begins(b"intermediate") => Some(Self::AnyPreview),
                _ => None,
            }
        };
        // What is not read outweighs a preview.
        let families = (0..name.len().saturating_sub(4)).filter_map(family_at);
        families.reduce(|a, b| if a == Self::AnyPreview { b } else { a }).unwrap_or(Self::Other)
    }

    /// Whether a dialect reads where the object or list in a member of this name begins and ends.
    pub(super) fn has_read_ends(self) -> bool {
        matches!(self, Self::Item | Self::Detail | Self::Usage | Self::UsageMetadata)
    }

    /// Whether a member of this name is an error.
    pub(super) fn is_error(self) -> bool {
        matches!(self, Self::Error | Self::Err | Self::Errors)
    }
}
