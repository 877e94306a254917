use super::member::{Member, MemberPath};
use crate::json::MAX_DEPTH;
use crate::json::Segment::{Index, Key};

/// What a dialect must know of the path of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathMarks {
    /// The path marks its pictures as not final.
    pub(super) draft: bool,
    /// As [`PathFacts::may_have_error`].
    pub(super) may_be_error: bool,
}

/// What the names in a path mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PathFacts {
    bits: u8,
    root: u8,
}

impl PathFacts {
    const ERROR: u8 = 1;
    const MAY_HAVE_ERROR: u8 = 1 << 1;
    const THOUGHTS: u8 = 1 << 2;
    const REASONING: u8 = 1 << 3;
    const THOUGHT_MEMBER: u8 = 1 << 4;
    const PREVIEW: u8 = 1 << 5;
    /// Set if no document can begin in the rest of the path.
    const ROOT_IS_KNOWN: u8 = 1 << 6;

    pub(super) fn has_error(self) -> bool {
        self.bits & Self::ERROR != 0
    }

    /// Whether an error may begin in a part of the path.
    pub(super) fn may_have_error(self) -> bool {
        self.bits & Self::MAY_HAVE_ERROR != 0
    }

    /// Whether the value stands in thoughts, or in details of an error.
    pub(super) fn has_thoughts(self) -> bool {
        self.bits & Self::THOUGHTS != 0
    }

    /// Whether it stands in thoughts.
    pub(super) fn has_reasoning(self) -> bool {
        self.bits & Self::REASONING != 0
    }

    /// Whether the path has a `thought`, which is a mark unless it contains thoughts.
    pub(super) fn has_thought_member(self) -> bool {
        self.bits & Self::THOUGHT_MEMBER != 0
    }

    pub(super) fn has_preview(self) -> bool {
        self.bits & Self::PREVIEW != 0
    }

    /// The path from where a document of a known dialect begins: some proxies wrap it.
    pub(super) fn document_path(self, path: &MemberPath) -> &MemberPath {
        path.get(usize::from(self.root)..).unwrap_or_default()
    }

    /// Of `path`, whose last step these facts do not contain.
    fn step(self, path: &MemberPath) -> Self {
        let may_begin = self.bits & Self::ROOT_IS_KNOWN == 0;
        let root = |steps: usize| {
            let root = u8::try_from(path.len() - steps).unwrap_or_default();
            Self { bits: self.bits | Self::ROOT_IS_KNOWN, root }
        };
        let new = match path {
            [.., Key(Member::Choices | Member::Candidates), Index(_)] if may_begin => return root(2),
            [.., Key(Member::PromptFeedback | Member::UsageMetadata)] if may_begin => return root(1),
            [.., Index(_)] => Self::ROOT_IS_KNOWN,
            [.., Key(member)] => match member {
                Member::Error | Member::Err | Member::Errors => {
                    Self::ERROR | Self::MAY_HAVE_ERROR | Self::ROOT_IS_KNOWN
                }
                Member::MinimaxStatus => Self::MAY_HAVE_ERROR,
                Member::AnyThoughts => Self::THOUGHTS | Self::REASONING,
                Member::AnyError => Self::THOUGHTS,
                Member::Thought => Self::THOUGHT_MEMBER,
                Member::AnyPreview => Self::PREVIEW,
                _ => 0,
            },
            [] => 0,
        };
        Self { bits: self.bits | new, ..self }
    }
}

/// The facts about the current path and about each path that leads to it.
#[derive(Debug)]
pub(super) struct PathFactsStack([PathFacts; MAX_DEPTH + 1]);

impl Default for PathFactsStack {
    fn default() -> Self {
        Self([PathFacts::default(); MAX_DEPTH + 1])
    }
}

impl PathFactsStack {
    /// A value begins at `path`, in an object or list that has begun.
    pub(super) fn begin(&mut self, path: &MemberPath) -> PathFacts {
        let outer = path.len().checked_sub(1).and_then(|depth| self.0.get(depth));
        let facts = outer.map_or_else(PathFacts::default, |outer| outer.step(path));
        if let Some(slot) = self.0.get_mut(path.len()) {
            *slot = facts;
        }
        facts
    }

    /// Of the path of a value that has begun.
    pub(super) fn of(&self, path: &MemberPath) -> PathFacts {
        self.0.get(path.len()).copied().unwrap_or_default()
    }
}
