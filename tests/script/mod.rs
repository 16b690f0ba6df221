//! Plays a session script against [`Lifecycle`].

mod device;
mod matching;
pub(crate) mod proof;
mod steps;

use std::path::Path;

use serde_json::Value;

use crate::samples;
use device::Device;
use matching::Names;
use steps::{Moment, Step, Who};

/// Plays a file.
pub(crate) fn play_file(file: &Path) -> Result<(), String> {
    let (head, lines) = samples::read_lines(file);
    play(&head, &lines).map_err(|difference| {
        let name = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(file);
        format!("{}:{difference}", name.display())
    })
}

/// Plays the lines after the head; the error begins with the number of the line where script and device differ.
fn play(head: &Value, lines: &[(usize, Value)]) -> Result<(), String> {
    let mut device = Device::new(head);
    let mut names = Names::default();
    let mut before = 0;
    for (number, line) in lines {
        let step = Step::read(line).map_err(|wrong| format!("{number}: {wrong}"))?;
        let differs = |device: &str| format!("{number}: first difference\n  script: {line}\n  device: {device}\n");
        let (earliest, latest) = match step.moment {
            Moment::At(at) => (at, at),
            Moment::After(least, most) => (before + least, before + most),
        };
        if step.who == Who::Device {
            let Some((at, did)) = device.does(latest) else { return Err(differs("does nothing")) };
            if at < earliest || !names.matches(line, &did) {
                return Err(differs(&format!("{did} at {at} us")));
            }
            before = at;
        } else {
            if let Some((at, did)) = device.does(earliest) {
                return Err(differs(&format!("first does {did} at {at} us")));
            }
            device.input(earliest, &step, &mut names).map_err(|wrong| differs(&wrong))?;
            before = earliest;
        }
    }
    let end = lines.last().map_or(0, |(number, _)| *number) + 1;
    if let Some((at, did)) = device.does(before) {
        return Err(format!("{end}: first difference\n  script: ends\n  device: {did} at {at} us\n"));
    }
    device.finish(head).map_err(|wrong| format!("{end}: first difference\n  script: ends\n  device: {wrong}\n"))
}
