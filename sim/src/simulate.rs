//! Random walks through the same world, with more faults than can be searched through.
//!
//! A seed draws everything: the case, how often something goes wrong, and each step. Every state
//! on the way is checked; at the end faults stop, and everything must end. A run repeats exactly
//! from its seed.

use crate::case::Case;
use crate::explorer::{Exploration, Finding};
use crate::invariant::check;
use crate::random::Random;
use crate::story::Story;
use crate::world::{Action, Mark, Marks, World};

/// No walk is longer; what is left undone is left to health.
const STEPS_MAX: usize = 400;

/// A walk that went wrong.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its seed.
    pub seed: u64,
    /// What happened.
    pub story: Story,
}

/// What a series of walks came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Walks.
    pub runs: u64,
    /// Steps in all of them.
    pub steps: u64,
    /// What was passed on the way.
    pub marks: Marks,
}

/// Walks once for each seed from `seed` on.
///
/// # Errors
/// The first walk that goes wrong.
pub fn series(cases: &[Case], seed: u64, runs: u64) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for seed in (0..runs).map(|run| seed.wrapping_add(run)) {
        let mut random = Random::new(seed);
        let Some(case) = cases.get(random.below(cases.len())) else {
            break;
        };
        let (steps, marks) = walk(case, seed, &mut random)?;
        tally.runs += 1;
        tally.steps += steps;
        for mark in Mark::ALL {
            tally.marks.add(mark, marks.count(mark));
        }
    }
    Ok(tally)
}

/// One walk. Gives its length and what it passed.
fn walk(case: &Case, seed: u64, random: &mut Random) -> Result<(u64, Marks), Failure> {
    let mut exploration = Exploration::new(&case.config);
    let mut world = World::new(&case.config);
    let mut path: Vec<Action> = Vec::new();
    // Of a hundred steps, how many may be something that goes wrong.
    let rate = random.below(40);
    let mut actions = Vec::new();
    for _ in 0..STEPS_MAX {
        actions.clear();
        world.actions(&case.config, &mut actions);
        let wrong = random.below(100) < rate;
        let chosen: Vec<Action> = actions
            .iter()
            .copied()
            .filter(|it| is_fault(&world, *it) == wrong)
            .collect();
        let from = if chosen.is_empty() { &actions } else { &chosen };
        let Some(action) = from.get(random.below(from.len())).copied() else {
            break;
        };
        path.push(action);
        world = exploration.step(&world, action);
        if let Some(violation) = check(&world).into_iter().next() {
            return Err(fail(
                case,
                seed,
                path,
                &Finding { violation, healing: Vec::new() },
            ));
        }
    }
    if let Some(finding) = exploration.heal(&world) {
        return Err(fail(case, seed, path, &finding));
    }
    Ok((
        u64::try_from(path.len()).unwrap_or_default(),
        exploration.marks(),
    ))
}

fn fail(case: &Case, seed: u64, path: Vec<Action>, finding: &Finding) -> Failure {
    let actions = path.into_iter().chain(finding.healing.iter().copied());
    let story = Story::tell(&case.config, actions, finding.violation.to_string());
    Failure { seed, story }
}

/// Whether a step is something that goes wrong, or that seldom happens.
fn is_fault(world: &World, action: Action) -> bool {
    match action {
        Action::FlushUnknown(_)
        | Action::Duplicate(_)
        | Action::Unanswered(..)
        | Action::RestartParticipant(_)
        | Action::Crash(_)
        | Action::Lose(_)
        | Action::Deadline => true,
        Action::Acquire(place) => world.is_take_over(place),
        Action::Submit(_) => world.client.submitted > 0,
        // Questions that can be answered are the work of a day; others use the bound up.
        Action::Inquire(branch, gtid, _) => !world.is_decided_in_doubt(branch, gtid),
        // Seldom, or every action would be under way and refuse.
        Action::Serve(..) | Action::CallBack(..) | Action::SayEnded(_) | Action::EndLocal(..) => {
            true
        }
        Action::Resolve(..)
        | Action::Query(_)
        | Action::Flush(_)
        | Action::Land(_)
        | Action::Deliver(_)
        | Action::Vote(..)
        | Action::Advance(..)
        | Action::Load(_)
        | Action::Timer(_)
        | Action::LookUp(_)
        | Action::Calm => false,
    }
}
