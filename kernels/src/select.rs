//! Choosing a kernel set: the best this machine runs, all it runs, or one by name.

use crate::{Kernels, Panel, Scalar};

/// The names of all kernel sets of this architecture, best first, whether or not this CPU runs them.
pub const NAMES: &[&str] = if cfg!(target_arch = "x86_64") {
    &["amx", "avx512vnni", "avxvnni", "avx2", "scalar"]
} else if cfg!(all(target_arch = "aarch64", target_feature = "neon")) {
    &["i8mm", "dotprod", "neon", "scalar"]
} else if cfg!(all(target_arch = "wasm32", target_feature = "simd128")) {
    &["simd128", "scalar"]
} else if cfg!(all(target_arch = "arm", feature = "helium", feature = "dsp")) {
    &["helium", "dsp", "scalar"]
} else if cfg!(all(target_arch = "arm", feature = "helium")) {
    &["helium", "scalar"]
} else if cfg!(all(target_arch = "arm", feature = "dsp")) {
    &["dsp", "scalar"]
} else {
    &["scalar"]
};

/// Every kernel set of every architecture with its panel for quantised matrices, to pack images for other machines.
pub const EVERYWHERE: [(&str, Panel); 11] = [
    ("scalar", Panel::R1),
    ("neon", Panel::R4),
    ("dotprod", Panel::R4),
    ("i8mm", Panel::R4),
    ("simd128", Panel::R4),
    ("avx2", Panel::R8),
    ("avxvnni", Panel::R8),
    ("avx512vnni", Panel::R16),
    ("amx", Panel::R16),
    ("dsp", Panel::D4),
    ("helium", Panel::H8),
];

/// The panel of the set called `name`, of whatever architecture.
pub fn panel_of(name: &str) -> Option<Panel> {
    EVERYWHERE.iter().find(|(known, _)| *known == name).map(|(_, panel)| *panel)
}

static SCALAR: Scalar = Scalar;

/// The set called `name`, if this CPU runs it.
pub fn by_name(name: &str) -> Option<&'static dyn Kernels> {
    match name {
        "scalar" => Some(&SCALAR),
        #[cfg(target_arch = "x86_64")]
        "avx2" => {
            static AVX2: crate::arch::x86_64::Avx2 = crate::arch::x86_64::Avx2::STATIC;
            crate::arch::x86_64::Avx2::new().map(|_| &AVX2 as &dyn Kernels)
        }
        #[cfg(target_arch = "x86_64")]
        "avxvnni" => {
            static AVXVNNI: crate::arch::x86_64::AvxVnni = crate::arch::x86_64::AvxVnni::STATIC;
            crate::arch::x86_64::AvxVnni::new().map(|_| &AVXVNNI as &dyn Kernels)
        }
        #[cfg(target_arch = "x86_64")]
        "avx512vnni" => {
            static AVX512: crate::arch::x86_64::Avx512Vnni = crate::arch::x86_64::Avx512Vnni::STATIC;
            crate::arch::x86_64::Avx512Vnni::new().map(|_| &AVX512 as &dyn Kernels)
        }
        #[cfg(target_arch = "x86_64")]
        "amx" => {
            static AMX: crate::arch::x86_64::Amx = crate::arch::x86_64::Amx::STATIC;
            crate::arch::x86_64::Amx::new().map(|_| &AMX as &dyn Kernels)
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        "neon" => {
            static NEON: crate::arch::aarch64::Neon = crate::arch::aarch64::Neon;
            Some(&NEON)
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        "dotprod" => {
            static DOTPROD: crate::arch::aarch64::Dotprod = crate::arch::aarch64::Dotprod::STATIC;
            crate::arch::aarch64::Dotprod::new().map(|_| &DOTPROD as &dyn Kernels)
        }
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        "i8mm" => {
            static I8MM: crate::arch::aarch64::I8mm = crate::arch::aarch64::I8mm::STATIC;
            crate::arch::aarch64::I8mm::new().map(|_| &I8MM as &dyn Kernels)
        }
        #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
        "simd128" => {
            static SIMD128: crate::arch::wasm32::Simd128 = crate::arch::wasm32::Simd128;
            Some(&SIMD128)
        }
        #[cfg(all(target_arch = "arm", feature = "dsp"))]
        "dsp" => {
            static DSP: crate::Dsp = crate::Dsp;
            Some(&DSP)
        }
        #[cfg(all(target_arch = "arm", feature = "helium"))]
        "helium" => {
            static HELIUM: crate::Helium = crate::Helium;
            Some(&HELIUM)
        }
        _ => None,
    }
}

/// Every set this CPU runs, best first.
pub fn all() -> impl Iterator<Item = &'static dyn Kernels> {
    NAMES.iter().filter_map(|name| by_name(name))
}

/// The best set this CPU runs.
pub fn best() -> &'static dyn Kernels {
    all().next().unwrap_or(&SCALAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Format;

    #[test]
    fn the_table_for_other_machines_says_what_the_sets_here_say() {
        assert!(all().count() > 0);
        for kernels in all() {
            for format in Format::ALL.into_iter().filter(|format| format.is_quantised()) {
                assert_eq!(panel_of(kernels.name()), Some(kernels.panel(format)), "{}", kernels.name());
            }
        }
    }
}
