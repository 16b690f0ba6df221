//! Bars, lying, in groups. A picture of rectangles and words needs no library: those that draw charts bring fonts and bitmaps.

use std::fmt::Write as _;

use crate::measure::sheet::Chart;

const WIDTH: f64 = 760.0;
/// Where bars begin; the series' names are left of it.
const LEFT: f64 = 210.0;
const LONGEST: f64 = 440.0;
const BAR: f64 = 16.0;
const GROUP: f64 = 30.0;
const COLOURS: [&str; 9] =
    ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#b6992d", "#af7aa1", "#d37295", "#7b6a62"];

/// Each group has a scale of its own: rates of 1 and of 256 in flight do not fit on one.
pub(crate) fn draw(chart: &Chart) -> String {
    let mut series: Vec<&str> = Vec::new();
    for (_, label, _) in &chart.bars {
        if !series.contains(&label.as_str()) {
            series.push(label);
        }
    }
    let mut body = String::new();
    let mut y = 44.0;
    let mut group = "";
    for (own, label, value) in &chart.bars {
        if own != group {
            group = own;
            y += GROUP;
            text(&mut body, 12.0, y - 8.0, "start", "bold", group);
        }
        let of_group = chart.bars.iter().filter(|(other, ..)| other == own).map(|(_, _, value)| *value);
        let long = (value / of_group.fold(f64::MIN_POSITIVE, f64::max) * LONGEST).max(1.0);
        let at = series.iter().position(|name| name == label).unwrap_or(0);
        let (height, colour) = (BAR - 3.0, COLOURS[at % COLOURS.len()]);
        let bar = format!(r#"<rect x="{LEFT}" y="{y}" width="{long:.1}" height="{height}" fill="{colour}"/>"#);
        writeln!(body, "{bar}").expect("a string");
        text(&mut body, LEFT - 6.0, y + 10.5, "end", "normal", label);
        text(&mut body, LEFT + long + 5.0, y + 10.5, "start", "normal", &readable(*value));
        y += BAR;
    }
    let height = y + 14.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, 12.0, 22.0, "start", "bold", &format!("{} ({})", chart.title, chart.unit));
    text(&mut svg, 12.0, 38.0, "start", "normal", "Each group has a scale of its own.");
    svg + &body + "</svg>\n"
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, weight: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let line = format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" font-weight="{weight}">{words}</text>"#);
    writeln!(svg, "{line}").expect("a string");
}

/// Three digits, or whole thousands.
fn readable(value: f64) -> String {
    match value {
        10_000.0.. => format!("{:.0} k", value / 1e3),
        1_000.0.. => format!("{:.1} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
