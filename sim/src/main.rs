//! Runs the explorer, the mutants and the random walks from the command line.

use std::process::ExitCode;
use std::time::Instant;

use accordant_sim::case::{self, Case};
use accordant_sim::engine::Limit;
use accordant_sim::explorer::Exploration;
use accordant_sim::story::Story;
use accordant_sim::world::Mark;
use accordant_sim::{mutation, simulate};

const USAGE: &str = "\
usage: accordant-explore [explore] [--deep] [--case NAME] [--states N]
       accordant-explore mutants [--tell TEXT]
       accordant-explore simulate [--seed N] [--runs N]

explore   visits every state of each case, and prints a table; --deep takes minutes and gigabytes
mutants   takes rules away and shows which invariant notices; --tell prints the stories of those
          whose name contains the text
simulate  walks at random; prints its seed, and how often each coverage mark was passed";

/// So many walks pass every mark; fewer are not asked to.
const RUNS_FOR_COVERAGE: u64 = 2_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = Options::parse(&arguments).and_then(|options| options.run());
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

struct Options {
    verb: String,
    deep: bool,
    case: Option<String>,
    states: usize,
    tell: Option<String>,
    seed: u64,
    runs: u64,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self {
            verb: "explore".to_owned(),
            deep: false,
            case: None,
            states: 20_000_000,
            tell: None,
            seed: 1,
            runs: 2_000,
        };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .cloned()
                    .ok_or_else(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "explore" | "mutants" | "simulate" => options.verb.clone_from(argument),
                "--deep" => options.deep = true,
                "--case" => options.case = Some(value()?),
                "--tell" => options.tell = Some(value()?),
                "--states" => options.states = number(&value()?)?,
                "--seed" => options.seed = number(&value()?)?,
                "--runs" => options.runs = number(&value()?)?,
                other => return Err(format!("there is no option {other}")),
            }
        }
        Ok(options)
    }

    fn run(&self) -> Result<bool, String> {
        match self.verb.as_str() {
            "mutants" => self.mutants(),
            "simulate" => self.simulate(),
            _ => self.explore(),
        }
    }

    fn cases(&self) -> Result<Vec<Case>, String> {
        let standard = case::standard().map_err(|it| it.to_string())?;
        let deep = case::deep().map_err(|it| it.to_string())?;
        let named = |it: &Case| self.case.as_deref().is_none_or(|name| name == it.name);
        let wants_deep = self.deep || self.case.is_some();
        let cases: Vec<Case> = standard
            .into_iter()
            .chain(deep.into_iter().filter(|_| wants_deep))
            .filter(named)
            .collect();
        if cases.is_empty() {
            Err("there is no such case".to_owned())
        } else {
            Ok(cases)
        }
    }

    fn explore(&self) -> Result<bool, String> {
        println!("| case | states | transitions | depth | seconds | verdict |");
        println!("|---|---|---|---|---|---|");
        let mut holds = true;
        for case in self.cases()? {
            let start = now();
            let mut exploration = Exploration::new(&case.config);
            let report = exploration.run(Limit { states: self.states });
            let verdict = match (&report.counterexample, report.complete) {
                (Some(_), _) => "VIOLATED",
                (None, true) => "holds, every state",
                (None, false) => "holds as far as searched",
            };
            println!(
                "| {} | {} | {} | {} | {:.1} | {verdict} |",
                case.name,
                report.states,
                report.transitions,
                report.depth,
                start.elapsed().as_secs_f64(),
            );
            if let Some(found) = &report.counterexample {
                println!("\n{}\n{}", case.about, Story::of(&case.config, found));
                holds = false;
            }
        }
        Ok(holds)
    }

    fn mutants(&self) -> Result<bool, String> {
        println!("| removed | breaks | steps | states |");
        println!("|---|---|---|---|");
        let mut all = true;
        for mutation in mutation::all().map_err(|it| it.to_string())? {
            let name = mutation.name;
            let Some(caught) = mutation.hunt() else {
                println!("| {name} | NOT NOTICED | | |");
                all = false;
                continue;
            };
            let number = caught.invariant.number();
            println!(
                "| {name} | {number} | {} | {} |",
                caught.story.len(),
                caught.states
            );
            if self.tell.as_deref().is_some_and(|text| name.contains(text)) {
                println!("\n{}", caught.story);
            }
        }
        Ok(all)
    }

    fn simulate(&self) -> Result<bool, String> {
        let cases = case::walks().map_err(|it| it.to_string())?;
        println!("seed {}, {} runs", self.seed, self.runs);
        let tally = match simulate::series(&cases, self.seed, self.runs) {
            Ok(tally) => tally,
            Err(failure) => {
                println!("{}", failure.story);
                println!(
                    "repeat it with: cargo run --release -p accordant-sim -- simulate --seed {} --runs 1",
                    failure.seed
                );
                return Ok(false);
            }
        };
        println!("{} steps; every invariant held", tally.steps);
        for mark in Mark::ALL {
            println!("{:>8}  {mark:?}", tally.marks.count(mark));
        }
        let missed = tally.marks.missed();
        if !missed.is_empty() && self.runs >= RUNS_FOR_COVERAGE {
            println!("never passed: {missed:?}");
            return Ok(false);
        }
        Ok(true)
    }
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{text} is not a number"))
}

#[expect(
    clippy::disallowed_methods,
    reason = "only says how long a search took"
)]
fn now() -> Instant {
    Instant::now()
}
