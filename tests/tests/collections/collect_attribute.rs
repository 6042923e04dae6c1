//! Do functions with `#[collect]` reach their collection from any module and crate?

use std::thread;

use atasker::{
    CollectionReport, FunctionCollection, Priority, TaskCollection, collect, collection,
};
use atasker_tests::collected::{ACROSS, of_the_library};

fn names<T>(report: &CollectionReport<T>) -> Vec<&str> {
    report.results.iter().map(|(name, _)| name.as_str()).collect()
}

collection!(pub static STARTUP: TaskCollection<i32>);
collection! {
    static ORDER: FunctionCollection<()>;
    static BY_NAME: FunctionCollection<u8>;
}
/// A collection defined without the macro.
static PLAIN: FunctionCollection<Result<(), String>> = FunctionCollection::new();

#[collect(STARTUP)]
fn f1() -> i32 {
    1
}

#[collect(STARTUP, priority = "high")]
fn f2() -> i32 {
    2
}

mod elsewhere {
    use super::STARTUP;
    use atasker::Priority;

    pub mod deeper {
        #[atasker::collect(super::super::STARTUP, priority = -5)]
        fn f3() -> i32 {
            3
        }
    }

    const LATE: Priority = Priority::Low;

    #[atasker::collect(STARTUP, priority = LATE, name = "named")]
    pub fn f4() -> i32 {
        4
    }

    #[atasker::collect(crate::collect_attribute::STARTUP, priority = std::cmp::max(1_u8, 2))]
    #[allow(non_snake_case)]
    pub fn r#F5() -> i32 {
        5
    }

    #[atasker::collect(STARTUP)]
    #[cfg(any())]
    fn not_built() -> i32 {
        6
    }
}

#[test]
fn collects_from_other_modules_by_any_path() {
    let report = STARTUP.execute();
    assert_eq!(
        names(&report),
        [
            "collections::collect_attribute::elsewhere::deeper::f3",
            "collections::collect_attribute::elsewhere::F5",
            "collections::collect_attribute::f2",
            "collections::collect_attribute::f1",
            "named",
        ]
    );
    let values: Vec<i32> = report.results.into_iter().map(|(_, result)| result.unwrap()).collect();
    assert_eq!(values, [3, 5, 2, 1, 4]);
    // The functions themselves are unchanged.
    assert_eq!((f1(), elsewhere::f4()), (1, 4));
}

#[collect(ACROSS)]
fn of_the_test() -> &'static str {
    "of the test"
}

#[test]
fn collects_from_other_crates() {
    let wanted = [
        ("collections::collect_attribute::of_the_test".into(), Ok(of_the_test())),
        ("library".into(), Ok(of_the_library())),
    ];
    assert_eq!(ACROSS.execute().results, wanted);
}

#[collect(ORDER, name = "c")]
#[collect(PLAIN_TOO)]
fn third() {}

#[collect(ORDER, name = "a")]
fn first() {}

#[collect(ORDER, name = "b", priority = Priority::Normal)]
fn second() {}

#[collect(ORDER, name = "x", priority = 99)]
fn before_all() {}

static PLAIN_TOO: FunctionCollection<()> = FunctionCollection::new();

#[test]
fn collected_functions_run_by_name_before_added_ones() {
    ORDER.add("0", Priority::Normal, || ());
    assert_eq!(ORDER.names(), ["x", "a", "b", "c", "0"]);
    assert_eq!(PLAIN_TOO.names(), ["collections::collect_attribute::third"]);
}

#[collect(BY_NAME, name = "twice", priority = 1)]
fn once() -> u8 {
    1
}

#[collect(BY_NAME, name = "twice", priority = 2)]
fn again() -> u8 {
    2
}

#[test]
fn collected_function_is_found_by_name() {
    let report = BY_NAME.execute();
    assert_eq!(report.results, [("twice".into(), Ok(1)), ("twice".into(), Ok(2))]);
    BY_NAME.add("twice", 3, || 3);
    assert_eq!(BY_NAME.execute().results, [("twice".into(), Ok(3))]);
    assert!(BY_NAME.remove("twice"));
    assert!(BY_NAME.execute().results.is_empty());
}

#[collect(PLAIN)]
fn fails() -> Result<(), String> {
    Err("not today".into())
}

#[test]
fn collects_into_plain_static() {
    let report = PLAIN.execute();
    assert!(report.all_ok && !report.none_failed());
    assert_eq!(report.get("collections::collect_attribute::fails"), Some(&Ok(fails())));
}

#[test]
fn collects_inside_function() {
    collection!(static LOCAL: FunctionCollection<Local>);
    #[derive(Debug, PartialEq)]
    struct Local(u8);
    #[collect(LOCAL, name = NAME)]
    fn local() -> Local {
        Local(7)
    }
    const NAME: &str = "a constant";
    assert_eq!(LOCAL.execute().results, [(NAME.into(), Ok(Local(7)))]);
    // Another collection of the same type stays empty.
    assert!(FunctionCollection::<Local>::new().execute().results.is_empty());
}

#[test]
fn concurrent_first_uses_see_all_functions() {
    collection!(static MANY: FunctionCollection<u8>);
    macro_rules! functions {
        ($($name:ident)*) => {$(
            #[collect(MANY)]
            fn $name() -> u8 {
                1
            }
        )*};
    }
    functions!(a b c d e f g h);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(MANY.names().len(), 8));
        }
    });
    assert_eq!(MANY.execute().results.len(), 8);
}
