//! Contestants in turn, round by round; medians, and ratios within a round.

use std::time::Duration;

use crate::Result;

/// Contestants that do the same work. The first is the reference.
pub(crate) struct Group {
    /// What `--only` looks for.
    pub(crate) name: String,
    /// What the figures are, for people, with their unit.
    pub(crate) about: String,
    /// What each turn yields; ratios are of the first.
    pub(crate) figures: &'static [&'static str],
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) goals: Vec<Goal>,
}

pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    /// Measures for so long, and returns the figures of the group; less is better.
    pub(crate) turn: Box<dyn Fn(Duration) -> Result<Vec<f64>>>,
}

impl Contestant {
    pub(crate) fn new(name: &'static str, turn: impl Fn(Duration) -> Result<Vec<f64>> + 'static) -> Self {
        Contestant { name, turn: Box::new(turn) }
    }
}

/// That a figure is at most so much, or at most so many times that of another contestant.
pub(crate) struct Goal {
    pub(crate) of: &'static str,
    pub(crate) figure: &'static str,
    pub(crate) beside: Option<&'static str>,
    pub(crate) at_most: f64,
}

impl Goal {
    /// Of the first figure, which is called `figure`.
    pub(crate) fn ratio(of: &'static str, figure: &'static str, beside: &'static str, at_most: f64) -> Self {
        Goal { of, figure, beside: Some(beside), at_most }
    }
}

/// What a contestant came to.
pub(crate) enum Outcome {
    /// The figures of every round.
    Figures(Vec<Vec<f64>>),
    /// It did not last, and takes no more turns.
    Failed(String),
}

/// One round after the other, of all contestants; the order is turned round each time, so that nobody always follows
/// the same one.
pub(crate) fn run(group: &Group, rounds: u32, time: Duration) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = group.contestants.iter().map(|_| Outcome::Figures(Vec::new())).collect();
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..outcomes.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let Outcome::Figures(figures) = &mut outcomes[at] else { continue };
            match (group.contestants[at].turn)(time) {
                Ok(turn) => figures.push(turn),
                Err(error) => outcomes[at] = Outcome::Failed(error.to_string()),
            }
        }
    }
    outcomes
}

/// How figures lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = match figures.len() % 2 {
            0 if figures.is_empty() => return None,
            0 => (figures[middle - 1] + figures[middle]) / 2.0,
            _ => figures[middle],
        };
        Some(Spread { median, least: figures[0], most: figures[figures.len() - 1] })
    }
}

impl Outcome {
    /// How one figure lies.
    pub(crate) fn spread(&self, figure: usize) -> Option<Spread> {
        match self {
            Outcome::Figures(rounds) => Spread::of(rounds.iter().map(|round| round[figure])),
            Outcome::Failed(_) => None,
        }
    }

    /// How the ratio of one figure to that of `other` lies, each to that of the same round.
    pub(crate) fn ratio(&self, figure: usize, other: &Outcome) -> Option<Spread> {
        match (self, other) {
            (Outcome::Figures(ours), Outcome::Figures(theirs)) => {
                Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours[figure] / theirs[figure]))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn group(contestants: Vec<Contestant>) -> Group {
        Group {
            name: String::new(),
            about: String::new(),
            figures: &["figure"],
            contestants,
            goals: Vec::new(),
        }
    }

    #[test]
    fn a_ratio_is_that_of_the_same_round() {
        let of = |figures: &[f64]| Outcome::Figures(figures.iter().map(|&figure| vec![figure]).collect());
        // The second round was slow for both: the medians alone would say 1.5.
        let (ours, theirs) = (of(&[20.0, 900.0, 30.0]), of(&[10.0, 300.0, 20.0]));
        let ratio = ours.ratio(0, &theirs);
        assert_eq!(ratio, Some(Spread { median: 2.0, least: 1.5, most: 3.0 }));
        assert_eq!(ours.ratio(0, &Outcome::Failed("gone".into())), None);
    }

    #[test]
    fn a_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 100.0]), Some(Spread { median: 3.5, least: 1.0, most: 100.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn all_take_their_turn_in_every_round_and_the_order_alternates() {
        let turns = Rc::new(RefCell::new(String::new()));
        let contestant = |name: &'static str| {
            let turns = turns.clone();
            Contestant::new(name, move |_| {
                turns.borrow_mut().push_str(name);
                Ok(vec![1.0])
            })
        };
        let group = group(vec![contestant("a"), contestant("b"), contestant("c")]);
        run(&group, 3, Duration::ZERO);
        assert_eq!(*turns.borrow(), "abccbaabc");
    }

    #[test]
    fn who_fails_takes_no_more_turns_and_the_others_go_on() {
        let failing = Contestant::new("failing", |_| Err("it has ended".into()));
        let fine = Contestant::new("fine", |_| Ok(vec![1.0]));
        let outcomes = run(&group(vec![failing, fine]), 3, Duration::ZERO);
        assert!(matches!(&outcomes[0], Outcome::Failed(why) if why == "it has ended"));
        assert!(matches!(&outcomes[1], Outcome::Figures(rounds) if rounds.len() == 3));
    }
}
