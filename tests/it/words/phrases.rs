//! Phrases that are not used, each with its plain replacement. A star ends a prefix; `a|b` is either word.
//!
//! The list has two kinds: idioms that only this code used, and words that had several meanings. Common
//! English is not policed here: a phrase is added after it was found, with what to write instead.

/// A phrase, and what to write instead.
pub struct Phrase {
    pub words: &'static str,
    pub instead: &'static str,
}

const fn phrase(words: &'static str, instead: &'static str) -> Phrase {
    Phrase { words, instead }
}

pub const PHRASES: &[Phrase] = &[
    phrase("answer*", "response, respond, return"),
    phrase("told|tell|tells|telling", "notify, report, say, show"),
    phrase("stands", "is, exists, is listed in"),
    phrase("stand for|so|there|here|before|behind|beside|at", "is, precedes, mean"),
    phrase("odd|oddly", "malformed, unexpected"),
    phrase("mend|mends|mended|mending", "repair, fix; in the runbook: remediation"),
    phrase("by itself", "automatically, alone"),
    phrase("by themselves", "automatically, alone"),
    phrase("whoever", "anyone who, the caller that"),
    phrase("nobody", "no one, no process, no function"),
    phrase("somebody|someone else", "another process, another caller"),
    phrase("wants", "requires, needs, asks for"),
    phrase("believe*", "cached, trusted"),
    phrase("came|comes|became|becomes|come of", "the outcome of, the result of"),
    phrase("see|sees to it", "make sure"),
    phrase("is no such|operator|head|path|cursor|type", "is not a …, unknown …"),
    phrase("no such thing", "not found"),
    phrase("goes|go|went off", "an alarm fires"),
    phrase("learnt", "recorded, observed"),
    phrase("is|are|was|were over", "has expired, is closed, has ended; of numbers: exceeds, more than"),
    phrase("set aside", "quarantined"),
    phrase("set apart", "moved to the queue of unreadable messages"),
    phrase("called off", "cancelled"),
    phrase("passed|passes over", "skipped"),
    phrase("not acceptable", "invalid"),
    phrase("signature does not hold", "invalid signature"),
    phrase("not known here", "unknown parameter"),
    phrase("taken for not|high|full", "assumed to be"),
    phrase("taken here", "accepted; the limit is"),
    phrase("ended already", "already finished"),
    phrase("exists already", "already exists"),
    phrase("changed by others", "conflicting update; retry"),
    phrase("changes are made", "conflicting update; retry"),
    phrase("what is what", "definitions"),
    phrase("time-out|time-outs", "timeout"),
    phrase("half-way", "not completed, failed"),
    phrase("left half", "not completed, failed"),
];

/// Names that the API and the tables had before, and those that they have now.
pub const OLD_NAMES: &[(&str, &str)] = &[
    ("parked_for", "parked_reason"),
    ("ParkedFor", "ParkedReason"),
    ("drain_rate", "delivery_rate"),
    ("what_to_do", "suggested_action"),
    ("set_aside", "quarantined"),
    ("endpoint.recovering", "endpoint.recovered"),
    ("refused_address", "blocked_address"),
    ("contended", "conflict"),
    ("\"retry_schedule\"", "retry_schedule_seconds"),
    ("`retry_schedule`", "retry_schedule_seconds"),
    ("\"what\":", "selection, description"),
];

/// Constants that do not say what they are about.
pub const BARE_CONSTANTS: &[&str] = &["LEASE", "LIMIT", "TRIES", "CONCURRENCY", "SETTLED"];

/// Participles that are not formed with -ed.
pub const PARTICIPLES: &[&str] = &[
    "Told", "Kept", "Found", "Done", "Seen", "Taken", "Held", "Lost", "Sent", "Made", "Given", "Known",
    "Shown", "Read", "Written", "Begun", "Begotten", "Left", "Met",
];

/// Types that may be named with a participle, with the reason.
pub const ALLOWED_PARTICIPLES: &[(&str, &str)] =
    &[("Verified", "the proof that a signature was checked; nothing else can be normalised")];
