//! Does the example `pipeline` deliver each letter once, within the limits of each tenant?

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    // Next to the directory of the tests. `cargo test` builds the examples before it runs tests;
    // with `--test pipeline` it does not.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().unwrap().parent().unwrap().join("examples/pipeline");
    let mut command = Command::new(path);
    command.args(args).stdin(Stdio::null());
    command.output().expect("run `cargo build --examples` first")
}

#[test]
fn each_letter_is_delivered_and_small_tenant_does_not_wait_for_large_one() {
    let output = run(&["acme=40", "globex=4"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    let (letters, report) = lines.split_at(44);

    let heads: BTreeSet<&str> =
        letters.iter().map(|line| &line[..line.find(". ").unwrap()]).collect();
    let wanted: BTreeSet<String> = [("acme", 40), ("globex", 4)]
        .into_iter()
        .flat_map(|(tenant, count)| {
            (1..=count).map(move |n| format!("Dear {tenant}, this is letter {n}"))
        })
        .collect();
    assert!(heads.iter().copied().eq(wanted.iter().map(String::as_str)), "{out}");

    // `acme: 40 delivered, the last as 44 of 44, 2 at once`
    let numbers: Vec<Vec<usize>> = report.iter().map(|line| numbers(line)).collect();
    let [acme, globex] = &numbers[..] else { panic!("{out}") };
    assert!(report[0].starts_with("acme: ") && report[1].starts_with("globex: "), "{out}");
    assert_eq!((acme[0], globex[0]), (40, 4), "{out}");
    // Its letters were ordered after 40 others, of which 30 have to wait for the rate.
    assert!(globex[1] <= 30 && acme[1] == 44, "{out}");
    assert!(acme[3] <= 2 && globex[3] <= 2, "{out}");
}

fn numbers(line: &str) -> Vec<usize> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn invalid_argument_is_refused() {
    let output = run(&["acme"]);
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("TENANT=LETTERS") && output.status.code() == Some(1), "{err}");
}
