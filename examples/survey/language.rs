//! Languages by file name, and their comment syntax.

use std::path::Path;

use serde::{Deserialize, Serialize};

/// An index of the table below. A worker process is a copy of this program, so the index alone
/// identifies the language.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Language(u8);

/// One row of the table.
pub struct Syntax {
    pub name: &'static str,
    /// Extensions or whole file names, in lower case.
    files: &'static [&'static str],
    /// What starts a line comment.
    pub line: &'static [&'static str],
    /// What starts and ends a block comment.
    pub block: Option<(&'static str, &'static str)>,
}

impl Language {
    /// Text with an unknown name.
    pub const OTHER: Language = Language(0);
    /// Not text.
    pub const BINARY: Language = Language(1);

    pub fn of(path: &Path) -> Language {
        let lower = |part: Option<&std::ffi::OsStr>| {
            part.map(|part| part.to_string_lossy().to_lowercase()).unwrap_or_default()
        };
        let (name, extension) = (lower(path.file_name()), lower(path.extension()));
        let known =
            |syntax: &Syntax| syntax.files.iter().any(|file| *file == extension || *file == name);
        LANGUAGES.iter().position(known).map_or(Language::OTHER, |place| Language(place as u8))
    }

    pub fn syntax(self) -> &'static Syntax {
        &LANGUAGES[self.0 as usize]
    }
}

const C_LIKE: Option<(&str, &str)> = Some(("/*", "*/"));
const MARKUP: Option<(&str, &str)> = Some(("<!--", "-->"));

#[rustfmt::skip]
static LANGUAGES: &[Syntax] = &[
    Syntax { name: "other text", files: &[], line: &[], block: None },
    Syntax { name: "binary", files: &[], line: &[], block: None },
    Syntax { name: "Assembly", files: &["s", "asm"], line: &[";", "#", "//"], block: C_LIKE },
    Syntax { name: "C", files: &["c"], line: &["//"], block: C_LIKE },
    Syntax { name: "C#", files: &["cs"], line: &["//"], block: C_LIKE },
    Syntax { name: "C++", files: &["cc", "cpp", "cxx", "hh", "hpp"], line: &["//"], block: C_LIKE },
    Syntax { name: "C header", files: &["h"], line: &["//"], block: C_LIKE },
    Syntax { name: "CMake", files: &["cmake", "cmakelists.txt"], line: &["#"], block: None },
    Syntax { name: "CSS", files: &["css", "scss", "less"], line: &[], block: C_LIKE },
    Syntax { name: "Dockerfile", files: &["dockerfile"], line: &["#"], block: None },
    Syntax { name: "Elixir", files: &["ex", "exs"], line: &["#"], block: None },
    Syntax { name: "Go", files: &["go"], line: &["//"], block: C_LIKE },
    Syntax { name: "HTML", files: &["html", "htm"], line: &[], block: MARKUP },
    Syntax { name: "Haskell", files: &["hs"], line: &["--"], block: Some(("{-", "-}")) },
    Syntax { name: "Java", files: &["java"], line: &["//"], block: C_LIKE },
    Syntax { name: "JavaScript", files: &["js", "mjs", "cjs", "jsx"], line: &["//"], block: C_LIKE },
    Syntax { name: "JSON", files: &["json"], line: &[], block: None },
    Syntax { name: "Kotlin", files: &["kt", "kts"], line: &["//"], block: C_LIKE },
    Syntax { name: "Lisp", files: &["el", "lisp", "clj", "scm"], line: &[";"], block: None },
    Syntax { name: "Lua", files: &["lua"], line: &["--"], block: Some(("--[[", "]]")) },
    Syntax { name: "Makefile", files: &["mk", "makefile"], line: &["#"], block: None },
    Syntax { name: "Markdown", files: &["md", "markdown"], line: &[], block: MARKUP },
    Syntax { name: "PHP", files: &["php"], line: &["//", "#"], block: C_LIKE },
    Syntax { name: "Perl", files: &["pl", "pm"], line: &["#"], block: None },
    Syntax { name: "Plain text", files: &["txt", "rst", "license", "copying"], line: &[], block: None },
    Syntax { name: "Protobuf", files: &["proto"], line: &["//"], block: C_LIKE },
    Syntax { name: "Python", files: &["py", "pyi"], line: &["#"], block: Some(("\"\"\"", "\"\"\"")) },
    Syntax { name: "Ruby", files: &["rb"], line: &["#"], block: Some(("=begin", "=end")) },
    Syntax { name: "Rust", files: &["rs"], line: &["//"], block: C_LIKE },
    Syntax { name: "SQL", files: &["sql"], line: &["--"], block: C_LIKE },
    Syntax { name: "Scala", files: &["scala"], line: &["//"], block: C_LIKE },
    Syntax { name: "Shell", files: &["sh", "bash", "zsh"], line: &["#"], block: None },
    Syntax { name: "Swift", files: &["swift"], line: &["//"], block: C_LIKE },
    Syntax { name: "TOML", files: &["toml"], line: &["#"], block: None },
    Syntax { name: "TypeScript", files: &["ts", "tsx"], line: &["//"], block: C_LIKE },
    Syntax { name: "XML", files: &["xml", "svg", "xsd"], line: &[], block: MARKUP },
    Syntax { name: "YAML", files: &["yml", "yaml"], line: &["#"], block: None },
    Syntax { name: "Zig", files: &["zig"], line: &["//"], block: None },
];
