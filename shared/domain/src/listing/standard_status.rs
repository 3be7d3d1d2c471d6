//! The status of a listing, which feeds spell in two ways.

/// The standard status (RESO Data Dictionary 2.0, field `StandardStatus`) in our spelling. Feeds write
/// `ActiveUnderContract` or `Active Under Contract`, and `Cancelled` or `Canceled`. What is unknown is `other`.
#[must_use]
pub fn standard_status(text: &str) -> &'static str {
    let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
    match plain.to_ascii_lowercase().as_str() {
        "active" => "active",
        "activeundercontract" => "active_under_contract",
        "canceled" | "cancelled" => "canceled",
        "closed" => "closed",
        "comingsoon" => "coming_soon",
        "delete" => "delete",
        "expired" => "expired",
        "hold" => "hold",
        "incomplete" => "incomplete",
        "pending" => "pending",
        "withdrawn" => "withdrawn",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_one_status() {
        for (text, expected) in [
            // M18.
            ("ActiveUnderContract", "active_under_contract"),
            ("Active Under Contract", "active_under_contract"),
            ("Coming Soon", "coming_soon"),
            ("Cancelled", "canceled"),
            ("Hold/Off-Market", "other"),
            ("", "other"),
        ] {
            assert_eq!(standard_status(text), expected, "{text}");
        }
    }
}
