//! Rows of the fault table that this function shows in its own way. The name of a test begins with its row.

mod secrets;
