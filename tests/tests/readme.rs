//! The README says nothing that nobody runs.

#[test]
fn every_command_in_the_readme_is_run_by_ci() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let ci = std::fs::read_to_string(root.join(".ci/run")).unwrap();
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.trim().is_empty() => commands.push(line.trim()),
            _ => {}
        }
    }
    assert!(commands.len() >= 3, "{commands:?}");
    for command in commands {
        assert!(
            ci.contains(command),
            "the README shows `{command}`, which .ci/run does not run"
        );
    }
}
