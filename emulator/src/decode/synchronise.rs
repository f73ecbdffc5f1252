//! Lowering of what lanes, warps and blocks do together.

use super::lower::{Lowered, Lowering, fail};
use super::program::{
    Address, BarrierKind, BlockVote, Mbarrier, MbarrierKind, Member, Operation, Shuffle, ShuffleKind, Source, Update,
    Vote, VoteKind,
};
use super::words::{operand, space, split};
use crate::exec::lanes::Args;
use crate::ptx::{Instruction, Operand, ParseError, Space, Width};

/// Lowers an instruction that synchronises or exchanges.
pub(super) fn lower(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    match i.opcode[0].as_str() {
        "bar" | "barrier" => barrier(lowering, i),
        "shfl" => shuffle(lowering, i),
        "vote" => vote(lowering, i),
        "match" => matched(lowering, i),
        "redux" => reduce(lowering, i),
        "elect" => elect(lowering, i),
        _ => mbarrier(lowering, i),
    }
}

fn member(lowering: &mut Lowering, operand: &Operand, i: &Instruction) -> Result<Member, ParseError> {
    Ok(match operand {
        Operand::Integer(mask) if *mask as u32 == !0 => Member::All,
        other => Member::Row(lowering.row(other, Width::Bits32, i)?),
    })
}

fn barrier(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let words: Vec<&str> = i.opcode.iter().map(String::as_str).filter(|word| *word != "cta").collect();
    match words.as_slice() {
        ["bar", "warp", "sync"] => {
            let member = member(lowering, operand(i, 0)?, i)?;
            return Ok((Args::default(), Operation::WarpBarrier(member)));
        }
        ["barrier", "cluster", ..] => return fail(i, "clusters are not supported"),
        [_, "sync" | "arrive" | "red", ..] => {}
        _ => return fail(i, "this barrier is not known"),
    }
    let aligned = words[0] == "bar" || words.contains(&"aligned");
    let reduces = words[1] == "red";
    let first = usize::from(reduces);
    let id = lowering.row(operand(i, first)?, Width::Bits32, i)?;
    let counted = i.operands.len() > first + 1 + usize::from(reduces);
    let count = if counted { Some(lowering.row(operand(i, first + 1)?, Width::Bits32, i)?) } else { None };
    let reduce = if reduces {
        let vote = match words.iter().find(|word| matches!(**word, "popc" | "and" | "or")) {
            Some(&"popc") => BlockVote::Count,
            Some(&"and") => BlockVote::And,
            _ => BlockVote::Or,
        };
        let (predicate, flip) = lowering.predicate(&i.operands[i.operands.len() - 1], i)?;
        let to = match vote {
            BlockVote::Count => lowering.destination(operand(i, 0)?, i)?.0,
            _ => lowering.predicate_destination(operand(i, 0)?, i)?,
        };
        Some((vote, predicate, flip, to))
    } else {
        None
    };
    let waits = words[1] != "arrive";
    Ok((Args::default(), Operation::Barrier(Box::new(BarrierKind { id, count, waits, aligned, reduce }))))
}

fn shuffle(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let kind = match i.opcode.get(2).map(String::as_str) {
        Some("up") => ShuffleKind::Up,
        Some("down") => ShuffleKind::Down,
        Some("bfly") => ShuffleKind::Butterfly,
        Some("idx") => ShuffleKind::Index,
        _ => return fail(i, "this shuffle is not known"),
    };
    if i.opcode.get(1).map(String::as_str) != Some("sync") {
        return fail(i, "shuffles without .sync are not supported");
    }
    let (to, valid) = match operand(i, 0)? {
        Operand::Pair(to, valid) => (to.as_ref(), Some(lowering.predicate_destination(valid, i)?)),
        single => (single, None),
    };
    let (d, _) = lowering.destination(to, i)?;
    let a = lowering.row(operand(i, 1)?, Width::Bits32, i)?;
    let b = lowering.row(operand(i, 2)?, Width::Bits32, i)?;
    let c = lowering.row(operand(i, 3)?, Width::Bits32, i)?;
    let member = member(lowering, operand(i, 4)?, i)?;
    Ok((Args { d, a, b, c, ..Args::default() }, Operation::Shuffle(Box::new(Shuffle { kind, member, valid }))))
}

fn vote(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let kind = match i.opcode.get(2).map(String::as_str) {
        Some("all") => VoteKind::All,
        Some("any") => VoteKind::Any,
        Some("uni") => VoteKind::Uniform,
        Some("ballot") => VoteKind::Ballot,
        _ => return fail(i, "this vote is not known"),
    };
    let (predicate, flip) = lowering.predicate(operand(i, 1)?, i)?;
    let member = member(lowering, operand(i, 2)?, i)?;
    let d = match kind {
        VoteKind::Ballot => lowering.destination(operand(i, 0)?, i)?.0,
        _ => lowering.predicate_destination(operand(i, 0)?, i)?,
    };
    Ok((Args { d, ..Args::default() }, Operation::Vote(Box::new(Vote { kind, member, predicate, flip }))))
}

fn matched(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let wide = i.opcode.last().is_some_and(|kind| kind == "b64");
    let everyone = i.opcode.get(1).is_some_and(|word| word == "all");
    let (to, all) = match operand(i, 0)? {
        Operand::Pair(to, all) => (to.as_ref(), Some(lowering.predicate_destination(all, i)?)),
        single if everyone => (single, Some(lowering.new_row(Width::Predicate))),
        single => (single, None),
    };
    let (d, _) = lowering.destination(to, i)?;
    let a = lowering.row(operand(i, 1)?, if wide { Width::Bits64 } else { Width::Bits32 }, i)?;
    let member = member(lowering, operand(i, 2)?, i)?;
    Ok((Args { d, a, ..Args::default() }, Operation::Match { member, all, wide }))
}

fn reduce(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let update = match (i.opcode.get(2).map(String::as_str), i.opcode.last().map(String::as_str)) {
        (Some("add"), Some("u32" | "s32")) => Update::Add,
        (Some("min"), Some("u32")) => Update::MinU,
        (Some("max"), Some("u32")) => Update::MaxU,
        (Some("min"), Some("s32")) => Update::MinS,
        (Some("max"), Some("s32")) => Update::MaxS,
        (Some("and"), Some("b32")) => Update::And,
        (Some("or"), Some("b32")) => Update::Or,
        (Some("xor"), Some("b32")) => Update::Xor,
        _ => return fail(i, "this reduction is not known"),
    };
    let (d, _) = lowering.destination(operand(i, 0)?, i)?;
    let a = lowering.row(operand(i, 1)?, Width::Bits32, i)?;
    let member = member(lowering, operand(i, 2)?, i)?;
    Ok((Args { d, a, ..Args::default() }, Operation::Reduce { member, update }))
}

fn elect(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let Operand::Pair(to, elected) = operand(i, 0)? else { return fail(i, "a destination and a predicate are due") };
    let (d, _) = lowering.destination(to, i)?;
    let e = lowering.predicate_destination(elected, i)?;
    let member = member(lowering, operand(i, 1)?, i)?;
    Ok((Args { d, e, ..Args::default() }, Operation::Elect(member)))
}

/// `cp.async.mbarrier.arrive`.
pub(super) fn arrive_on_copies(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let kind = if i.opcode.iter().any(|word| word == "noinc") {
        MbarrierKind::ArriveOnCopies
    } else {
        MbarrierKind::ArriveOnCopiesCounted
    };
    let address = shared_address(lowering, i, 0)?;
    finish(Mbarrier { address, kind, operand: None, to: None })
}

fn finish(mbarrier: Mbarrier) -> Lowered {
    Ok((Args::default(), Operation::Mbarrier(Box::new(mbarrier))))
}

fn shared_address(lowering: &mut Lowering, i: &Instruction, index: usize) -> Result<Address, ParseError> {
    let space = i.opcode.iter().find_map(|word| space(word)).unwrap_or(Space::Generic);
    lowering.address(operand(i, index)?, space, i)
}

fn mbarrier(lowering: &mut Lowering, i: &Instruction) -> Lowered {
    let (_, between, _) = split(i);
    let has = |word: &str| between.contains(&word);
    let number = |lowering: &mut Lowering, index: usize| -> Result<Option<u32>, ParseError> {
        i.operands.get(index).map(|operand| lowering.row(operand, Width::Bits32, i)).transpose()
    };
    let what = *between.first().unwrap_or(&"");
    match what {
        "init" => {
            let (address, operand) = (shared_address(lowering, i, 0)?, number(lowering, 1)?);
            finish(Mbarrier { address, kind: MbarrierKind::Initialise, operand, to: None })
        }
        "inval" => {
            let address = shared_address(lowering, i, 0)?;
            finish(Mbarrier { address, kind: MbarrierKind::Invalidate, operand: None, to: None })
        }
        "expect_tx" | "complete_tx" => {
            let kind = if what == "expect_tx" { MbarrierKind::ExpectBytes } else { MbarrierKind::CompleteBytes };
            let (address, operand) = (shared_address(lowering, i, 0)?, number(lowering, 1)?);
            finish(Mbarrier { address, kind, operand, to: None })
        }
        "arrive" | "arrive_drop" => {
            let kind = match (what, has("expect_tx")) {
                ("arrive", true) => MbarrierKind::ArriveExpectBytes,
                ("arrive", false) => MbarrierKind::Arrive,
                (_, false) => MbarrierKind::ArriveDrop,
                _ => return fail(i, "dropping and expecting bytes at once is not supported"),
            };
            let returns = !matches!(operand(i, 0)?, Operand::Address(..));
            let to = match operand(i, 0)? {
                Operand::Register(_) => Some(lowering.destination(operand(i, 0)?, i)?.0),
                _ => None,
            };
            let first = usize::from(returns);
            let (address, operand) = (shared_address(lowering, i, first)?, number(lowering, first + 1)?);
            finish(Mbarrier { address, kind, operand, to })
        }
        "test_wait" | "try_wait" => {
            let parity = has("parity");
            let to = Some(lowering.predicate_destination(operand(i, 0)?, i)?);
            let address = shared_address(lowering, i, 1)?;
            let width = if parity { Width::Bits32 } else { Width::Bits64 };
            let state = Some(lowering.row(operand(i, 2)?, width, i)?);
            let kind = if parity { MbarrierKind::TestParity } else { MbarrierKind::TestState };
            finish(Mbarrier { address, kind, operand: state, to })
        }
        "pending_count" => {
            let (to, _) = lowering.destination(operand(i, 0)?, i)?;
            let state = Some(lowering.row(operand(i, 1)?, Width::Bits64, i)?);
            // It has no address; its operand is all there is.
            let row = lowering.fixed(Width::Bits64, Source::Bits(0));
            let address = Address { space: Space::Shared, row, wide: true, offset: 0 };
            finish(Mbarrier { address, kind: MbarrierKind::PendingCount, operand: state, to: Some(to) })
        }
        _ => fail(i, "this operation of an mbarrier is not known"),
    }
}
