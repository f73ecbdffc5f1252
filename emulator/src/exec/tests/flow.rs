//! Divergence: whatever way lanes take, they meet again, and each gets its own result.

use super::harness::{Host, Param, line};

/// Runs a body that leaves its result in `%r20`, and returns it for each of `threads`.
fn results(body: &str, threads: u32) -> Vec<u32> {
    let host = Host::of_body(&format!(
        "mov.u32 %r0,%tid.x; mov.u32 %r20,0; {body} ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; \
         add.s64 %rd1,%rd1,%rd2; st.global.u32 [%rd1],%r20;"
    ));
    let a = host.upload(&vec![77u32; threads as usize]);
    let params = [Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)];
    host.run("k", line(1, threads), &params).unwrap_or_else(|report| panic!("{report}"));
    host.download(a, threads as usize)
}

const BALLOT: &str = "vote.sync.ballot.b32 %r9,1,0xffffffff;";

#[test]
fn the_sides_of_a_branch_meet() {
    let body = format!(
        "setp.lt.u32 %p1,%r0,10; @%p1 bra A; mul.lo.u32 %r20,%r0,3; bra B; A: add.u32 %r20,%r0,100; B: {BALLOT} \
         popc.b32 %r9,%r9; mad.lo.u32 %r20,%r9,1000,%r20;"
    );
    let expected: Vec<u32> = (0..32).map(|i| 32_000 + if i < 10 { i + 100 } else { i * 3 }).collect();
    assert_eq!(results(&body, 32), expected);
}

#[test]
fn a_loop_that_lanes_leave_one_by_one() {
    let body = format!(
        "mov.u32 %r1,0; L: add.u32 %r20,%r20,%r1; add.u32 %r1,%r1,1; setp.le.u32 %p1,%r1,%r0; @%p1 bra L; {BALLOT} \
         setp.eq.u32 %p2,%r9,0xffffffff; @!%p2 trap;"
    );
    let expected: Vec<u32> = (0..32).map(|i| i * (i + 1) / 2).collect();
    assert_eq!(results(&body, 32), expected);
}

#[test]
fn loops_in_loops_with_breaks_and_continues() {
    // for (i = 0; i < tid % 5; i++) for (j = 0;; j++) { if (j > i + tid % 3) break; if (j == 1) continue; sum += i * 10 + j; }
    let body = "rem.u32 %r1,%r0,5; rem.u32 %r2,%r0,3; mov.u32 %r3,0; \
        OUTER: setp.ge.u32 %p1,%r3,%r1; @%p1 bra DONE; mov.u32 %r4,0; \
        INNER: add.u32 %r5,%r3,%r2; setp.gt.u32 %p2,%r4,%r5; @%p2 bra NEXT; setp.eq.u32 %p3,%r4,1; @%p3 bra SKIP; \
        mad.lo.u32 %r6,%r3,10,%r4; add.u32 %r20,%r20,%r6; \
        SKIP: add.u32 %r4,%r4,1; bra INNER; \
        NEXT: add.u32 %r3,%r3,1; bra OUTER; DONE:";
    let expected = |tid: u32| {
        let mut sum = 0;
        for i in 0..tid % 5 {
            for j in (0..).take_while(|&j| j <= i + tid % 3).filter(|&j| j != 1) {
                sum += i * 10 + j;
            }
        }
        sum
    };
    assert_eq!(results(body, 64), (0..64).map(expected).collect::<Vec<_>>());
}

#[test]
fn early_returns_do_not_hold_the_others_up() {
    let host = Host::of_body(
        "mov.u32 %r0,%tid.x; ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; \
         setp.lt.u32 %p1,%r0,7; @%p1 bra A; setp.gt.u32 %p2,%r0,20; @%p2 ret; st.global.u32 [%rd1],1; bra B; \
         A: setp.eq.u32 %p3,%r0,3; @%p3 bra C; st.global.u32 [%rd1],2; B: ld.global.u32 %r3,[%rd1]; add.u32 %r3,%r3,10; st.global.u32 [%rd1],%r3; C:",
    );
    let a = host.upload(&[9u32; 32]);
    host.run("k", line(1, 32), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)]).unwrap();
    let expected: Vec<u32> = (0..32)
        .map(|i| match i {
            3 | 21.. => 9,
            0..7 => 12,
            _ => 11,
        })
        .collect();
    assert_eq!(host.download::<u32>(a, 32), expected);
}

#[test]
fn a_way_that_ends_in_a_trap_is_no_way() {
    // Were the trap's way counted, the two sides would meet at the end only, and the shuffle would lack lanes.
    let body = "setp.lt.u32 %p1,%r0,16; @%p1 bra A; mov.u32 %r20,5; setp.gt.u32 %p2,%r0,40; @%p2 bra DIE; bra B; \
        A: mov.u32 %r20,6; B: shfl.sync.bfly.b32 %r20,%r20,16,0x1f,0xffffffff; bra E; DIE: trap; E:";
    assert_eq!(results(body, 32), (0..32).map(|i| if i < 16 { 5 } else { 6 }).collect::<Vec<_>>());
}

#[test]
fn lanes_that_come_by_different_ways_find_each_other() {
    // A return on one side keeps the sides from having a common point before the end; the shuffle is common all the same.
    let body = "setp.lt.u32 %p1,%r0,16; @%p1 bra A; mov.u32 %r20,5; setp.gt.u32 %p2,%r0,40; @%p2 bra OUT; bra B; \
        A: mov.u32 %r20,6; B: shfl.sync.bfly.b32 %r20,%r20,16,0x1f,0xffffffff; bra E; OUT: ret; E:";
    assert_eq!(results(body, 32), (0..32).map(|i| if i < 16 { 5 } else { 6 }).collect::<Vec<_>>());
}

#[test]
fn halves_of_a_warp_shuffle_under_masks_of_their_own() {
    let body =
        "setp.lt.u32 %p1,%r0,16; selp.b32 %r1,0x0000ffff,0xffff0000,%p1; shfl.sync.down.b32 %r20|%p2,%r0,1,0x101f,%r1;";
    let expected: Vec<u32> = (0..32).map(|i| if i % 16 == 15 { i } else { i + 1 }).collect();
    assert_eq!(results(body, 32), expected);
}

#[test]
fn a_last_warp_of_few_lanes() {
    let body = "bar.warp.sync 0xffffffff; activemask.b32 %r20;";
    let all = results(body, 40);
    assert_eq!((all[0], all[39]), (!0, 0xff));
}

#[test]
fn functions_are_called_and_return_early() {
    let ptx = ".version 9.0\n.target sm_80\n.address_size 64\n\
        .func (.param .b32 out) twice(.param .b32 x, .param .b64 unused) { .reg .pred %p<2>; .reg .b32 %r<4>; \
          ld.param.u32 %r1,[x]; setp.gt.u32 %p1,%r1,100; @%p1 bra BIG; add.u32 %r2,%r1,%r1; st.param.b32 [out],%r2; ret; \
          BIG: st.param.b32 [out],%r1; ret; }\n\
        .visible .entry k(.param .u64 a) { .reg .b32 %r<9>; .reg .b64 %rd<5>; mov.u32 %r0,%tid.x; mul.lo.u32 %r1,%r0,30; \
          mov.u64 %rd4,0; { .param .b32 p0; .param .b64 p1; .param .b32 r0; st.param.b32 [p0],%r1; st.param.b64 [p1],%rd4; \
          call.uni (r0), twice, (p0, p1); ld.param.b32 %r2,[r0]; } \
          ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; st.global.u32 [%rd1],%r2; ret; }";
    let host = Host::new(ptx);
    let a = host.upload(&[0u32; 32]);
    host.run("k", line(1, 32), &[Param::Wide(a)]).unwrap_or_else(|report| panic!("{report}"));
    let expected: Vec<u32> = (0..32u32).map(|i| if i * 30 > 100 { i * 30 } else { i * 60 }).collect();
    assert_eq!(host.download::<u32>(a, 32), expected);
}

#[test]
fn parameters_have_generic_addresses() {
    let body = "mov.b64 %rd5,b; cvta.param.u64 %rd6,%rd5; ld.u32 %r20,[%rd6]; ld.param.u32 %r21,[%rd5+4]; add.u32 %r20,%r20,%r21;";
    let host = Host::of_body(&format!("{body} ld.param.u64 %rd1,[a]; st.global.u32 [%rd1],%r20;"));
    let a = host.upload(&[0u32]);
    host.run("k", line(1, 1), &[Param::Wide(a), Param::Wide(7 << 32 | 5), Param::Wide(0), Param::Wide(0)]).unwrap();
    assert_eq!(host.download::<u32>(a, 1), [12]);
}

#[test]
fn a_thread_ends_where_it_says() {
    for end in ["exit;", "ret;"] {
        let body = format!("mov.u32 %r20,5; setp.lt.u32 %p1,%r0,9; @!%p1 bra ON; {end} ON: mov.u32 %r20,6;");
        assert_eq!(results(&body, 32), (0..32).map(|i| if i < 9 { 77 } else { 6 }).collect::<Vec<_>>(), "{end}");
        let body = format!("mov.u32 %r20,5; setp.lt.u32 %p1,%r0,9; @%p1 {end} bra.uni ON; mov.u32 %r20,6; ON:");
        assert_eq!(results(&body, 32), (0..32).map(|i| if i < 9 { 77 } else { 5 }).collect::<Vec<_>>(), "{end}");
    }
}
