//! What several tests use.

pub(crate) mod answer;
pub(crate) mod pictures;
pub(crate) mod rows;
pub(crate) mod tree;
