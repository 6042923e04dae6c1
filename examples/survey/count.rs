//! Counts the lines and words of one file. The scanner knows comments, not grammars: the beginning
//! of a comment inside a multi-line string is taken for a comment.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::language::{Language, Syntax};

/// Lines by content.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub struct Lines {
    pub code: u64,
    pub comment: u64,
    pub blank: u64,
}

/// Counts a file that is passed line by line.
pub struct Counter {
    syntax: &'static Syntax,
    pub lines: Lines,
    pub identifiers: Words,
    in_comment: bool,
    /// The last piece was the beginning of a long line, which is already counted.
    in_line: bool,
}

impl Counter {
    pub fn new(language: Language) -> Counter {
        Counter {
            syntax: language.syntax(),
            lines: Lines::default(),
            identifiers: Words::default(),
            in_comment: false,
            in_line: false,
        }
    }

    /// Takes a line with its terminator, or a piece of a very long one.
    pub fn line(&mut self, line: &[u8]) {
        let text = line.trim_ascii();
        let code = self.has_code(text);
        let counted = match text {
            _ if code => &mut self.lines.code,
            [] => &mut self.lines.blank,
            _ => &mut self.lines.comment,
        };
        *counted += u64::from(!self.in_line);
        self.in_line = !line.ends_with(b"\n");
    }

    /// Scans a line, counts the identifiers outside of comments, and returns whether there is any
    /// code.
    fn has_code(&mut self, mut rest: &[u8]) -> bool {
        let (begin, end) = self.syntax.block.unwrap_or(("", ""));
        let mut code = false;
        loop {
            if self.in_comment {
                match find(rest, end) {
                    Some(at) => rest = &rest[at + end.len()..],
                    None => return code,
                }
                self.in_comment = false;
            }
            rest = rest.trim_ascii_start();
            if rest.is_empty() || self.syntax.line.iter().any(|c| rest.starts_with(c.as_bytes())) {
                return code;
            }
            if !begin.is_empty() && rest.starts_with(begin.as_bytes()) {
                self.in_comment = true;
                rest = &rest[begin.len()..];
            } else {
                code = true;
                rest = &rest[self.code(rest, begin)..];
            }
        }
    }

    /// Counts the identifiers up to the next comment, and returns the length of that code.
    fn code(&mut self, text: &[u8], begin: &str) -> usize {
        let comment = |rest: &[u8]| {
            self.syntax.line.iter().any(|c| rest.starts_with(c.as_bytes()))
                || (!begin.is_empty() && rest.starts_with(begin.as_bytes()))
        };
        let mut at = 0;
        while at < text.len() && !comment(&text[at..]) {
            let length = match text[at] {
                b'"' => string(&text[at..]),
                byte if is_word(byte) => {
                    let word = &text[at..];
                    let length = word.iter().position(|b| !is_word(*b)).unwrap_or(word.len());
                    if let Ok(word) = str::from_utf8(&word[..length])
                        && is_identifier(word)
                    {
                        self.identifiers.add(word, 1);
                    }
                    length
                }
                _ => 1,
            };
            at += length;
        }
        at
    }
}

/// The length of a quoted string at the beginning of `text`; of the first quote alone if the string
/// does not end on this line.
fn string(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    1
}

fn find(text: &[u8], wanted: &str) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted.as_bytes())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn is_identifier(word: &str) -> bool {
    !word.starts_with(|first: char| first.is_ascii_digit())
        && word.len() <= 64
        && KEYWORDS.binary_search(&word).is_err()
}

/// Words that would otherwise lead every list. Sorted for the search.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "False", "None", "Self", "True", "and", "as", "async", "auto", "await", "bool", "break", "case",
    "catch", "char", "class", "const", "continue", "crate", "def", "default", "define", "defined",
    "del", "delete", "do", "double", "dyn", "elif", "else", "elseif", "end", "endif", "enum",
    "except", "export", "extends", "extern", "false", "final", "finally", "float", "fn", "for",
    "from", "func", "function", "goto", "if", "ifdef", "ifndef", "impl", "implements", "import",
    "in", "include", "inline", "instanceof", "int", "interface", "is", "lambda", "let", "local",
    "long", "loop", "match", "mod", "move", "mut", "namespace", "new", "nil", "not", "null", "or",
    "override", "package", "pass", "private", "protected", "pub", "public", "raise", "ref",
    "require", "return", "self", "short", "signed", "sizeof", "static", "struct", "super",
    "switch", "template", "then", "this", "throw", "throws", "trait", "true", "try", "type",
    "typedef", "typename", "union", "unsafe", "unsigned", "use", "using", "var", "virtual", "void",
    "volatile", "where", "while", "with", "yield",
];

/// The frequency of each word, for a bounded number of words.
#[derive(Default)]
pub struct Words {
    counts: HashMap<Box<str>, u64>,
}

impl Words {
    /// Above this number of different words, the rarer half is forgotten. The frequent ones stay,
    /// and neither a database dump nor 50,000 files need more than a few megabytes.
    const MOST: usize = 1 << 15;

    pub fn add(&mut self, word: &str, times: u64) {
        if let Some(count) = self.counts.get_mut(word) {
            *count += times;
            return;
        }
        if self.counts.len() >= Self::MOST {
            let mut counts: Vec<u64> = self.counts.values().copied().collect();
            let median = *counts.select_nth_unstable(Self::MOST / 2).1;
            self.counts.retain(|_, count| *count > median);
        }
        self.counts.insert(word.into(), times);
    }

    /// The `n` most frequent words in descending order.
    pub fn top(&self, n: usize) -> Vec<(String, u64)> {
        let mut words: Vec<(&str, u64)> = self.counts.iter().map(|(w, n)| (&**w, *n)).collect();
        words.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        words.into_iter().take(n).map(|(word, count)| (word.to_owned(), count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn count(name: &str, text: &str) -> ([u64; 3], Vec<(String, u64)>) {
        let mut counter = Counter::new(Language::of(Path::new(name)));
        text.split_inclusive('\n').for_each(|line| counter.line(line.as_bytes()));
        let Lines { code, comment, blank } = counter.lines;
        ([code, comment, blank], counter.identifiers.top(2))
    }

    #[test]
    fn counts_lines_and_identifiers() {
        let text =
            "/* a\n\n b */ let one = two; // one\n\t\nlet url = \"http://one\"; /**/\n// one";
        let words = vec![("one".to_owned(), 1), ("two".to_owned(), 1)];
        assert_eq!(count("x.rs", text), ([2, 2, 2], words));
        assert_eq!(count("x.py", "# a\nx = x # b\n").0, [1, 1, 0]);
        assert_eq!(count("Makefile", "all:\n\tcc\n").0, [2, 0, 0]);
        assert_eq!(count("empty.c", "").0, [0, 0, 0]);
    }

    #[test]
    fn long_line_counts_once() {
        let mut counter = Counter::new(Language::OTHER);
        for piece in ["begin ", "middle ", "last\n", "next\n"] {
            counter.line(piece.as_bytes());
        }
        assert_eq!(counter.lines.code, 2);
        assert_eq!(counter.identifiers.top(9).len(), 4);
    }

    #[test]
    fn frequent_words_survive_many_rare_ones() {
        let mut words = Words::default();
        for n in 0..100_000 {
            words.add(&format!("rare{n}"), 1);
            words.add("frequent", 1);
        }
        assert_eq!(words.top(1), [("frequent".to_owned(), 100_000)]);
        assert!(words.counts.len() <= Words::MOST);
    }

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }
}
