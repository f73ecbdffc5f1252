//! The registers of a warp, and the loops over its 32 lanes.
//!
//! A register is a row of 32 words, so that an instruction is a loop that the compiler vectorises. Every lane computes, and the
//! mask says whose results are kept.

use crate::ptx::Width;

/// The registers of one warp. Rows that hold constants are rows like any other.
#[derive(Default)]
pub(crate) struct Registers {
    pub narrow: Vec<[u32; 32]>,
    pub wide: Vec<[u64; 32]>,
    /// A bit per lane.
    pub predicates: Vec<u32>,
}

/// The operands of an instruction, as rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Args {
    /// Destination.
    pub d: u32,
    /// Sources.
    pub a: u32,
    pub b: u32,
    pub c: u32,
    pub e: u32,
    /// What is known when it is decoded.
    pub immediate: u32,
}

/// Runs an instruction for the lanes of a mask.
pub(crate) type Run = unsafe fn(&mut Registers, &Args, u32);

/// An instruction whose lanes have nothing to do with each other.
#[derive(Clone, Copy)]
pub(crate) struct Alu {
    pub run: Run,
    pub to: Width,
    pub from: &'static [Width],
}

/// What a row is made of.
pub(crate) trait Word: Copy + Default + 'static {
    const WIDTH: Width;
    fn row(registers: &Registers, index: u32) -> &[Self; 32];
    fn row_mut(registers: &mut Registers, index: u32) -> &mut [Self; 32];
}

impl Word for u32 {
    const WIDTH: Width = Width::Bits32;

    #[inline(always)]
    fn row(registers: &Registers, index: u32) -> &[u32; 32] {
        &registers.narrow[index as usize]
    }

    #[inline(always)]
    fn row_mut(registers: &mut Registers, index: u32) -> &mut [u32; 32] {
        &mut registers.narrow[index as usize]
    }
}

impl Word for u64 {
    const WIDTH: Width = Width::Bits64;

    #[inline(always)]
    fn row(registers: &Registers, index: u32) -> &[u64; 32] {
        &registers.wide[index as usize]
    }

    #[inline(always)]
    fn row_mut(registers: &mut Registers, index: u32) -> &mut [u64; 32] {
        &mut registers.wide[index as usize]
    }
}

/// A value of a lane, in the word that holds it. What a word has beyond a short value is never looked at.
pub(crate) trait Lane: Copy {
    type Word: Word;
    fn of(word: Self::Word) -> Self;
    fn word(self) -> Self::Word;
}

macro_rules! integers {
    ($($kind:ident in $word:ident),*) => {$(
        impl Lane for $kind {
            type Word = $word;
            #[inline(always)]
            fn of(word: $word) -> Self {
                word as $kind
            }
            #[inline(always)]
            fn word(self) -> $word {
                self as $word
            }
        }
    )*};
}

integers!(u8 in u32, i8 in u32, u16 in u32, i16 in u32, u32 in u32, i32 in u32, u64 in u64, i64 in u64);

macro_rules! floats {
    ($($kind:ident in $word:ident),*) => {$(
        impl Lane for $kind {
            type Word = $word;
            #[inline(always)]
            fn of(word: $word) -> Self {
                Self::from_bits(word)
            }
            #[inline(always)]
            fn word(self) -> $word {
                self.to_bits()
            }
        }
    )*};
}

floats!(f32 in u32, f64 in u64);

/// Writes a row where the mask is set.
#[inline(always)]
pub(crate) fn put<W: Word>(registers: &mut Registers, index: u32, row: [W; 32], mask: u32) {
    if mask == !0 {
        *W::row_mut(registers, index) = row;
    } else {
        put_some(registers, index, &row, mask);
    }
}

/// Out of line: there are hundreds of instructions, and full warps are what they mostly run for.
#[inline(never)]
fn put_some<W: Word>(registers: &mut Registers, index: u32, row: &[W; 32], mask: u32) {
    let to = W::row_mut(registers, index);
    for (lane, (to, from)) in to.iter_mut().zip(row).enumerate() {
        if mask >> lane & 1 == 1 {
            *to = *from;
        }
    }
}

/// A row of what `f` gives each lane. An array's `from_fn` and `map`, and a `zip`, are calls where the compiler does not
/// inline across units of code generation.
#[inline(always)]
pub(crate) fn row<W: Copy + Default>(f: impl Fn(usize) -> W) -> [W; 32] {
    let mut row = [W::default(); 32];
    for (lane, word) in row.iter_mut().enumerate() {
        *word = f(lane);
    }
    row
}

/// A row of what `f` makes of another's words.
#[inline(always)]
pub(crate) fn each<A: Copy, B: Copy + Default>(words: &[A; 32], f: impl Fn(A) -> B) -> [B; 32] {
    row(|lane| f(words[lane]))
}

/// `d = f(a)`.
#[inline(always)]
pub(crate) fn unary<A: Lane, D: Lane>(r: &mut Registers, args: &Args, mask: u32, f: impl Fn(A) -> D) {
    let row = each(A::Word::row(r, args.a), |a| f(A::of(a)).word());
    put(r, args.d, row, mask);
}

/// `d = f(a, b)`.
#[inline(always)]
pub(crate) fn binary<A: Lane, B: Lane, D: Lane>(r: &mut Registers, args: &Args, mask: u32, f: impl Fn(A, B) -> D) {
    let (a, b) = (A::Word::row(r, args.a), B::Word::row(r, args.b));
    let mut row = [D::Word::default(); 32];
    for lane in 0..32 {
        row[lane] = f(A::of(a[lane]), B::of(b[lane])).word();
    }
    put(r, args.d, row, mask);
}

/// `d = f(a, b, c)`.
#[inline(always)]
pub(crate) fn ternary<A: Lane, B: Lane, C: Lane, D: Lane>(
    r: &mut Registers,
    args: &Args,
    mask: u32,
    f: impl Fn(A, B, C) -> D,
) {
    let (a, b, c) = (A::Word::row(r, args.a), B::Word::row(r, args.b), C::Word::row(r, args.c));
    let mut row = [D::Word::default(); 32];
    for lane in 0..32 {
        row[lane] = f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane])).word();
    }
    put(r, args.d, row, mask);
}

/// `d = f(a, b, c, e)`.
#[inline(always)]
pub(crate) fn quaternary<A: Lane, B: Lane, C: Lane, E: Lane, D: Lane>(
    r: &mut Registers,
    args: &Args,
    mask: u32,
    f: impl Fn(A, B, C, E) -> D,
) {
    let (a, b) = (A::Word::row(r, args.a), B::Word::row(r, args.b));
    let (c, e) = (C::Word::row(r, args.c), E::Word::row(r, args.e));
    let mut row = [D::Word::default(); 32];
    for lane in 0..32 {
        row[lane] = f(A::of(a[lane]), B::of(b[lane]), C::of(c[lane]), E::of(e[lane])).word();
    }
    put(r, args.d, row, mask);
}

/// `p = f(a, b)`.
#[inline(always)]
pub(crate) fn compare<A: Lane>(r: &mut Registers, args: &Args, mask: u32, f: impl Fn(A, A) -> bool) {
    let (a, b) = (A::Word::row(r, args.a), A::Word::row(r, args.b));
    let mut bits = [0u32; 32];
    for lane in 0..32 {
        bits[lane] = u32::from(f(A::of(a[lane]), A::of(b[lane]))) << lane;
    }
    let all = bits.iter().fold(0, |all, bit| all | bit);
    let to = &mut r.predicates[args.d as usize];
    *to = (*to & !mask) | (all & mask);
}

/// Whether this machine has the instructions that the wide versions are compiled for.
pub(crate) fn has_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        static WIDE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        *WIDE.get_or_init(|| {
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("bmi2")
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A function `(&mut Registers, &Args, mask)` in two versions, the one that this machine runs best.
macro_rules! versions {
    ($body:expr) => {{
        use $crate::exec::lanes::{Args, Registers, Run};
        fn plain(registers: &mut Registers, args: &Args, mask: u32) {
            #[allow(clippy::redundant_closure_call)]
            $body(registers, args, mask)
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
        fn wide(registers: &mut Registers, args: &Args, mask: u32) {
            #[allow(clippy::redundant_closure_call)]
            $body(registers, args, mask)
        }
        #[cfg(target_arch = "x86_64")]
        let run: Run = if $crate::exec::lanes::has_wide() { wide } else { plain };
        #[cfg(not(target_arch = "x86_64"))]
        let run: Run = plain;
        run
    }};
}

/// The same in one version, for what no kernel spends its time on.
macro_rules! one_version {
    ($body:expr) => {{
        use $crate::exec::lanes::{Args, Registers, Run};
        let run: Run = |registers: &mut Registers, args: &Args, mask: u32| {
            #[allow(clippy::redundant_closure_call)]
            $body(registers, args, mask)
        };
        run
    }};
}

/// An [`Alu`] of one version.
macro_rules! rare {
    ($($rest:tt)*) => { $crate::exec::lanes::alu!(@ one_version, $($rest)*) };
}

/// An [`Alu`] from the types of its operands and what a lane does.
macro_rules! alu {
    (@ $how:ident, $a:ty => $d:ty, $f:expr) => {
        $crate::exec::lanes::Alu {
            run: $crate::exec::lanes::$how!(|r: &mut Registers, g: &Args, m: u32| {
                $crate::exec::lanes::unary::<$a, $d>(r, g, m, $f)
            }),
            to: $crate::exec::lanes::width::<$d>(),
            from: const { &[$crate::exec::lanes::width::<$a>()] },
        }
    };
    (@ $how:ident, $a:ty, $b:ty => $d:ty, $f:expr) => {
        $crate::exec::lanes::Alu {
            run: $crate::exec::lanes::$how!(|r: &mut Registers, g: &Args, m: u32| {
                $crate::exec::lanes::binary::<$a, $b, $d>(r, g, m, $f)
            }),
            to: $crate::exec::lanes::width::<$d>(),
            from: const { &[$crate::exec::lanes::width::<$a>(), $crate::exec::lanes::width::<$b>()] },
        }
    };
    (@ $how:ident, $a:ty, $b:ty, $c:ty => $d:ty, $f:expr) => {
        $crate::exec::lanes::Alu {
            run: $crate::exec::lanes::$how!(|r: &mut Registers, g: &Args, m: u32| {
                $crate::exec::lanes::ternary::<$a, $b, $c, $d>(r, g, m, $f)
            }),
            to: $crate::exec::lanes::width::<$d>(),
            from: const {
                &[
                    $crate::exec::lanes::width::<$a>(),
                    $crate::exec::lanes::width::<$b>(),
                    $crate::exec::lanes::width::<$c>(),
                ]
            },
        }
    };
    (@ $how:ident, $a:ty, $b:ty, $c:ty, $e:ty => $d:ty, $f:expr) => {
        $crate::exec::lanes::Alu {
            run: $crate::exec::lanes::$how!(|r: &mut Registers, g: &Args, m: u32| {
                $crate::exec::lanes::quaternary::<$a, $b, $c, $e, $d>(r, g, m, $f)
            }),
            to: $crate::exec::lanes::width::<$d>(),
            from: const {
                &[
                    $crate::exec::lanes::width::<$a>(),
                    $crate::exec::lanes::width::<$b>(),
                    $crate::exec::lanes::width::<$c>(),
                    $crate::exec::lanes::width::<$e>(),
                ]
            },
        }
    };
    ($($rest:tt)*) => { $crate::exec::lanes::alu!(@ versions, $($rest)*) };
}

/// A comparison: the [`Run`] that sets a predicate.
macro_rules! comparison {
    ($a:ty, $f:expr) => {
        $crate::exec::lanes::versions!(|r: &mut Registers, g: &Args, m: u32| {
            $crate::exec::lanes::compare::<$a>(r, g, m, $f)
        })
    };
}

pub(crate) use {alu, comparison, one_version, rare, versions};

/// The register that holds a lane's value.
pub(crate) const fn width<L: Lane>() -> Width {
    <L::Word as Word>::WIDTH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_the_other_lanes() {
        let mut r = Registers { narrow: vec![[7; 32], std::array::from_fn(|i| i as u32)], ..Registers::default() };
        let add = alu!(u32 => u32, |a| a + 100);
        // SAFETY: `alu!` chose a version that this machine has.
        unsafe { (add.run)(&mut r, &Args { d: 0, a: 1, ..Args::default() }, 0b101) };
        assert_eq!(r.narrow[0][..4], [100, 7, 102, 7]);
    }
}
