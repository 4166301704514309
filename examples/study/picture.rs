//! The picture: some of the figures as bars, with their units and where they come from.

use std::fmt::Write;

use crate::figures::{Figure, Figures, show};

const WIDTH: f64 = 880.0;
const LEFT: f64 = 356.0;
const RIGHT: f64 = 96.0;
const LINE: f64 = 24.0;

/// One group of bars.
struct Panel {
    title: &'static str,
    section: &'static str,
    quantity: &'static str,
    logarithmic: bool,
}

const PANELS: [Panel; 6] = [
    Panel {
        title: "One message there and one back",
        section: "A message there and one back",
        quantity: "round trip",
        logarithmic: true,
    },
    Panel {
        title: "Resident memory of one idle worker",
        section: "Memory of one idle worker",
        quantity: "resident",
        logarithmic: true,
    },
    Panel {
        title: "Ending a worker while it waits",
        section: "Ending a worker while it waits",
        quantity: "takes",
        logarithmic: true,
    },
    Panel {
        title: "The same replicated write path: context switches for each write, 1 under way",
        section: "The same replicated write path in three shapes",
        quantity: "switches per write, 1",
        logarithmic: false,
    },
    Panel {
        title: "The same replicated write path: processor time for each write, 64 under way",
        section: "The same replicated write path in three shapes",
        quantity: "processor per write, 64",
        logarithmic: false,
    },
    Panel {
        title: "From an election to the end of the old view's work, which looks every 10 ms",
        section: "From an election to the end of the old view's work",
        quantity: "looks at it every 10 ms",
        logarithmic: true,
    },
];

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}
.title{font-weight:600;font-size:14px}.small{font-size:11px}.small,.axis{fill:#59636e}
.paper{fill:#fff}.line{stroke:#d8dee4}
.process{fill:#9a6700}.thread{fill:#6639ba}.coroutine{fill:#0969da}.other{fill:#818b98}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.small,.axis{fill:#9198a1}
.paper{fill:#0d1117}.line{stroke:#3d444d}
.process{fill:#d29922}.thread{fill:#ab7df8}.coroutine{fill:#4493f8}.other{fill:#656c76}}";

/// The whole picture, as SVG.
pub(crate) fn draw(figures: &Figures, machine: &str, load: &str) -> String {
    let mut body = String::new();
    let mut y = legend(&mut body);
    for panel in PANELS {
        let bars: Vec<_> = figures.of(panel.section, panel.quantity).collect();
        y = draw_panel(&mut body, &panel, &bars, y);
    }
    for line in [
        format!("{machine}; load {load}. Medians; a thin line is the 10th to 90th percentile."),
        "cargo run --release --example study -- --svg src/manual/study.svg".to_owned(),
    ] {
        text(&mut body, 16.0, y, "small", "start", &line);
        y += 16.0;
    }
    let title = "Processes, threads and coroutines, measured";
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" \
         height=\"{y}\" role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}\n</style>\n\
         <rect class=\"paper\" width=\"{WIDTH}\" height=\"{y}\"/>\n{body}</svg>\n"
    )
}

fn legend(body: &mut String) -> f64 {
    let mut x = 16.0;
    for (class, name) in [
        ("process", "processes"),
        ("thread", "threads"),
        ("coroutine", "tasks and futures of one executor"),
        ("other", "other ways to end a view"),
    ] {
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"16\" width=\"12\" height=\"12\" rx=\"2\"/>"
        );
        text(body, x + 18.0, 27.0, "", "start", name);
        x += 48.0 + 7.2 * name.len() as f64;
    }
    60.0
}

fn draw_panel(body: &mut String, panel: &Panel, bars: &[&Figure], top: f64) -> f64 {
    let unit = bars.first().map_or("", |f| f.unit);
    let scale = Scale::new(panel.logarithmic, bars);
    let kind = if panel.logarithmic { ", logarithmic" } else { "" };
    let title = format!("{}{kind}", panel.title);
    text(body, 16.0, top, "title", "start", &title);
    let (first, last) = (top + 14.0, top + 14.0 + LINE * bars.len() as f64);
    for mark in scale.marks() {
        let x = scale.x(mark);
        let _ = writeln!(
            body,
            "<line class=\"line\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{first}\" y2=\"{last}\"/>"
        );
        text(body, x, last + 12.0, "small", "middle", &mark_text(mark, unit));
    }
    for (bar, line) in bars.iter().zip(0..) {
        let y = first + LINE * f64::from(line);
        let end = scale.x(bar.spread.median);
        text(body, LEFT - 8.0, y + 16.0, "", "end", &bar.subject);
        let _ = writeln!(
            body,
            "<rect class=\"{}\" x=\"{LEFT}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" rx=\"2\"/>",
            class(&bar.subject),
            y + 4.0,
            (end - LEFT).max(1.0),
        );
        let (low, high) = (scale.x(bar.spread.low), scale.x(bar.spread.high));
        let _ = writeln!(
            body,
            "<line class=\"axis\" stroke=\"#818b98\" x1=\"{low:.1}\" x2=\"{high:.1}\" \
             y1=\"{0:.1}\" y2=\"{0:.1}\"/>",
            y + 12.0,
        );
        let value = show(bar.spread.median, bar.unit);
        text(body, end.max(high) + 6.0, y + 16.0, "", "start", &value);
    }
    last + 46.0
}

/// A power of ten; of bytes, too.
fn mark_text(mark: f64, unit: &str) -> String {
    match unit {
        "B" if mark >= 1e6 => format!("{} MB", mark / 1e6),
        "B" if mark >= 1e3 => format!("{} kB", mark / 1e3),
        _ => show(mark, unit),
    }
}

fn class(subject: &str) -> &'static str {
    match subject {
        s if s.starts_with(|c: char| c.is_ascii_digit()) => "other",
        s if s.contains("process") => "process",
        s if s.contains("future") || s.contains("task") || s.contains("function") => "coroutine",
        _ => "thread",
    }
}

fn text(body: &mut String, x: f64, y: f64, class: &str, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

/// Where a value is on the axis.
struct Scale {
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(logarithmic: bool, bars: &[&Figure]) -> Self {
        let values = bars.iter().map(|f| f.spread.median).filter(|v| *v > 0.0);
        let least = values.fold(f64::MAX, f64::min);
        let most = bars.iter().map(|f| f.spread.high).fold(f64::MIN_POSITIVE, f64::max);
        if logarithmic {
            let (from, to) = (least.log10().floor(), most.log10().ceil());
            Self { logarithmic, from, to: to.max(from + 1.0) }
        } else {
            Self { logarithmic, from: 0.0, to: most }
        }
    }

    fn x(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.max(1e-9).log10() } else { value };
        let part = (value - self.from) / (self.to - self.from);
        LEFT + part.clamp(0.0, 1.05) * (WIDTH - LEFT - RIGHT)
    }

    /// Every decade, or the beginning alone.
    fn marks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return vec![0.0];
        }
        (self.from as i32..=self.to as i32).map(|power| 10f64.powi(power)).collect()
    }
}
