//! The kernels: PTX that the crate carries, loaded once and looked up once.

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow};
use cudarc::driver::{DriverError, result, sys};

use super::float::Float;
use super::probe::Failed;
use super::queue::Queue;

/// Modules by their file in `kernels/`, and the kernels in each: `typed` ones end in the name of the type that they are
/// for.
macro_rules! kernels {
    ($($file:literal { $($kind:ident $variant:ident = $name:literal),+ $(,)? })+) => {
        /// A kernel, whatever the type that it is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kernel {
            $($(#[doc = $name] $variant,)+)+
        }

        const FILES: &[File] = &[$(File {
            name: $file,
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $file, ".ptx")),
            kernels: &[$((Kernel::$variant, Kind::$kind, $name)),+],
        }),+];
    };
}

kernels! {
    "adafactor" {
        plain AdafactorSquares = "adafactor_squares",
        plain AdafactorMoment = "adafactor_moment",
        typed AdafactorSizes = "adafactor_sizes",
        typed AdafactorWholeSizes = "adafactor_whole_sizes",
        plain AdafactorRate = "adafactor_rate",
        typed AdafactorStep = "adafactor_step",
        typed AdafactorWholeStep = "adafactor_whole_step",
    }
    "add" { typed Add = "add" }
    "attention" {
        plain AttentionLarge = "attention_tile128_bf16",
        plain AttentionMedium = "attention_tile64_bf16",
        plain AttentionSmall = "attention_tile32_bf16",
        plain AttentionMaskedLarge = "attention_masked_tile128_bf16",
        plain AttentionMaskedSmall = "attention_masked_tile32_bf16",
        typed AttentionPlain32 = "attention_plain32",
        typed AttentionPlain64 = "attention_plain64",
        typed AttentionPlain128 = "attention_plain128",
        typed AttentionPlain256 = "attention_plain256",
    }
    "attention_bwd" {
        plain AttentionBwdWhole = "attention_bwd_whole_tile_bf16",
        plain AttentionBwdWholeMasked = "attention_bwd_whole_masked_tile_bf16",
        plain AttentionBwdQueries = "attention_bwd_queries_tile_bf16",
        plain AttentionBwdKeys = "attention_bwd_keys_tile_bf16",
        plain AttentionBwdQueriesMasked = "attention_bwd_queries_masked_tile_bf16",
        plain AttentionBwdKeysMasked = "attention_bwd_keys_masked_tile_bf16",
        typed AttentionBwdQueriesPlain32 = "attention_bwd_queries_plain32",
        typed AttentionBwdQueriesPlain64 = "attention_bwd_queries_plain64",
        typed AttentionBwdQueriesPlain128 = "attention_bwd_queries_plain128",
        typed AttentionBwdQueriesPlain256 = "attention_bwd_queries_plain256",
        typed AttentionBwdKeysPlain32 = "attention_bwd_keys_plain32",
        typed AttentionBwdKeysPlain64 = "attention_bwd_keys_plain64",
        typed AttentionBwdKeysPlain128 = "attention_bwd_keys_plain128",
        typed AttentionBwdKeysPlain256 = "attention_bwd_keys_plain256",
        plain AttentionBwdTable = "attention_bwd_table",
    }
    "cross_entropy" { typed CrossEntropy = "cross_entropy" }
    "decode_attention" {
        typed DecodeAttention = "decode_attention_64",
        typed DecodeAttentionPlain32 = "decode_attention_plain32",
        typed DecodeAttentionPlain128 = "decode_attention_plain128",
        typed DecodeAttentionPlain256 = "decode_attention_plain256",
    }
    "dequantise" { typed Dequantise = "dequantise" }
    "distill" { plain Distill = "distill" }
    "dropout" { typed Dropout = "dropout" }
    "embed" { typed Embed = "embed" }
    "embed_bwd" { plain EmbedOrder = "embed_order", typed EmbedBwd = "embed_bwd" }
    "gate" { typed Gate = "gate", typed GateBwd = "gate_bwd" }
    "gather" { typed Gather = "gather" }
    "gather_bwd" { typed GatherBwd = "gather_bwd" }
    "geglu" {
        plain GegluLarge = "geglu_tile128x256_bf16",
        plain GegluMedium = "geglu_tile128x128_bf16",
        plain GegluSmall = "geglu_tile64x64_bf16",
        plain GegluFew = "geglu_rows16_bf16",
        typed GegluPlain = "geglu_plain64",
        typed GegluPlainFew = "geglu_plain8",
    }
    "join" { typed Join = "join" }
    "join_bwd" { typed JoinBwd = "join_bwd" }
    "linear" {
        plain LinearLarge = "linear_tile128x256_bf16",
        plain LinearMedium = "linear_tile128x128_bf16",
        plain LinearSmall = "linear_tile64x64_bf16",
        plain LinearFew = "linear_rows16_bf16",
        typed LinearPlain = "linear_plain64",
        typed LinearPlainFew = "linear_plain8",
        plain LinearAddLarge = "linear_add_tile128x256_bf16",
        plain LinearAddMedium = "linear_add_tile128x128_bf16",
        plain LinearAddSmall = "linear_add_tile64x64_bf16",
        plain LinearAddFew = "linear_add_rows16_bf16",
        typed LinearAddPlain = "linear_add_plain64",
        typed LinearAddPlainFew = "linear_add_plain8",
        plain LinearReluLarge = "linear_relu_tile128x256_bf16",
        plain LinearReluMedium = "linear_relu_tile128x128_bf16",
        plain LinearReluSmall = "linear_relu_tile64x64_bf16",
        plain LinearReluFew = "linear_relu_rows16_bf16",
        typed LinearReluPlain = "linear_relu_plain64",
        typed LinearReluPlainFew = "linear_relu_plain8",
    }
    "linear_dw" {
        plain LinearDwLarge = "linear_dw_tile128x256_bf16",
        plain LinearDwMedium = "linear_dw_tile128x128_bf16",
        plain LinearDwSmall = "linear_dw_tile64x64_bf16",
        typed LinearDwPlain = "linear_dw_plain64",
    }
    "linear_dx" {
        plain LinearDxLarge = "linear_dx_tile128x256_bf16",
        plain LinearDxMedium = "linear_dx_tile128x128_bf16",
        plain LinearDxSmall = "linear_dx_tile64x64_bf16",
        typed LinearDxPlain = "linear_dx_plain64",
        typed LinearDxPlainFew = "linear_dx_plain8",
    }
    "log_prob" { typed LogProb = "log_prob" }
    "mean_pool" { typed MeanPool = "mean_pool" }
    "merge" { plain Merge = "merge" }
    "predict" {
        plain PredictPartsMedium = "predict_parts_tile128x128_bf16",
        plain PredictPartsFew = "predict_parts_rows16_bf16",
        typed PredictPartsPlain = "predict_parts_plain64",
        typed PredictPartsPlainFew = "predict_parts_plain8",
        plain Predict = "predict",
    }
    "rms_norm" { typed RmsNorm = "rms_norm" }
    "rms_norm_bwd" { typed RmsNormBwd = "rms_norm_bwd" }
    "score" { typed ScoreFirst = "score_first", typed ScoreMean = "score_mean" }
    "score_bwd" { typed ScoreBwd = "score_bwd", typed ScoreBwdSums = "score_bwd_sums" }
    "square_sum" { plain SquareSum = "square_sum" }
    "sum_rows" { plain SumRows = "sum_rows" }
    "top_m" { plain TopM = "top_m" }
}

struct File {
    name: &'static str,
    ptx: &'static str,
    kernels: &'static [(Kernel, Kind, &'static str)],
}

/// Whether a kernel is compiled for each type of number.
#[allow(non_camel_case_types, reason = "they are words of the table above")]
enum Kind {
    typed,
    plain,
}

/// A kernel that is loaded.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) handle: sys::CUfunction,
    /// Bytes of each parameter, as the PTX declares them.
    pub(super) parameters: Vec<usize>,
    /// The dynamic shared memory that the driver was told of.
    shared_bytes: AtomicU32,
}

// SAFETY: the handle is the driver's, whose functions may be called from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// Without asking, a launch may have this much dynamic shared memory.
const SHARED_BYTES: u32 = 48 << 10;

impl Function {
    /// Asks for more dynamic shared memory than every kernel may have, where a launch needs it.
    pub(super) fn allow_shared(&self, bytes: u32) -> Result<(), DriverError> {
        if bytes <= self.shared_bytes.load(Ordering::Relaxed) {
            return Ok(());
        }
        let which = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is loaded.
        unsafe { result::function::set_function_attribute(self.handle, which, bytes as i32) }?;
        self.shared_bytes.fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }
}

/// All kernels for one type of number, by [`Kernel`].
pub(super) struct Kernels {
    functions: Vec<Function>,
    modules: Vec<sys::CUmodule>,
    queue: Arc<Queue>,
}

// SAFETY: as of `Function`.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Kernels {
    pub(super) fn load<E: Float>(queue: &Arc<Queue>) -> Result<Self> {
        let mut kernels = Self { functions: Vec::new(), modules: Vec::new(), queue: queue.clone() };
        for file in FILES {
            kernels.add::<E>(file).with_context(|| format!("kernels/{}.cu", file.name))?;
        }
        Ok(kernels)
    }

    fn add<E: Float>(&mut self, file: &File) -> Result<()> {
        let driver = |error| anyhow!("{}", Failed(error));
        self.queue.stream().map_err(driver)?;
        let text = CString::new(file.ptx)?;
        // SAFETY: PTX, as a string that ends.
        let module = unsafe { result::module::load_data(text.as_ptr().cast()) }.map_err(driver)?;
        self.modules.push(module);
        for (kernel, kind, name) in file.kernels {
            let name = match kind {
                Kind::typed => format!("{name}_{}", E::SUFFIX),
                Kind::plain => name.to_string(),
            };
            // SAFETY: the module is loaded.
            let handle = unsafe { result::module::get_function(module, CString::new(name.as_str())?) };
            let handle = handle.map_err(driver).with_context(|| name.clone())?;
            let parameters = parameters(file.ptx, &name).with_context(|| format!("the PTX has no kernel {name}"))?;
            assert_eq!(self.functions.len(), *kernel as usize, "the table is in the kernels' order");
            self.functions.push(Function { name, handle, parameters, shared_bytes: AtomicU32::new(SHARED_BYTES) });
        }
        Ok(())
    }

    pub(super) fn get(&self, kernel: Kernel) -> &Function {
        &self.functions[kernel as usize]
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        for &module in &self.modules {
            let unload = |_| {
                // SAFETY: loaded once; the driver waits for what runs.
                unsafe { result::module::unload(module) }
            };
            if let Err(error) = self.queue.stream().and_then(unload) {
                self.queue.fail(|| format!("cannot unload the kernels: {}", Failed(error)));
            }
        }
    }
}

/// Bytes of each parameter of the kernel `name`; none if the PTX has no such kernel.
fn parameters(ptx: &str, name: &str) -> Option<Vec<usize>> {
    let (_, behind) = ptx.split_once(&format!(".entry {name}("))?;
    let (list, _) = behind.split_once(')')?;
    let bytes = |declared: &str| {
        let (_, declared) = declared.split_once(".param")?;
        let kind = declared.split_whitespace().find_map(|word| word.strip_prefix('.').filter(|word| is_type(word)))?;
        let count = match declared.split_once('[') {
            Some((_, count)) => count.split_once(']')?.0.parse().ok()?,
            None => 1,
        };
        Some(kind[1..].parse::<usize>().ok()? / 8 * count)
    };
    list.split(',').filter(|declared| declared.contains(".param")).map(bytes).collect()
}

fn is_type(word: &str) -> bool {
    matches!(word.as_bytes(), [b'u' | b's' | b'b' | b'f', b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_from_the_ptx() {
        let ptx = ".visible .entry f(\n\t.param .u64 .ptr .align 1 f_param_0,\n\t.param .f32 f_param_1,\n\
                   \t.param .align 8 .b8 f_param_2[24]\n)\n.maxntid 256\n{\n.visible .entry none(\n\n)\n{";
        assert_eq!(parameters(ptx, "f"), Some(vec![8, 4, 24]));
        assert_eq!(parameters(ptx, "none"), Some(vec![]));
        assert_eq!(parameters(ptx, "g"), None);
    }

    #[test]
    fn every_kernel_is_compiled_for_both_types() {
        for file in FILES {
            for (kernel, kind, name) in file.kernels {
                let names = match kind {
                    Kind::typed => vec![format!("{name}_f32"), format!("{name}_bf16")],
                    Kind::plain => vec![name.to_string()],
                };
                for name in names {
                    assert!(parameters(file.ptx, &name).is_some(), "{kernel:?}: {}.ptx has no {name}", file.name);
                }
            }
        }
    }
}
