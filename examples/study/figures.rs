//! What was measured, and how it is told: as tables for people, as JSON for machines.

use std::fmt::Write;

use crate::measure::Spread;

/// One measured quantity of one subject.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) section: &'static str,
    pub(crate) subject: String,
    pub(crate) quantity: &'static str,
    /// `ns`, `B`, `/s`, or nothing for a count.
    pub(crate) unit: &'static str,
    pub(crate) spread: Spread,
}

/// All that was measured, in the order in which it was.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Notes several samples of a quantity.
    pub(crate) fn add(
        &mut self,
        section: &'static str,
        subject: &str,
        quantity: &'static str,
        unit: &'static str,
        spread: Spread,
    ) {
        self.0.push(Figure { section, subject: subject.to_owned(), quantity, unit, spread });
    }

    /// Notes what was counted, or measured once.
    pub(crate) fn count(
        &mut self,
        section: &'static str,
        subject: &str,
        quantity: &'static str,
        unit: &'static str,
        value: f64,
    ) {
        self.add(section, subject, quantity, unit, Spread::exactly(value));
    }

    /// The figures of one quantity in one section.
    pub(crate) fn of<'a>(
        &'a self,
        section: &'a str,
        quantity: &'a str,
    ) -> impl Iterator<Item = &'a Figure> {
        self.0.iter().filter(move |f| f.section == section && f.quantity == quantity)
    }

    /// A table for each section: a line for each subject, a column for each quantity.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        for section in distinct(self.0.iter().map(|f| f.section)) {
            let here: Vec<_> = self.0.iter().filter(|f| f.section == section).collect();
            let columns = distinct(here.iter().map(|f| f.quantity));
            let _ = writeln!(text, "\n### {section}\n\n| | {} |", columns.join(" | "));
            let _ = writeln!(text, "|---{}|", "|---".repeat(columns.len()));
            for subject in distinct(here.iter().map(|f| f.subject.as_str())) {
                let cell = |column: &&str| {
                    let found = here.iter().find(|f| f.subject == subject && f.quantity == *column);
                    found.map_or_else(String::new, |f| f.shown())
                };
                let cells: Vec<_> = columns.iter().map(cell).collect();
                let _ = writeln!(text, "| {subject} | {} |", cells.join(" | "));
            }
        }
        text
    }

    /// One object for the machine, the command and all figures.
    pub(crate) fn json(&self, machine: &str, load: &str) -> String {
        // Rust's notation of a string is that of JSON for the plain text that we have.
        let line = |f: &Figure| {
            let Spread { median, low, high, samples } = f.spread;
            format!(
                "{{\"section\":{:?},\"subject\":{:?},\"quantity\":{:?},\"unit\":{:?},\
                 \"median\":{},\"low\":{},\"high\":{},\"samples\":{samples}}}",
                f.section,
                f.subject,
                f.quantity,
                f.unit,
                number(median),
                number(low),
                number(high),
            )
        };
        let lines: Vec<_> = self.0.iter().map(line).collect();
        let figures = lines.join(",\n");
        format!("{{\"machine\":{machine:?},\"load\":{load:?},\"figures\":[\n{figures}\n]}}\n")
    }
}

impl Figure {
    /// The median, and the spread if there are several samples that differ.
    fn shown(&self) -> String {
        let Spread { median, low, high, .. } = self.spread;
        let (median, low, high) =
            (show(median, self.unit), show(low, self.unit), show(high, self.unit));
        if low == high { median } else { format!("{median} ({low} to {high})") }
    }
}

/// JSON knows no infinities.
fn number(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { "null".into() }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

/// A value for people: three digits that count, in a unit that fits.
pub(crate) fn show(value: f64, unit: &str) -> String {
    if value.is_nan() {
        return "not measured".into();
    }
    let steps: &[(f64, &str)] = match unit {
        "ns" => &[(1e9, " s"), (1e6, " ms"), (1e3, " µs"), (1.0, " ns")],
        "B" => &[(1024.0 * 1024.0, " MiB"), (1024.0, " KiB"), (1.0, " B")],
        _ => &[(1.0, unit)],
    };
    let fits = |(size, _): &&(f64, &str)| value.abs() >= *size;
    let (size, name) = steps.iter().find(fits).or(steps.last()).copied().unwrap_or((1.0, unit));
    format!("{}{name}", digits(value / size))
}

fn digits(value: f64) -> String {
    let places = match value.abs() {
        whole if whole.fract() == 0.0 => 0,
        100.0.. => 0,
        10.0..100.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    if places == 0 { grouped(&text) } else { text }
}

/// Thousands set apart.
fn grouped(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    format!("{sign}{}", groups.join(","))
}
