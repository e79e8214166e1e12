//! What was measured, for people.

use std::fmt;

use crate::rounds::{Goal, Group, Outcome, Spread};

/// One group and what it came to.
pub(crate) struct Table<'a> {
    pub(crate) group: &'a Group,
    pub(crate) results: &'a [Outcome],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.group.name, self.group.about)?;
        let rows = self.rows();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let results = std::iter::once(None).chain(self.results.iter().map(Some));
        for (row, result) in rows.iter().zip(results) {
            let cells = row.iter().zip(&widths);
            let line: String = cells.map(|(cell, &width)| format!("  {cell:<width$}")).collect();
            writeln!(f, "{}", line.trim_end())?;
            if let Some(Outcome::Failed(why)) = result {
                writeln!(f, "    {why}")?;
            }
        }
        self.group.goals.iter().try_for_each(|goal| writeln!(f, "  goal: {}", self.goal(goal)))
    }
}

impl Table<'_> {
    /// The heading, and a row for each contestant.
    fn rows(&self) -> Vec<Vec<String>> {
        let reference = self.group.contestants[0].name;
        let headings = [""].into_iter().chain(self.group.figures.iter().copied()).map(String::from);
        let mut rows = vec![headings.chain([format!("{}, x {reference}", self.group.figures[0])]).collect()];
        for (at, (contestant, result)) in self.group.contestants.iter().zip(self.results).enumerate() {
            let mut row = vec![contestant.name.to_owned()];
            row.extend((0..self.group.figures.len()).map(|figure| shown(result.spread(figure))));
            row.push(if at == 0 { String::new() } else { shown(result.ratio(0, &self.results[0])) });
            rows.push(row);
        }
        rows
    }

    fn goal(&self, goal: &Goal) -> String {
        let figure = self.group.figures.iter().position(|&figure| figure == goal.figure);
        let figure = figure.expect("goals are about figures of their group");
        let ours = self.result(goal.of);
        let (spread, times) = match goal.beside {
            Some(other) => (ours.ratio(figure, self.result(other)), format!("x {other}")),
            None => (ours.spread(figure), String::new()),
        };
        let verdict = match spread {
            Some(spread) if spread.median <= goal.at_most => "met",
            Some(_) => "missed",
            None => "not measured",
        };
        let Goal { of, figure, at_most, .. } = goal;
        let at_most = number(*at_most);
        let asked = format!("{of}, {figure}, at most {at_most} {times}");
        format!("{}: {} {verdict}", asked.trim_end(), shown(spread))
    }

    fn result(&self, name: &str) -> &Outcome {
        let at = self.group.contestants.iter().position(|contestant| contestant.name == name);
        &self.results[at.expect("goals are about contestants of their group")]
    }
}

fn shown(spread: Option<Spread>) -> String {
    match spread {
        Some(Spread { median, least, most }) => {
            format!("{} ({} - {})", number(median), number(least), number(most))
        }
        None => "-".into(),
    }
}

/// To three digits, or to the unit.
fn number(n: f64) -> String {
    match n.abs() {
        n if n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n if n >= 1.0 => format!("{n:.2}"),
        _ => format!("{n:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Contestant;

    #[test]
    fn a_table_says_figures_ratios_and_what_became_of_the_goals() {
        let contestant = |name| Contestant::new(name, |_| Ok(Vec::new()));
        let group = Group {
            name: "uw/64".into(),
            about: "CPU, us".into(),
            figures: &["both", "client"],
            contestants: ["raw", "ours", "other"].map(contestant).into(),
            goals: vec![
                Goal::ratio("ours", "both", "raw", 2.0),
                Goal::ratio("ours", "both", "other", 1.0),
                Goal { of: "ours", figure: "client", beside: None, at_most: 0.5 },
            ],
        };
        let results = [
            Outcome::Figures(vec![vec![1.0, 0.5], vec![2.0, 1.0]]),
            Outcome::Figures(vec![vec![1.5, 0.8], vec![3.0, 0.8]]),
            Outcome::Failed("it has ended".into()),
        ];
        let expected = "\
uw/64: CPU, us
         both                client                 both, x raw
  raw    1.50 (1.00 - 2.00)  0.750 (0.500 - 1.00)
  ours   2.25 (1.50 - 3.00)  0.800 (0.800 - 0.800)  1.50 (1.50 - 1.50)
  other  -                   -                      -
    it has ended
  goal: ours, both, at most 2.00 x raw: 1.50 (1.50 - 1.50) met
  goal: ours, both, at most 1.00 x other: - not measured
  goal: ours, client, at most 0.500: 0.800 (0.800 - 0.800) missed
";
        assert_eq!(Table { group: &group, results: &results }.to_string(), expected);
    }
}
