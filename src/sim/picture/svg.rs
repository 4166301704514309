//! How a picture looks, as the text of an SVG file: no script, no font of its own, nothing from
//! elsewhere. Equal pictures give equal texts.

use std::fmt::Write as _;
use std::time::Duration;

use crate::sim::picture::model::{Arrow, Fate, Picture, Purpose, Scope, Word};
use crate::sim::picture::sketch::{Ending, Tone};
use crate::sim::picture::style::SHEET;

/// The width of the outermost box, and how much narrower each box inside it is on either side.
const BOX: i64 = 104;
const INSET: i64 = 8;
/// Where the column of times ends, and where the first lane begins.
const TIMES: i64 = 70;
const FIRST: i64 = 142;
/// Between the last lane and the edge.
const RIGHT: i64 = 68;
/// Heights: of a row, of one of silence, and of what stands above the rows.
const ROW: i64 = 20;
const SILENT: i64 = 26;
const HEAD: i64 = 66;
/// Thousandths of a pixel that a letter takes.
const LETTER: i64 = 6_630;

impl Picture {
    /// The text of an SVG file.
    #[must_use]
    pub fn svg(&self) -> String {
        Sheet::new(self).draw()
    }
}

/// Text that may stand in XML. What no XML may hold becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\r' | '\t' => safe.push(' '),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// As much of a text as has room.
fn short(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return escaped(text);
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    escaped(kept.trim_end()) + "…"
}

fn span(span: Duration) -> String {
    let micros = span.as_micros();
    match micros {
        0..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{}.{} s", micros / 1_000_000, micros / 100_000 % 10),
    }
}

/// A picture on its way to a text.
struct Sheet<'a> {
    picture: &'a Picture,
    /// The middle of each row.
    rows: Vec<i64>,
    top: i64,
    bottom: i64,
    width: i64,
    pitch: i64,
    text: String,
}

impl<'a> Sheet<'a> {
    fn new(picture: &'a Picture) -> Self {
        let lanes = i64::try_from(picture.lanes.len()).unwrap_or(1).max(1);
        let pitch = match lanes {
            ..4 => 270,
            4 => 244,
            _ => 222,
        };
        let before = picture.scopes.iter().filter(|scope| scope.opened.is_none());
        let deep = before.map(|scope| scope.depth + 1).max().unwrap_or(0);
        let cut = if picture.cuts[0].is_some() { ROW } else { 0 };
        let top = HEAD + cut;
        let mut y = top + i64::try_from(deep).unwrap_or(0) * 15;
        let mut rows = vec![];
        for row in &picture.rows {
            let height = if matches!(row.what, Purpose::Silence(_)) { SILENT } else { ROW };
            rows.push(y + height / 2);
            y += height;
        }
        let width = (FIRST + (lanes - 1) * pitch + RIGHT).max(460);
        Self { picture, rows, top, bottom: y + 6, width, pitch, text: String::new() }
    }

    fn draw(mut self) -> String {
        let height = self.bottom + if self.picture.cuts[1].is_some() { 34 } else { 12 };
        let (width, title) = (self.width, escaped(&self.picture.title));
        self.put(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"qp\" role=\"img\" \
             viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">"
        ));
        self.put(&format!("<title>{title}</title>"));
        self.put(&format!("<style>\n{SHEET}</style>"));
        self.put(&format!("<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>"));
        self.words(14, 24, "title", &title);
        for (nth, cut) in self.picture.cuts.iter().enumerate() {
            let y = if nth == 0 { HEAD + 8 } else { self.bottom + 18 };
            if let Some(cut) = cut {
                self.words(14, y, "bad", &escaped(cut));
            }
        }
        self.lanes();
        self.picture.scopes.iter().for_each(|scope| self.scope(scope));
        self.times();
        self.picture.arrows.iter().for_each(|arrow| self.arrow(arrow));
        self.picture.words.iter().for_each(|word| self.word(word));
        self.put("</svg>");
        self.text
    }

    fn put(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Writes words that are escaped already.
    fn words(&mut self, x: i64, y: i64, class: &str, text: &str) {
        self.put(&format!("<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>"));
    }

    fn x(&self, lane: usize) -> i64 {
        FIRST + i64::try_from(lane).unwrap_or(0) * self.pitch
    }

    /// How many letters there is room for between two lanes.
    fn room(&self) -> usize {
        usize::try_from((self.pitch - BOX - 22) * 1_000 / LETTER).unwrap_or(0)
    }

    fn lanes(&mut self) {
        for (lane, node) in self.picture.lanes.iter().enumerate() {
            let x = self.x(lane);
            self.words(x, HEAD - 14, "head mid", &format!("{node:?}"));
            let (top, bottom) = (self.top - 6, self.bottom);
            self.put(&format!("<path class=\"life\" d=\"M{x} {top}V{bottom}\"/>"));
        }
    }

    fn times(&mut self) {
        let mut last = String::new();
        for (nth, row) in self.picture.rows.iter().enumerate() {
            let (y, right) = (self.rows[nth], self.width - 14);
            let micros = row.at.0 / 1_000;
            let time = format!("{}.{:04}s", micros / 1_000_000, micros / 100 % 10_000);
            if !matches!(row.what, Purpose::Silence(_)) && time != last {
                self.words(TIMES, y + 4, "dim end", &time);
                last = time;
            }
            let letters = usize::try_from((self.width - TIMES - 30) * 1_000 / LETTER).unwrap_or(0);
            match &row.what {
                Purpose::Silence(silence) => {
                    self.put(&format!("<path class=\"life\" d=\"M{TIMES} {y}H{right}\"/>"));
                    self.words(TIMES, y + 4, "why end", &format!("… {}", span(*silence)));
                }
                Purpose::Note(text) | Purpose::Alarm(text) => {
                    let bad = matches!(row.what, Purpose::Alarm(_));
                    let class = if bad { "bad halo" } else { "halo" };
                    self.put(&format!("<path class=\"note\" d=\"M{TIMES} {y}H{right}\"/>"));
                    self.words(TIMES + 10, y + 4, class, &short(text, letters));
                }
                Purpose::Steps | Purpose::Sends(_) | Purpose::Arrives | Purpose::Stops => {}
            }
        }
    }

    /// Where a scope ends that closes in this row. A note has its row for itself.
    fn end(&self, row: usize) -> i64 {
        match self.picture.rows[row].what {
            Purpose::Note(_) | Purpose::Alarm(_) => self.rows[row] - ROW / 2 + 1,
            _ => self.rows[row] + ROW / 2 - 1,
        }
    }

    fn scope(&mut self, scope: &Scope) {
        let depth = i64::try_from(scope.depth).unwrap_or(0);
        let (middle, half) = (self.x(scope.lane), (BOX / 2 - depth * INSET).max(INSET));
        let (left, right) = (middle - half, middle + half);
        let above = self.top - 4 + depth * 15;
        let top = scope.opened.map_or(above, |row| self.rows[row] - ROW / 2 + 2);
        let tone = match scope.tone {
            Tone::Quiet => "quiet",
            Tone::Plain => "plain",
            Tone::Seeking => "seek",
            Tone::Leading => "lead",
        };
        let (bottom, last) = match scope.closed {
            None => (self.bottom, ""),
            Some((row, ending)) => {
                let last = if ending == Ending::Left { "Z" } else { "" };
                (self.end(row) - 2 * depth, last)
            }
        };
        let bottom = bottom.max(top + 4);
        self.put(&format!(
            "<path class=\"{tone}\" d=\"M{left} {bottom}V{top}H{right}V{bottom}{last}\"/>"
        ));
        if let Some((_, Ending::Torn)) = scope.closed {
            let mut edge = format!("<path class=\"torn\" d=\"M{left} {bottom}");
            let teeth = half / 4;
            for tooth in 0..teeth * 2 {
                let (x, y) =
                    (left + (tooth + 1) * half / teeth, if tooth % 2 == 0 { -4 } else { 0 });
                let _ = write!(edge, "L{x} {}", bottom + y);
            }
            self.put(&(edge + "\"/>"));
        }
        let letters = usize::try_from(half * 2 * 1_000 / LETTER).unwrap_or(0);
        self.words(middle, top + 12, "mid", &short(&scope.name, letters));
    }

    fn word(&mut self, word: &Word) {
        let (x, y) = (self.x(word.lane), self.rows[word.row]);
        // Beside the last lane there is room on its left only.
        let last = word.lane > 0 && word.lane + 1 == self.picture.lanes.len();
        let (edge, at, side) = if last { (x - BOX / 2, -8, " end") } else { (x + BOX / 2, 8, "") };
        let class = if word.reason { "why halo" } else { "halo" };
        if !word.reason {
            self.put(&format!("<circle class=\"dot\" cx=\"{edge}\" cy=\"{y}\" r=\"2.5\"/>"));
        }
        let room = self.room() + 1;
        let text = short(&word.text, room);
        let whole = match word.text.chars().count() > room {
            true => format!("<title>{}</title>", escaped(&word.text)),
            false => String::new(),
        };
        self.words(edge + at, y + 4, &format!("{class}{side}"), &(whole + &text));
    }

    /// A message: slanting from its sender, then level below its name to its receiver.
    fn arrow(&mut self, arrow: &Arrow) {
        let right = arrow.from < arrow.to;
        let way = if right { 1 } else { -1 };
        let start = self.x(arrow.from) + way * BOX / 2;
        let goal = self.x(arrow.to) - way * BOX / 2;
        let y = self.rows[arrow.ended];
        let name = short(&self.label(arrow), self.room());
        let long = i64::try_from(name.chars().count()).unwrap_or(0) * LETTER / 1_000 + 18;
        self.put(&format!("<g><title>{}</title>", escaped(&arrow.says)));
        let mut from = arrow.sent.map(|row| (start, self.rows[row]));
        if let Some(row) = arrow.held {
            from = Some(self.held(arrow, start, way, row));
        }
        if arrow.fate == Fate::Away && arrow.held.is_some() {
            return self.put("</g>");
        }
        let landing = goal - way * long;
        let begin = match from {
            Some((x, sent)) => format!("M{x} {sent}L{landing} {y}"),
            None => format!("M{landing} {y}"),
        };
        let (class, stop) = match arrow.fate {
            Fate::Arrived if arrow.held.is_some() || from.is_none() => ("go late", goal),
            Fate::Arrived => ("go", goal),
            Fate::Again | Fate::Away => ("go late", goal - way * 4),
            Fate::Lost => ("go off", goal - way * 12),
        };
        self.put(&format!("<path class=\"{class}\" d=\"{begin}H{stop}\"/>"));
        self.tip(arrow.fate, goal, y, way);
        let class = match (arrow.fate == Fate::Lost, right) {
            (true, true) => "lost halo end",
            (true, false) => "lost halo",
            (false, true) => "wire halo end",
            (false, false) => "wire halo",
        };
        let back = if arrow.fate == Fate::Lost { 18 } else { 9 };
        self.words(goal - way * back, y - 3, class, &name);
        self.put("</g>");
    }

    fn label(&self, arrow: &Arrow) -> String {
        match arrow.fate {
            Fate::Again => format!("again {}", arrow.name),
            _ => arrow.name.clone(),
        }
    }

    fn tip(&mut self, fate: Fate, goal: i64, y: i64, way: i64) {
        let (back, cross) = (goal - way * 7, goal - way * 9);
        self.put(&match fate {
            Fate::Arrived | Fate::Again => {
                let (up, down) = (y - 3, y + 3);
                format!("<path class=\"tip\" d=\"M{goal} {y}L{back} {up}V{down}Z\"/>")
            }
            Fate::Lost => {
                let (left, right, up, down) = (cross - 4, cross + 4, y - 4, y + 4);
                let cross = format!("M{left} {up}L{right} {down}M{left} {down}L{right} {up}");
                format!("<path class=\"torn\" d=\"{cross}\"/>")
            }
            Fate::Away => {
                let middle = goal - way * 5;
                format!("<circle class=\"ring\" cx=\"{middle}\" cy=\"{y}\" r=\"3\"/>")
            }
        });
    }

    /// Where a frame was held: a bar beside its sender.
    fn held(&mut self, arrow: &Arrow, start: i64, way: i64, row: usize) -> (i64, i64) {
        let (y, name) = (self.rows[row], short(&format!("held {}", arrow.name), self.room()));
        let long = i64::try_from(name.chars().count()).unwrap_or(0) * LETTER / 1_000 + 18;
        let stop = start + way * long;
        let sent = arrow.sent.map_or(y, |row| self.rows[row]);
        let (up, down) = (y - 5, y + 5);
        let path = format!("M{start} {sent}L{} {y}H{stop}", start + way * 8);
        self.put(&format!("<path class=\"go\" d=\"{path}\"/>"));
        self.put(&format!("<path class=\"go\" d=\"M{stop} {up}V{down}\"/>"));
        let class = if way > 0 { "wire halo end" } else { "wire halo" };
        self.words(stop - way * 3, y - 3, class, &name);
        (stop, y)
    }
}

#[cfg(test)]
mod tests {
    use super::{escaped, short};
    use crate::env::Time;
    use crate::id::NodeId;
    use crate::sim::picture::{Ending, Sketch, Step, Tone, Window};

    #[test]
    fn what_xml_means_otherwise_is_escaped() {
        assert_eq!(escaped("a < b & c > \"d\""), "a &lt; b &amp; c &gt; &quot;d&quot;");
        assert_eq!(escaped("two\nlines\u{1}"), "two lines\u{fffd}");
        let sketch = Sketch::new(Window::default());
        sketch.note(Time::ZERO, "</svg><script>");
        let svg = sketch.picture("a & b").svg();
        assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1, "{svg}");
        assert!(svg.contains("<title>a &amp; b</title>"), "{svg}");
    }

    #[test]
    fn what_has_no_room_is_shortened_before_it_is_escaped() {
        assert_eq!(short("abcdef", 6), "abcdef");
        assert_eq!(short("ab<def", 4), "ab&lt;…");
        assert_eq!(short("ab def", 4), "ab…");
    }

    #[test]
    fn a_torn_end_shows_and_equal_pictures_are_equal_texts() {
        let draw = |ending| {
            let sketch = Sketch::new(Window::default());
            let (name, tone, why) = ("node".into(), Tone::Quiet, String::new());
            sketch.step(Time(1), NodeId(1), Step::Open { depth: 0, name, tone, why });
            sketch.life_ended(Time(2), NodeId(1), ending);
            sketch.picture("an end").svg()
        };
        let torn = "<path class=\"torn\"";
        assert!(draw(Ending::Torn).contains(torn) && !draw(Ending::Left).contains(torn));
        assert_eq!(draw(Ending::Torn), draw(Ending::Torn));
    }

    #[test]
    fn no_line_is_empty_and_nothing_happened_is_a_picture_too() {
        let svg = Sketch::new(Window::default()).picture("nothing").svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(!svg.contains("\n\n"), "{svg}");
    }
}
