//! GGUF's block encodings: what their bytes mean, and what they become.

use half::f16;
use pipsqueak::{
    Image,
    config::Config,
    crc::crc32,
    kernels::{Format, Panel},
    tensor::TensorKind,
};
use pipsqueak_cli::{
    import::{self, ImportError, check_finite},
    pack::{ModelParts, PackError, PackOptions, Packed, Quant, pack},
    source::{Encoding, RowOrder, Source, SourceTensor},
};
use pipsqueak_tests::tiny_model::{TinyModel, tiny_config};

/// One block, and what it stands for.
struct Vector {
    encoding: Encoding,
    /// Its bytes in hexadecimal digits.
    block: &'static str,
    /// CRC-32 of all its values as little-endian `f32`.
    crc: u32,
    /// Bits of some of them.
    values: &'static [(usize, u32)],
}

/// Made by gguf-py 0.19.0 and numpy: for each type `rng.integers(0, 256, type_size, dtype=uint8)` of one
/// `default_rng(2026)`, with positive f16 scales from 0.001 to 0.1 and minima alike (negative in Q5_1) written over; then
/// `gguf.quants.dequantize`, plus 0.0.
const VECTORS: [Vector; 9] = [
    Vector {
        encoding: Encoding::Q5_0,
        block: "d32812da04acce2dbf4cc3066759d1a3eaf18f5de5e6",
        crc: 0x4e1cd33f,
        values: &[(0, 0xbd9a6000), (1, 0x3efadc00), (15, 0x3e679000), (16, 0xbe1a6000), (31, 0x3f071400)],
    },
    Vector {
        encoding: Encoding::Q5_1,
        block: "c02433acc7dcdb5a286bc0d45c675fca5c5b55b4a881b7e7",
        crc: 0x55448a80,
        values: &[(0, 0x3ec26800), (1, 0x3edee800), (15, 0x3eb8e800), (16, 0x3e896800), (31, 0x3e46d000)],
    },
    Vector {
        encoding: Encoding::IQ4NL,
        block: "182c3519f6915d4c3194692ab2d58af77196",
        crc: 0xb44b11fd,
        values: &[(0, 0xc00f4800), (1, 0x3f54e000), (15, 0xbfb42000), (16, 0xc0850c00), (31, 0x3f54e000)],
    },
    Vector {
        encoding: Encoding::IQ4XS,
        block: "90257beb0029ab9afb0cb3c06150361ed61ce18335c900a524df6dd31449f5a74211c9721b5ecb75b669bc560ddb4028\
            2a6724479797682595f6f039da7792dac1ee9b8676227317b840506e1a3352458434c6a9737f8ed48b83490341de3f77\
            81979c72bb969efd2d7d7c5d58c74b2abd930532a2d6407a35214998e9d99953d8ae706f06b8cca9",
        crc: 0x1fb61685,
        values: &[
            (0, 0x41536000),
            (1, 0x41936800),
            (15, 0xc142b000),
            (16, 0x421d2400),
            (31, 0x410b1000),
            (32, 0x00000000),
            (100, 0xc0f35c00),
            (127, 0x41fd1800),
            (128, 0x3f163000),
            (255, 0x41594900),
        ],
    },
    Vector {
        encoding: Encoding::Q2K,
        block: "413ecc4c5b326cefb95ce7df6411fdf4847d26cc871c5a874b53519b40fae934f3825858bbbc907625c862f29e8f76cb\
            e67f399078b05598f589c96ee9f5606b6bdd83e620990f016c62c05127b88a681b28e326",
        crc: 0x16fb62ae,
        values: &[
            (0, 0xbddc6000),
            (1, 0xbd9ab000),
            (15, 0xbddc6000),
            (16, 0x3fa21980),
            (31, 0x3fa21980),
            (32, 0x3d7e4000),
            (100, 0x3f1bbe00),
            (127, 0x3f888a00),
            (128, 0x3e901600),
            (255, 0xbe8cea00),
        ],
    },
    Vector {
        encoding: Encoding::Q3K,
        block: "38bf101bfc4e6ab334d7856df420573a7f66418a667a3c7e2be60679a4be7c946de66ba0e22a5c30eaf8af27799632bb\
            c80dfff8d862698ced9a67736ed61a9ffcb6de0896d9445fc90fd75b15c9916b96d674be6328ad7e3f6a14db82035078\
            8f67b3082eb1f6ac8b384ecc6729",
        crc: 0x8ea5c28b,
        values: &[
            (0, 0xc07b3580),
            (1, 0x40277900),
            (15, 0xbfa77900),
            (16, 0x00000000),
            (31, 0x3f870f00),
            (32, 0xbe01a800),
            (100, 0x40324700),
            (127, 0xc0174400),
            (128, 0x00000000),
            (255, 0x3f8c7600),
        ],
    },
    Vector {
        encoding: Encoding::Q4K,
        block: "5124112e791e7600208ffa099e9e45cba91294df435df684c83ab2c05b6e985394521eba660dfd7fba26b74d9c12ec17\
            dca5b62ca4af9ae73d0f9e7177595ffdcb09565a6e45090f43039741880ab55b987775b31d83e5baa29fa9bc00e97150\
            e1624861472c2a91a39f369b0365a46a6142b13099c432c6a849508548ec5df587e633f2f5e16de3a54df4f56ba0f59e",
        crc: 0xfcf1a777,
        values: &[
            (0, 0x40b3ba20),
            (1, 0xbf8e3700),
            (15, 0xbe199400),
            (16, 0x3f4fa400),
            (31, 0x406c6fc0),
            (32, 0x4068bc00),
            (100, 0xbf5a6400),
            (127, 0xbf5a6400),
            (128, 0x404c6300),
            (255, 0x3f082300),
        ],
    },
    Vector {
        encoding: Encoding::Q5K,
        block: "392d58235cc60c06f70e9c09dbaf364ca5b4b8fa66d2174805e9231a9cc9fcab17134a0f6ed3c37c9c1e0d163f8bc717\
            9b87305c8fa74a03a96ac0d9d06fb49a1bc9f1ee06dad17d01545e8ebf2df499538d4d7731de639007f08b92cc20f5e3\
            63e2a94d750e1ceb186e262c0e9f3130d99f494153d52ef1d121a93ec273a8c99e474595763997a3fa69da139a05dca8\
            aad6ca116d9aca8b9d107cc981c4d1ead6055dfd3123b73bd7fb83c4dac56c99",
        crc: 0xafcfbdd1,
        values: &[
            (0, 0x42739d70),
            (1, 0x417349c0),
            (15, 0x426a79b0),
            (16, 0x42739d70),
            (31, 0x426155f0),
            (32, 0x40869600),
            (100, 0x3fab7e00),
            (127, 0x3fab7e00),
            (128, 0x4197a380),
            (255, 0x410c1800),
        ],
    },
    Vector {
        encoding: Encoding::Q6K,
        block: "d12aeac944f3919d9a752f223b182067b81a2a252af51ac4b9a7b35574ba5511528bcd48f12f589bd8ff56974f8269db\
            3b6f695ccf67dba092a0e3f1ec2f435273d7c1071540e2a7bbc6c099482f91560cae1290a0e528ab661b7dd1be2ddb20\
            cddcaa78f889ad47ad367b554c3b600899cc0e6cf1157b15a9a91eedbd61058eef19dc6b1b93503b27a869f00bfd1d84\
            d23160fc858cd9a80b114ffedd6a95e1bbd00abe5547e55abebf09c7daf194517b3e04dcac764c503446d713f1642b1e\
            7c0446748e62c6a9be4e154af5e1d4d1342b",
        crc: 0xf69bd286,
        values: &[
            (0, 0x42ed40c0),
            (1, 0xc2277900),
            (15, 0xc32e7360),
            (16, 0x3fe68000),
            (31, 0xc0581800),
            (32, 0x428dcfc0),
            (100, 0x425df240),
            (127, 0xc2cda070),
            (128, 0xc28d22e0),
            (255, 0x427de900),
        ],
    },
];

fn tensor(encoding: Encoding, cols: usize, data: &[u8]) -> SourceTensor<'_> {
    let row_bytes = encoding.tensor_bytes(1, cols as u64).expect("whole blocks") as usize;
    let rows = data.len() / row_bytes;
    assert_eq!(rows * row_bytes, data.len(), "whole rows");
    SourceTensor { kind: TensorKind::Wk, layer: 0, rows, cols, encoding, order: RowOrder::InPlace, shift: 0.0, data }
}

fn block(vector: &Vector) -> Vec<u8> {
    let digits: Vec<u8> = vector.block.bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn blocks_are_read_as_gguf_py_reads_them() {
    for vector in &VECTORS {
        let (encoding, block) = (vector.encoding, block(vector));
        let len = encoding.block_len();
        // Two rows of two blocks: the one in question is at the very end.
        let data = [vec![0; 3 * block.len()], block.clone()].concat();
        let tensor = tensor(encoding, 2 * len, &data);
        check_finite(&tensor).unwrap();
        let mut row = vec![7.0; 2 * len];
        tensor.dequantize_row(0, &mut row);
        assert!(row.iter().all(|x| *x == 0.0), "{encoding:?}: a block of zeros");
        tensor.dequantize_row(1, &mut row);
        let (first, second) = row.split_at(len);
        assert!(first.iter().all(|x| *x == 0.0), "{encoding:?}");
        for (i, bits) in vector.values {
            assert_eq!(second[*i], f32::from_bits(*bits), "{encoding:?}, value {i}");
        }
        // -0.0 is 0.0 there.
        let bytes: Vec<u8> = second.iter().flat_map(|x| (x + 0.0).to_le_bytes()).collect();
        assert_eq!(crc32(&bytes), vector.crc, "{encoding:?}");
    }
}

fn one_row(encoding: Encoding, data: &[u8]) -> Vec<f32> {
    let mut row = vec![0.0; encoding.block_len()];
    tensor(encoding, row.len(), data).dequantize_row(0, &mut row);
    row
}

#[test]
fn blocks_by_hand() {
    let half = |x: f32| f16::from_f32(x).to_le_bytes();
    // Low nibble i, high nibble 15 - i; fifth bits of values 1 and 31.
    let nibbles: Vec<u8> = (0..16u8).map(|i| i | (15 - i) << 4).collect();
    let code = |i: usize| (if i < 16 { i } else { 31 - i }) as f32 + if i == 1 || i == 31 { 16.0 } else { 0.0 };
    let fifth = [0b10, 0, 0, 0x80];
    let want: Vec<f32> = (0..32).map(|i| 0.5 * (code(i) - 16.0)).collect();
    assert_eq!(one_row(Encoding::Q5_0, &[&half(0.5)[..], &fifth, &nibbles].concat()), want);
    let want: Vec<f32> = (0..32).map(|i| 0.5 * code(i) - 3.0).collect();
    assert_eq!(one_row(Encoding::Q5_1, &[&half(0.5)[..], &half(-3.0), &fifth, &nibbles].concat()), want);

    // Q4_K: d 0.25, m 0.5; run 1 has factors 33 and 2, run 6 has 0b101101 and 0b010011; of each the first value is 9, the
    // others are 0.
    let mut q4k = [&half(0.25)[..], &half(0.5), &[0; 12 + 128]].concat();
    (q4k[4 + 1], q4k[4 + 5]) = (33, 2);
    q4k[4 + 10] = 0b0011_1101; // the low four bits of both
    q4k[4 + 2] = 0b10 << 6; // the high two of 0b101101
    q4k[4 + 6] = 0b01 << 6; // and of 0b010011
    q4k[16] = 9 << 4;
    q4k[16 + 96] = 9;
    let row = one_row(Encoding::Q4K, &q4k);
    assert_eq!(row[..32], [0.0; 32]);
    assert_eq!(row[32..34], [0.25 * 33.0 * 9.0 - 1.0, -1.0]);
    assert_eq!(row[192..194], [0.25 * 45.0 * 9.0 - 9.5, -9.5]);
    assert_eq!(row[224..], [0.0; 32]);

    // Q6_K: d 2; the second half of run 5 has factor -3 and codes of 37, all else 32, which is zero.
    let mut q6k = [&[0; 128][..], &[0b1010_1010; 64], &[0; 16], &half(2.0)].concat();
    q6k[192 + 11] = -3i8 as u8;
    for i in 16..32 {
        q6k[64 + 32 + i] = 5; // run 5 is the second of the second half: low nibbles of its second 32 bytes
    }
    let row = one_row(Encoding::Q6K, &q6k);
    let want: Vec<f32> = (0..256).map(|i| if (176..192).contains(&i) { 2.0 * -3.0 * 5.0 } else { 0.0 }).collect();
    assert_eq!(row, want);
}

#[test]
fn what_is_not_finite_is_located() {
    let nan = f16::NAN.to_le_bytes();
    for (encoding, at, what) in [
        (Encoding::Q5_0, 0, "scale"),
        (Encoding::Q5_1, 2, "minimum"),
        (Encoding::IQ4NL, 0, "scale"),
        (Encoding::IQ4XS, 0, "scale"),
        (Encoding::Q2K, 80, "scale"),
        (Encoding::Q2K, 82, "minimum"),
        (Encoding::Q3K, 108, "scale"),
        (Encoding::Q4K, 0, "scale"),
        (Encoding::Q4K, 2, "minimum"),
        (Encoding::Q5K, 2, "minimum"),
        (Encoding::Q6K, 208, "scale"),
    ] {
        let (values, bytes) = (encoding.block_len(), encoding.tensor_bytes(1, encoding.block_len() as u64).unwrap());
        let mut data = vec![0; 4 * bytes as usize];
        let start = 3 * bytes as usize + at;
        data[start..start + 2].copy_from_slice(&nan);
        let error = check_finite(&tensor(encoding, 2 * values, &data)).unwrap_err();
        let want = ImportError::NotFinite { tensor: "layer 0 wk".into(), row: 1, col: values as u64, what };
        assert_eq!(error, want, "{encoding:?}");
    }
}

/// Wide enough for blocks of 256.
fn wide() -> TinyModel {
    let config = Config { dim: 256, hidden_dim: 256, n_layers: 1, head_dim: 64, vocab_size: 64, ..tiny_config() };
    TinyModel::random(Config { rope_dim: 64, att_scale: 0.125, ..config }, 3)
}

fn packed(source: &Source<'_>, quant: Quant, threads: usize) -> Result<Packed, PackError> {
    let parts = ModelParts::from_source(source).unwrap();
    let panel = |_: Format| Panel::R8;
    pack(&parts, &PackOptions { quant, head: quant, ..PackOptions::keep(&panel, threads) })
}

/// The values of an image over those of the file: relative root mean square of the difference, all matrices together.
fn error_of(source: &Source<'_>, image: &Image<'_>) -> f64 {
    let (mut error, mut power) = (0.0, 0.0);
    for tensor in source.tensors.iter().filter(|tensor| tensor.rows > 1) {
        let matrix = image.matrix(tensor.kind, tensor.layer).unwrap();
        let (mut want, mut got) = (vec![0.0; tensor.cols], vec![0.0; tensor.cols]);
        for row in 0..tensor.rows {
            tensor.dequantize_row(row, &mut want);
            assert!(matrix.row(row, &mut got));
            for (want, got) in want.iter().zip(&got) {
                error += (f64::from(*want) - f64::from(*got)).powi(2);
                power += f64::from(*want).powi(2);
            }
        }
    }
    (error / power).sqrt()
}

/// Where our formats go, and how near they come, told as it is.
#[test]
fn every_encoding_becomes_the_nearest_format() {
    let model = wide();
    let matrices = model.tensors.iter().filter(|tensor| tensor.rows > 1).count();
    for (encoding, format, most) in [
        (Encoding::Q5_0, Format::Q8, 0.0),
        (Encoding::IQ4NL, Format::Q8, 0.0),
        (Encoding::Q3K, Format::Q8, 0.0),
        (Encoding::IQ4XS, Format::Q8, 3e-4),
        (Encoding::Q4K, Format::Q4M, 6e-4),
        (Encoding::Q5_1, Format::Q8, 5e-3),
        (Encoding::Q2K, Format::Q8, 5e-3),
        (Encoding::Q5K, Format::Q8, 5e-3),
        (Encoding::Q6K, Format::Q8, 5e-3),
    ] {
        let bytes = model.gguf(encoding).bytes();
        let source = import::open(&bytes, None).unwrap();
        let kept = packed(&source, Quant::Keep, 1).unwrap();
        let image = Image::open(kept.bytes()).unwrap();
        let matrix_formats = image.entries().filter(|entry| entry.rows > 1).map(|entry| entry.format);
        assert!(matrix_formats.eq(std::iter::repeat_n(format, matrices)), "{encoding:?}");
        let [converted] = kept.converted() else { panic!("{encoding:?}: {:?}", kept.converted()) };
        assert_eq!((converted.from, converted.to, converted.tensors), (encoding, format, matrices));
        let error = error_of(&source, &image);
        println!("{converted}");
        assert!((converted.error - error).abs() < 1e-12, "{encoding:?}: {} {error}", converted.error);
        assert!(error <= most && (most == 0.0 || error > 0.0), "{encoding:?}: {error}");
        // No other format of blocks comes nearer, and a plain one says what it cost.
        for other in [Format::Q8, Format::Q4M, Format::Q4].into_iter().filter(|other| *other != format) {
            let other = packed(&source, Quant::To(other), 1).unwrap();
            assert!(other.converted()[0].error > error, "{encoding:?}: {}", other.converted()[0]);
        }
        assert_eq!(packed(&source, Quant::To(Format::F32), 1).unwrap().converted()[0].error, 0.0);
        let halves = packed(&source, Quant::To(Format::F16), 1).unwrap();
        let error = error_of(&source, &Image::open(halves.bytes()).unwrap());
        assert!((halves.converted()[0].error - error).abs() < 1e-12 && error < 3e-4, "{encoding:?}: {error}");
        // The same bytes and the same numbers with any number of threads.
        let again = packed(&source, Quant::Keep, 3).unwrap();
        assert!(again.bytes() == kept.bytes() && again.converted() == kept.converted());
    }
    let bytes = model.gguf(Encoding::Q4_1).bytes();
    assert!(packed(&import::open(&bytes, None).unwrap(), Quant::To(Format::Q4), 1).unwrap().converted().is_empty());
}

/// A factor of -32 times a code of -4 is the one product of Q3_K beyond int8; its opposite is not.
#[test]
fn the_one_product_beyond_int8() {
    let model = wide();
    let mut writer = model.gguf(Encoding::Q3K);
    let data = &mut writer.tensor_mut("blk.0.attn_k.weight").data;
    data[..32].fill(0); // third bits: all codes 2-bit minus 4
    data[32..96].fill(0);
    data[96..108].fill(0); // factors -32
    (1..8).step_by(2).for_each(|i| data[96 + i] = 0x11); // every other one -31
    data[108..110].copy_from_slice(&f16::from_f32(0.25).to_le_bytes());
    let bytes = writer.bytes();
    let source = import::open(&bytes, None).unwrap();
    let packed = packed(&source, Quant::Keep, 1).unwrap();
    let image = Image::open(packed.bytes()).unwrap();
    let matrix = image.matrix(TensorKind::Wk, 0).unwrap();
    let mut row = vec![0.0; 256];
    assert!(matrix.row(0, &mut row));
    assert_eq!(row, (0usize..256).map(|i| if (i / 16).is_multiple_of(2) { 32.0 } else { 31.0 }).collect::<Vec<f32>>());
    assert_eq!(matrix.block(0, 0).unwrap().codes[0].cast_signed(), -128);
    assert_eq!(packed.converted()[0].error, 0.0);
}

/// A scale that f16 cannot hold any more is refused in words, not stored as infinity.
#[test]
fn a_product_beyond_f16_is_refused() {
    for encoding in [Encoding::Q4K, Encoding::IQ4XS, Encoding::Q6K, Encoding::Q5K] {
        let model = wide();
        let mut writer = model.gguf(encoding);
        let data = &mut writer.tensor_mut("blk.0.ffn_up.weight").data;
        let at = if encoding == Encoding::Q6K { 208 } else { 0 };
        data[at..at + 2].copy_from_slice(&f16::MAX.to_le_bytes());
        let bytes = writer.bytes();
        match packed(&import::open(&bytes, None).unwrap(), Quant::Keep, 1) {
            Err(PackError::Overflow { kind: TensorKind::W3, layer: 0, row: 0, .. }) => {}
            Err(other) => panic!("{encoding:?}: {other}"),
            Ok(_) => panic!("{encoding:?} was packed"),
        }
    }
}

#[test]
fn malformed_lengths() {
    for vector in &VECTORS {
        let encoding = vector.encoding;
        let writer = wide().gguf(encoding);
        let bytes = writer.bytes();
        assert!(import::open(&bytes, None).is_ok());
        let block = encoding.tensor_bytes(1, encoding.block_len() as u64).unwrap() as usize;
        for short in [1, 2, block - 1, block, 16 * block] {
            let error = import::open(&bytes[..bytes.len() - short], None).unwrap_err();
            let tensor = &writer.tensors.last().unwrap().name;
            assert!(matches!(&error, ImportError::OutOfFile { tensor: found, .. } if found == tensor), "{error}");
        }
        // Rows that are not whole blocks.
        for cols in [1, encoding.block_len() as u64 - 1, encoding.block_len() as u64 + 16] {
            assert_eq!(encoding.tensor_bytes(4, cols), None, "{encoding:?} {cols}");
        }
        assert_eq!(encoding.tensor_bytes(u64::MAX / 256, 256 * 4), None);
        assert_eq!(encoding.tensor_bytes(1 << 56, 256), None);
    }
}
