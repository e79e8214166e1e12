//! The picture of a run: latency, goodput and load over time, a line for each policy, the faults marked. One SVG without
//! scripts, fonts or links, that follows the viewer's choice of light or dark.

mod axis;
mod lanes;
mod panel;
mod style;
mod svg;

use plimsoll_sim::fleet::{Mark, Report};

use super::curves::{self, Point};
use axis::Axis;
use lanes::Placed;
use panel::Panel;
use svg::Svg;

pub(super) use style::colour;
pub(super) use svg::escape;

const WIDTH: f64 = 1_000.0;
/// Between these stand the panels.
pub(super) const LEFT: f64 = 72.0;
pub(super) const RIGHT: f64 = 980.0;
/// Where the first line of text begins.
const EDGE: f64 = 20.0;
const LANE: f64 = 20.0;
const LATENCY_HEIGHT: f64 = 260.0;
const GOODPUT_HEIGHT: f64 = 170.0;
const LOAD_HEIGHT: f64 = 120.0;
const UNSENT_HEIGHT: f64 = 120.0;
/// Where no server holds as much, nothing of it is drawn: a few answers are always on their way.
const LITTLE_UNSENT: u64 = 64 * 1024;
/// Between two panels: room for the heading.
const GAP: f64 = 42.0;

/// Draws the reports of one scenario's policies, of which there is one at least.
pub(super) fn draw(title: &str, subtitle: &str, reports: &[Report]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let policies = reports.iter().map(|report| (report.policy.as_str(), curves::points(report))).collect();
    let picture = Picture { time: Axis::time(first.length), marks: &first.marks, policies };
    picture.draw(title, subtitle)
}

/// Where on the paper a time stands.
fn x(time: &Axis, seconds: f64) -> f64 {
    LEFT + (RIGHT - LEFT) * time.position(seconds)
}

struct Picture<'a> {
    time: Axis,
    /// The faults are those of the scenario, whatever the policy.
    marks: &'a [Mark],
    policies: Vec<(&'a str, Vec<Point>)>,
}

impl Picture<'_> {
    fn draw(&self, title: &str, subtitle: &str) -> String {
        let mut body = Svg::default();
        body.text("title", (EDGE, 32.0), title);
        body.text("muted", (EDGE, 51.0), subtitle);
        let faults_top = self.legend(&mut body, 76.0) + 16.0;
        let (bars, lanes) = self.place_faults();
        let panels = self.panels(faults_top + lanes as f64 * LANE + 30.0);
        let bottom = panels.bottom();
        self.faults(&mut body, &bars, (faults_top, bottom));
        self.frames(&mut body, &panels);
        self.curves(&mut body, &panels);

        let mut svg = Svg::default();
        let height = bottom + 46.0;
        svg.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plimsoll\" viewBox=\"0 0 {WIDTH} {height:.0}\" \
             width=\"{WIDTH}\" height=\"{height:.0}\" role=\"img\">\n<title>{}</title>\n<style>\n{}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\n{}</svg>",
            escape(title),
            style::sheet(),
            body.finish()
        ));
        svg.finish()
    }

    /// A sample of each policy's line and its name. Returns where it ends.
    fn legend(&self, svg: &mut Svg, mut y: f64) -> f64 {
        let mut x = EDGE;
        for (n, (name, _)) in self.policies.iter().enumerate() {
            let wide = 30.0 + svg::width(name, 12.0);
            if x > EDGE && x + wide > RIGHT {
                (x, y) = (EDGE, y + 20.0);
            }
            let sample = y - 4.0;
            svg.put(format_args!(r#"<path class="curve {}" d="M{x:.1} {sample:.1}h22"/>"#, colour(n)));
            svg.text("", (x + 30.0, y), name);
            x += wide + 26.0;
        }
        y
    }

    fn panels(&self, top: f64) -> Panels {
        let points = || self.policies.iter().flat_map(|(_, points)| points);
        let latencies = points().flat_map(|point| [point.p50_us, point.p99_us]).flatten();
        let latency = Panel { top, height: LATENCY_HEIGHT, axis: Axis::latency(latencies) };
        let rates = points().flat_map(|point| [point.offered_per_s, point.good_per_s]);
        let top = latency.bottom() + GAP;
        let goodput = Panel { top, height: GOODPUT_HEIGHT, axis: Axis::rate(rates, 6.0) };
        let rates = points().map(|point| point.attempts_per_s);
        let top = goodput.bottom() + GAP;
        let load = Panel { top, height: LOAD_HEIGHT, axis: Axis::rate(rates, 4.0) };
        let most = points().map(|point| point.unsent_bytes).max().unwrap_or(0);
        let unsent = (most > LITTLE_UNSENT).then(|| Panel {
            top: load.bottom() + GAP,
            height: UNSENT_HEIGHT,
            axis: Axis::bytes(points().map(|point| point.unsent_bytes as f64)),
        });
        Panels { latency, goodput, load, unsent }
    }

    fn place_faults(&self) -> (Vec<Placed>, usize) {
        let bars: Vec<_> = self
            .marks
            .iter()
            .map(|mark| {
                let (from, until) = self.ends(mark);
                (from, until, mark.label.as_str())
            })
            .collect();
        lanes::place(&bars, (LEFT, RIGHT), |text| svg::width(text, 11.0))
    }

    /// Where a fault begins and ends: without an end it lasts, and what is over at once can be seen nevertheless.
    fn ends(&self, mark: &Mark) -> (f64, f64) {
        let from = x(&self.time, mark.from.as_secs_f64()).min(RIGHT - 2.0);
        let until = mark.until.map_or(RIGHT, |until| x(&self.time, until.as_secs_f64()));
        (from, until.max(from + 2.0))
    }

    /// Each fault as a bar with its label, and as a shade across all panels.
    fn faults(&self, svg: &mut Svg, bars: &[Placed], (top, bottom): (f64, f64)) {
        for (mark, placed) in self.marks.iter().zip(bars) {
            let (from, until) = self.ends(mark);
            let (wide, lane) = (until - from, top + placed.lane as f64 * LANE);
            let (tall, thick) = (bottom - lane, LANE - 4.0);
            svg.put(format_args!(
                "<g class=\"fault\"><title>{}</title>\
                 <rect class=\"span\" x=\"{from:.1}\" y=\"{lane:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>\
                 <path class=\"edge\" d=\"M{from:.1} {lane:.1}v{tall:.1}\"/>\
                 <rect class=\"bar\" x=\"{from:.1}\" y=\"{lane:.1}\" width=\"{wide:.1}\" height=\"{thick:.1}\"/></g>",
                escape(&mark.label)
            ));
            if let Some(label) = &placed.label {
                svg.text("label", (label.x, lane + 12.0), &label.text);
            }
        }
    }

    fn frames(&self, svg: &mut Svg, panels: &Panels) {
        let Panels { latency, goodput, load, unsent } = panels;
        let time = &self.time;
        latency.frame(svg, time, "Latency", "of what was answered well: p99 solid, p50 dotted; logarithmic");
        goodput.frame(svg, time, "Goodput", "calls a second that were answered well; dashed: all that came");
        load.frame(svg, time, "Load", "requests a second that reached servers, retries among them");
        if let Some(unsent) = unsent {
            unsent.frame(svg, time, "Unsent", "bytes of answers that one server held, at most; logarithmic");
        }
        let bottom = panels.bottom();
        for tick in &time.ticks {
            svg.text("muted x", (x(time, tick.value), bottom + 18.0), &tick.label);
        }
        svg.text("muted x", ((LEFT + RIGHT) / 2.0, bottom + 36.0), "virtual time since the beginning");
    }

    fn curves(&self, svg: &mut Svg, Panels { latency, goodput, load, unsent }: &Panels) {
        if let Some((_, points)) = self.policies.first() {
            let path = goodput.path(&self.time, points, |point| Some(point.offered_per_s));
            svg.put(format_args!(r#"<path class="curve offered" d="{path}"/>"#));
        }
        for (n, (name, points)) in self.policies.iter().enumerate() {
            let (colour, name) = (colour(n), escape(name));
            let mut curve = |kind, panel: &Panel, value: fn(&Point) -> Option<f64>| {
                let path = panel.path(&self.time, points, value);
                svg.put(format_args!(
                    r#"<path class="curve {kind} {colour}" d="{path}"><title>{name}: {kind}</title></path>"#
                ));
            };
            curve("p50", latency, |point| point.p50_us);
            curve("p99", latency, |point| point.p99_us);
            curve("goodput", goodput, |point| Some(point.good_per_s));
            curve("load", load, |point| Some(point.attempts_per_s));
            if let Some(unsent) = unsent {
                curve("unsent", unsent, |point| Some(point.unsent_bytes as f64));
            }
        }
    }
}

struct Panels {
    latency: Panel,
    goodput: Panel,
    load: Panel,
    /// Where it matters.
    unsent: Option<Panel>,
}

impl Panels {
    fn bottom(&self) -> f64 {
        self.unsent.as_ref().unwrap_or(&self.load).bottom()
    }
}
