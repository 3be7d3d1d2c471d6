//! What once failed, by the name of its target.

pub(crate) const REGRESSIONS: &[(&str, &str)] = &[
    // A step that is no index of RFC 6901, and was read as one.
    ("pointer", "/+1\0\0[7,8]"),
    ("pointer", "/01\0\0[7,8]"),
    // An empty pair is no parameter.
    ("query", "&="),
];
