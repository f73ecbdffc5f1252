//! Barriers of parts of a block, reductions over blocks, mbarriers, atomics, grids that wait.

use super::harness::{Host, Param, line};
use crate::check::Kind;
use crate::exec::{Cooperation, Settings};

fn wide(address: u64) -> [Param; 4] {
    [Param::Wide(address), Param::Wide(0), Param::Wide(0), Param::Wide(0)]
}

#[test]
fn a_producer_and_a_consumer_with_barriers_of_their_own() {
    // Warp 0 fills the tile and arrives at barrier 1 without waiting; warp 1 waits there and reads. Back through barrier 2.
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; and.b32 %r1,%r0,31; mul.lo.u32 %r2,%r1,4; mov.u32 %r3,tile; add.u32 %r4,%r3,%r2; ld.param.u64 %rd1,[a]; \
         mul.wide.u32 %rd2,%r1,4; add.s64 %rd1,%rd1,%rd2; mov.u32 %r5,0; mov.u32 %r20,0; setp.lt.u32 %p1,%r0,32; @!%p1 bra CONSUME; \
         PRODUCE: setp.eq.u32 %p2,%r5,0; @%p2 bra FIRST; bar.sync 2,64; FIRST: mad.lo.u32 %r6,%r5,100,%r1; st.shared.u32 [%r4],%r6; \
         bar.arrive 1,64; add.u32 %r5,%r5,1; setp.lt.u32 %p2,%r5,4; @%p2 bra PRODUCE; bra END; \
         CONSUME: bar.sync 1,64; xor.b32 %r7,%r4,4; ld.shared.u32 %r6,[%r7]; add.u32 %r20,%r20,%r6; setp.eq.u32 %p2,%r5,3; \
         @%p2 bra OUT; bar.arrive 2,64; OUT: add.u32 %r5,%r5,1; setp.lt.u32 %p2,%r5,4; @%p2 bra CONSUME; \
         st.global.u32 [%rd1],%r20; END:",
    );
    let a = host.upload(&[0u32; 32]);
    host.run("k", line(1, 64), &wide(a)).unwrap_or_else(|report| panic!("{report}"));
    let expected: Vec<u32> = (0..32u32).map(|i| 4 * (i ^ 1) + 600).collect();
    assert_eq!(host.download::<u32>(a, 32), expected);
}

#[test]
fn reductions_over_a_block() {
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; setp.lt.u32 %p1,%r0,40; bar.red.popc.u32 %r1,0,%p1; bar.red.and.pred %p2,0,%p1; bar.red.or.pred %p3,0,%p1; \
         selp.u32 %r2,1000,0,%p2; selp.u32 %r3,2000,0,%p3; add.u32 %r1,%r1,%r2; add.u32 %r1,%r1,%r3; ld.param.u64 %rd1,[a]; \
         mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; st.global.u32 [%rd1],%r1;",
    );
    let a = host.upload(&[0u32; 64]);
    host.run("k", line(1, 64), &wide(a)).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(host.download::<u32>(a, 64), vec![2040; 64]);
}

#[test]
fn an_mbarrier_hands_a_tile_over() {
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; mul.lo.u32 %r2,%r0,4; mov.u32 %r3,tile; add.u32 %r4,%r3,%r2; setp.eq.u32 %p1,%r0,0; \
         @%p1 mbarrier.init.shared::cta.b64 [tile+1024],64; bar.sync 0; st.shared.u32 [%r4],%r0; \
         mbarrier.arrive.shared::cta.b64 %rd5,[tile+1024]; \
         WAIT: mbarrier.try_wait.shared::cta.b64 %p2,[tile+1024],%rd5; @!%p2 bra WAIT; \
         xor.b32 %r5,%r4,128; ld.shared.u32 %r6,[%r5]; ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; \
         st.global.u32 [%rd1],%r6;",
    );
    let a = host.upload(&[0u32; 64]);
    host.run("k", line(1, 64), &wide(a)).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(host.download::<u32>(a, 64), (0..64).map(|i| i ^ 32).collect::<Vec<u32>>());
}

#[test]
fn atomics_of_every_kind() {
    let one = |op: &str, initial: u32, f: &dyn Fn(u32, u32) -> u32| {
        let host = Host::of_body(&format!(
            "mov.u32 %r0,%tid.x; add.u32 %r0,%r0,3; ld.param.u64 %rd1,[a]; red.global.{op} [%rd1],%r0;"
        ));
        let a = host.upload(&[initial]);
        host.run("k", line(2, 32), &wide(a)).unwrap_or_else(|report| panic!("{op}: {report}"));
        let expected = (0..64).fold(initial, |old, i| f(old, i % 32 + 3));
        assert_eq!(host.download::<u32>(a, 1)[0], expected, "{op}");
    };
    one("add.u32", 5, &|a, b| a.wrapping_add(b));
    one("min.s32", 7, &|a, b| (a as i32).min(b as i32) as u32);
    one("max.u32", 7, &|a, b| a.max(b));
    one("and.b32", !0, &|a, b| a & b);
    one("or.b32", 0, &|a, b| a | b);
    one("xor.b32", 0, &|a, b| a ^ b);
    one("inc.u32", 2, &|a, b| if a >= b { 0 } else { a + 1 });
    one("dec.u32", 9, &|a, b| if a == 0 || a > b { b } else { a - 1 });
    // As floats these numbers are subnormal, which global memory flushes.
    one("add.f32", 0, &|_, _| 0);
}

#[test]
fn a_loop_of_compare_and_swap() {
    let host = Host::of_body(
        "ld.param.u64 %rd1,[a]; ld.global.u32 %r1,[%rd1]; L: mov.u32 %r2,%r1; add.u32 %r3,%r2,2; \
         atom.global.cas.b32 %r1,[%rd1],%r2,%r3; setp.ne.u32 %p1,%r1,%r2; @%p1 bra L;",
    );
    let a = host.upload(&[0u32]);
    host.run("k", line(3, 64), &wide(a)).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(host.download::<u32>(a, 1), [384]);
}

#[test]
fn a_grid_that_waits_for_itself() {
    // Each block writes, counts, waits until all have counted, and reads its neighbour's.
    let mut host = Host::of_body(
        "mov.u32 %r0,%tid.x; mov.u32 %r1,%ctaid.x; mov.u32 %r2,%nctaid.x; ld.param.u64 %rd1,[a]; ld.param.u64 %rd2,[b]; \
         mul.wide.u32 %rd3,%r1,4; add.s64 %rd4,%rd2,%rd3; setp.ne.u32 %p1,%r0,0; @%p1 bra JOIN; mul.lo.u32 %r3,%r1,7; st.global.u32 [%rd4],%r3; \
         membar.gl; atom.global.add.u32 %r4,[%rd1],1; WAIT: ld.volatile.global.u32 %r5,[%rd1]; setp.lt.u32 %p2,%r5,%r2; @%p2 bra WAIT; \
         membar.gl; JOIN: bar.sync 0; @%p1 bra END; add.u32 %r6,%r1,1; rem.u32 %r6,%r6,%r2; mul.wide.u32 %rd5,%r6,4; add.s64 %rd5,%rd2,%rd5; \
         ld.global.u32 %r7,[%rd5]; ld.param.u64 %rd6,[c]; add.s64 %rd6,%rd6,%rd3; st.global.u32 [%rd6],%r7; END:",
    );
    for seed in 0..3 {
        host.settings = Settings { seed, ..Settings::default() };
        let (a, b, c) = (host.upload(&[0u32]), host.upload(&[0u32; 6]), host.upload(&[0u32; 6]));
        let params = [Param::Wide(a), Param::Wide(b), Param::Wide(c), Param::Wide(0)];
        host.run_as("k", line(6, 64), &params, Cooperation::Grid).unwrap_or_else(|report| panic!("{report}"));
        assert_eq!(host.download::<u32>(c, 6), [7, 14, 21, 28, 35, 0]);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let body = "mov.u32 %r0,%tid.x; mov.u32 %r1,%ctaid.x; mad.lo.u32 %r2,%r1,32,%r0; cvt.rn.f32.u32 %f1,%r2; rcp.rn.f32 %f1,%f1; \
        ld.param.u64 %rd1,[a]; red.global.add.f32 [%rd1],%f1;";
    let run = |threads| {
        let mut host = Host::of_body(body);
        host.settings = Settings { threads, ..Settings::default() };
        let a = host.upload(&[0f32]);
        let params = wide(a);
        let shifted = host.run("k", line(40, 32), &params);
        (host.download::<f32>(a, 1)[0].to_bits(), shifted.unwrap().to_json())
    };
    assert_eq!(run(1), run(4));
}

/// Runs a body that leaves its result in `%r20` on one thread, or on so many.
fn result(body: &str, threads: u32) -> Vec<u32> {
    let host = Host::of_body(&format!(
        "mov.u32 %r0,%tid.x; {body} ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; st.global.u32 [%rd1],%r20;"
    ));
    let a = host.upload(&vec![0u32; threads as usize]);
    host.run("k", line(1, threads), &wide(a)).unwrap_or_else(|report| panic!("{body}: {report}"));
    host.download(a, threads as usize)
}

/// Whether phase 0 is over, after a body on an mbarrier for three arrivals.
fn first_phase_is_over(body: &str) -> bool {
    let test = "mbarrier.test_wait.parity.shared.b64 %p1,[tile],0; selp.u32 %r20,1,0,%p1;";
    result(&format!("mbarrier.init.shared.b64 [tile],3; {body} {test}"), 1) == [1]
}

#[test]
fn arrivals_end_a_phase() {
    const ARRIVE: &str = "mbarrier.arrive.shared.b64 %rd5,[tile];";
    assert!(!first_phase_is_over(&format!("{ARRIVE} {ARRIVE}")));
    assert!(first_phase_is_over(&format!("{ARRIVE} {ARRIVE} {ARRIVE}")));
    assert!(first_phase_is_over("mbarrier.arrive.shared.b64 _,[tile],3;"));
    assert!(first_phase_is_over(&format!("{ARRIVE} mbarrier.arrive.release.cta.shared::cta.b64 %rd5,[tile],2;")));
    // Who drops out arrives, and is not waited for again.
    const DROP: &str = "mbarrier.arrive_drop.shared.b64 %rd5,[tile];";
    assert!(!first_phase_is_over(&format!("{DROP} {ARRIVE}")));
    assert!(first_phase_is_over(&format!("{DROP} {DROP} {ARRIVE}")));
    assert!(first_phase_is_over("mbarrier.arrive_drop.shared.b64 %rd5,[tile],2; mbarrier.arrive.shared.b64 _,[tile];"));
    let second = "mbarrier.init.shared.b64 [tile],3; mbarrier.arrive_drop.shared.b64 %rd5,[tile],2; mbarrier.arrive.shared.b64 %rd5,[tile]; \
        mbarrier.arrive.shared.b64 %rd5,[tile]; mbarrier.test_wait.shared.b64 %p1,[tile],%rd5; selp.u32 %r20,1,0,%p1;";
    assert_eq!(result(second, 1), [1]);
}

#[test]
fn bytes_that_are_expected_hold_a_phase_up() {
    const ARRIVE: &str = "mbarrier.arrive.shared.b64 _,[tile],3;";
    const EXPECT: &str = "mbarrier.expect_tx.relaxed.cta.shared.b64 [tile],64;";
    assert!(!first_phase_is_over(&format!("{EXPECT} {ARRIVE}")));
    assert!(first_phase_is_over(&format!("{EXPECT} {ARRIVE} mbarrier.complete_tx.relaxed.cta.shared.b64 [tile],64;")));
    let both = "mbarrier.arrive.shared.b64 _,[tile],2; mbarrier.arrive.expect_tx.shared.b64 _,[tile],16;";
    assert!(!first_phase_is_over(both));
    assert!(first_phase_is_over(&format!("{both} mbarrier.complete_tx.shared.b64 [tile],16;")));
}

#[test]
fn a_state_knows_its_phase_and_what_was_lacking() {
    let body = "mbarrier.init.shared.b64 [tile],5; mbarrier.arrive.noComplete.shared.b64 %rd5,[tile],3; mbarrier.pending_count.b64 %r5,%rd5; \
        mbarrier.arrive.shared.b64 %rd6,[tile]; mbarrier.pending_count.b64 %r6,%rd6; mbarrier.test_wait.shared.b64 %p1,[tile],%rd6; \
        selp.u32 %r7,1000,0,%p1; mbarrier.arrive.shared.b64 %rd7,[tile]; mbarrier.test_wait.shared.b64 %p2,[tile],%rd6; selp.u32 %r8,2000,0,%p2; \
        mbarrier.try_wait.shared.b64 %p3,[tile],%rd5; selp.u32 %r9,4000,0,%p3; \
        mad.lo.u32 %r20,%r5,10,%r6; add.u32 %r20,%r20,%r7; add.u32 %r20,%r20,%r8; add.u32 %r20,%r20,%r9;";
    // Five were lacking before the first arrival and two before the second; the phase ends with the last.
    assert_eq!(result(body, 1), [52 + 2000 + 4000]);
}

#[test]
fn an_mbarrier_that_is_no_more_is_an_error() {
    let run = |body: &str| {
        let host = Host::of_body(body);
        host.run("k", line(1, 1), &wide(0)).map(|_| ()).map_err(|report| report.fault.kind)
    };
    assert_eq!(
        run("mbarrier.init.shared.b64 [tile],1; mbarrier.inval.shared.b64 [tile]; st.shared.u64 [tile],7;"),
        Ok(())
    );
    let after = run(
        "mbarrier.init.shared.b64 [tile],1; mbarrier.inval.shared.b64 [tile]; mbarrier.arrive.shared.b64 %rd5,[tile];",
    );
    assert_eq!(after, Err(Kind::InvalidOperation));
    assert_eq!(
        run("mbarrier.init.shared.b64 [tile],1; mbarrier.arrive.shared.b64 _,[tile],2;"),
        Err(Kind::InvalidOperation)
    );
}

#[test]
fn copies_arrive_at_an_mbarrier() {
    // Two arrivals are due: the thread's own, and that of its copies, which is added to the count unless it was counted before.
    let copied = |count: u32, arrive: &str| {
        let host = Host::of_body(&format!(
            "ld.param.u64 %rd1,[a]; mbarrier.init.shared.b64 [tile+64],{count}; cp.async.ca.shared.global [tile],[%rd1],8; \
             {arrive} mbarrier.arrive.shared.b64 %rd5,[tile+64]; \
             W: mbarrier.try_wait.shared.b64 %p1,[tile+64],%rd5; @!%p1 bra W; ld.shared.u64 %rd6,[tile]; st.global.u64 [%rd1+8],%rd6;"
        ));
        let a = host.upload(&[7u64, 0]);
        host.run("k", line(1, 1), &wide(a)).unwrap_or_else(|report| panic!("{arrive}: {report}"));
        assert_eq!(host.download::<u64>(a, 2), [7, 7]);
    };
    copied(2, "cp.async.mbarrier.arrive.noinc.shared.b64 [tile+64];");
    copied(1, "cp.async.mbarrier.arrive.shared.b64 [tile+64];");
}

#[test]
fn copies_of_every_size() {
    let copied = |copy: &str| {
        let host = Host::of_body(&format!(
            "ld.param.u64 %rd1,[a]; mov.u32 %r1,3; setp.eq.u32 %p1,%r1,3; st.shared.v2.u64 [tile],{{-1,-1}}; {copy} cp.async.commit_group; \
             cp.async.wait_group 0; ld.shared.v2.u64 {{%rd2,%rd3}},[tile]; st.global.v2.u64 [%rd1],{{%rd2,%rd3}};"
        ));
        let a = host.upload(&[0x0807_0605_0403_0201u64, 0x100f_0e0d_0c0b_0a09]);
        host.run("k", line(1, 1), &wide(a)).unwrap_or_else(|report| panic!("{copy}: {report}"));
        host.download::<u64>(a, 2)
    };
    assert_eq!(copied("cp.async.ca.shared.global [tile],[%rd1],4;"), [0xffff_ffff_0403_0201, !0]);
    assert_eq!(copied("cp.async.ca.shared::cta.global [tile],[%rd1+8],8;"), [0x100f_0e0d_0c0b_0a09, !0]);
    assert_eq!(copied("cp.async.cg.shared.global [tile],[%rd1],16;"), [0x0807_0605_0403_0201, 0x100f_0e0d_0c0b_0a09]);
    assert_eq!(copied("cp.async.cg.shared.global.L2::128B [tile],[%rd1],16,%r1;"), [0x03_0201, 0]);
    assert_eq!(copied("cp.async.ca.shared.global [tile],[%rd1],8,%p1;"), [0, !0]);
    assert_eq!(copied("cp.async.ca.shared.global [tile],[%rd1],8,!%p1;"), [0x0807_0605_0403_0201, !0]);
}

#[test]
fn barriers_by_other_names() {
    let exchange = |barrier: &str| {
        let body = format!(
            "mov.u32 %r3,tile; mad.lo.u32 %r1,%r0,4,%r3; st.shared.u32 [%r1],%r0; {barrier} xor.b32 %r2,%r0,32; \
             mad.lo.u32 %r2,%r2,4,%r3; ld.shared.u32 %r20,[%r2];"
        );
        assert_eq!(result(&body, 64), (0..64).map(|i| i ^ 32).collect::<Vec<u32>>(), "{barrier}");
    };
    exchange("bar.sync 0;");
    exchange("bar.cta.sync 3,64;");
    exchange("barrier.sync 0;");
    exchange("barrier.sync.aligned 5,64;");
    exchange("barrier.cta.sync.aligned 0;");
    exchange("mov.u32 %r5,7; mov.u32 %r6,64; barrier.cta.sync %r5,%r6;");
    let votes = "setp.lt.u32 %p1,%r0,40; barrier.red.popc.aligned.u32 %r1,0,%p1; barrier.cta.red.and.aligned.pred %p2,0,%p1; \
        barrier.red.or.pred %p3,2,64,!%p1; selp.u32 %r2,1000,0,%p2; selp.u32 %r3,2000,0,%p3; add.u32 %r20,%r1,%r2; add.u32 %r20,%r20,%r3;";
    assert_eq!(result(votes, 64), vec![2040; 64]);
    // Each warp arrives for the other, and waits for the other's arrival.
    let pass = "shr.u32 %r1,%r0,5; add.u32 %r2,%r1,1; sub.u32 %r3,2,%r1; mov.u32 %r4,tile; mad.lo.u32 %r5,%r0,4,%r4; \
        st.shared.u32 [%r5],%r0; barrier.arrive %r2,64; barrier.sync %r3,64; xor.b32 %r6,%r0,32; mad.lo.u32 %r6,%r6,4,%r4; ld.shared.u32 %r20,[%r6];";
    assert_eq!(result(pass, 64), (0..64).map(|i| i ^ 32).collect::<Vec<u32>>());
}
