//! The command line.

use std::fmt;
use std::time::Duration;

pub const USAGE: &str = "stress [--seconds N] [--kill-every DURATION|never] \
    [--tasks mixed|tiny|processes|threads|async] [--submitters N] [--seed N]";

/// Which kinds of tasks are launched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tasks {
    Mixed,
    /// Only short calls in worker processes.
    Tiny,
    Processes,
    Threads,
    Async,
}

const NAMES: [(&str, Tasks); 5] = [
    ("mixed", Tasks::Mixed),
    ("tiny", Tasks::Tiny),
    ("processes", Tasks::Processes),
    ("threads", Tasks::Threads),
    ("async", Tasks::Async),
];

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub length: Duration,
    /// `None` if no worker processes are killed.
    pub kill_every: Option<Duration>,
    pub tasks: Tasks,
    pub submitters: usize,
    pub seed: u64,
}

impl Options {
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut options = Options {
            length: Duration::from_secs(10),
            kill_every: Some(Duration::from_millis(20)),
            tasks: Tasks::Mixed,
            submitters: 4,
            seed: u64::from(now.subsec_nanos()),
        };
        while let Some(key) = args.next() {
            let value = args.next().ok_or_else(|| format!("{key} needs a value"))?;
            let wrong = || format!("{key} can't be {value:?}");
            let number = || value.parse::<u64>().map_err(|_| wrong());
            match key.as_str() {
                "--seconds" => options.length = Duration::from_secs(number()?),
                "--kill-every" if value == "never" => options.kill_every = None,
                "--kill-every" => options.kill_every = Some(duration(&value).ok_or_else(wrong)?),
                "--tasks" => {
                    let known = NAMES.iter().find(|(name, _)| *name == value);
                    options.tasks = known.ok_or_else(wrong)?.1;
                }
                "--submitters" => {
                    options.submitters = usize::try_from(number()?).map_err(|_| wrong())?;
                }
                "--seed" => options.seed = number()?,
                _ => return Err(format!("unknown option {key}")),
            }
        }
        Ok(options)
    }
}

/// `20ms`, `2s`, `500us`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "us" => Duration::from_micros(1),
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        _ => return None,
    };
    unit.checked_mul(u32::try_from(number).ok()?)
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, tasks)| *tasks == self.tasks).map_or("", |known| known.0);
        write!(f, "stress --seconds {} --kill-every ", self.length.as_secs())?;
        match self.kill_every {
            Some(every) => write!(f, "{}us", every.as_micros())?,
            None => f.write_str("never")?,
        }
        write!(f, " --tasks {name} --submitters {} --seed {}", self.submitters, self.seed)
    }
}
