//! What the other benches have left in `target/bench`: one table of all goals, and a picture of each chart beside it.
//!
//! `make bench` runs it last. It measures nothing.

#[path = "charts/machine.rs"]
mod machine;
mod measure;
#[path = "charts/svg.rs"]
mod svg;

use std::fs;

use measure::sheet::{Chart, Sheet, folder};

fn main() {
    // So that a test run draws something too.
    let bars = vec![("1".to_owned(), "a & b".to_owned(), 2.0)];
    let sample = Chart { name: "sample".into(), title: "A title".into(), unit: "µs".into(), bars };
    assert!(svg::draw(&sample).contains(">a &amp; b</text>"));
    if !measure::is_whole() {
        return;
    }
    let machine = machine::describe();
    let sheets = sheets();
    println!("\nGoals\n{machine}");
    for sheet in &sheets {
        println!("{}", sheet.bench);
        sheet.goals.iter().for_each(|goal| println!("  {}", goal.line()));
        for chart in &sheet.charts {
            fs::write(folder().join(format!("{}.svg", chart.name)), svg::draw(chart)).expect("target is ours");
        }
    }
    let all: Vec<_> = sheets.iter().flat_map(|sheet| &sheet.goals).collect();
    let met = all.iter().filter(|goal| goal.is_met()).count();
    println!("{met} of {} goals met; tables as JSON and charts as SVG are in {}", all.len(), folder().display());
}

/// In the order of their names.
fn sheets() -> Vec<Sheet> {
    let files = fs::read_dir(folder()).into_iter().flatten().filter_map(|file| Some(file.ok()?.path()));
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    files.sort();
    let read = |path| serde_json::from_slice(&fs::read(path).expect("readable")).expect("a sheet of this version");
    files.into_iter().map(read).collect()
}
