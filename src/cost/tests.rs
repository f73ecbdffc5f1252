use super::*;
use crate::model::Cut;

fn xxl() -> Config {
    Config::t5_v1_1("xxl").unwrap()
}

/// FiD, LUMEN and GLIMMER at the paper's α = 1/3 and β = 1/4, reading `selected`.
fn readers(config: &Config, selected: usize) -> [Glimmer; 3] {
    let cut = |beta| Cut::nearest(config.num_layers, 1.0 / 3.0, beta).unwrap();
    [Cut::fid(config.num_layers), cut(0.0), cut(0.25)].map(|cut| Glimmer::new(cut, selected))
}

const FIGURE: Lengths = Lengths { question: 48, passage: 336, answer: 64 };

#[test]
fn figure_2_is_reproduced() {
    let config = xxl();
    let [fid, lumen, _] = readers(&config, usize::MAX);
    let [.., glimmer] = readers(&config, 5);
    let points = [(fid, 5, 0.092_724_270_670_6), (lumen, 10, 0.106_754_077_787_2), (glimmer, 25, 0.127_858_673_066_4)];
    for (glimmer, retrieved, wanted) in points {
        let workload = Workload::uniform(&glimmer, retrieved, FIGURE);
        let found = samples_per_tera(multiply_adds(CostMode::PaperFigure, &config, &glimmer, &workload));
        assert!((found - wanted).abs() <= 1e-13, "k = {retrieved}: {found}");
    }
}

#[test]
fn the_text_is_reproduced() {
    let config = Config::t5_v1_1("large").unwrap();
    let [fid, lumen, glimmer] = readers(&config, 5);
    let (k, m, passage, answer) = (25.0, 5.0, 304.0, 32.0);
    let (l, square, alpha, beta) = (24.0, 1024.0 * 1024.0, 1.0 / 3.0, 0.25);
    let decoder = answer * l * 14.0 * square;
    let f_lumen = |read: f64| read * passage * alpha * l * 12.0 * square + read * passage * l * 2.0 * square + decoder;
    let f_glimmer = f_lumen(m) + (k - m) * passage * beta * alpha * l * 12.0 * square;
    let f_fid = k * passage * l * 14.0 * square + decoder;

    let text = |glimmer: &Glimmer, selected: usize| {
        let glimmer = Glimmer { selected, ..glimmer.clone() };
        let workload = Workload::uniform(&glimmer, 25, Lengths { question: 48, passage: 304, answer: 32 });
        multiply_adds(CostMode::PaperText, &config, &glimmer, &workload)
    };
    for (what, found, wanted) in [
        ("FiD", text(&fid, 25), f_fid),
        ("LUMEN", text(&lumen, 25), f_lumen(k)),
        ("GLIMMER", text(&glimmer, 5), f_glimmer),
        ("GLIMMER that reads all", text(&glimmer, 25), f_lumen(k)),
    ] {
        assert!((found / wanted - 1.0).abs() <= 1e-14, "{what}: {found} and not {wanted}");
    }
}

/// At XXL the figure's multiples of d² are the true shapes; what it leaves out is named term by term.
#[test]
fn the_figure_is_exact_but_for_what_it_leaves_out() {
    let config = xxl();
    let [.., glimmer] = readers(&config, 5);
    let workload = Workload::uniform(&glimmer, 25, FIGURE);
    let figure = Breakdown::new(CostMode::PaperFigure, &config, &glimmer, &workload);
    let exact = Breakdown::new(CostMode::Exact, &config, &glimmer, &workload);
    let (d, e, t) = (4096.0, 384.0, 64.0);
    assert_eq!(exact.cross_memory, figure.cross_memory);
    assert_eq!(exact.live_a - figure.live_a, 25.0 * 2.0 * 2.0 * d * e * e);
    assert_eq!(exact.live_b - figure.live_b, 5.0 * 6.0 * 2.0 * d * e * e);
    let attention = 2.0 * d * t * 5.0 * e + d * t * (t + 1.0);
    assert_eq!(exact.decode - figure.decode, 24.0 * attention + t * d * 32128.0);
    assert_eq!(exact.score, 25.0 * d);
    assert_eq!(exact.question, 16.0 * (48.0 * 11.5 * d * d + 2.0 * d * 48.0 * 48.0));
}

#[test]
fn a_separate_reranker_adds_its_layers_to_what_is_read() {
    let config = xxl();
    let [.., shared] = readers(&config, 5);
    let separate = Glimmer { reranker: true, ..shared.clone() };
    let workload = Workload::uniform(&shared, 25, FIGURE);
    for mode in [CostMode::PaperText, CostMode::PaperFigure, CostMode::Exact] {
        let of = |glimmer| Breakdown::new(mode, &config, glimmer, &workload);
        let (shared, separate) = (of(&shared), of(&separate));
        assert_eq!(separate.live_a, shared.live_a);
        assert_eq!(separate.live_b * 6.0, shared.live_b * 8.0, "8 live layers, of which 2 rerank");
    }
}

#[test]
fn an_ungated_feed_forward_has_two_matrices() {
    let gated = Config::t5_v1_1("base").unwrap();
    let ungated = Config { feed_forward_proj: FeedForwardKind::Relu, ..gated.clone() };
    let [.., glimmer] = readers(&gated, 5);
    let of = |config| memory_multiply_adds(config, &glimmer, 100);
    assert_eq!(of(&gated) - of(&ungated), 8.0 * 100.0 * 768.0 * 2048.0);
}

#[test]
fn what_is_kept_ahead_of_time() {
    let config = Config::t5_v1_1("large").unwrap();
    let [fid, _, glimmer] = readers(&config, 5);
    assert_eq!(memory_bytes(&config, &glimmer, 304, 2.0), 608.0 * 1024.0);
    assert_eq!(memory_bytes(&config, &glimmer, 304, 1.0 + 4.0 / 1024.0), 304.0 * 1028.0);
    let layer = 304.0 * (4.0 * 1024.0 * 1024.0 + 3.0 * 1024.0 * 2816.0) + 2.0 * 1024.0 * 304.0 * 304.0;
    assert_eq!(memory_multiply_adds(&config, &glimmer, 304), 16.0 * layer);
    assert_eq!((memory_bytes(&config, &fid, 304, 2.0), memory_multiply_adds(&config, &fid, 304)), (0.0, 0.0));
}

#[test]
#[should_panic(expected = "no cut of an encoder of 12")]
fn a_cut_of_another_encoder_is_refused() {
    let glimmer = Glimmer::new(Cut::fid(24), 5);
    memory_multiply_adds(&Config::mini(), &glimmer, 1);
}

fn reading(scored: usize, read: &[usize]) -> Reading {
    Reading { answer: vec![7, 8, 1], log_probs: vec![0.0; 3], scores: vec![0.0; scored], read: read.to_vec() }
}

#[test]
fn a_reading_says_what_was_read() {
    let found = Workload::of(9, &[10, 20, 30, 40], &reading(4, &[3, 1])).unwrap();
    assert_eq!(found, Workload { question: 9, read: vec![40, 20], unread: vec![10, 30], answer: 3 });
}

#[test]
fn lengths_of_other_passages_are_refused() {
    for (lengths, read, complaint) in [
        (&[10, 20][..], &[0][..], "lengths of 2 passages were given, but 3 were scored"),
        (&[10, 20, 30], &[0, 3], "passage 3 was read twice, or is none of the 3"),
        (&[10, 20, 30], &[1, 1], "passage 1 was read twice"),
    ] {
        let error = Workload::of(9, lengths, &reading(3, read)).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[test]
fn names_are_those_of_the_documentation() {
    for (mode, name) in
        [(CostMode::PaperText, "paper-text"), (CostMode::PaperFigure, "paper-figure"), (CostMode::Exact, "exact")]
    {
        assert_eq!(serde_json::to_value(mode).unwrap(), name);
        assert_eq!(serde_json::from_value::<CostMode>(name.into()).unwrap(), mode);
        assert_eq!(CostMode::from_str(name, false).unwrap(), mode);
    }
    let breakdown = Breakdown { question: 1.0, live_a: 2.0, score: 4.0, live_b: 8.0, cross_memory: 16.0, decode: 32.0 };
    assert_eq!(breakdown.total(), 63.0);
    let stages = serde_json::to_value(breakdown).unwrap();
    let wanted = ["question", "live_a", "score", "live_b", "cross_memory", "decode"];
    assert_eq!(stages.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(), wanted);
}
