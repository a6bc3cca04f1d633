//! Medians, ratios, and whether what was asked is reached.

use super::{Asked, FIGURES, Figure, Sample};
use std::collections::HashMap;

/// All samples of one side.
#[derive(Debug, Default)]
pub struct Samples(HashMap<&'static str, Vec<f64>>);

impl Samples {
    pub fn add(&mut self, samples: &[Sample]) {
        for sample in samples {
            assert!(FIGURES.iter().any(|f| f.name == sample.name), "{} has no row", sample.name);
            self.0.entry(sample.name).or_default().push(sample.value);
        }
    }

    /// The median; a figure that compares two others is made of their medians.
    fn median(&self, name: &str) -> Option<f64> {
        if let Some(base) = name.strip_suffix(".growth") {
            return Some(self.median(&format!("{base}.cpu.large"))? / self.median(&format!("{base}.cpu"))?);
        }
        let mut values = self.0.get(name)?.clone();
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        Some(if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 })
    }

    fn spread(&self, name: &str) -> String {
        let Some(values) = self.0.get(name).filter(|v| v.len() > 1) else { return String::new() };
        let (least, most) =
            (values.iter().copied().fold(f64::MAX, f64::min), values.iter().copied().fold(f64::MIN, f64::max));
        format!(" ({}–{})", number(least), number(most))
    }
}

/// The table in Markdown.
pub fn table(names: [&str; 2], a: &Samples, b: &Samples) -> String {
    let mut text = format!("| figure | {} | {} | ratio | asked |\n|---|---|---|---|---|\n", names[0], names[1]);
    for figure in FIGURES {
        let (Some(of_a), Some(of_b)) = (a.median(figure.name), b.median(figure.name)) else { continue };
        let cell =
            |side: &Samples, value: f64| format!("{} {}{}", number(value), figure.unit, side.spread(figure.name));
        text.push_str(&format!(
            "| {} | {} | {} | {:.2} | {} |\n",
            figure.about,
            cell(a, of_a),
            cell(b, of_b),
            of_b / of_a,
            asked(figure, of_a, of_b),
        ));
    }
    text
}

fn asked(figure: &Figure, a: f64, b: f64) -> String {
    let (reached, text) = match figure.asked {
        Asked::OfA(part) => (b <= a * part, format!("ratio ≤ {part:.2}")),
        Asked::AtMost(most) => (b <= most, format!("≤ {} {}", number(most), figure.unit)),
        Asked::AtLeast(least) => (b >= least, format!("≥ {} {}", number(least), figure.unit)),
        Asked::Nothing => return String::new(),
    };
    format!("{}: {}", text.trim_end(), if reached { "reached" } else { "MISSED" })
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::sample;
    use super::*;

    #[test]
    fn the_table_has_medians_and_says_what_is_missed() {
        let side = |cpu: [f64; 3], device: f64| {
            let mut samples = Samples::default();
            for value in cpu {
                samples.add(&[sample("put1000.cpu", value)]);
            }
            samples.add(&[sample("put1000.device", device), sample("put1000.cpu.large", 30.0)]);
            samples
        };
        let text = table(["etcd", "ours"], &side([70.0, 900.0, 60.0], 770.0), &side([20.0, 23.0, 30.0], 780.0));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "| figure | etcd | ours | ratio | asked |");
        assert_eq!(
            lines[2],
            "| put, 100x10: server CPU | 70.0 us (60.0–900) | 23.0 us (20.0–30.0) | 0.33 | ratio ≤ 0.33: reached |"
        );
        assert!(lines[3].ends_with("| 770 B | 780 B | 1.01 | ratio ≤ 1.00: MISSED |"), "{text}");
        assert!(
            text.contains("| put: CPU at 1 M keys to that at 10 thousand | 0.43  | 1.30  | 3.04 | ≤ 1.20: MISSED |"),
            "{text}"
        );
    }

    #[test]
    fn figures_have_different_names() {
        let mut names: Vec<_> = FIGURES.iter().map(|f| f.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|w| w[0] != w[1]));
    }
}
