//! `docs/fault-model.md` names only what exists: tests, scenarios, counters of the simulation.
use std::path::{Path, PathBuf};

fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, text);
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            text.push_str(&std::fs::read_to_string(entry).unwrap());
        }
    }
}

#[test]
fn the_fault_model_names_only_what_exists() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/fault-model.md")).unwrap();
    let mut text = String::new();
    ["src", "tests", "testbed/src", "testbed/powerloss"]
        .iter()
        .for_each(|folder| sources(&root.join(folder), &mut text));
    let mut checked = 0;
    // Every second piece stands between two marks.
    for name in page.split('`').skip(1).step_by(2) {
        let only = |more: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c));
        let exists = if name.contains('_') && only("_") {
            text.contains(&format!("fn {name}(")) || text.contains(&format!("{name}:"))
        } else if name.contains('-') && only("-") {
            root.join(format!("scenarios/{name}.yaml")).exists()
        } else if name.ends_with(".rs") {
            ["", "src"].iter().any(|folder| root.join(folder).join(name).exists())
        } else {
            continue;
        };
        assert!(exists, "docs/fault-model.md names {name:?}, which does not exist");
        checked += 1;
    }
    for counter in page.split('"').skip(1).step_by(2).filter(|counter| !counter.contains('|')) {
        assert!(
            text.contains(&format!(": {counter}\"")) || text.contains(&format!("\"{counter}\"")),
            "no counter {counter:?}"
        );
    }
    assert!(checked > 60, "{checked}");
}
