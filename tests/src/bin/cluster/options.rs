//! The command line, which is also how the processes of a run are told what to do.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub const USAGE: &str = "cluster [--seconds N] [--nodes N] [--submitters N] [--in-flight N] \
    [--kill-nodes DURATION|never] [--freeze-nodes DURATION|never] [--cut DURATION|never] \
    [--kill-broker DURATION|never] [--kill-submitters DURATION|never] [--calls mixed|brief] [--lies PER_THOUSAND] [--network namespaces|loopback] \
    [--keep-files yes|no] [--seed N]";

/// How the processes reach the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Network {
    /// Each in a network namespace, whose link is taken down.
    Namespaces,
    /// Each through a proxy on loopback, which forwards nothing for a while, or closes.
    Loopback,
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Network::Namespaces => "namespaces",
            Network::Loopback => "loopback",
        })
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub length: Duration,
    pub nodes: usize,
    pub submitters: usize,
    /// The calls of one submitter that have not ended.
    pub in_flight: usize,
    /// The mean time between two failures of a kind; `None` for none.
    pub kill_nodes: Option<Duration>,
    pub freeze_nodes: Option<Duration>,
    pub cut: Option<Duration>,
    pub kill_broker: Option<Duration>,
    pub kill_submitters: Option<Duration>,
    /// Calls take milliseconds.
    pub brief: bool,
    /// How many of a thousand requests to the broker are lost or not answered.
    pub lies: u64,
    /// `None`: namespaces if they are possible here.
    pub network: Option<Network>,
    pub keep_files: bool,
    pub seed: u64,
}

impl Options {
    pub fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let mut options = Options {
            length: Duration::from_secs(20),
            nodes: 3,
            submitters: 2,
            in_flight: 60,
            kill_nodes: Some(Duration::from_secs(2)),
            freeze_nodes: Some(Duration::from_secs(5)),
            cut: Some(Duration::from_secs(5)),
            kill_broker: Some(Duration::from_secs(10)),
            kill_submitters: Some(Duration::from_secs(10)),
            brief: false,
            lies: 10,
            network: None,
            keep_files: false,
            seed: u64::from(now.subsec_nanos()),
        };
        while let Some(key) = args.next() {
            let value = args.next().ok_or_else(|| format!("{key} needs a value"))?;
            let wrong = || format!("{key} can't be {value:?}");
            let number = || value.parse::<u64>().map_err(|_| wrong());
            let size = || value.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(wrong);
            let rhythm = || match value.as_str() {
                "never" => Ok(None),
                text => duration(text).map(Some).ok_or_else(wrong),
            };
            match key.as_str() {
                "--seconds" => options.length = Duration::from_secs(number()?),
                "--nodes" => options.nodes = size()?,
                "--submitters" => options.submitters = size()?,
                "--in-flight" => options.in_flight = size()?,
                "--kill-nodes" => options.kill_nodes = rhythm()?,
                "--freeze-nodes" => options.freeze_nodes = rhythm()?,
                "--cut" => options.cut = rhythm()?,
                "--kill-broker" => options.kill_broker = rhythm()?,
                "--kill-submitters" => options.kill_submitters = rhythm()?,
                "--calls" => {
                    options.brief = match value.as_str() {
                        "mixed" => false,
                        "brief" => true,
                        _ => return Err(wrong()),
                    };
                }
                "--lies" => options.lies = number()?,
                "--network" => {
                    options.network = Some(match value.as_str() {
                        "namespaces" => Network::Namespaces,
                        "loopback" => Network::Loopback,
                        _ => return Err(wrong()),
                    });
                }
                "--keep-files" => options.keep_files = value == "yes",
                "--seed" => options.seed = number()?,
                _ => return Err(format!("unknown option {key}")),
            }
        }
        Ok(options)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rhythm = |every: Option<Duration>| match every {
            Some(every) => format!("{}ms", every.as_millis()),
            None => "never".to_owned(),
        };
        write!(
            f,
            "cluster --seconds {} --nodes {} --submitters {} --in-flight {} --kill-nodes {} \
             --freeze-nodes {} --cut {} --kill-broker {} --kill-submitters {} --calls {} --lies {} \
             --seed {}",
            self.length.as_secs(),
            self.nodes,
            self.submitters,
            self.in_flight,
            rhythm(self.kill_nodes),
            rhythm(self.freeze_nodes),
            rhythm(self.cut),
            rhythm(self.kill_broker),
            rhythm(self.kill_submitters),
            if self.brief { "brief" } else { "mixed" },
            self.lies,
            self.seed
        )?;
        if let Some(network) = self.network {
            write!(f, " --network {network}")?;
        }
        Ok(())
    }
}

/// `20ms`, `2s`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    unit.checked_mul(u32::try_from(number).ok()?).filter(|duration| !duration.is_zero())
}

/// What a process of the run is told in its environment.
#[derive(Clone, Debug)]
pub struct Role {
    /// `node` or `submitter`.
    pub kind: String,
    pub name: String,
    pub url: String,
    /// Where all files of the run are.
    pub folder: PathBuf,
    pub seed: u64,
    pub lies: u64,
    pub in_flight: usize,
    pub brief: bool,
    /// What a node does to itself, and when: see [`Moment`](crate::faulty::Moment).
    pub doom: String,
}

/// The variable in which a process finds its role. Worker processes have it as well, which is how
/// they are recognized.
pub const ROLE: &str = "ATASKER_STRESS_ROLE";

impl Role {
    pub fn to_text(&self) -> String {
        [
            &*self.kind,
            &self.name,
            &self.url,
            self.folder.to_str().expect("the path of a temporary folder is text"),
            &self.seed.to_string(),
            &self.lies.to_string(),
            &self.in_flight.to_string(),
            &self.brief.to_string(),
            &self.doom,
        ]
        .join("|")
    }

    pub fn of_this_process() -> Option<Role> {
        let text = std::env::var(ROLE).ok()?;
        let mut fields = text.split('|').map(str::to_owned);
        let mut field = || fields.next().expect("the parent gives all fields");
        Some(Role {
            kind: field(),
            name: field(),
            url: field(),
            folder: field().into(),
            seed: field().parse().expect("a number"),
            lies: field().parse().expect("a number"),
            in_flight: field().parse().expect("a number"),
            brief: field().parse().expect("true or false"),
            doom: field(),
        })
    }
}
