//! The defaults, as a configuration file that says nothing new.

use std::fmt::Write as _;

use serde_json::Value;

use super::layer::Layer;

/// Every key with its words and its default. It is a configuration file; a key whose default is not
/// one value is commented out.
#[must_use]
pub fn render_defaults() -> String {
    let defaults = serde_json::to_value(Layer::defaults()).unwrap_or_default();
    let mut text = "# Every key of the configuration with its default.\n".to_owned();
    for key in Layer::keys() {
        let (name, help, variable) = (&key.name, &key.help, &key.variable);
        let flag = name.replace('_', "-");
        let value = defaults.get(name).unwrap_or(&Value::Null);
        let line = match Layer::computed_default(name) {
            Some(words) => format!("# {name} = ... # unless given: {words}"),
            // A number, a truth value or a plain text is written in TOML as it is in JSON.
            None => format!("{name} = {value}"),
        };
        // Writing to a string does not fail.
        let _infallible = write!(text, "\n# {help}\n# --{flag}, {variable}\n{line}\n");
    }
    text.push_str(
        "\n# The base addresses of the participants, by name.\n\
         # --participant NAME=URL, ACCORDANT_PARTICIPANTS=NAME=URL,...\n\
         [participants]\n# bank-a = \"http://127.0.0.1:8001\"\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_key_with_its_default() {
        let docs =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let defaults = serde_json::to_value(Layer::defaults()).unwrap();
        for key in Layer::keys() {
            let default = Layer::computed_default(&key.name).unwrap_or_else(|| {
                format!("`{}`", defaults[&key.name].to_string().trim_matches('"'))
            });
            let row = format!("\n| `{}` | {default} |", key.name);
            assert!(docs.contains(&row), "no row {row}");
        }
    }
}
