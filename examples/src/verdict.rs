//! What was counted in the end, and whether it holds.

use std::fmt::Display;
use std::process::ExitCode;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table};

/// Figures, and what does not hold.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    rows: Vec<(String, String)>,
    untrue: Vec<String>,
}

impl Verdict {
    /// A figure.
    pub fn row(&mut self, name: &str, value: impl Display) {
        self.rows.push((name.to_owned(), value.to_string()));
    }

    /// Something that should not be so.
    pub fn untrue(&mut self, what: impl Into<String>) {
        self.untrue.push(what.into());
    }

    /// A figure that should be this and no other.
    pub fn expect<T: Display + PartialEq>(&mut self, name: &str, value: T, expected: T) {
        if value != expected {
            self.untrue(format!("{name}: {value}, and should be {expected}"));
        }
        self.row(name, value);
    }

    /// Whether all holds.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.untrue.is_empty()
    }

    /// Shows everything, and in the end a line: `verdict`, if all holds.
    pub fn print(&self, verdict: &str) {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY);
        for (name, value) in &self.rows {
            table.add_row([name, value]);
        }
        if let Some(column) = table.column_mut(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("{table}");
        for line in self.untrue.iter().take(20) {
            println!("NOT TRUE: {line}");
        }
        let failed = "SOMETHING DOES NOT HOLD: see above";
        println!("{}", if self.holds() { verdict } else { failed });
    }
}

/// The end of a demo or of a role: true if all holds.
pub fn finish(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
