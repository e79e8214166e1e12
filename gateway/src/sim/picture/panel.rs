//! One panel: its grid, its axes, and lines in it.

use std::fmt::Write;

use super::axis::Axis;
use super::svg::Svg;
use super::{LEFT, RIGHT, x};
use crate::sim::curves::Point;

/// Where a panel stands, and its vertical axis.
pub(super) struct Panel {
    pub(super) top: f64,
    pub(super) height: f64,
    pub(super) axis: Axis,
}

impl Panel {
    pub(super) fn bottom(&self) -> f64 {
        self.top + self.height
    }

    fn y(&self, value: f64) -> f64 {
        self.top + self.height * (1.0 - self.axis.position(value))
    }

    /// Grid and axes, its heading, and what explains its lines.
    pub(super) fn frame(&self, svg: &mut Svg, time: &Axis, heading: &str, key: &str) {
        let (top, bottom) = (self.top, self.bottom());
        svg.put(format_args!(
            r#"<text x="{LEFT}" y="{:.1}"><tspan class="heading">{heading}</tspan> <tspan class="muted" dx="6">{key}</tspan></text>"#,
            top - 10.0
        ));
        for tick in &self.axis.ticks {
            let y = self.y(tick.value);
            svg.put(format_args!(r#"<path class="grid" d="M{LEFT} {y:.1}H{RIGHT}"/>"#));
            svg.text("muted y", (LEFT - 8.0, y + 4.0), &tick.label);
        }
        for tick in &time.ticks {
            svg.put(format_args!(
                r#"<path class="grid" d="M{:.1} {top:.1}V{bottom:.1}"/>"#,
                x(time, tick.value)
            ));
        }
        svg.put(format_args!(r#"<path class="axis" d="M{LEFT} {bottom:.1}H{RIGHT}"/>"#));
    }

    /// The path through all values; where there is none, a gap.
    pub(super) fn path(
        &self,
        time: &Axis,
        points: &[Point],
        value: impl Fn(&Point) -> Option<f64>,
    ) -> String {
        let mut path = String::new();
        let mut is_drawing = false;
        for point in points {
            let Some(value) = value(point) else {
                is_drawing = false;
                continue;
            };
            let (x, y) = (x(time, point.at_s), self.y(value));
            // A point between two gaps shows as a dot, because lines have round ends.
            let _ = match is_drawing {
                true => write!(path, "L{x:.1} {y:.1}"),
                false => write!(path, "M{x:.1} {y:.1}h0"),
            };
            is_drawing = true;
        }
        path
    }
}
