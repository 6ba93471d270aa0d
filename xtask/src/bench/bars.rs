// SPDX-License-Identifier: GPL-2.0-only
//! A plot of bars in groups, as SVG. The same figures make the same file.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

/// One plot.
#[derive(Debug)]
pub(crate) struct Bars<'a> {
    pub(crate) title: &'a str,
    /// What the height says, with its unit.
    pub(crate) height: &'a str,
    /// Names of the groups, in one or more lines.
    pub(crate) groups: Vec<&'a str>,
    /// Names of the bars of a group, and their heights by group; a bar may be missing.
    pub(crate) series: Vec<(&'a str, Vec<Option<f64>>)>,
    /// A line across each group, where there is something to reach.
    pub(crate) marks: Vec<Option<f64>>,
}

/// Okabe and Ito's colours, which all eyes tell apart.
const COLOURS: [RGBColor; 8] = [
    RGBColor(153, 153, 153),
    RGBColor(86, 180, 233),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(60, 60, 60),
];

/// A part of a group that stays free between it and the next.
const GAP: f64 = 0.16;

impl Bars<'_> {
    /// Writes the file.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        self.draw(file)
            .map_err(|error| anyhow!("{}: {error}", file.display()))
    }

    fn top(&self) -> f64 {
        let bars = self.series.iter().flat_map(|(_, values)| values);
        bars.chain(&self.marks)
            .flatten()
            .fold(0.0, |top, &value| value.max(top))
            * 1.06
    }

    fn draw(&self, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::new(file, (960, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let groups = self.groups.len();
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(10)
            .margin_right(200)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..groups as f64, 0.0..self.top())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .y_desc(self.height)
            .light_line_style(TRANSPARENT)
            .draw()?;
        let width = (1.0 - GAP) / self.series.len() as f64;
        for (number, (name, values)) in self.series.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()].filled();
            let bars = values.iter().enumerate().filter_map(|(group, value)| {
                let left = group as f64 + GAP / 2.0 + width * number as f64;
                value.map(|value| {
                    Rectangle::new([(left, 0.0), (left + width * 0.92, value)], colour)
                })
            });
            chart.draw_series(bars)?;
            let (left, top) = (775, 50 + 18 * number as i32);
            area.draw(&Rectangle::new(
                [(left, top), (left + 12, top + 10)],
                colour,
            ))?;
            area.draw(&Text::new(*name, (left + 18, top), ("sans-serif", 13)))?;
        }
        chart.draw_series(self.marks.iter().enumerate().filter_map(|(group, mark)| {
            let left = group as f64;
            mark.map(|mark| {
                PathElement::new(
                    [(left + 0.03, mark), (left + 0.97, mark)],
                    BLACK.stroke_width(2),
                )
            })
        }))?;
        for (group, name) in self.groups.iter().enumerate() {
            let at = chart.backend_coord(&(group as f64 + 0.5, 0.0));
            let font = TextStyle::from(("sans-serif", 13).into_font());
            let size = area.estimate_text_size(name, &font)?;
            area.draw(&Text::new(
                *name,
                (at.0 - size.0 as i32 / 2, at.1 + 8),
                font,
            ))?;
        }
        area.present()?;
        Ok(())
    }
}
