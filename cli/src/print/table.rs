//! The table format, drawn as etcd's tables are: scripts cut them up.

use unicode_width::UnicodeWidthStr as _;

use super::Answer;
use super::simple::{hash_rows, member_rows, status_rows};

/// `answer` as a table, if it can be one.
pub fn render(answer: &Answer) -> Option<String> {
    Some(match answer {
        Answer::MemberList(response) => {
            draw(&["ID", "Status", "Name", "Peer Addrs", "Client Addrs", "Is Learner"], &member_rows(response))
        }
        Answer::EndpointHealth(all) => {
            let rows: Vec<Vec<String>> = all
                .iter()
                .map(|health| {
                    vec![
                        health.endpoint.clone(),
                        health.error.is_none().to_string(),
                        health.took.map(|took| took.to_string()).unwrap_or_default(),
                        health.error.clone().unwrap_or_default(),
                    ]
                })
                .collect();
            draw(&["endpoint", "health", "took", "error"], &rows)
        }
        Answer::EndpointStatus(all) => draw(STATUS_HEADER, &status_rows(all)),
        Answer::EndpointHashKv(all) => draw(&["endpoint", "hash", "hash_revision"], &hash_rows(all)),
        _ => return None,
    })
}

const STATUS_HEADER: &[&str] = &[
    "endpoint",
    "ID",
    "version",
    "storage version",
    "db size",
    "in use",
    "percentage not in use",
    "quota",
    "is leader",
    "is learner",
    "raft term",
    "raft index",
    "raft applied index",
    "errors",
    "downgrade target version",
    "downgrade enabled",
];

/// Borders between columns and rows, a centred header, cells to the right.
pub fn draw(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|text| text.to_uppercase().replace('_', " ")).collect();
    let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(|cell| cell.trim()).collect()).collect();
    let widest = |column: usize| {
        let cells = rows.iter().flat_map(|row| row[column].lines());
        cells.chain([header[column].as_str()]).map(|line| line.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(widest).collect();
    let border = |left, between: &str, right| {
        let lines: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", lines.join(between))
    };
    let mut text = border("┌", "┬", "┐");
    let centred = header.iter().zip(&widths).map(|(title, width)| {
        let free = width + 2 - title.width();
        format!("{}{title}{}", " ".repeat(free / 2), " ".repeat(free - free / 2))
    });
    text.push_str(&format!("│{}│\n", centred.collect::<Vec<_>>().join("│")));
    if !rows.is_empty() {
        text.push_str(&border("├", "┼", "┤"));
    }
    for row in &rows {
        let height = row.iter().map(|cell| cell.lines().count()).max().unwrap_or(0).max(1);
        for line in 0..height {
            let cells = row.iter().zip(&widths).map(|(cell, width)| {
                let line = cell.lines().nth(line).unwrap_or_default();
                format!("{}{line} ", " ".repeat(width + 1 - line.width()))
            });
            text.push_str(&format!("│{}│\n", cells.collect::<Vec<_>>().join("│")));
        }
    }
    text.push_str(&border("└", "┴", "┘"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_string(), " 12345 ".into()], vec!["b\nc".into(), "ü世".into()]];
        let expected = "\
┌──────┬───────┐
│ HASH │  A B  │
├──────┼───────┤
│    a │ 12345 │
│    b │   ü世 │
│    c │       │
└──────┴───────┘
";
        assert_eq!(draw(&["hash", "a_b"], &rows), expected);
    }

    #[test]
    fn a_title_that_cannot_be_in_the_middle_is_left_of_it() {
        assert_eq!(draw(&["ab"], &[vec!["123".into()]]), "┌─────┐\n│ AB  │\n├─────┤\n│ 123 │\n└─────┘\n");
    }

    #[test]
    fn a_table_without_rows_has_no_line_below_its_header() {
        assert_eq!(draw(&["a"], &[]), "┌───┐\n│ A │\n└───┘\n");
    }
}
