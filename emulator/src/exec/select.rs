//! Moves, selections, logic of predicates, and what becomes of addresses.

use super::lanes::{Args, Registers, Run, binary, each, one_version, put, quaternary, row, ternary, unary, versions};
use crate::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BYTES};
use crate::ptx::Space;

/// `d = a`.
pub(crate) fn copy_narrow() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let row = r.narrow[g.a as usize];
        put(r, g.d, row, m);
    })
}

/// `d = a`.
pub(crate) fn copy_wide() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let row = r.wide[g.a as usize];
        put(r, g.d, row, m);
    })
}

/// `d = {a, b}`.
pub(crate) fn pack_halves() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| binary(r, g, m, |a: u32, b: u32| a & 0xffff | b << 16))
}

/// `d = {a, b}`.
pub(crate) fn pack_words() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| binary(r, g, m, |a: u32, b: u32| u64::from(a) | u64::from(b) << 32))
}

/// `d = {a, b, c, e}`.
pub(crate) fn pack_quarters() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| quaternary(r, g, m, |a: u16, b: u16, c: u16, e: u16| {
        u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(e) << 48
    }))
}

/// `{d, b} = a`.
pub(crate) fn unpack_halves() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let row = r.narrow[g.a as usize];
        put(r, g.d, each(&row, |x| x & 0xffff), m);
        put(r, g.b, each(&row, |x| x >> 16), m);
    })
}

/// `{d, b} = a`.
pub(crate) fn unpack_words() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let row = r.wide[g.a as usize];
        put(r, g.d, each(&row, |x| x as u32), m);
        put(r, g.b, each(&row, |x| (x >> 32) as u32), m);
    })
}

/// `{d, b, c, e} = a`.
pub(crate) fn unpack_quarters() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let row = r.wide[g.a as usize];
        for (i, to) in [g.d, g.b, g.c, g.e].into_iter().enumerate() {
            put(r, to, each(&row, |x| (x >> (16 * i)) as u32 & 0xffff), m);
        }
    })
}

/// `d = p ? a : b`, where `c` is the predicate and the immediate what it is xored with.
pub(crate) fn choose_narrow() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let chosen = r.predicates[g.c as usize] ^ g.immediate;
        let (a, b) = (&r.narrow[g.a as usize], &r.narrow[g.b as usize]);
        let row = row(|lane| if chosen >> lane & 1 == 1 { a[lane] } else { b[lane] });
        put(r, g.d, row, m);
    })
}

/// The same for 64 bits.
pub(crate) fn choose_wide() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let chosen = r.predicates[g.c as usize] ^ g.immediate;
        let (a, b) = (&r.wide[g.a as usize], &r.wide[g.b as usize]);
        let row = row(|lane| if chosen >> lane & 1 == 1 { a[lane] } else { b[lane] });
        put(r, g.d, row, m);
    })
}

/// Any function of three bits, by its table.
pub(crate) fn logic_of_three() -> Run {
    versions!(|r: &mut Registers, g: &Args, m: u32| {
        let term = |i: u32| if g.immediate >> i & 1 == 1 { !0u32 } else { 0 };
        let terms = [term(0), term(1), term(2), term(3), term(4), term(5), term(6), term(7)];
        ternary(r, g, m, |a: u32, b: u32, c: u32| {
            (terms[0] & !a & !b & !c)
                | (terms[1] & !a & !b & c)
                | (terms[2] & !a & b & !c)
                | (terms[3] & !a & b & c)
                | (terms[4] & a & !b & !c)
                | (terms[5] & a & !b & c)
                | (terms[6] & a & b & !c)
                | (terms[7] & a & b & c)
        });
    })
}

fn put_predicate(r: &mut Registers, index: u32, value: u32, mask: u32) {
    let to = &mut r.predicates[index as usize];
    *to = (*to & !mask) | (value & mask);
}

/// Both sources, each xored as its bit of the immediate says.
fn both(r: &Registers, g: &Args) -> (u32, u32) {
    let flip = |bit: u32| 0u32.wrapping_sub(g.immediate >> bit & 1);
    (r.predicates[g.a as usize] ^ flip(0), r.predicates[g.b as usize] ^ flip(1))
}

/// `p = a`, xored with the immediate.
pub(crate) fn copy_predicate() -> Run {
    |r, g, m| {
        let value = r.predicates[g.a as usize] ^ g.immediate;
        put_predicate(r, g.d, value, m);
    }
}

/// `p = a ∧ b`.
pub(crate) fn and_predicates() -> Run {
    |r, g, m| {
        let (a, b) = both(r, g);
        put_predicate(r, g.d, a & b, m);
    }
}

/// `p = a ∨ b`.
pub(crate) fn or_predicates() -> Run {
    |r, g, m| {
        let (a, b) = both(r, g);
        put_predicate(r, g.d, a | b, m);
    }
}

/// `p = a ⊕ b`.
pub(crate) fn xor_predicates() -> Run {
    |r, g, m| {
        let (a, b) = both(r, g);
        put_predicate(r, g.d, a ^ b, m);
    }
}

/// From a space to generic addresses, or back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    ToSpace,
    ToGeneric,
}

/// `cvta`.
pub(crate) fn convert_address(space: Space, way: Way) -> Run {
    match (space, way) {
        (Space::Shared, Way::ToGeneric) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u64| a.wrapping_add(SHARED_WINDOW)))
        }
        (Space::Shared, Way::ToSpace) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u64| a.wrapping_sub(SHARED_WINDOW)))
        }
        (Space::Local, Way::ToGeneric) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u64| a.wrapping_add(LOCAL_WINDOW)))
        }
        (Space::Local, Way::ToSpace) => {
            versions!(|r: &mut Registers, g: &Args, m: u32| unary(r, g, m, |a: u64| a.wrapping_sub(LOCAL_WINDOW)))
        }
        (Space::Param, Way::ToGeneric) => one_version!(|r: &mut Registers, g: &Args, m: u32| {
            unary(r, g, m, |a: u64| a.wrapping_add(PARAM_WINDOW));
        }),
        (Space::Param, Way::ToSpace) => one_version!(|r: &mut Registers, g: &Args, m: u32| {
            unary(r, g, m, |a: u64| a.wrapping_sub(PARAM_WINDOW));
        }),
        _ => copy_wide(),
    }
}

/// `isspacep`.
pub(crate) fn is_in_space(space: Space) -> Run {
    match space {
        Space::Shared => |r, g, m| in_window(r, g, m, SHARED_WINDOW),
        Space::Local => |r, g, m| in_window(r, g, m, LOCAL_WINDOW),
        Space::Global => |r, g, m| {
            in_window(r, g, m, SHARED_WINDOW);
            let shared = r.predicates[g.d as usize];
            in_window(r, g, m, LOCAL_WINDOW);
            let local = r.predicates[g.d as usize];
            in_window(r, g, m, PARAM_WINDOW);
            let parameter = r.predicates[g.d as usize];
            put_predicate(r, g.d, !(shared | local | parameter), m);
        },
        Space::Param => |r, g, m| in_window(r, g, m, PARAM_WINDOW),
        // Constants lie among the global variables, where nobody can tell them apart.
        _ => |r, g, m| put_predicate(r, g.d, 0, m),
    }
}

fn in_window(r: &mut Registers, g: &Args, m: u32, window: u64) {
    let row = &r.wide[g.a as usize];
    let bits = (0..32).fold(0, |bits, lane| bits | u32::from(row[lane].wrapping_sub(window) < WINDOW_BYTES) << lane);
    put_predicate(r, g.d, bits, m);
}
