//! Charts of measurements: pictures that any XML reader takes, with every measurement in its place.

use pipsqueak_cli::svg::chart::{Chart, Point, Series, svg};
use roxmltree::{Document, Node};

fn elements<'a>(svg: &'a Document<'a>, name: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
    svg.descendants().filter(move |node| node.tag_name().name() == name)
}

fn words(svg: &Document<'_>) -> Vec<String> {
    elements(svg, "text").filter_map(|node| node.text().map(String::from)).collect()
}

fn number(node: &Node<'_, '_>, name: &str) -> f64 {
    node.attribute(name).expect(name).parse().expect("a number")
}

fn series(name: &str, points: &[(f64, f64)]) -> Series {
    let point =
        |&(x, median): &(f64, f64)| Point { x, median, least: 0.9 * median, most: 1.2 * median, ceiling: 2.0 * median };
    Series { name: name.into(), points: points.iter().map(point).collect() }
}

fn chart() -> Chart<'static> {
    Chart {
        title: "Decode <against> depth & more",
        caption: "a machine, 2 cores; 29 November",
        x: "tokens of context",
        y: "tokens/s",
        log_x: false,
        log_y: false,
        series: vec![
            series("f32", &[(0.0, 50.0), (1000.0, 40.0), (4000.0, 20.0)]),
            series("i8", &[(0.0, 55.0), (1000.0, 50.0), (4000.0, 41.0)]),
        ],
    }
}

#[test]
fn every_measurement_is_in_its_place() {
    let text = svg(&chart());
    let picture = Document::parse(&text).expect("XML");
    let words = words(&picture);
    for word in [
        "Decode <against> depth & more",
        "a machine, 2 cores; 29 November",
        "tokens of context",
        "tokens/s",
        "f32",
        "i8",
        "ceiling",
    ] {
        assert!(words.iter().any(|found| found == word), "{word} in {words:?}");
    }
    // Its own background, so that it can be read on any.
    let background = elements(&picture, "rect").next().expect("a background");
    assert_eq!((number(&background, "width"), background.attribute("fill")), (800.0, Some("#ffffff")));
    let circles: Vec<_> = elements(&picture, "circle").map(|node| (number(&node, "cx"), number(&node, "cy"))).collect();
    assert_eq!(circles.len(), 6);
    // Linear from nothing: 20 of 110 at most is as high above the floor as the numbers say.
    let (floor, unit) =
        (circles[0].1 + 50.0 * (circles[1].1 - circles[0].1) / 10.0, (circles[1].1 - circles[0].1) / 10.0);
    assert!((floor - circles[2].1 - 20.0 * unit).abs() < 1.0, "{circles:?}");
    assert!((circles[1].0 - circles[0].0 - (circles[2].0 - circles[0].0) / 4.0).abs() < 1.0, "{circles:?}");
    // A line and a dashed one a series, inside the picture; whiskers around the circles.
    let dashed = elements(&picture, "path").filter(|node| node.attribute("stroke-dasharray").is_some()).count();
    assert_eq!((elements(&picture, "path").count(), dashed), (4, 2));
    for (x, y) in &circles {
        let upright =
            |node: &Node<'_, '_>| (number(node, "x1") - x).abs() < 0.1 && (number(node, "x2") - x).abs() < 0.1;
        let whisker =
            elements(&picture, "line").find(|node| upright(node) && number(node, "y1") > *y && number(node, "y2") < *y);
        assert!(whisker.is_some() && (0.0..800.0).contains(x) && (0.0..480.0).contains(y), "{x} {y}");
    }
}

#[test]
fn factors_are_steps_of_one_length() {
    let batches: Vec<_> = (0..9).map(|power| (f64::from(1 << power), 10.0 * f64::from(1 << power))).collect();
    let chart = Chart { log_x: true, log_y: true, series: vec![series("2 threads", &batches)], ..chart() };
    let text = svg(&chart);
    let picture = Document::parse(&text).expect("XML");
    let circles: Vec<_> = elements(&picture, "circle").map(|node| (number(&node, "cx"), number(&node, "cy"))).collect();
    for three in circles.windows(3) {
        assert!((three[1].0 - three[0].0 - (three[2].0 - three[1].0)).abs() < 0.3, "{circles:?}");
        assert!((three[1].1 - three[0].1 - (three[2].1 - three[1].1)).abs() < 0.3, "{circles:?}");
    }
    let words = words(&picture);
    for batch in ["1", "2", "64", "256"] {
        assert!(words.iter().any(|word| word == batch), "{batch} in {words:?}");
    }
}

#[test]
fn what_cannot_be_drawn_is_left_out() {
    let odd = [(0.0, 1.0), (1.0, f64::NAN), (2.0, f64::INFINITY), (3.0, 0.0), (4.0, 5.0)];
    for (log, drawn) in [(false, 3), (true, 1)] {
        let text = svg(&Chart { log_x: log, log_y: log, series: vec![series("odd", &odd)], ..chart() });
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        assert_eq!(elements(&Document::parse(&text).expect("XML"), "circle").count(), drawn);
    }
    for series in [Vec::new(), vec![series("none", &[])], vec![series("one", &[(5.0, 5.0)])]] {
        for log in [false, true] {
            let text = svg(&Chart { log_x: log, log_y: log, series: series.clone(), ..chart() });
            Document::parse(&text).expect("XML");
        }
    }
}
