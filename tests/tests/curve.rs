//! The curve of a training run: a picture that any XML reader takes, with what it should show.

use pipsqueak_cli::corpus::curve::{Curve, svg};
use roxmltree::{Document, Node};

/// Points, step and value.
type Line = Vec<(f64, f64)>;

fn elements<'a>(svg: &'a Document<'a>, name: &'a str) -> impl Iterator<Item = Node<'a, 'a>> {
    svg.descendants().filter(move |node| node.tag_name().name() == name)
}

fn words(svg: &Document<'_>) -> Vec<String> {
    elements(svg, "text").filter_map(|node| node.text().map(String::from)).collect()
}

/// The points of each path.
fn paths(svg: &Document<'_>) -> Vec<Line> {
    let numbers = |part: &str| {
        let (x, y) = part.split_once(' ').expect("two numbers");
        (x.parse().expect("a number"), y.parse().expect("a number"))
    };
    let data = elements(svg, "path").map(|node| node.attribute("d").expect("data"));
    data.map(|data| data.split(['M', 'L']).skip(1).map(numbers).collect()).collect()
}

/// A run as runs are: falling, with noise.
fn run(steps: u32) -> (Line, Line, Line) {
    let loss = |step: f64| 0.9 + 2.5 * (-step / 700.0).exp();
    let noise = |step: u32| f64::from(step.wrapping_mul(2_654_435_761) >> 16) / 65_536.0 - 0.5;
    let train = (0..steps).map(|step| (f64::from(step), loss(f64::from(step)) + 0.4 * noise(step))).collect();
    let every = (steps / 12).max(1);
    let held_out =
        (0..=steps).step_by(every as usize).map(|step| (f64::from(step), loss(step.into()) + 0.05)).collect();
    let rate = (0..steps).map(|step| {
        let part = f64::from(step) / f64::from(steps);
        (f64::from(step), 1e-3 * (part * 20.0).min(1.0) * 0.5 * (1.0 + (part * std::f64::consts::PI).cos()))
    });
    (train, held_out, rate.collect())
}

#[test]
fn a_run_is_shown() {
    let (train, held_out, learning_rate) = run(6000);
    let curve = Curve {
        title: "stories, 1 M parameters",
        unit: "bits per character",
        train: &train,
        held_out: &held_out,
        learning_rate: &learning_rate,
    };
    let text = svg(&curve);
    if let Some(path) = std::env::var_os("CURVE") {
        std::fs::write(path, &text).unwrap();
    }
    let picture = Document::parse(&text).expect("XML");
    assert!(picture.root_element().has_tag_name(("http://www.w3.org/2000/svg", "svg")));
    let words = words(&picture);
    for word in
        [curve.title, "loss, bits per character", "step", "0", "2000", "6000", "1.0", "3.5", "learning rate", "9.9e-4"]
    {
        assert!(words.iter().any(|other| other == word), "no {word} in {words:?}");
    }
    // The points, and one of the legend.
    assert_eq!(elements(&picture, "circle").count(), held_out.len() + 1);
    let last = format!("{:.3}", held_out.last().unwrap().1);
    assert!(words.contains(&last), "{words:?}");
    // Raw and smoothed, held out, learning rate; raw thinned out, but as wide and as high as it is.
    let [raw, smooth, points, rate] = paths(&picture).try_into().expect("four lines");
    assert!(raw.len() <= 1000 && raw.is_sorted_by(|a, b| a.0 <= b.0) && points.len() == held_out.len());
    let range = |line: &[(f64, f64)]| line.iter().fold((f64::MAX, f64::MIN), |(l, h), p| (l.min(p.1), h.max(p.1)));
    let ((top, bottom), (smooth_top, smooth_bottom)) = (range(&raw), range(&smooth));
    assert!(top < smooth_top && smooth_bottom < bottom, "smoothed is not inside");
    let roughness = |line: &[(f64, f64)]| line.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).sum::<f64>();
    assert!(roughness(&smooth) * 5.0 < roughness(&raw));
    // Each in its place: loss above, learning rate below, all between the margins, but for steps that are far off.
    let inside = |(x, y): &&(f64, f64)| (64.0..=776.0).contains(x) && (64.0..=348.0).contains(y);
    assert!(points.iter().chain(&smooth).all(|point| inside(&point)));
    assert!(raw.iter().filter(inside).count() * 100 > raw.len() * 98);
    assert!(rate.iter().all(|(_, y)| (367.9..=424.1).contains(y)));
    // A lower loss is further down, a later step further right.
    assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1 + 0.2));

    let bare = svg(&Curve { learning_rate: &[], held_out: &[], ..curve });
    let bare = Document::parse(&bare).expect("XML");
    assert_eq!((paths(&bare).len(), elements(&bare, "circle").count()), (2, 0));
}

/// Whatever a run gives, numbers stay numbers and words stay words.
#[test]
fn odd_runs_are_pictures_too() {
    let lines: &[&[(f64, f64)]] = &[
        &[],
        &[(0.0, 2.0)],
        &[(5.0, 2.0), (6.0, 2.0)],
        &[(0.0, f64::NAN), (1.0, f64::INFINITY), (2.0, 1.0), (3.0, 1.5), (f64::NAN, 1.0)],
        &[(0.0, f64::MAX), (1.0, -f64::MAX), (2.0, 1e29), (3.0, -1e29)],
        &[(1e6, 1e-12), (1e6 + 1.0, 2e-12), (1e6 + 2.0, 0.0)],
        &[(3.0, 1.0), (2.0, 1.0), (1.0, 1e-300)],
        &[(0.0, 1e29), (1.0, 1e29)],
    ];
    for train in lines {
        for held_out in lines {
            for learning_rate in lines {
                let title = "a < b & \"c\" > d\u{0}\u{1b}\n\u{ffff} ]]> é 🙂";
                let text = svg(&Curve { title, unit: "<nats>", train, held_out, learning_rate });
                let picture = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let words = words(&picture);
                assert!(words.contains(&"a < b & \"c\" > d  ]]> é 🙂".into()), "{words:?}");
                assert!(words.contains(&"loss, <nats>".into()) && (4..60).contains(&words.len()), "{words:?}");
                for node in picture.descendants() {
                    for attribute in
                        node.attributes().filter(|a| matches!(a.name(), "x" | "y" | "x1" | "y1" | "cx" | "cy"))
                    {
                        let number: f64 = attribute.value().parse().expect("a number");
                        assert!((-10.0..900.0).contains(&number), "{train:?} {held_out:?}: {text}");
                    }
                }
                assert!(paths(&picture).iter().flatten().all(|(x, y)| x.is_finite() && y.is_finite()), "{text}");
            }
        }
    }
}
