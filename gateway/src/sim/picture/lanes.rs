//! Faults above the panels: a bar for each, in so many lanes that no two bars or labels overlap.

/// More would leave no room for what the picture is about.
const MAX_LANES: usize = 6;
/// Characters of a label; the rest can be read by hovering, and in the report.
const MAX_CHARS: usize = 48;
/// Between what stands in one lane.
const GAP: f64 = 6.0;

/// A bar and, if there is room, its label.
#[derive(Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) lane: usize,
    pub(super) label: Option<Label>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Label {
    pub(super) text: String,
    pub(super) x: f64,
}

/// Finds a lane for each bar (its two ends, in order of their beginning, and what is to be written beside it), within
/// `left..right`. `width` is how wide a text is. Returns them in the same order, and how many lanes there are.
pub(super) fn place(
    bars: &[(f64, f64, &str)],
    (left, right): (f64, f64),
    width: impl Fn(&str) -> f64,
) -> (Vec<Placed>, usize) {
    let mut ends = [f64::MIN; MAX_LANES];
    let mut placed = Vec::with_capacity(bars.len());
    for &(from, until, label) in bars {
        let text = shorten(label);
        let wide = width(&text);
        // Inside the bar if it fits, else behind it, else, at the right edge, before it.
        let (label_x, begins, ends_at) = match () {
            () if until - from >= wide + 2.0 * GAP => (from + GAP, from, until),
            () if until + GAP + wide <= right => (until + GAP, from, until + GAP + wide),
            () => {
                let x = (from - GAP - wide).max(left);
                (x, x, until)
            }
        };
        let fits = |end: &f64| *end + GAP <= begins;
        placed.push(match ends.iter().position(fits) {
            Some(lane) => {
                ends[lane] = ends_at;
                Placed { lane, label: Some(Label { text, x: label_x }) }
            }
            None => {
                // Every lane is taken here: the bar alone goes where the least is hidden.
                let lane = (0..MAX_LANES).min_by(|a, b| ends[*a].total_cmp(&ends[*b])).unwrap_or(0);
                ends[lane] = ends[lane].max(until);
                Placed { lane, label: None }
            }
        });
    }
    let lanes = placed.iter().map(|bar| bar.lane + 1).max().unwrap_or(0);
    (placed, lanes)
}

fn shorten(label: &str) -> String {
    if label.chars().count() <= MAX_CHARS {
        return label.into();
    }
    label.chars().take(MAX_CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use quickcheck::quickcheck;

    use super::*;

    const LABELS: &str = "a fault with quite a long name, longer than there is room for";

    fn width(text: &str) -> f64 {
        text.chars().count() as f64 * 6.0
    }

    /// What a bar and its label cover.
    fn extent(bar: (f64, f64, &str), placed: &Placed) -> (f64, f64) {
        let Some(label) = &placed.label else { return (bar.0, bar.1) };
        (bar.0.min(label.x), bar.1.max(label.x + width(&label.text)))
    }

    quickcheck! {
        fn no_two_labels_overlap_and_none_leaves_the_picture(spans: Vec<(u16, u8, u8)>) -> bool {
            let mut bars: Vec<_> = spans
                .iter()
                .map(|&(from, length, label)| {
                    let from = f64::from(from % 1_000);
                    (from, (from + f64::from(length)).min(1_000.0), &LABELS[..usize::from(label) % LABELS.len()])
                })
                .collect();
            bars.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (placed, lanes) = place(&bars, (0.0, 1_000.0), width);
            let labelled: Vec<_> = bars.iter().zip(&placed).filter(|(_, placed)| placed.label.is_some()).collect();
            let apart = labelled.iter().enumerate().all(|(at, (bar, one))| {
                labelled[at + 1..].iter().all(|(other_bar, other)| {
                    let (a, b) = (extent(**bar, one), extent(**other_bar, other));
                    one.lane != other.lane || a.1 <= b.0 || b.1 <= a.0
                })
            });
            let inside = labelled.iter().all(|(bar, placed)| {
                let (from, until) = extent(**bar, placed);
                from >= 0.0 && until <= 1_000.0
            });
            apart && inside && placed.len() == bars.len() && lanes <= MAX_LANES
        }
    }

    #[test]
    fn a_label_stands_in_its_bar_or_behind_it_or_at_the_right_edge_before_it() {
        let bars = [(10.0, 200.0, "zone b is lost"), (300.0, 301.0, "restart"), (990.0, 1_000.0, "heal")];
        let (placed, lanes) = place(&bars, (0.0, 1_000.0), width);
        let x = |at: usize| placed[at].label.as_ref().map(|label| label.x);
        assert_eq!((x(0), x(1), x(2)), (Some(16.0), Some(307.0), Some(990.0 - 6.0 - 24.0)));
        assert_eq!(lanes, 1);
    }

    #[test]
    fn where_there_is_no_room_the_bar_stands_alone_and_a_long_label_is_cut() {
        let long = "x".repeat(100);
        let bars: Vec<_> = (0..10).map(|n| (f64::from(n), f64::from(n) + 1.0, long.as_str())).collect();
        let (placed, lanes) = place(&bars, (0.0, 1_000.0), width);
        assert_eq!(lanes, MAX_LANES);
        assert_eq!(placed.iter().filter(|placed| placed.label.is_some()).count(), MAX_LANES);
        let label = placed[0].label.as_ref().map(|label| label.text.as_str()).unwrap_or_default();
        assert!(label.ends_with('…') && label.chars().count() == MAX_CHARS, "{label}");
    }
}
