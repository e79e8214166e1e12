//! The report as a page: one file that needs nothing else, and may be mailed.

use std::fmt::Write;

use plimsoll_sim::fleet::{Mark, Report};
use serde::Serialize;

use super::curves::{self, Point};
use super::picture::{LEFT, RIGHT, colour, escape};
use super::{Outcome, table};

const STYLE: &str = include_str!("page/style.css");
const HOVER: &str = include_str!("page/hover.js");
/// The page loads nothing, whatever a scenario has written into it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// What is shown while the pointer is above the picture.
#[derive(Serialize)]
struct Hover<'a> {
    left: f64,
    right: f64,
    seconds: f64,
    policies: Vec<Curves<'a>>,
}

#[derive(Serialize)]
struct Curves<'a> {
    name: &'a str,
    points: Vec<Point>,
}

/// Writes it; `picture` is the SVG.
pub(super) fn write(outcome: &Outcome<'_>, picture: &str) -> String {
    let reports = outcome.reports;
    let verdict = if outcome.is_as_stated() { "good" } else { "bad" };
    [
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{name} · plimsoll sim</title>\n\
             <style>\n{STYLE}</style>\n<h1>{name}</h1>\n<div>{description}</div>\n\
             <div class=\"muted\">{subtitle}</div>\n<div class=\"verdict {verdict}\">{summary}</div>\n",
            name = escape(outcome.name),
            description = escape(outcome.description),
            subtitle = escape(&outcome.subtitle()),
            summary = table::summary(reports),
        ),
        format!("<div id=\"picture\">\n{picture}</div>\n<div id=\"values\" hidden></div>\n"),
        figures(reports),
        expectations(reports),
        reports.first().map(|report| faults(&report.marks)).unwrap_or_default(),
        format!("<h2>Run it again</h2>\n<pre>{}</pre>\n", escape(outcome.command)),
        format!("<h2>The scenario</h2>\n<pre>{}</pre>\n", escape(outcome.source)),
        format!(
            "<script type=\"application/json\" id=\"data\">{}</script>\n<script>\n{HOVER}</script>\n",
            hover(reports)
        ),
    ]
    .concat()
}

fn figures(reports: &[Report]) -> String {
    let mut html =
        "<h2>Figures</h2>\n<div class=\"wide\"><table class=\"figures\">\n<thead><tr><th></th>".to_string();
    for (n, report) in reports.iter().enumerate() {
        let _ = write!(
            html,
            "<th><svg class=\"plimsoll\" width=\"22\" height=\"4\" aria-hidden=\"true\">\
             <path class=\"curve {}\" d=\"M2 2h18\"/></svg>{}</th>",
            colour(n),
            escape(&report.policy)
        );
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for row in table::rows(reports) {
        let class = if row.is_part { " class=\"part\"" } else { "" };
        let _ = write!(html, "<tr><th{class}>{}</th>", escape(&row.name));
        row.cells.iter().for_each(|cell| {
            let _ = write!(html, "<td>{}</td>", escape(cell));
        });
        html.push_str("</tr>\n");
    }
    let note = table::PRECISION;
    html + "</tbody></table></div>\n<p class=\"muted\">" + note + "</p>\n"
}

fn expectations(reports: &[Report]) -> String {
    if reports.iter().all(|report| report.checks.is_empty()) {
        return String::new();
    }
    let mut html = "<h2>What the scenario states</h2>\n<table>\n".to_string();
    for report in reports {
        for check in &report.checks {
            let class = if check.is_as_stated() { "good" } else { "bad" };
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td><td>{}</td></tr>",
                escape(&report.policy),
                escape(&check.what),
                table::verdict(check),
                escape(&check.seen)
            );
        }
    }
    html + "</table>\n"
}

fn faults(marks: &[Mark]) -> String {
    if marks.is_empty() {
        return String::new();
    }
    let mut html = "<h2>What went wrong when</h2>\n<table>\n".to_string();
    for mark in marks {
        let from = super::span(mark.from);
        let until = mark.until.map(|until| format!("until {}", super::span(until))).unwrap_or_default();
        let _ = writeln!(html, "<tr><td>{from}</td><td>{until}</td><td>{}</td></tr>", escape(&mark.label));
    }
    html + "</table>\n"
}

/// JSON that cannot end the element it stands in.
fn hover(reports: &[Report]) -> String {
    let policies =
        reports.iter().map(|report| Curves { name: &report.policy, points: curves::points(report) });
    let seconds = reports.first().map_or(0.0, |report| report.length.as_secs_f64());
    let hover = Hover { left: LEFT, right: RIGHT, seconds, policies: policies.collect() };
    // Figures and names: there is nothing in it that has no JSON.
    serde_json::to_string(&hover).unwrap_or_default().replace('<', "\\u003c")
}
