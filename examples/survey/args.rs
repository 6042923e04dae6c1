//! The command line.

use std::path::PathBuf;

use globset::{Glob, GlobMatcher};
use lexopt::prelude::*;

const HELP: &str = "\
Usage: survey [OPTIONS] [DIR]

Surveys the source code below DIR (default: the current directory).

Options:
  --threads        run the tasks on threads instead of in worker processes
  --jobs N         run N tasks at once (default: the number of CPUs)
  --crash PATTERN  abort the worker process in files whose name contains PATTERN,
                   or matches it where it has wildcards (like '*_test.c')
  --all            read hidden files, too, and those that .gitignore leaves out
  --dashboard      serve a dashboard on this machine while the survey runs
  -h, --help       print this";

pub struct Args {
    pub root: PathBuf,
    pub threads: bool,
    pub jobs: usize,
    pub crash: Option<GlobMatcher>,
    pub all: bool,
    pub dashboard: bool,
}

impl Args {
    /// Parses the command line. Returns `None` if help was requested and printed.
    pub fn parse() -> Result<Option<Args>, lexopt::Error> {
        let mut args = Args {
            root: PathBuf::from("."),
            threads: false,
            jobs: std::thread::available_parallelism().map_or(1, |cpus| cpus.get()),
            crash: None,
            all: false,
            dashboard: false,
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("threads") => args.threads = true,
                Long("jobs") => args.jobs = parser.value()?.parse::<usize>()?.max(1),
                Long("crash") => args.crash = Some(parser.value()?.parse_with(matcher)?),
                Long("all") => args.all = true,
                Long("dashboard") => args.dashboard = true,
                Short('h') | Long("help") => {
                    println!("{HELP}");
                    return Ok(None);
                }
                Value(root) => args.root = root.into(),
                _ => return Err(arg.unexpected()),
            }
        }
        if args.threads && args.crash.is_some() {
            return Err("--crash needs worker processes: a thread that aborts takes the whole \
                        program with it"
                .into());
        }
        Ok(Some(args))
    }
}

fn matcher(pattern: &str) -> Result<GlobMatcher, globset::Error> {
    let glob = match pattern.contains(['*', '?', '[', '{']) {
        true => Glob::new(pattern)?,
        false => Glob::new(&format!("*{pattern}*"))?,
    };
    Ok(glob.compile_matcher())
}
