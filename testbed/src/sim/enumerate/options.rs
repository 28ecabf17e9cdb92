//! What is asked for on the command line.
use super::scenarios;
use super::step::Faults;
use crate::sim::plan::Planted;
use crate::sim::rng::Pace;

#[derive(Clone, Debug, clap::Args)]
pub struct Enumerate {
    /// Only these scenarios, by name, with commas between.
    #[arg(long, value_delimiter = ',', value_parser = known)]
    pub scenario: Vec<String>,
    /// Only with all delays at their lowest, or at their highest.
    #[arg(long, value_enum)]
    pub pace: Option<Pace>,
    /// For so many seconds also two faults at once, evenly spread where that is not the time for all.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub pairs: u64,
    /// Which of the pairs, where not all are run; by the clock where it is absent.
    #[arg(long)]
    pub offset: Option<u64>,
    /// Nothing but these, as a failure prints them: STEP=FAULT, with commas between.
    #[arg(long)]
    pub faults: Option<Faults>,
    /// With --faults, or for a scenario without any: print everything that happens.
    #[arg(long)]
    pub trace: bool,
    /// Plant an error that must be found.
    #[arg(long)]
    pub bug: Option<Planted>,
    /// Go to the next scenario at the first violation.
    #[arg(long)]
    pub first: bool,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub threads: u64,
    /// Say a line of each scenario.
    #[arg(long)]
    pub verbose: bool,
    /// Say what scenarios there are, and what happens in them.
    #[arg(long)]
    pub list: bool,
}

fn known(name: &str) -> Result<String, String> {
    match scenarios::all().iter().any(|scenario| scenario.name == name) {
        true => Ok(name.to_owned()),
        false => Err("no such scenario; --list names all".to_owned()),
    }
}

impl Enumerate {
    pub fn paces(&self) -> Vec<Pace> {
        self.pace.map_or_else(|| vec![Pace::Low, Pace::High], |pace| vec![pace])
    }
}
