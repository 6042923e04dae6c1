//! Types that need no check.
//!
//! Checks cost the compiler time, and most parameters and results have types of which all parts are
//! known by name. They are `Send`, `Clone` (except a mutable reference), and can be sent to processes. A
//! type of the user's that has such a name and is not is still rejected: by the functions behind the
//! checks, with an error in other words.

use syn::Type;

use super::portable::types_in;
use crate::item::bare;

/// Returns whether the type and all types in it are known by their names.
///
/// Not arrays, because serde knows only the short ones, and not maps, which depend on their keys.
pub(crate) fn is_plain(ty: &Type) -> bool {
    match bare(ty) {
        Type::Path(path) if path.qself.is_none() => {
            let Some(last) = path.path.segments.last() else { return false };
            let name = last.ident.to_string();
            let inside = types_in(bare(ty));
            let known = match inside.len() {
                0 => last.arguments.is_none() && is_plain_name(&name),
                1 => ["Box", "Option", "Vec"].contains(&&*name),
                2 => name == "Result",
                _ => false,
            };
            known && inside.into_iter().all(is_plain)
        }
        Type::Reference(reference) if reference.mutability.is_none() => {
            match bare(&reference.elem) {
                Type::Slice(slice) => is_plain(&slice.elem),
                Type::Path(path) if path.path.is_ident("str") => true,
                target => is_plain(target),
            }
        }
        Type::Tuple(tuple) => tuple.elems.len() <= 12 && tuple.elems.iter().all(is_plain),
        _ => false,
    }
}

fn is_plain_name(name: &str) -> bool {
    const NUMBERS: [&str; 14] = [
        "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize",
        "f32", "f64",
    ];
    NUMBERS.contains(&name)
        || ["bool", "char", "String", "PathBuf", "Duration", "SystemTime"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_plain() {
        for plain in [
            "u32",
            "String",
            "std::path::PathBuf",
            "()",
            "(u8, Vec<String>)",
            "&str",
            "&[(u8, Option<f64>)]",
            "&Vec<Box<char>>",
            "Result<Vec<u8>, std::string::String>",
        ] {
            assert!(is_plain(&syn::parse_str(plain).unwrap()), "{plain}");
        }
        for other in [
            "Point",
            "Vec<Point>",
            "(u8, Point)",
            "[u8; 4]",
            "HashMap<f64, u8>",
            "io::Result<()>",
            "Result<u8, io::Error>",
            "&mut u8",
            "&dyn Error",
            "Box<dyn Error>",
            "fn()",
            "String<u8>",
            "<u8 as Trait>::String",
            "impl Copy",
        ] {
            assert!(!is_plain(&syn::parse_str(other).unwrap()), "{other}");
        }
    }
}
