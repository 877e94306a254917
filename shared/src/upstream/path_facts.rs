use super::member::{Member, MemberPath};
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
#[derive(Debug, Clone, Copy)]
pub(super) struct PathFacts {
    pub(super) has_error: bool,
    /// An error may begin in a part of the path.
    pub(super) may_have_error: bool,
    /// Or details of an error.
    pub(super) has_thoughts: bool,
    /// Thoughts alone.
    pub(super) has_reasoning: bool,
    /// `thought`, which is a mark unless it contains thoughts.
    pub(super) has_thought_member: bool,
    pub(super) has_preview: bool,
    /// Where a document of a known dialect begins: some proxies wrap it.
    pub(super) root: usize,
    has_root: bool,
    is_in_objects: bool,
}

impl PathFacts {
    /// Of the root of a document.
    const ROOT: Self = Self {
        has_error: false,
        may_have_error: false,
        has_thoughts: false,
        has_reasoning: false,
        has_thought_member: false,
        has_preview: false,
        root: 0,
        has_root: false,
        is_in_objects: true,
    };

    /// Of `path`, whose last step these facts do not contain.
    fn step(mut self, path: &MemberPath) -> Self {
        let may_begin = self.is_in_objects && !self.has_root && !self.has_error;
        match path {
            [before @ .., Key(Member::PromptFeedback | Member::UsageMetadata)] if may_begin => self.set_root(before),
            [before @ .., Key(Member::Choices | Member::Candidates), Index(_)] if may_begin => self.set_root(before),
            _ => {}
        }
        match path.last() {
            Some(Index(_)) => self.is_in_objects = false,
            Some(Key(member)) => {
                self.has_error |= member.is_error();
                self.may_have_error |= member.is_error() || *member == Member::MinimaxStatus;
                self.has_thoughts |= matches!(member, Member::AnyThoughts | Member::AnyError);
                self.has_reasoning |= *member == Member::AnyThoughts;
                self.has_thought_member |= *member == Member::Thought;
                self.has_preview |= *member == Member::AnyPreview;
            }
            None => {}
        }
        self
    }

    fn set_root(&mut self, before: &MemberPath) {
        (self.root, self.has_root) = (before.len(), true);
    }
}

/// The facts about the current path and about each path that leads to it.
#[derive(Debug, Default)]
pub(super) struct PathFactsStack(Vec<PathFacts>);

impl PathFactsStack {
    /// A value begins at `path`.
    pub(super) fn begin(&mut self, path: &MemberPath) -> PathFacts {
        self.0.truncate(path.len());
        self.of(path)
    }

    /// Of the path of a value that has begun.
    pub(super) fn of(&mut self, path: &MemberPath) -> PathFacts {
        self.0.truncate(path.len() + 1);
        let mut facts = self.0.last().copied();
        while self.0.len() <= path.len() {
            let path = path.get(..self.0.len()).unwrap_or_default();
            let next = facts.map_or(PathFacts::ROOT, |facts| facts.step(path));
            facts = Some(next);
            self.0.push(next);
        }
        facts.unwrap_or(PathFacts::ROOT)
    }
}
