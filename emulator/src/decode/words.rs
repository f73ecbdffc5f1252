//! What an opcode's words mean.

use super::lower::{CARRY, Lowered, Lowering, SCRATCH, fail};
use super::memory;
use super::program::{Combine, Level, Logic, Operation};
use super::synchronise;
use crate::exec::lanes::{Alu, Args};
use crate::exec::{carry, compare, convert, float, half, integer, select};
use crate::ptx::{Instruction, Operand, ParseError, Space, Special, Width};

/// The instructions that there are. Each has a test written by hand, which the tests see to.
#[rustfmt::skip]
pub(crate) const NAMES: [&str; 86] = [
    "abs", "activemask", "add", "addc", "and", "applypriority", "atom", "bar", "barrier", "bfe", "bfi", "bfind", "bmsk",
    "bra", "brev", "call", "clz", "cnot", "copysign", "cos", "cp", "createpolicy", "cvt", "cvta", "discard", "div",
    "dp2a", "dp4a", "elect", "ex2", "exit", "fence", "fma", "griddepcontrol", "isspacep", "ld", "ldmatrix", "ldu",
    "lg2", "lop3", "mad", "madc", "match", "max", "mbarrier", "membar", "min", "mma", "mov", "mul", "mul24",
    "nanosleep", "neg", "not", "or", "pmevent", "popc", "prefetch", "prefetchu", "prmt", "rcp", "red", "redux", "rem",
    "ret", "rsqrt", "sad", "selp", "set", "setp", "shf", "shfl", "shl", "shr", "sin", "sqrt", "st", "stmatrix", "sub",
    "subc", "szext", "tanh", "testp", "trap", "vote", "xor",
];

/// Bytes of a type.
pub(super) fn bytes(kind: &str) -> Option<u32> {
    Some(match kind {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "u16x2" | "s16x2" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        "b128" => 16,
        _ => return None,
    })
}

/// Width of a type's registers.
pub(super) fn width(kind: &str) -> Width {
    match bytes(kind) {
        Some(8) => Width::Bits64,
        Some(1 | 2) => Width::Bits16,
        _ => Width::Bits32,
    }
}

/// The words of an opcode: its name, what stands between, its type.
pub(super) fn split(instruction: &Instruction) -> (&str, Vec<&str>, &str) {
    let words: Vec<&str> = instruction.opcode.iter().map(String::as_str).collect();
    match words.as_slice() {
        [name] => (name, Vec::new(), ""),
        [name, between @ .., kind] => (name, between.to_vec(), kind),
        [] => ("", Vec::new(), ""),
    }
}

/// The space that a word names, and `shared::cta` and the like with it.
pub(super) fn space(word: &str) -> Option<Space> {
    Some(match word {
        "global" => Space::Global,
        // A block without a cluster is a cluster of one.
        "shared" | "shared::cta" | "shared::cluster" => Space::Shared,
        "local" => Space::Local,
        "const" => Space::Const,
        "param" | "param::entry" | "param::func" => Space::Param,
        _ => return None,
    })
}

/// Lowers an instruction.
pub(super) fn lower(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let (name, between, kind) = split(i);
    match name {
        "ret" | "exit" => Ok((Args::default(), Operation::Exit)),
        "trap" => Ok((Args::default(), Operation::Trap)),
        "mov" => moved(lowering, i, kind),
        "setp" => compared(lowering, i, &between, kind),
        "selp" => selected(lowering, i, kind),
        "cvta" => address_converted(lowering, i, &between),
        "isspacep" => space_asked(lowering, i, kind),
        "cvt" => converted(lowering, i),
        "lop3" => logic_of_three(lowering, i),
        "and" | "or" | "xor" | "not" if kind == "pred" => predicate_logic(lowering, i, name),
        "add" | "sub" | "mad" | "addc" | "subc" | "madc" if between.contains(&"cc") || name.ends_with('c') => {
            carried(lowering, i, name, &between, kind)
        }
        "set" => set(lowering, i, &between, kind),
        "testp" => tested(lowering, i, &between, kind),
        "activemask" => {
            let (d, _) = lowering.destination(operand(i, 0)?, i)?;
            Ok((Args { d, ..Args::default() }, Operation::ActiveMask))
        }
        "membar" | "fence" => {
            let block =
                between.last() == Some(&"cta") || kind == "cta" || between.contains(&"proxy") || kind == "async";
            Ok((Args::default(), Operation::Fence(if block { Level::Block } else { Level::Device })))
        }
        "prefetch" | "prefetchu" | "applypriority" | "discard" | "nanosleep" | "pmevent" | "griddepcontrol" => {
            Ok((Args::default(), Operation::Nothing))
        }
        "createpolicy" => created(lowering, i),
        "ld" | "ldu" | "st" | "atom" | "red" | "cp" | "ldmatrix" | "stmatrix" | "mma" => memory::lower(lowering, i),
        "bar" | "barrier" | "shfl" | "vote" | "match" | "redux" | "elect" | "mbarrier" => {
            synchronise::lower(lowering, i)
        }
        _ => arithmetic(lowering, i, name, &between, kind),
    }
}

/// An operand that must be there.
pub(super) fn operand(i: &Instruction, index: usize) -> Result<&Operand, ParseError> {
    match i.operands.get(index) {
        Some(operand) => Ok(operand),
        None => fail(i, format!("operand {} is missing", index + 1)),
    }
}

fn arithmetic(lowering: &mut Lowering, i: &Instruction, name: &str, between: &[&str], kind: &str) -> Lowered {
    let found = integer::select(name, between, kind)
        .or_else(|| float::select(name, between, kind))
        .or_else(|| half::select(name, between, kind));
    match found {
        Some(alu) => plain(lowering, i, alu),
        None => fail(i, "this instruction is not known"),
    }
}

/// An instruction whose operands are a destination and the sources.
fn plain(lowering: &mut Lowering, i: &Instruction, alu: Alu) -> Lowered {
    if i.operands.len() != alu.from.len() + 1 {
        return fail(i, format!("{} operands, {} are due", i.operands.len(), alu.from.len() + 1));
    }
    let d = destination(lowering, i, alu.to)?;
    let mut rows = [0; 4];
    for (row, (operand, &width)) in rows.iter_mut().zip(i.operands[1..].iter().zip(alu.from)) {
        *row = lowering.row(operand, width, i)?;
    }
    let [a, b, c, e] = rows;
    Ok((Args { d, a, b, c, e, immediate: 0 }, Operation::Lanes(alu.run)))
}

/// The first operand as a destination of this width.
fn destination(lowering: &mut Lowering, i: &Instruction, width: Width) -> Result<u32, ParseError> {
    if matches!(operand(i, 0)?, Operand::Sink) {
        return Ok(lowering.sink(width));
    }
    let (d, own) = lowering.destination(operand(i, 0)?, i)?;
    let narrow = |width| matches!(width, Width::Bits16 | Width::Bits32);
    if own != width && !(narrow(own) && narrow(width)) {
        return fail(i, format!("a destination of {own:?} where {width:?} is due"));
    }
    Ok(d)
}

fn moved(lowering: &mut Lowering, i: &Instruction, kind: &str) -> Lowered {
    let (to, from) = (operand(i, 0)?, operand(i, 1)?);
    if kind == "pred" {
        let d = lowering.predicate_destination(to, i)?;
        let (a, flip) = lowering.predicate(from, i)?;
        return Ok((Args { d, a, immediate: flip, ..Args::default() }, Operation::Lanes(select::copy_predicate())));
    }
    match (to, from) {
        (Operand::Vector(parts), _) => unpacked(lowering, i, parts, kind),
        (_, Operand::Vector(parts)) => packed(lowering, i, parts, kind),
        (_, Operand::Special(Special::Clock | Special::Clock64 | Special::GlobalTimer)) => {
            let (d, width) = lowering.destination(to, i)?;
            Ok((Args { d, ..Args::default() }, Operation::Clock { wide: width == Width::Bits64 }))
        }
        _ => {
            let width = width(kind);
            let d = destination(lowering, i, width)?;
            let a = lowering.row(from, width, i)?;
            let run = if width == Width::Bits64 { select::copy_wide() } else { select::copy_narrow() };
            Ok((Args { d, a, ..Args::default() }, Operation::Lanes(run)))
        }
    }
}

fn packed(lowering: &mut Lowering, i: &Instruction, parts: &[Operand], kind: &str) -> Lowered {
    let part = if kind == "b64" && parts.len() == 2 { Width::Bits32 } else { Width::Bits16 };
    let d = destination(lowering, i, width(kind))?;
    let mut rows = [0; 4];
    for (row, part_operand) in rows.iter_mut().zip(parts) {
        *row = lowering.row(part_operand, part, i)?;
    }
    let run = match (kind, parts.len()) {
        ("b32", 2) => select::pack_halves(),
        ("b64", 2) => select::pack_words(),
        ("b64", 4) => select::pack_quarters(),
        _ => return fail(i, "this way of packing is not known"),
    };
    let [a, b, c, e] = rows;
    Ok((Args { d, a, b, c, e, immediate: 0 }, Operation::Lanes(run)))
}

fn unpacked(lowering: &mut Lowering, i: &Instruction, parts: &[Operand], kind: &str) -> Lowered {
    let source = lowering.row(operand(i, 1)?, width(kind), i)?;
    let mut rows = [0; 4];
    for (row, part) in rows.iter_mut().zip(parts) {
        *row = lowering.destination(part, i)?.0;
    }
    let run = match (kind, parts.len()) {
        ("b32", 2) => select::unpack_halves(),
        ("b64", 2) => select::unpack_words(),
        ("b64", 4) => select::unpack_quarters(),
        _ => return fail(i, "this way of unpacking is not known"),
    };
    let [d, b, c, e] = rows;
    Ok((Args { d, a: source, b, c, e, immediate: 0 }, Operation::Lanes(run)))
}

fn compared(lowering: &mut Lowering, i: &Instruction, between: &[&str], kind: &str) -> Lowered {
    let Some((&relation, rest)) = between.split_first() else { return fail(i, "a relation is missing") };
    let how = match rest.iter().find(|word| matches!(**word, "and" | "or" | "xor")) {
        Some(&"and") => Some(Logic::And),
        Some(&"or") => Some(Logic::Or),
        Some(_) => Some(Logic::Xor),
        None => None,
    };
    let flush = rest.contains(&"ftz");
    if let Some(other) = rest.iter().find(|word| !matches!(**word, "and" | "or" | "xor" | "ftz")) {
        return fail(i, format!("`.{other}` is not known here"));
    }
    let (to, to_negated) = match operand(i, 0)? {
        Operand::Pair(a, b) => (a.as_ref(), Some(b.as_ref())),
        single => (single, None),
    };
    let pair = matches!(kind, "f16x2" | "bf16x2");
    let Some(run) = compare::select(relation, kind, flush) else { return fail(i, "this comparison is not known") };
    let (source, immediate) = (width(kind), compare::code(relation));
    let (a, b) = (lowering.row(operand(i, 1)?, source, i)?, lowering.row(operand(i, 2)?, source, i)?);
    let d = lowering.predicate_destination(to, i)?;
    if pair && to_negated.is_none() {
        return fail(i, "two predicates are due");
    }
    if how.is_none() && to_negated.is_none() {
        return Ok((Args { d, a, b, immediate, ..Args::default() }, Operation::Lanes(run)));
    }
    if pair && how.is_some() {
        return fail(i, "comparing pairs and combining the outcome is not supported");
    }
    let (with, with_flip) = match how {
        Some(_) => lowering.predicate(operand(i, 3)?, i)?,
        None => (0, 0),
    };
    let to_negated = match to_negated {
        Some(operand) => Some(lowering.predicate_destination(operand, i)?),
        None => None,
    };
    let args =
        Args { d: if pair { d } else { SCRATCH }, a, b, e: to_negated.unwrap_or(0), immediate, ..Args::default() };
    if pair {
        return Ok((args, Operation::Lanes(run)));
    }
    let how = how.unwrap_or(Logic::And);
    let combine = Combine { scratch: SCRATCH, with, with_flip, how, to: Some(d), to_negated };
    Ok((args, Operation::Compare(run, Box::new(combine))))
}

fn selected(lowering: &mut Lowering, i: &Instruction, kind: &str) -> Lowered {
    let width = width(kind);
    let d = destination(lowering, i, width)?;
    let (a, b) = (lowering.row(operand(i, 1)?, width, i)?, lowering.row(operand(i, 2)?, width, i)?);
    let (c, flip) = lowering.predicate(operand(i, 3)?, i)?;
    let run = if width == Width::Bits64 { select::choose_wide() } else { select::choose_narrow() };
    Ok((Args { d, a, b, c, e: 0, immediate: flip }, Operation::Lanes(run)))
}

fn address_converted(lowering: &mut Lowering, i: &Instruction, between: &[&str]) -> Lowered {
    let to_space = between.contains(&"to");
    let Some(space) = between.iter().find_map(|word| space(word)) else { return fail(i, "a space is missing") };
    let kind = split(i).2;
    let width = width(kind);
    let d = destination(lowering, i, width)?;
    let a = lowering.row(operand(i, 1)?, width, i)?;
    let run = select::convert_address(space, if to_space { select::Way::ToSpace } else { select::Way::ToGeneric });
    if width != Width::Bits64 {
        return fail(i, "addresses have 64 bits");
    }
    Ok((Args { d, a, ..Args::default() }, Operation::Lanes(run)))
}

fn space_asked(lowering: &mut Lowering, i: &Instruction, kind: &str) -> Lowered {
    let Some(space) = space(kind) else { return fail(i, "a space is missing") };
    let d = lowering.predicate_destination(operand(i, 0)?, i)?;
    let a = lowering.row(operand(i, 1)?, Width::Bits64, i)?;
    Ok((Args { d, a, ..Args::default() }, Operation::Lanes(select::is_in_space(space))))
}

fn converted(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let words: Vec<&str> = i.opcode[1..].iter().map(String::as_str).collect();
    let Some(conversion) = convert::select(&words) else { return fail(i, "this conversion is not known") };
    let (d, own) = lowering.destination(operand(i, 0)?, i)?;
    let a = lowering.value(operand(i, 1)?, conversion.from, i)?;
    let b = match i.operands.get(2) {
        Some(second) => lowering.value(second, conversion.from, i)?.0,
        None => 0,
    };
    let Some(run) = conversion.run(own, a.1) else { return fail(i, "registers do not fit this conversion") };
    Ok((Args { d, a: a.0, b, immediate: conversion.code, ..Args::default() }, Operation::Lanes(run)))
}

fn logic_of_three(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let d = destination(lowering, i, Width::Bits32)?;
    let mut rows = [0; 3];
    for (index, row) in rows.iter_mut().enumerate() {
        *row = lowering.row(operand(i, index + 1)?, Width::Bits32, i)?;
    }
    let Operand::Integer(table) = operand(i, 4)? else { return fail(i, "the table is a constant") };
    let [a, b, c] = rows;
    Ok((Args { d, a, b, c, e: 0, immediate: *table as u32 }, Operation::Lanes(select::logic_of_three())))
}

fn predicate_logic(lowering: &mut Lowering, i: &Instruction, name: &str) -> Lowered {
    let d = lowering.predicate_destination(operand(i, 0)?, i)?;
    let (a, flip_a) = lowering.predicate(operand(i, 1)?, i)?;
    let (b, flip_b) = if name == "not" { (0, 0) } else { lowering.predicate(operand(i, 2)?, i)? };
    let run = match name {
        "and" => select::and_predicates(),
        "or" => select::or_predicates(),
        "xor" => select::xor_predicates(),
        _ => select::copy_predicate(),
    };
    let immediate = if name == "not" { !flip_a } else { flip_a & 1 | flip_b & 2 };
    Ok((Args { d, a, b, immediate, ..Args::default() }, Operation::Lanes(run)))
}

fn carried(lowering: &mut Lowering, i: &Instruction, name: &str, between: &[&str], kind: &str) -> Lowered {
    let part = between.first().copied().filter(|word| matches!(*word, "lo" | "hi"));
    let out = between.contains(&"cc");
    let Some((run, count)) = carry::select(name, part, kind) else { return fail(i, "this instruction is not known") };
    let width = width(kind);
    let d = destination(lowering, i, width)?;
    let mut rows = [0; 3];
    for (index, row) in rows.iter_mut().enumerate().take(count) {
        *row = lowering.row(operand(i, index + 1)?, width, i)?;
    }
    let [a, b, c] = rows;
    Ok((Args { d, a, b, c, e: CARRY, immediate: u32::from(out) }, Operation::Lanes(run)))
}

fn set(lowering: &mut Lowering, i: &Instruction, between: &[&str], kind: &str) -> Lowered {
    let (relation, flush, to) = match between {
        [relation, to] => (*relation, false, *to),
        [relation, "ftz", to] => (*relation, true, *to),
        _ => return fail(i, "this comparison is not known"),
    };
    let Some(run) = compare::select_set(relation, (to, kind), flush) else {
        return fail(i, "this comparison is not known");
    };
    let source = width(kind);
    let d = destination(lowering, i, width(to))?;
    let (a, b) = (lowering.row(operand(i, 1)?, source, i)?, lowering.row(operand(i, 2)?, source, i)?);
    Ok((Args { d, a, b, immediate: compare::code(relation), ..Args::default() }, Operation::Lanes(run)))
}

fn tested(lowering: &mut Lowering, i: &Instruction, between: &[&str], kind: &str) -> Lowered {
    let Some(run) = between.first().and_then(|what| compare::select_test(what, kind)) else {
        return fail(i, "this test is not known");
    };
    let d = lowering.predicate_destination(operand(i, 0)?, i)?;
    let a = lowering.row(operand(i, 1)?, width(kind), i)?;
    Ok((Args { d, a, b: a, ..Args::default() }, Operation::Lanes(run)))
}

/// A cache policy is a number that nothing here looks at.
fn created(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let d = destination(lowering, i, Width::Bits64)?;
    let a = lowering.fixed(Width::Bits64, super::program::Source::Bits(0));
    Ok((Args { d, a, ..Args::default() }, Operation::Lanes(select::copy_wide())))
}
