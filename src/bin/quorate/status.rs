//! `quorate status`: what each node says of itself, as a table or as JSON.

use serde_json::{Value, json};

use crate::client::{ask_one, parsed, print, refusal, run, unreachable_failure, words};
use crate::endpoint::{Endpoint, Endpoints};
use crate::exit::Failure;

const PATH: &str = "/quorate/v1/status";

/// Show what each node is doing.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// Print one JSON list with everything the nodes say
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// What one endpoint answered.
type Told = Result<Value, String>;

impl Status {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let endpoints = self.endpoints.resolve()?;
        let told: Vec<Told> = run(async {
            let mut told = Vec::new();
            for endpoint in &endpoints {
                told.push(tell(endpoint).await);
            }
            told
        });
        let all: Vec<_> = endpoints.iter().zip(&told).collect();
        let text = if self.json { json_text(&all) } else { table(&all) };
        print(text.as_bytes())?;
        if told.iter().all(Result::is_err) {
            let tried = all.iter().map(|(endpoint, told)| {
                let why = told.as_ref().err().map_or("", String::as_str);
                format!("\n  {endpoint}: {why}")
            });
            return Err(unreachable_failure(&tried.collect::<String>()));
        }
        Ok(())
    }
}

async fn tell(endpoint: &Endpoint) -> Told {
    match ask_one(endpoint, PATH, None).await {
        Ok(answer) if answer.status == 200 => {
            parsed(&answer.body).map_err(|failure| failure.message)
        }
        Ok(answer) if answer.status == 404 => Err("is not a quorate node".into()),
        Ok(answer) => Err(refusal(endpoint, answer.status, &answer.body).message),
        Err(unanswered) => Err(words(&unanswered.error)),
    }
}

fn json_text(all: &[(&Endpoint, &Told)]) -> String {
    let list = all.iter().map(|(endpoint, told)| match told {
        Ok(status) => json!({ "endpoint": endpoint.to_string(), "status": status }),
        Err(why) => json!({ "endpoint": endpoint.to_string(), "error": why }),
    });
    format!("{}\n", Value::Array(list.collect()))
}

/// The columns of the table: a heading, and the field and its unit.
const COLUMNS: &[(&str, &str)] = &[
    ("node", "node"),
    ("role", "role"),
    ("term", "term"),
    ("leader", "leader"),
    ("last", "last_index"),
    ("commit", "commit_index"),
    ("applied", "applied_index"),
    ("snapshot", "snapshot_index"),
    ("revision", "revision"),
    ("keys", "keys"),
    ("sync us", "sync_us"),
    ("lag us", "loop_lag_us"),
];

fn table(all: &[(&Endpoint, &Told)]) -> String {
    let mut rows = vec![["endpoint"].into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows[0].extend(COLUMNS.iter().map(|(heading, _)| (*heading).to_owned()));
    for (endpoint, told) in all {
        let mut row = vec![endpoint.host.clone()];
        match told {
            Ok(status) => row.extend(COLUMNS.iter().map(|(_, field)| cell(status, field))),
            Err(why) => row.push(why.clone()),
        }
        rows.push(row);
    }
    let mut text = aligned(&rows);
    for (endpoint, told) in all {
        let Ok(status) = told else { continue };
        text += &notes(endpoint, status);
    }
    text
}

fn cell(status: &Value, field: &str) -> String {
    match status.get(field) {
        // Node 0 is no node: there is no leader.
        Some(Value::Number(number)) if field == "leader" && number.as_u64() == Some(0) => {
            "none".into()
        }
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text.clone(),
        _ => "-".into(),
    }
}

/// The rows with each column as wide as it must be. A short last cell may run on.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let whole = |row: &&Vec<String>| row.len() == columns;
    let width = |column: usize| {
        let cells = rows.iter().filter(whole).map(|row| row[column].len());
        let hosts = rows.iter().map(|row| if column == 0 { row[0].len() } else { 0 });
        cells.chain(hosts).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// What does not fit into a row: the peers of a leader, the threads, what is wrong.
fn notes(endpoint: &Endpoint, status: &Value) -> String {
    let mut text = format!("\n{}", endpoint.host);
    let number = |object: &Value, field: &str| object.get(field).and_then(Value::as_u64);
    let megabytes = |field| number(status, field).unwrap_or(0) as f64 / 1e6;
    text += &format!(
        ": {:.1} MB resident, {:.1} MB of journal, up {} s",
        megabytes("resident_bytes"),
        megabytes("journal_bytes"),
        number(status, "uptime_ms").unwrap_or(0) / 1000,
    );
    let threads: Vec<_> = list(status, "threads").filter_map(Value::as_str).collect();
    text += &format!("\n  threads: {}\n", threads.join(", "));
    for peer in list(status, "peers") {
        let heard = number(peer, "heard_ms").map_or("never".into(), |ms| format!("{ms} ms ago"));
        if let Some(height) = number(peer, "height") {
            let node = cell(peer, "node");
            text += &format!("  peer {node}: claims height {height}, heard {heard}\n");
            continue;
        }
        text += &format!(
            "  peer {}: has {}, is sent {}, heard {}\n",
            cell(peer, "node"),
            cell(peer, "match_index"),
            cell(peer, "next_index"),
            heard,
        );
    }
    if status.get("engine").and_then(Value::as_str) == Some("helix") {
        let (height, view) = (cell(status, "height"), cell(status, "view"));
        text += &format!("  engine helix: decides height {height} in view {view}\n");
        if let Some(trouble) = status.get("trouble").and_then(Value::as_str) {
            text += &format!("  IT CANNOT GO ON: {trouble}\n");
        }
        for piece in list(status, "evidence") {
            let (node, pieces) = (cell(piece, "node"), cell(piece, "pieces"));
            text += &format!("  MEMBER {node} HAS LIED: {pieces} pieces of evidence\n");
        }
    }
    if status.get("disk_full").and_then(Value::as_bool) == Some(true) {
        text += "  THE DISK IS FULL: reads are served, writes are refused; make room\n";
    }
    text
}

fn list<'a>(status: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    status.get(field).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::{aligned, table};
    use crate::endpoint::Endpoint;
    use serde_json::json;

    #[test]
    fn columns_are_as_wide_as_they_must_be() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let rows = [row(&["a", "bb"]), row(&["long", "c"]), row(&["x", "down for long"])];
        assert_eq!(aligned(&rows), "a     bb\nlong  c\nx     down for long\n");
    }

    #[test]
    fn a_node_that_is_down_has_its_row_and_the_reason() {
        let endpoint =
            |host: &str| Endpoint { host: host.into(), address: ([127, 0, 0, 1], 1).into() };
        let up = Ok(json!({"node": 1, "role": "leader", "leader": 0, "threads": ["quorate"],
            "peers": [{"node": 2, "match_index": 5, "next_index": 6, "heard_ms": 3}],
            "disk_full": true}));
        let helix = Ok(json!({"node": 3, "engine": "helix", "height": 9, "view": 1,
            "trouble": "no committee", "evidence": [{"node": 4, "pieces": 2}],
            "peers": [{"node": 2, "height": 8, "heard_ms": 3}]}));
        let text = table(&[(&endpoint("c:1"), &helix)]);
        assert!(text.contains("decides height 9 in view 1"));
        assert!(text.contains("CANNOT GO ON: no committee"));
        assert!(text.contains("MEMBER 4 HAS LIED: 2 pieces"));
        assert!(text.contains("peer 2: claims height 8, heard 3 ms ago"));
        let down = Err("connection refused".to_owned());
        let (a, b) = (endpoint("a:1"), endpoint("b:1"));
        let text = table(&[(&a, &up), (&b, &down)]);
        assert!(text.contains("leader"));
        assert!(text.contains("none"), "node 0 is no leader");
        assert!(text.contains("b:1       connection refused\n"));
        assert!(text.contains("peer 2: has 5, is sent 6, heard 3 ms ago"));
        assert!(text.contains("threads: quorate\n"));
        assert!(text.contains("DISK IS FULL"));
    }
}
