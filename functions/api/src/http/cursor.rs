//! Opaque cursors: positions of a list in the store, encoded so that clients do not build on them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// The cursor of a position.
pub(crate) fn write(position: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(position)
}

/// The position of a cursor, as `parse` reads it; nothing if it is not a cursor of this list.
pub(crate) fn read<P>(cursor: &str, parse: impl Fn(&str) -> Option<P>) -> Option<P> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    parse(std::str::from_utf8(&bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is_a_cursor() {
        let number = |text: &str| text.parse::<u32>().ok();
        assert_eq!(read(&write("42"), number), Some(42));
        for malformed in ["", "x", "42", "_w", &write("x")] {
            assert_eq!(read(malformed, number), None, "{malformed}");
        }
    }
}
