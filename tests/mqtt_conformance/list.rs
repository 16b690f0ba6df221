//! The list in the documentation is complete, and says what the cases show.

use std::collections::{BTreeMap, BTreeSet};

const LIST: &str = include_str!("../../src/edge/conformance.md");

const CASES: [&str; 6] = [
    include_str!("connect.rs"),
    include_str!("life.rs"),
    include_str!("publish.rs"),
    include_str!("strings.rs"),
    include_str!("subscribe.rs"),
    include_str!("websocket.rs"),
];

/// How many numbered statements each section of the specification has.
const STATEMENTS: [(&str, usize); 39] = [
    ("1.5.3", 3),
    ("2.2.2", 2),
    ("2.3.1", 7),
    ("3.1.0", 2),
    ("3.1.2", 24),
    ("3.1.3", 11),
    ("3.1.4", 5),
    ("3.2.0", 1),
    ("3.2.2", 6),
    ("3.3.1", 12),
    ("3.3.2", 3),
    ("3.3.4", 1),
    ("3.3.5", 2),
    ("3.6.1", 1),
    ("3.8.1", 1),
    ("3.8.3", 4),
    ("3.8.4", 6),
    ("3.9.3", 2),
    ("3.10.1", 1),
    ("3.10.3", 2),
    ("3.10.4", 6),
    ("3.12.4", 1),
    ("3.14.1", 1),
    ("3.14.4", 3),
    ("4.1.0", 2),
    ("4.3.1", 1),
    ("4.3.2", 2),
    ("4.3.3", 2),
    ("4.4.0", 1),
    ("4.5.0", 2),
    ("4.6.0", 6),
    ("4.7.1", 3),
    ("4.7.2", 1),
    ("4.7.3", 4),
    ("4.8.0", 2),
    ("6.0.0", 4),
    ("7.0.0", 2),
    ("7.1.1", 1),
    ("7.1.2", 1),
];

/// Statement, class and text of each row.
fn rows() -> Vec<(&'static str, &'static str, &'static str)> {
    let rows = LIST.lines().filter(|line| line.starts_with("| MQTT-"));
    rows.map(|line| {
        let mut cells = line.trim_matches('|').splitn(3, '|').map(str::trim);
        let mut cell = || cells.next().filter(|cell| !cell.is_empty()).expect("three cells");
        (cell(), cell(), cell())
    })
    .collect()
}

/// The cases of each statement, from what the files hand to `cases!`, which is what makes the tests.
fn cases() -> BTreeMap<String, Vec<String>> {
    let mut cases: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in CASES {
        let (_, rest) = file.split_once("\ncases! {\n").expect("a file of cases");
        let (list, _) = rest.split_once("\n}\n").expect("its end");
        for line in list.split(';').filter(|line| !line.trim().is_empty()) {
            let (case, numbers) = line.trim().split_once(": ").expect("a case and its statements");
            for number in numbers.split_whitespace() {
                let number = number.strip_prefix("mqtt_").expect("the number of a statement");
                let (section, last) = number.rsplit_once('_').expect("a section and a number");
                let statement = format!("MQTT-{}-{last}", section.replace('_', "."));
                cases.entry(statement).or_default().push(case.to_owned());
            }
        }
    }
    cases
}

#[test]
fn every_statement_stands_in_the_list_once() {
    let listed: Vec<_> = rows().into_iter().map(|(statement, ..)| statement.to_owned()).collect();
    let all: Vec<_> = STATEMENTS
        .iter()
        .flat_map(|(section, count)| (1..=*count).map(move |number| format!("MQTT-{section}-{number}")))
        .collect();
    assert_eq!(all.len(), 141);
    assert_eq!(listed, all);
}

#[test]
fn every_class_says_what_the_cases_show() {
    let cases = cases();
    for (statement, class, text) in rows() {
        let shown = cases.get(statement).map_or(&[][..], Vec::as_slice);
        let deviations = shown.iter().filter(|case| case.starts_with("by_design_")).count();
        match class {
            "tested" => assert!(!shown.is_empty() && deviations == 0, "{statement}: {shown:?}"),
            "by design" => {
                assert!(deviations > 0, "{statement} has no case that shows the deviation: {shown:?}");
                assert!(text.contains(": "), "{statement} has no reason");
            }
            "none to see" => assert!(shown.is_empty() && text.contains(": "), "{statement}: {shown:?}"),
            "client" => assert!(shown.is_empty(), "{statement}: {shown:?}"),
            other => panic!("{statement} is {other}"),
        }
    }
}

#[test]
fn no_case_has_a_number_that_does_not_exist() {
    let listed: BTreeSet<_> = rows().into_iter().map(|(statement, ..)| statement.to_owned()).collect();
    for (statement, cases) in cases() {
        assert!(listed.contains(&statement), "{statement}: {cases:?}");
    }
}
