//! How a scenario is written down: blocks of commands, each with what happened below it. A block
//! that has not been played yet ends at its first empty line.

/// The line between commands and what happened.
const LINE: &str = "---";

/// Stands where nothing happened.
const NOTHING: &str = "ok";

/// Commands with their comments, up to the line; what happened is not kept.
#[derive(Debug, Default)]
pub(super) struct Block<'a> {
    lines: Vec<(usize, &'a str)>,
}

/// The blocks of a scenario, whether it says yet what happened or not.
pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let (mut blocks, mut block, mut below) = (vec![], Block::default(), false);
    for (number, line) in (1..).zip(text.lines()) {
        match line.trim_end() {
            "" if below || block.commands().next().is_some() => {
                blocks.push(std::mem::take(&mut block));
                below = false;
            }
            _ if below => {}
            LINE => below = true,
            line => block.lines.push((number, line)),
        }
    }
    blocks.push(block);
    blocks
}

impl Block<'_> {
    /// The lines that say something, with their numbers.
    pub(super) fn commands(&self) -> impl Iterator<Item = (usize, &str)> {
        let told = self.lines.iter().map(|&(number, line)| (number, without_comment(line)));
        told.filter(|(_, line)| !line.is_empty())
    }

    /// Writes the block, with what happened below its commands.
    pub(super) fn write(&self, text: &mut String, happened: &[String]) {
        let mut put = |line: &str| {
            text.push_str(line);
            text.push('\n');
        };
        self.lines.iter().for_each(|(_, line)| put(line));
        if self.commands().next().is_none() {
            return;
        }
        put(LINE);
        match happened {
            [] => put(NOTHING),
            lines => lines.iter().for_each(|line| put(line)),
        }
        put("");
    }
}

/// A comment begins at the start of a line or after a space: `c1#2` has none.
fn without_comment(line: &str) -> &str {
    let mut marks = line.match_indices('#').map(|(at, _)| at);
    let begins = |&at: &usize| line[..at].chars().next_back().is_none_or(char::is_whitespace);
    line[..marks.find(begins).unwrap_or(line.len())].trim()
}

#[cfg(test)]
mod tests {
    use super::blocks;

    /// Writes every block again, with its commands as what happened.
    fn rewritten(text: &str) -> String {
        let mut played = String::new();
        for block in blocks(text) {
            let happened: Vec<_> = block.commands().map(|(_, line)| line.to_uppercase()).collect();
            block.write(&mut played, &happened);
        }
        played
    }

    #[test]
    fn comments_and_empty_lines_stay_and_what_happened_is_replaced() {
        let text =
            "# title\n\n# more\none # why\ntwo c1#2\n---\nold\nlines\n\n\n# end\nthree\n\nfour";
        let after = "# title\n\n# more\none # why\ntwo c1#2\n---\nONE\nTWO C1#2\n\n\
                     \n# end\nthree\n---\nTHREE\n\nfour\n---\nFOUR\n\n";
        assert_eq!(rewritten(text), after);
        assert_eq!(rewritten(after), after, "what is right stays as it is");
    }

    #[test]
    fn lines_are_counted_in_the_file() {
        let text = "one\n---\nold\n\n# why\ntwo\n---\nold";
        let blocks = blocks(text);
        let numbers: Vec<_> = blocks.iter().flat_map(|block| block.commands()).collect();
        assert_eq!(numbers, [(1, "one"), (6, "two")]);
    }
}
