//! SVG, written by hand: elements, text that is escaped, and how wide text is.

use std::fmt::{Arguments, Write};

/// A document in the making.
#[derive(Default)]
pub(super) struct Svg {
    text: String,
}

impl Svg {
    /// Elements as they are written; what comes from outside goes through [`escape`].
    pub(super) fn put(&mut self, elements: Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{elements}");
    }

    /// Text of one of the style's classes, from `x` on.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        self.put(format_args!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(text)));
    }

    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// Text as it stands in XML and HTML, inside elements and quoted attributes. What XML has no way to write becomes U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// How wide text is at most, about, in a sans-serif font of that size: the viewer chooses the font.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let share = |c: char| match c {
        'i' | 'j' | 'l' | 'f' | 't' | ' ' | '.' | ',' | ':' | ';' | '\'' | '|' => 0.36,
        'm' | 'w' | 'M' | 'W' | '%' | '@' | '…' => 0.96,
        'A'..='Z' => 0.72,
        c if c.is_ascii() => 0.62,
        _ => 1.0,
    };
    text.chars().map(share).sum::<f64>() * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_has_a_meaning_in_markup_is_left() {
        assert_eq!(
            escape("<b a='1' c=\"2\">&\u{1b}[2J\n"),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\u{fffd}[2J\n"
        );
    }
}
