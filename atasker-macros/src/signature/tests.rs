use proptest::prelude::*;
use syn::parse_quote;

use super::*;
use crate::item::{Role, TaskFn};

/// Returns the text of a type.
fn of(source: &str) -> String {
    let ty: Type = syn::parse_str(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let mut text = Text(String::new());
    text.ty(&ty);
    text.0
}

/// Returns the text of a function.
fn of_fn(source: &str) -> String {
    let function = |input: syn::parse::ParseStream<'_>| TaskFn::parse(Role::Task, input);
    let f = syn::parse::Parser::parse_str(function, source).unwrap();
    text("msgpack", f.context.as_ref(), f.params.iter().map(|param| &param.ty), &f.result())
}

#[test]
fn function_is_written_in_one_way() {
    let expected = "msgpack <(), ()> (&str, Vec<u8>) -> Result<Report, std::io::Error>";
    for source in [
        "fn f(input: &str, bytes: Vec<u8>) -> Result<Report, std::io::Error> {}",
        "fn g<'a>(_: &'a str, mut b: Vec::<u8>,)->Result<Report,std::io::Error,>{}",
        "async fn f(a: & 'static str, b: (Vec<u8>)) -> (Result<r#Report, std :: io :: Error>) {}",
        "pub(crate) fn f(ctx: &TaskContext, a: &str, // first\n b: Vec /* bytes */ <u8>) -> Result<Report, std::io::Error> {}",
        "fn f(ctx: atasker::TaskContext<(), ()>, a: &str, b: Vec<u8>) -> Result<Report, std::io::Error> {}",
    ] {
        assert_eq!(of_fn(source), expected, "{source}");
    }
    assert_eq!(of_fn("fn f() {}"), "msgpack <(), ()> () -> ()");
    assert_eq!(of_fn("fn f() -> () {}"), "msgpack <(), ()> () -> ()");
    assert_eq!(
        of_fn("fn f(c: &TaskContext<u8, (Frame,)>, n: u32) {}"),
        "msgpack <u8, (Frame,)> (u32) -> ()"
    );
}

#[test]
fn functions_of_other_types_differ() {
    let texts = [
        "fn f(a: u32) {}",
        "fn f(a: u64) {}",
        "fn f(a: (u32,)) {}",
        "fn f(a: (u32, u32)) {}",
        "fn f(a: u32, b: u32) {}",
        "fn f(a: &u32) {}",
        "fn f(a: Option<u32>) {}",
        "fn f(a: std::option::Option<u32>) {}",
        "fn f(a: ::std::option::Option<u32>) {}",
        "fn f() -> u32 {}",
        "fn f(c: &TaskContext<u32>) {}",
        "fn f(c: &TaskContext<(), u32>) {}",
    ]
    .map(of_fn);
    for (i, text) in texts.iter().enumerate() {
        assert!(!texts[..i].contains(text), "{text}");
    }
}

#[test]
fn every_kind_of_type_has_a_text() {
    for (source, expected) in [
        ("[ u8;4 ]", "[u8; 4]"),
        ("[u8; {LEN+1}]", "[u8; {LEN + 1}]"),
        ("[u8; a::<b<c>>()]", "[u8; a : : < b < c > > ()]"),
        ("&mut [T]", "&mut [T]"),
        ("*const u8", "*const u8"),
        ("Cow<'a, str>", "Cow<str>"),
        ("Ref<'static>", "Ref"),
        ("Matrix<3, -1, {N}>", "Matrix<3, - 1, {N}>"),
        ("<T as Iterator>::Item", "<T as Iterator>::Item"),
        ("<Vec<u8>>::Item", "<Vec<u8>>::Item"),
        ("<T as ::a::Tr<u8>>::B<u8>", "<T as ::a::Tr<u8>>::B<u8>"),
        ("fn(a: u8, &'a str) -> ()", "fn(u8, &str)"),
        ("for<'a> unsafe extern fn(&'a u8, ...) -> u8", "unsafe extern \"C\" fn(&u8, ...) -> u8"),
        ("PhantomData<fn() -> !>", "PhantomData<fn() -> !>"),
        ("Box<dyn for<'a> Fn(&'a T,) -> () + 'static + Send>", "Box<dyn Fn(&T) + Send>"),
        ("&'a (dyn Error + 'a)", "&dyn Error"),
        ("&(dyn Error + Send)", "&(dyn Error + Send)"),
        ("Box<dyn Iterator<Item=u8>+Send>", "Box<dyn Iterator<Item = u8> + Send>"),
        ("id!{ u8,[a] }", "id!(u8 , [a])"),
        ("r#type::r#Type", "type::Type"),
    ] {
        assert_eq!(of(source), expected, "{source}");
    }
}

/// A type that went through a `macro_rules!` macro is wrapped in invisible groups.
#[test]
fn groups_of_macros_are_invisible() {
    let group = |tokens: TokenStream| {
        TokenTree::Group(proc_macro2::Group::new(Delimiter::None, tokens)).to_token_stream()
    };
    let inner = group(quote::quote!(Vec<u8>));
    let len = group(quote::quote!(N + 1));
    let ty: Type = parse_quote!(Option<([#inner; #len],)>);
    let mut text = Text(String::new());
    text.ty(&ty);
    assert_eq!(text.0, "Option<([Vec<u8>; N + 1],)>");
}

/// A type without anything that the text leaves out.
#[derive(Clone, Debug, PartialEq)]
enum Model {
    Path { global: bool, names: Vec<&'static str>, arguments: Vec<Model> },
    Member { of: Box<Model>, tr: &'static str, name: &'static str },
    Reference { mutable: bool, to: Box<Model> },
    Slice(Box<Model>),
    Array(Box<Model>, u8),
    Tuple(Vec<Model>),
    Function { takes: Vec<Model>, returns: Option<Box<Model>> },
    Object(Vec<&'static str>),
}

fn model() -> impl Strategy<Value = Model> {
    let name = || prop::sample::select(vec!["u8", "Vec", "a", "Report", "b_c"]);
    let names = move || prop::collection::vec(name(), 1..3);
    let leaf = prop_oneof![
        (any::<bool>(), names()).prop_map(|(global, names)| Model::Path {
            global,
            names,
            arguments: vec![]
        }),
        prop::collection::vec(name(), 1..3).prop_map(Model::Object),
        Just(Model::Tuple(vec![])),
    ];
    leaf.prop_recursive(4, 24, 3, move |inner| {
        let list = |min| prop::collection::vec(inner.clone(), min..4);
        let boxed = || inner.clone().prop_map(Box::new);
        prop_oneof![
            (any::<bool>(), names(), list(1)).prop_map(|(global, names, arguments)| Model::Path {
                global,
                names,
                arguments
            }),
            (boxed(), name(), name()).prop_map(|(of, tr, name)| Model::Member { of, tr, name }),
            (any::<bool>(), boxed()).prop_map(|(mutable, to)| Model::Reference { mutable, to }),
            boxed().prop_map(Model::Slice),
            (boxed(), any::<u8>()).prop_map(|(of, len)| Model::Array(of, len)),
            list(0).prop_map(Model::Tuple),
            (list(0), prop::option::of(boxed())).prop_map(|(takes, returns)| Model::Function {
                takes,
                // `-> ()` means the same as nothing.
                returns: returns.filter(|returns| **returns != Model::Tuple(vec![])),
            }),
        ]
    })
}

/// Writes a type in one of many ways, which the bytes choose.
struct Writer<'a> {
    source: String,
    choices: std::iter::Cycle<std::slice::Iter<'a, u8>>,
}

impl Writer<'_> {
    fn chooses(&mut self, one_in: u8) -> bool {
        self.choices.next().is_some_and(|byte| byte % one_in == 0)
    }

    fn token(&mut self, token: &str) {
        self.source.push_str(match self.choices.next().map_or(0, |byte| byte % 7) {
            0 => "\n    ",
            1 => " /* why */ ",
            2 => " // why\n",
            _ => " ",
        });
        // Without a space where two tokens can't become one.
        if !token.starts_with(|c: char| c.is_alphanumeric() || c == '\'') && self.chooses(2) {
            self.source.truncate(self.source.trim_end_matches(' ').len());
        }
        self.source.push_str(token);
    }

    fn name(&mut self, name: &str) {
        match self.chooses(5) {
            true => self.token(&format!("r#{name}")),
            false => self.token(name),
        }
    }

    fn lifetime(&mut self) {
        let lifetime = if self.chooses(2) { "'a" } else { "'static" };
        self.token(lifetime);
    }

    fn list(&mut self, types: &[Model], is_tuple: bool) {
        for (i, ty) in types.iter().enumerate() {
            if i > 0 {
                self.token(",");
            }
            self.ty(ty);
        }
        if !types.is_empty() && (self.chooses(3) || (is_tuple && types.len() == 1)) {
            self.token(",");
        }
    }

    fn ty(&mut self, ty: &Model) {
        let in_parens = self.chooses(6);
        if in_parens {
            self.token("(");
        }
        self.bare(ty);
        if in_parens {
            self.token(")");
        }
    }

    /// Writes a type where several bounds need parentheses.
    fn target(&mut self, ty: &Model) {
        if matches!(ty, Model::Object(_)) {
            self.token("(");
            self.bare(ty);
            self.token(")");
        } else {
            self.ty(ty);
        }
    }

    fn bare(&mut self, ty: &Model) {
        match ty {
            Model::Path { global, names, arguments } => {
                for (i, name) in names.iter().enumerate() {
                    if i > 0 || *global {
                        self.token("::");
                    }
                    self.name(name);
                }
                let lifetime = self.chooses(4);
                if !arguments.is_empty() || lifetime {
                    if self.chooses(4) {
                        self.token("::");
                    }
                    self.token("<");
                    if lifetime {
                        self.lifetime();
                        if !arguments.is_empty() {
                            self.token(",");
                        }
                    }
                    self.list(arguments, false);
                    self.token(">");
                }
            }
            Model::Member { of, tr, name } => {
                self.token("<");
                self.ty(of);
                self.token(" as");
                self.name(tr);
                self.token(">");
                self.token("::");
                self.name(name);
            }
            Model::Reference { mutable, to } => {
                self.token("&");
                if self.chooses(3) {
                    self.lifetime();
                }
                if *mutable {
                    self.token("mut");
                }
                self.target(to);
            }
            Model::Slice(of) => {
                self.token("[");
                self.ty(of);
                self.token("]");
            }
            Model::Array(of, len) => {
                self.token("[");
                self.ty(of);
                self.token(";");
                self.token(&len.to_string());
                self.token("]");
            }
            Model::Tuple(types) => {
                self.token("(");
                self.list(types, true);
                self.token(")");
            }
            Model::Function { takes, returns } => {
                if self.chooses(3) {
                    self.source.push_str(" for<'b>");
                }
                self.token("fn");
                self.token("(");
                for (i, ty) in takes.iter().enumerate() {
                    if i > 0 {
                        self.token(",");
                    }
                    if self.chooses(3) {
                        self.token("name");
                        // Not joined with the colons of a path.
                        self.token(":\n");
                    }
                    self.ty(ty);
                }
                self.token(")");
                match returns {
                    Some(ty) => {
                        self.token("->");
                        self.target(ty);
                    }
                    None if self.chooses(3) => self.token(" -> ()"),
                    None => {}
                }
            }
            Model::Object(traits) => {
                self.token("dyn");
                for (i, name) in traits.iter().enumerate() {
                    if i > 0 {
                        self.token("+");
                    }
                    self.name(name);
                }
                if self.chooses(3) {
                    self.token("+");
                    self.lifetime();
                }
            }
        }
    }
}

fn written(ty: &Model, choices: &[u8]) -> String {
    let mut writer = Writer { source: String::new(), choices: choices.iter().cycle() };
    // Elsewhere than in an argument, a trait object may need parentheses.
    writer.token("X<");
    writer.ty(ty);
    writer.token(">");
    writer.source
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn formatting_does_not_change_the_text(
        ty in model(),
        one in prop::collection::vec(any::<u8>(), 1..40),
        other in prop::collection::vec(any::<u8>(), 1..40),
    ) {
        let (one, other) = (written(&ty, &one), written(&ty, &other));
        prop_assert_eq!(of(&one), of(&other), "\n{}\n{}", one, other);
    }

    #[test]
    fn text_parses_back(ty in model(), choices in prop::collection::vec(any::<u8>(), 1..40)) {
        let text = of(&written(&ty, &choices));
        prop_assert_eq!(of(&text), text);
    }

    #[test]
    fn other_types_have_other_texts(one in model(), other in model()) {
        let same = of(&written(&one, &[1])) == of(&written(&other, &[1]));
        prop_assert_eq!(same, one == other);
    }

    /// A change at one place, however deep, is seen.
    #[test]
    fn another_name_is_another_text(ty in model(), choices in prop::collection::vec(any::<u8>(), 1..40)) {
        let source = written(&ty, &choices);
        let changed = source.replacen("Report", "Reports", 1);
        prop_assert_eq!(of(&source) == of(&changed), source == changed);
    }
}
