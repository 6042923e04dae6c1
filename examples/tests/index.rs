//! Does the index list every example?

use std::collections::BTreeSet;

#[test]
fn index_has_a_section_for_each_example() {
    let manifest = include_str!("../Cargo.toml").split("[[example]]").skip(1);
    let examples: BTreeSet<&str> =
        manifest.map(|section| section.split('"').nth(1).expect("a name comes first")).collect();
    let index = include_str!("../README.md");
    let sections: BTreeSet<&str> =
        index.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, examples);
    for name in examples {
        let run = format!("--example {name}");
        assert!(index.contains(&run), "the index does not say how to run `{name}`");
    }
}
