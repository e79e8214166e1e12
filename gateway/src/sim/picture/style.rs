//! Colours and type, on light and on dark ground.

use std::fmt::Write;

/// For lines, on light and on dark ground. After the palette of Okabe and Ito, which the colour-blind can tell apart, without
/// its black and its yellow, which do not show on every ground: <https://jfly.uni-koeln.de/color/>.
const COLOURS: [(&str, &str); 6] = [
    ("#0072b2", "#4aa8e8"),
    ("#d55e00", "#ff8a3d"),
    ("#009e73", "#2fc99b"),
    ("#b5538d", "#e79bc8"),
    ("#b37a00", "#e6b422"),
    ("#3a9bd1", "#9bd5f5"),
];

/// Everything stands below the class of the root, because a style inside a page holds for all of the page.
const LIGHT: &str = "\
.plimsoll text{font:12px system-ui,'Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;fill:#1f2328}
.plimsoll .title{font-size:17px;font-weight:600}
.plimsoll .muted{fill:#59636e;font-size:11px}
.plimsoll .heading{font-weight:600}
.plimsoll .y{text-anchor:end}
.plimsoll .x{text-anchor:middle}
.plimsoll .page{fill:#fff}
.plimsoll .grid{stroke:#e1e6eb}
.plimsoll .axis{stroke:#818b98}
.plimsoll .span{fill:#9a6700;fill-opacity:.08}
.plimsoll .edge{stroke:#9a6700;stroke-opacity:.5;stroke-dasharray:2 3}
.plimsoll .bar{fill:#9a6700;fill-opacity:.25}
.plimsoll .label{font-size:11px}
.plimsoll .curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.plimsoll .p50{stroke-dasharray:1 4}
.plimsoll .again{stroke-dasharray:9 4}
.plimsoll .offered{stroke:#818b98;stroke-width:1.3;stroke-dasharray:5 3}
";

const DARK: &str = "\
.plimsoll text{fill:#e6edf3}
.plimsoll .muted{fill:#9198a1}
.plimsoll .page{fill:#0d1117}
.plimsoll .grid{stroke:#2a313a}
.plimsoll .axis,.plimsoll .offered{stroke:#7d8590}
.plimsoll .span{fill:#e3b341;fill-opacity:.1}
.plimsoll .edge{stroke:#e3b341}
.plimsoll .bar{fill:#e3b341;fill-opacity:.3}
";

/// The style sheet, which follows the viewer's choice.
pub(super) fn sheet() -> String {
    let (mut light, mut dark) = (LIGHT.to_string(), DARK.to_string());
    for (at, (light_colour, dark_colour)) in COLOURS.iter().enumerate() {
        // Writing to a string does not fail.
        let _ = writeln!(light, ".plimsoll .c{at}{{stroke:{light_colour}}}");
        let _ = writeln!(dark, ".plimsoll .c{at}{{stroke:{dark_colour}}}");
    }
    format!("{light}@media (prefers-color-scheme:dark){{\n{dark}}}\n")
}

/// The classes of a policy's lines. Once there are no more colours they come again, with dashes.
pub(crate) fn colour(policy: usize) -> String {
    let again = if policy >= COLOURS.len() { " again" } else { "" };
    format!("c{}{again}", policy % COLOURS.len())
}
