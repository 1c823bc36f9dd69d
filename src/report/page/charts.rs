//! Charts as SVG, drawn by plotters, in the colours of the page around them.
//!
//! The library writes colours as numbers. Numbers that nobody would choose stand for
//! the page's own colours here and are replaced by their names afterwards, so that one
//! drawing serves a light page, a dark one and a printed one.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::RGBColor;

/// Width and height of a chart, in the units of its own drawing.
const SIZE: (u32, u32) = (760, 320);

/// Stands for the colour of text.
const TEXT: RGBColor = RGBColor(1, 1, 1);
/// Stands for the colour of lines in the background.
const GRID: RGBColor = RGBColor(2, 2, 2);
/// Stands for the colour of what went wrong.
const ALARM: RGBColor = RGBColor(3, 3, 3);

/// Colours that the page has for lines.
const LINE_COLOURS: u8 = 6;

/// Patterns of lines: colours alone tell nothing on a printer, and not to everybody.
const DASHES: [&str; 5] = ["none", "10 4", "2 4", "10 4 2 4", "5 3"];

/// How many lines have a look of their own: with six colours and five patterns no two
/// among thirty share both.
const LOOKS: u8 = 30;

/// Stands for the colour and the pattern of a line.
const fn line_colour(number: u8) -> RGBColor {
    RGBColor(4, 4, number % LOOKS)
}

/// Stands for the colour of a line's intervals, which have no pattern.
const fn bar_colour(number: u8) -> RGBColor {
    RGBColor(5, 4, number % LOOKS)
}

/// The colour of the line with this number, by the page's name for it.
pub(super) fn colour(number: usize) -> String {
    format!("var(--line-{})", number % usize::from(LINE_COLOURS))
}

/// The pattern of the line with this number.
pub(super) const fn dash(number: usize) -> &'static str {
    DASHES[number % DASHES.len()]
}

/// One line of a chart.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Its name, which stands beside the drawing.
    pub(super) name: String,
    /// Where it goes, from left to right.
    pub(super) points: Vec<(f64, f64)>,
    /// Lower and upper ends of each point's interval, where points have one.
    pub(super) intervals: Vec<Option<(f64, f64)>>,
}

/// What is drawn, and what its axes mean.
pub(super) struct Chart<'c> {
    /// What the horizontal axis is.
    pub(super) x_title: &'c str,
    /// What the vertical axis is.
    pub(super) y_title: &'c str,
    /// What stands at a place of the horizontal axis.
    pub(super) x_label: &'c dyn Fn(f64) -> String,
    /// What stands at a place of the vertical axis.
    pub(super) y_label: &'c dyn Fn(f64) -> String,
    /// Whether only whole places of the horizontal axis have a name.
    pub(super) x_steps: Option<usize>,
    /// Where the vertical axis begins, if not at the least point.
    pub(super) y_from: Option<f64>,
    /// The lines.
    pub(super) lines: &'c [Line],
    /// Places on the horizontal axis where something went wrong.
    pub(super) marks: &'c [f64],
}

impl Chart<'_> {
    /// What the lines do, in a sentence each, for those who do not see them.
    pub(super) fn gist(&self) -> String {
        let sentence = |line: &Line| {
            let ((from_x, from), (to_x, to)) = (*line.points.first()?, *line.points.last()?);
            let ys = || line.points.iter().map(|point| point.1);
            let (least, most) = (ys().fold(from, f64::min), ys().fold(from, f64::max));
            let at = |x: f64, y: f64| format!("{} at {}", (self.y_label)(y), (self.x_label)(x));
            Some(format!(
                "{}: from {} to {}, between {} and {}.",
                line.name,
                at(from_x, from),
                at(to_x, to),
                (self.y_label)(least),
                (self.y_label)(most)
            ))
        };
        self.lines.iter().filter_map(sentence).collect::<Vec<_>>().join(" ")
    }

    /// Every point in words: its line, its place on either axis, and its interval.
    pub(super) fn points(&self) -> Vec<[String; 4]> {
        let of_line = |line: &Line| -> Vec<[String; 4]> {
            let intervals = line.intervals.iter().copied().chain(std::iter::repeat(None));
            let point = |(&(x, y), interval): (&(f64, f64), Option<(f64, f64)>)| {
                let label = self.y_label;
                let interval = interval.map(|(low, high)| format!("{} … {}", label(low), label(high)));
                [line.name.clone(), (self.x_label)(x), label(y), interval.unwrap_or_default()]
            };
            line.points.iter().zip(intervals).map(point).collect()
        };
        self.lines.iter().flat_map(of_line).collect()
    }

    /// The drawing.
    ///
    /// # Errors
    /// The library fails, which would be a bug.
    pub(super) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw(&mut svg).map_err(|error| anyhow!("cannot draw a chart: {error}"))?;
        Ok(in_page_colours(svg))
    }

    fn draw(&self, svg: &mut String) -> Result<(), Box<dyn std::error::Error + '_>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let (x_range, y_range) = self.ranges();
        let text = ("sans-serif", 13).into_font().color(&TEXT);
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(76)
            .build_cartesian_2d(x_range, y_range)?;
        chart
            .configure_mesh()
            .x_desc(self.x_title)
            .y_desc(self.y_title)
            .x_labels(self.x_steps.unwrap_or(8))
            .y_labels(6)
            .x_label_formatter(&|x| (self.x_label)(*x))
            .y_label_formatter(&|y| (self.y_label)(*y))
            .label_style(text.clone())
            .axis_desc_style(text)
            .axis_style(TEXT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .draw()?;
        let (bottom, top) = (chart.y_range().start, chart.y_range().end);
        for &at in self.marks {
            chart.draw_series(DashedLineSeries::new(
                [(at, bottom), (at, top)],
                4,
                4,
                ALARM.stroke_width(1),
            ))?;
        }
        for (number, line) in (0..).zip(self.lines) {
            let colour = line_colour(number);
            chart.draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))?;
            let bars = line.points.iter().zip(&line.intervals).filter_map(|(&(x, y), interval)| {
                let (low, high) = (*interval)?;
                Some(ErrorBar::new_vertical(x, low, y, high, bar_colour(number).stroke_width(1), 8))
            });
            chart.draw_series(bars)?;
            if line.points.len() <= 12 {
                chart.draw_series(line.points.iter().map(|&at| Circle::new(at, 3, colour.filled())))?;
            }
        }
        drop(chart);
        area.present()?;
        Ok(())
    }

    fn ranges(&self) -> (std::ops::Range<f64>, std::ops::Range<f64>) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let ends = self
            .lines
            .iter()
            .flat_map(|line| &line.intervals)
            .flatten()
            .flat_map(|(low, high)| [*low, *high]);
        let ys: Vec<f64> = points().map(|point| point.1).chain(ends).collect();
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let most = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
        let x_from = least(&mut points().map(|point| point.0));
        let x_to = most(&mut points().map(|point| point.0));
        let y_from = self.y_from.unwrap_or_else(|| least(&mut ys.iter().copied()));
        let y_to = most(&mut ys.iter().copied());
        (widened(x_from, x_to, 0.0), widened(y_from, y_to, 0.06))
    }
}

/// A range that is one even if all values are equal, or if there are none.
fn widened(from: f64, to: f64, by: f64) -> std::ops::Range<f64> {
    if !from.is_finite() || !to.is_finite() {
        return 0.0..1.0;
    }
    let span = if to > from { to - from } else { from.abs().max(1.0) };
    from..from + span * (1.0 + by)
}

fn in_page_colours(svg: String) -> String {
    let hex = |colour: RGBColor| format!("#{:02X}{:02X}{:02X}", colour.0, colour.1, colour.2);
    let mut svg = svg.replace(&hex(TEXT), "currentColor");
    svg = svg.replace(&hex(GRID), "var(--grid)").replace(&hex(ALARM), "var(--alarm)");
    for number in 0..LOOKS {
        let (line, colour, dash) = (hex(line_colour(number)), colour(number.into()), dash(number.into()));
        let dashed = format!("stroke=\"{colour}\" stroke-dasharray=\"{dash}\"");
        svg = svg.replace(&format!("stroke=\"{line}\""), &dashed).replace(&line, &colour);
        svg = svg.replace(&hex(bar_colour(number)), &colour);
    }
    // It is as wide as there is room, and speaks through its caption.
    let sized = format!("width=\"{}\" height=\"{}\"", SIZE.0, SIZE.1);
    svg.replacen(&sized, "aria-hidden=\"true\"", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_takes_its_colours_from_the_page_and_survives_nothing_to_draw() {
        let line =
            Line { name: "a < b".to_owned(), points: vec![(0.0, 1.0), (1.0, 2.0)], intervals: Vec::new() };
        let other =
            Line { name: "c".to_owned(), points: vec![(0.5, 1.5)], intervals: vec![Some((1.0, 2.0))] };
        for lines in [&[line.clone(), other][..], &[line], &[]] {
            let chart = Chart {
                x_title: "time",
                y_title: "rate",
                x_label: &|x| format!("{x}"),
                y_label: &|y| format!("{y}"),
                x_steps: None,
                y_from: Some(0.0),
                lines,
                marks: &[0.5],
            };
            let svg = chart.svg().unwrap();
            assert!(svg.contains("currentColor") && svg.contains("var(--alarm)"), "{svg}");
            assert!(!svg.contains("#0"), "{svg}");
        }
    }

    #[test]
    fn lines_are_told_apart_by_more_than_their_colour_and_told_in_words() {
        let line = |number: u32| Line {
            name: format!("line {number}"),
            points: vec![(0.0, f64::from(number)), (2.0, 9.0), (3.0, 5.0)],
            intervals: vec![Some((0.0, 10.0))],
        };
        let lines: Vec<Line> = (0..8).map(line).collect();
        let chart = Chart {
            x_title: "time",
            y_title: "rate",
            x_label: &|x| format!("{x} s"),
            y_label: &|y| format!("{y}/s"),
            x_steps: None,
            y_from: None,
            lines: &lines,
            marks: &[],
        };
        let svg = chart.svg().unwrap();
        let looks: std::collections::BTreeSet<(String, &str)> =
            (0..usize::from(LOOKS)).map(|number| (colour(number), dash(number))).collect();
        assert_eq!(looks.len(), usize::from(LOOKS));
        for number in [0, 6] {
            let look = format!("stroke=\"{}\" stroke-dasharray=\"{}\"", colour(number), dash(number));
            assert!(svg.contains(&look), "{look} in {svg}");
        }
        assert!(
            chart.gist().starts_with("line 0: from 0/s at 0 s to 5/s at 3 s, between 0/s and 9/s. line 1")
        );
        let points = chart.points();
        assert_eq!(points.len(), 24);
        assert_eq!(points[0], ["line 0", "0 s", "0/s", "0/s … 10/s"].map(str::to_owned));
        assert_eq!(points[4], ["line 1", "2 s", "9/s", ""].map(str::to_owned));
    }
}
