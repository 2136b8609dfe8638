//! Charts as SVG, under `target/charts/`.

use std::path::PathBuf;

use anyhow::Context as _;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Ours, and theirs.
const OURS: RGBColor = RGBColor(20, 110, 160);
const OTHERS: RGBColor = RGBColor(150, 150, 150);
const TEXT: RGBColor = RGBColor(40, 40, 40);
const FONT: &str = "sans-serif";

/// Bars of one kind, with a heading.
pub struct Group {
    /// What they have in common.
    pub heading: String,
    /// Name, length, and what stands behind the bar; the first one is ours.
    pub bars: Vec<(String, f64, String)>,
}

/// Draws horizontal bars from 0 on, and says where.
pub fn bars(name: &str, title: &str, groups: &[Group]) -> anyhow::Result<PathBuf> {
    let path = file(name)?;
    let rows: usize = groups.iter().map(|group| group.bars.len() + 2).sum();
    let longest = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.1).fold(0.0, f64::max);
    let root = SVGBackend::new(&path, (860, 70 + 24 * rows as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20).into_font().color(&TEXT))
        .margin(16)
        .x_label_area_size(0)
        .margin_left(210)
        .build_cartesian_2d(0.0..longest * 1.45, rows as f64..0.0)?;
    let text = |size: i32, pos| (FONT, size).into_font().color(&TEXT).pos(pos);
    let (right, left) = (Pos::new(HPos::Right, VPos::Center), Pos::new(HPos::Left, VPos::Center));
    let mut y = 0.5;
    for group in groups {
        let style = (FONT, 15).into_font().style(FontStyle::Bold).color(&TEXT).pos(right);
        let heading = Text::new(group.heading.clone(), (-8, 0), style);
        chart.draw_series([EmptyElement::at((0.0, y)) + heading])?;
        for (index, (label, value, note)) in group.bars.iter().enumerate() {
            y += 1.0;
            let colour = if index == 0 { OURS } else { OTHERS };
            chart.draw_series([Rectangle::new(
                [(0.0, y - 0.35), (*value, y + 0.35)],
                colour.filled(),
            )])?;
            let label = Text::new(label.clone(), (-8, 0), text(14, right));
            chart.draw_series([EmptyElement::at((0.0, y)) + label])?;
            let note = Text::new(note.clone(), (6, 0), text(13, left));
            chart.draw_series([EmptyElement::at((*value, y)) + note])?;
        }
        y += 2.0;
    }
    root.present()?;
    drop(chart);
    drop(root);
    Ok(path)
}

/// Points of one kind, joined by a line.
pub struct Line {
    /// What it shows.
    pub label: String,
    /// Where it goes.
    pub points: Vec<(f64, f64)>,
}

/// Draws lines over a common axis from 0 on, and says where.
pub fn lines(name: &str, title: &str, axes: [&str; 2], lines: &[Line]) -> anyhow::Result<PathBuf> {
    let path = file(name)?;
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max) * 1.15;
    let root = SVGBackend::new(&path, (860, 460)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, (FONT, 20).into_font().color(&TEXT))
        .margin(16)
        .margin_right(150)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d(0.0..most(|point| point.0), 0.0..most(|point| point.1))?;
    let small = (FONT, 14).into_font().color(&TEXT);
    let mesh = RGBColor(225, 225, 225);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(mesh)
        .light_line_style(WHITE)
        .x_desc(axes[0])
        .y_desc(axes[1])
        .label_style(small.clone())
        .axis_desc_style(small.clone())
        .draw()?;
    for (index, Line { label, points }) in lines.iter().enumerate() {
        let colour = Palette99::pick(index);
        chart.draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?;
        chart.draw_series(points.iter().map(|&at| Circle::new(at, 4, colour.filled())))?;
        let style = small.clone().pos(Pos::new(HPos::Left, VPos::Center));
        let end = points
            .last()
            .map(|&at| EmptyElement::at(at) + Text::new(label.clone(), (10, 0), style));
        chart.draw_series(end)?;
    }
    root.present()?;
    drop(chart);
    drop(root);
    Ok(path)
}

fn file(name: &str) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../target").into());
    let folder = target.join("charts");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder.join(name))
}
