//! Types that need no check.
//!
//! Checks cost the compiler time, and most parameters and results have types of which all parts are
//! known by name. They are `Send` and `Clone`, and can be sent to processes. Another type with such a
//! name that lacks these traits is rejected all the same, by the functions behind the checks, with an
//! error in other words.

use syn::{PathArguments, Type};

use super::portable::types_in;
use crate::item::bare;

/// Returns whether the type and all types in it are known by their names.
///
/// Not arrays, because serde knows only the short ones, and not maps, which depend on their keys.
pub(crate) fn is_plain(ty: &Type) -> bool {
    match bare(ty) {
        Type::Path(path) if path.qself.is_none() => {
            let segments = &path.path.segments;
            let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
                return false;
            };
            // Types of other libraries may have the same names.
            if segments.len() > 1 && first.ident != "std" {
                return false;
            }
            let name = last.ident.to_string();
            match &last.arguments {
                PathArguments::None => is_plain_name(&name),
                PathArguments::AngleBracketed(arguments) => {
                    let count = match &*name {
                        "Box" | "Option" | "Vec" => 1,
                        "Result" => 2,
                        _ => return false,
                    };
                    arguments.args.len() == count
                        && types_in(bare(ty)).len() == count
                        && types_in(bare(ty)).into_iter().all(is_plain)
                }
                PathArguments::Parenthesized(_) => false,
            }
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
    NUMBERS.contains(&name) || ["bool", "char", "String"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_plain() {
        for plain in [
            "u32",
            "String",
            "std::option::Option<bool>",
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
            "lua::String",
            "Vec<u8, 4>",
            "Duration",
            "<u8 as Trait>::String",
            "impl Copy",
        ] {
            assert!(!is_plain(&syn::parse_str(other).unwrap()), "{other}");
        }
    }
}
