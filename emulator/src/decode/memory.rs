//! Lowering of what touches memory, and of matrix multiply-adds.

use super::lower::{Lowered, Lowering, fail};
use super::program::{Address, Atomic, Copy, Load, MatrixMove, Operation, Store, Update};
use super::words::{bytes, operand, space, split, width};
use crate::exec::lanes::Args;
use crate::exec::mma;
use crate::exec::select;
use crate::ptx::{Instruction, Operand, ParseError, Space, Width};

/// Lowers an instruction that touches memory.
pub(super) fn lower(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    match i.opcode[0].as_str() {
        "ld" | "ldu" => load(lowering, i),
        "st" => store(lowering, i),
        "atom" | "red" => atomic(lowering, i),
        "cp" => copy(lowering, i),
        "ldmatrix" | "stmatrix" => matrix(lowering, i),
        _ => multiply(lowering, i),
    }
}

fn space_of(between: &[&str]) -> Space {
    between.iter().find_map(|word| space(word)).unwrap_or(Space::Generic)
}

/// Words that say how an access orders others.
fn has_order(between: &[&str]) -> bool {
    between.iter().any(|word| matches!(*word, "volatile" | "relaxed" | "acquire" | "release" | "mmio" | "acq_rel"))
}

/// Words that make an access tell others of what was done before it.
fn releases(between: &[&str]) -> bool {
    between.iter().any(|word| matches!(*word, "release" | "acq_rel"))
}

fn count(between: &[&str]) -> usize {
    between.iter().find_map(|word| word.strip_prefix('v')?.parse().ok()).unwrap_or(1)
}

/// Words that an access may have and that mean nothing here.
fn is_hint(word: &str) -> bool {
    let cache = matches!(word, "ca" | "cg" | "cs" | "cv" | "lu" | "wb" | "wt" | "nc" | "weak" | "unified");
    let scope = matches!(word, "cta" | "cluster" | "gpu" | "sys");
    cache || scope || word.contains("::")
}

/// The words that are neither hints nor anything that was looked at: there must be none.
fn check_words(i: &Instruction, between: &[&str]) -> Result<(), ParseError> {
    let vector = |word: &str| matches!(word, "v2" | "v4" | "v8");
    let known = |word: &&&str| is_hint(word) || space(word).is_some() || has_order(&[**word]) || vector(word);
    match between.iter().find(|word| !known(word)) {
        Some(word) => fail(i, format!("`.{word}` is not known here")),
        None => Ok(()),
    }
}

/// Remembers how narrow accesses are.
fn note_width(lowering: &mut Lowering, space: Space, total: u32) {
    let granules = &mut lowering.program.granules;
    if matches!(space, Space::Global | Space::Generic | Space::Const) {
        granules.global = granules.global.min(total);
    }
    if matches!(space, Space::Shared | Space::Generic) {
        granules.shared = granules.shared.min(total);
    }
}

fn load(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let (_, between, kind) = split(i);
    check_words(i, &between)?;
    let (space, lanes) = (space_of(&between), count(&between));
    let Some(element) = bytes(kind).filter(|&bytes| bytes <= 8) else { return fail(i, "this type is not supported") };
    let targets: Vec<&Operand> = match operand(i, 0)? {
        Operand::Vector(parts) => parts.iter().collect(),
        single => vec![single],
    };
    if targets.len() != lanes {
        return fail(i, format!("{} destinations, {lanes} are due", targets.len()));
    }
    let mut to = Vec::new();
    for target in targets {
        to.push(match target {
            Operand::Sink => None,
            register => {
                let (row, width) = lowering.destination(register, i)?;
                Some((row, width == Width::Bits64))
            }
        });
    }
    if let (Space::Param, &[Some((d, wide))]) = (space, to.as_slice()) {
        let width = if wide { Width::Bits64 } else { Width::Bits32 };
        if let Some(a) = lowering.parameter(operand(i, 1)?, kind, width) {
            let run = if wide { select::copy_wide() } else { select::copy_narrow() };
            return Ok((Args { d, a, ..Args::default() }, Operation::Lanes(run)));
        }
    }
    let address = lowering.address(operand(i, 1)?, space, i)?;
    note_width(lowering, address.space, element * lanes as u32);
    let strong = has_order(&between);
    if strong && matches!(space, Space::Global | Space::Generic) {
        lowering.program.order.sensitive = true;
    }
    let load = Load { address, element, signed: kind.starts_with('s'), to, strong };
    Ok((Args::default(), Operation::Load(Box::new(load))))
}

fn store(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let (_, between, kind) = split(i);
    check_words(i, &between)?;
    let (space, lanes) = (space_of(&between), count(&between));
    let Some(element) = bytes(kind).filter(|&bytes| bytes <= 8) else { return fail(i, "this type is not supported") };
    let sources: Vec<&Operand> = match operand(i, 1)? {
        Operand::Vector(parts) => parts.iter().collect(),
        single => vec![single],
    };
    if sources.len() != lanes {
        return fail(i, format!("{} sources, {lanes} are due", sources.len()));
    }
    let mut from = Vec::new();
    for source in sources {
        from.push(lowering.value(source, width(kind), i)?);
    }
    let address = lowering.address(operand(i, 0)?, space, i)?;
    note_width(lowering, address.space, element * lanes as u32);
    let (strong, releases) = (has_order(&between), releases(&between));
    if strong && matches!(space, Space::Global | Space::Generic) {
        lowering.program.order.sensitive = true;
    }
    Ok((Args::default(), Operation::Store(Box::new(Store { address, element, from, strong, releases }))))
}

/// The update of an opcode's word and type.
pub(crate) fn update(word: &str, kind: &str) -> Option<Update> {
    Some(match (word, kind) {
        ("exch", "b32" | "b64") => Update::Exchange,
        ("cas", "b16" | "b32" | "b64") => Update::Swap,
        ("add", "u32" | "s32" | "u64" | "s64") => Update::Add,
        ("add", "f32") => Update::AddF32,
        ("add", "f64") => Update::AddF64,
        ("add", "f16") => Update::AddF16,
        ("add", "bf16") => Update::AddBf16,
        ("add", "f16x2") => Update::AddF16x2,
        ("add", "bf16x2") => Update::AddBf16x2,
        ("inc", "u32") => Update::Increment,
        ("dec", "u32") => Update::Decrement,
        ("and", "b32" | "b64") => Update::And,
        ("or", "b32" | "b64") => Update::Or,
        ("xor", "b32" | "b64") => Update::Xor,
        ("min", "u32" | "u64") => Update::MinU,
        ("max", "u32" | "u64") => Update::MaxU,
        ("min", "s32" | "s64") => Update::MinS,
        ("max", "s32" | "s64") => Update::MaxS,
        _ => return None,
    })
}

fn atomic(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let (name, between, kind) = split(i);
    let reduces = name == "red";
    let word = between.iter().find(|word| update(word, kind).is_some());
    let Some(update) = word.and_then(|word| update(word, kind)) else { return fail(i, "this update is not known") };
    let rest: Vec<&str> = between.iter().copied().filter(|w| Some(w) != word && *w != "noftz").collect();
    check_words(i, &rest)?;
    if count(&between) != 1 {
        return fail(i, "updates of vectors are not supported");
    }
    let space = space_of(&between);
    let wide = width(kind) == Width::Bits64;
    let first = usize::from(!reduces);
    let to = match operand(i, 0)? {
        _ if reduces => None,
        Operand::Sink => None,
        register => Some(lowering.destination(register, i)?.0).filter(|_| !lowering.is_dead_here()),
    };
    let address = lowering.address(operand(i, first)?, space, i)?;
    let operand_row = lowering.row(operand(i, first + 1)?, width(kind), i)?;
    let swap = match update {
        Update::Swap => lowering.row(operand(i, first + 2)?, width(kind), i)?,
        _ => 0,
    };
    let element = bytes(kind).unwrap_or(4);
    note_width(lowering, space, element);
    note_order(lowering, space, update, to.is_some());
    let releases = releases(&between);
    let atomic = Atomic { address, element, update, to, wide, operand: operand_row, swap, releases };
    Ok((Args::default(), Operation::Atomic(Box::new(atomic))))
}

/// Integer sums and the like come out the same in any order, unless somebody looks at what was there before.
fn note_order(lowering: &mut Lowering, space: Space, update: Update, returns: bool) {
    let order = &mut lowering.program.order;
    let rounds = matches!(
        update,
        Update::AddF32 | Update::AddF64 | Update::AddF16 | Update::AddBf16 | Update::AddF16x2 | Update::AddBf16x2
    );
    let picks = matches!(update, Update::Exchange | Update::Swap | Update::Increment | Update::Decrement);
    if space != Space::Shared && (rounds || picks || returns) {
        order.sensitive = true;
    }
    if update == Update::Swap {
        order.swaps_global |= space != Space::Shared;
        order.swaps_shared |= space != Space::Global;
    }
}

fn copy(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let words: Vec<&str> = i.opcode.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cp", "async", "commit_group"] => return Ok((Args::default(), Operation::CommitCopies)),
        ["cp", "async", "wait_all"] => return Ok((Args::default(), Operation::WaitAllCopies)),
        ["cp", "async", "wait_group"] => {
            let Operand::Integer(groups) = operand(i, 0)? else { return fail(i, "the number of groups is a constant") };
            return Ok((Args::default(), Operation::WaitCopies(*groups as u32)));
        }
        ["cp", "async", "mbarrier", ..] => return super::synchronise::arrive_on_copies(lowering, i),
        ["cp", "async", "ca" | "cg", "shared" | "shared::cta", "global", hints @ ..]
            if hints.iter().all(|hint| is_hint(hint)) => {}
        _ => return fail(i, "this copy is not known"),
    }
    let to = lowering.address(operand(i, 0)?, Space::Shared, i)?;
    let from = lowering.address(operand(i, 1)?, Space::Global, i)?;
    let Operand::Integer(bytes) = operand(i, 2)? else { return fail(i, "the number of bytes is a constant") };
    let bytes = *bytes as u32;
    if !matches!(bytes, 4 | 8 | 16) {
        return fail(i, "4, 8 or 16 bytes are copied");
    }
    let hinted = words.iter().any(|word| word.ends_with("cache_hint"));
    let last = i.operands.len() - usize::from(hinted);
    let (mut valid, mut ignore) = (None, None);
    if let Some(third) = i.operands[..last].get(3) {
        match third {
            Operand::Register(register) if lowering.width(*register) == Width::Predicate => {
                ignore = Some(lowering.predicate(third, i)?);
            }
            Operand::Not(_) => ignore = Some(lowering.predicate(third, i)?),
            value => valid = Some(lowering.row(value, Width::Bits32, i)?),
        }
    }
    note_width(lowering, Space::Shared, bytes);
    // What is read may end anywhere in the sixteen bytes; elements have two bytes at the least.
    note_width(lowering, Space::Global, if valid.is_some() { 2 } else { bytes });
    Ok((Args::default(), Operation::Copy(Box::new(Copy { to, from, bytes, valid, ignore }))))
}

fn matrix(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let words: Vec<&str> = i.opcode[1..].iter().map(String::as_str).collect();
    let known = |word: &&str| {
        matches!(*word, "sync" | "aligned" | "m8n8" | "x1" | "x2" | "x4" | "trans" | "shared" | "shared::cta" | "b16")
    };
    if let Some(other) = words.iter().find(|word| !known(word)) {
        return fail(i, format!("`.{other}` is not supported here"));
    }
    let stores = i.opcode[0] == "stmatrix";
    let (address, registers) = if stores { (operand(i, 0)?, operand(i, 1)?) } else { (operand(i, 1)?, operand(i, 0)?) };
    let space = words.iter().find_map(|word| space(word)).unwrap_or(Space::Generic);
    let address: Address = lowering.address(address, space, i)?;
    let parts: Vec<&Operand> = match registers {
        Operand::Vector(parts) => parts.iter().collect(),
        single => vec![single],
    };
    let wanted = words.iter().find_map(|word| word.strip_prefix('x')?.parse().ok()).unwrap_or(1);
    if parts.len() != wanted {
        return fail(i, format!("{} registers, {wanted} are due", parts.len()));
    }
    let mut rows = Vec::new();
    for part in parts {
        rows.push(if stores { lowering.row(part, Width::Bits32, i)? } else { lowering.destination(part, i)?.0 });
    }
    note_width(lowering, Space::Shared, 16);
    let mover = Box::new(MatrixMove { address, transposed: words.contains(&"trans"), rows });
    Ok((Args::default(), if stores { Operation::StoreMatrix(mover) } else { Operation::LoadMatrix(mover) }))
}

fn multiply(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let words: Vec<&str> = i.opcode[1..].iter().map(String::as_str).collect();
    let Some(shape) = mma::Shape::of(&words) else { return fail(i, "this shape or type is not supported") };
    let mut rows: [Vec<u32>; 4] = Default::default();
    for (index, rows) in rows.iter_mut().enumerate() {
        let parts: Vec<&Operand> = match operand(i, index)? {
            Operand::Vector(parts) => parts.iter().collect(),
            single => vec![single],
        };
        if parts.len() != shape.registers()[index] {
            return fail(i, format!("{} registers, {} are due", parts.len(), shape.registers()[index]));
        }
        for part in parts {
            rows.push(match index {
                0 => lowering.destination(part, i)?.0,
                _ => lowering.row(part, Width::Bits32, i)?,
            });
        }
    }
    let [d, a, b, c] = rows;
    Ok((Args::default(), Operation::Mma(Box::new(mma::Mma { shape, d, a, b, c }))))
}
