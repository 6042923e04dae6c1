//! Truncation of texts.

/// Returns the longest prefix of at most `max` bytes that ends between two characters.
pub(crate) fn prefix(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_end_between_characters() {
        let prefixes: Vec<_> = (0..8).map(|max| prefix("aé日", max)).collect();
        assert_eq!(prefixes, ["", "a", "a", "aé", "aé", "aé", "aé日", "aé日"]);
    }
}
