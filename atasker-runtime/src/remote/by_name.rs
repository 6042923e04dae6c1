//! Remote functions by name and signature: what must be the same in two programs, which may be
//! builds of different age.
//!
//! The table can hold two functions of one name and signature, for example of two function bodies
//! in one module. A call could mean either of them, so neither can be called.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::LazyLock;

use super::functions::{FUNCTIONS, Function};

/// The answer to the search for a remote function.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    One(&'static Function),
    /// This program has no remote function of that name and signature.
    None,
    /// There are two of them, so a call could mean either.
    Twice(Duplicate),
}

/// Two remote functions of one name and signature. Displayed with the places of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Duplicate {
    pub(crate) one: &'static Function,
    pub(crate) other: &'static Function,
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Duplicate { one, other } = self;
        write!(
            f,
            "two remote functions have the name `{}` and the same signature, at {}:{}:{} and at \
             {}:{}:{}: give one of them another `name` or `version`",
            one.name, one.file, one.line, one.column, other.file, other.line, other.column,
        )
    }
}

/// The remote functions of a program, by name and signature.
struct RemoteFunctions {
    by_key: HashMap<(&'static str, u64), Found>,
    /// The first two of each name and signature that occurs more than once.
    duplicates: Vec<Duplicate>,
}

impl RemoteFunctions {
    fn new(table: impl IntoIterator<Item = &'static Function>) -> Self {
        let mut functions = RemoteFunctions { by_key: HashMap::new(), duplicates: Vec::new() };
        for function in table.into_iter().filter(|function| function.remote.is_some()) {
            match functions.by_key.entry((function.name, function.signature)) {
                Entry::Vacant(entry) => {
                    entry.insert(Found::One(function));
                }
                Entry::Occupied(mut entry) => {
                    if let Found::One(one) = *entry.get() {
                        let duplicate = Duplicate { one, other: function };
                        functions.duplicates.push(duplicate);
                        entry.insert(Found::Twice(duplicate));
                    }
                }
            }
        }
        functions
    }

    fn find(&self, name: &str, signature: u64) -> Found {
        self.by_key.get(&(name, signature)).copied().unwrap_or(Found::None)
    }
}

static REMOTE: LazyLock<RemoteFunctions> = LazyLock::new(|| RemoteFunctions::new(&*FUNCTIONS));

/// Returns the remote function of this program with that name and signature.
pub(crate) fn remote(name: &str, signature: u64) -> Found {
    REMOTE.find(name, signature)
}

/// Returns the duplicates among the remote functions of this program, which are an error of `serve`.
pub(crate) fn remote_duplicates() -> &'static [Duplicate] {
    &REMOTE.duplicates
}

/// Returns the error of a launch of this function: another one has its name and signature. Cheap in
/// a program without duplicates.
pub(crate) fn duplicate_of(function: &Function) -> Option<Duplicate> {
    if REMOTE.duplicates.is_empty() {
        return None;
    }
    match remote(function.name, function.signature) {
        Found::Twice(duplicate) => Some(duplicate),
        Found::One(_) | Found::None => None,
    }
}

/// Returns the remote functions of this program, in the order of their names.
pub(crate) fn remote_functions() -> Vec<&'static Function> {
    let mut functions: Vec<_> =
        FUNCTIONS.iter().filter(|function| function.remote.is_some()).collect();
    functions.sort_by_key(|function| (function.name, function.signature));
    functions
}

#[cfg(test)]
mod tests {
    use super::super::functions::{RemoteFunction, versioned};
    use super::*;

    const fn function(name: &'static str, line: u32, types: u64, version: u32) -> Function {
        Function {
            name,
            file: "lib.rs",
            line,
            column: 1,
            signature: versioned(types, version),
            remote: Some(RemoteFunction { types: "", version }),
            call: |_| Ok(()),
        }
    }

    static RESIZE: Function = function("media::resize", 1, 7, 0);
    static RESIZE_2: Function = function("media::resize", 2, 7, 1);
    static RESIZE_OTHER_TYPES: Function = function("media::resize", 3, 8, 0);
    static CROP: Function = function("media::crop", 4, 7, 0);
    static CROP_AGAIN: Function = function("media::crop", 5, 7, 0);
    static CROP_THRICE: Function = function("media::crop", 6, 7, 0);
    static LOCAL: Function = Function { remote: None, ..function("media::local", 7, 7, 0) };

    #[test]
    fn functions_are_found_by_name_and_signature() {
        let functions = RemoteFunctions::new([&RESIZE, &RESIZE_2, &RESIZE_OTHER_TYPES, &CROP]);
        assert!(functions.duplicates.is_empty());
        for function in [&RESIZE, &RESIZE_2, &RESIZE_OTHER_TYPES, &CROP] {
            let found = functions.find(function.name, function.signature);
            assert!(matches!(found, Found::One(one) if one.line == function.line), "{found:?}");
        }
        assert!(matches!(functions.find("media::resize", versioned(7, 2)), Found::None));
        assert!(matches!(functions.find("media::blur", versioned(7, 0)), Found::None));
    }

    #[test]
    fn local_functions_are_not_found() {
        let functions = RemoteFunctions::new([&LOCAL, &LOCAL]);
        assert!(matches!(functions.find(LOCAL.name, LOCAL.signature), Found::None));
        assert!(functions.duplicates.is_empty());
    }

    #[test]
    fn duplicates_are_reported_once_with_both_places() {
        let functions = RemoteFunctions::new([&CROP, &RESIZE, &CROP_AGAIN, &CROP_THRICE]);
        assert!(matches!(functions.find(CROP.name, CROP.signature), Found::Twice(_)));
        assert!(matches!(functions.find(RESIZE.name, RESIZE.signature), Found::One(_)));
        let [duplicate] = &functions.duplicates[..] else { panic!("{:?}", functions.duplicates) };
        let text = duplicate.to_string();
        for part in ["`media::crop`", "lib.rs:4:1", "lib.rs:5:1", "`version`"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
