//! Each kind of fault, on the line where it is, and the innocent twin.

use super::harness::{Host, Param, Shape, kernel, line};
use crate::check::{Kind, Report};
use crate::exec::Settings;

/// Lines before a body in [`kernel`].
const HEAD: u32 = 7;

/// Runs a body on `blocks` of `threads`, with `a` a buffer of 64 words that are written and `b` one of 64 that are not.
fn run(body: &str, blocks: u32, threads: u32, settings: &Settings) -> Result<(), Report> {
    let setup = "mov.u32 %r0,%tid.x; mov.u32 %r1,%ctaid.x; ld.param.u64 %rd1,[a]; ld.param.u64 %rd2,[b]; \
        mul.wide.u32 %rd3,%r0,4; add.s64 %rd4,%rd1,%rd3; mul.lo.u32 %r2,%r0,4; mov.u32 %r3,tile; add.u32 %r4,%r3,%r2;";
    let mut host = Host::new(&kernel(&format!("{setup}\n{body}")));
    host.settings = settings.clone();
    let a = host.upload(&[1u32; 64]);
    let b = host.memory.alloc(256).unwrap();
    host.run("k", line(blocks, threads), &[Param::Wide(a), Param::Wide(b), Param::Wide(0), Param::Wide(0)]).map(|_| ())
}

/// Expects a fault of a kind on a line of the body, counted from 1, under several schedules.
fn expect(kind: Kind, at: u32, (blocks, threads): (u32, u32), body: &str) {
    let mut first = None;
    for threads_here in [1, 3] {
        for seed in 0..3 {
            let settings = Settings { seed, threads: threads_here, ..Settings::default() };
            let report = run(body, blocks, threads, &settings).expect_err(body);
            let place = report.place.as_ref().expect("a place");
            assert_eq!((report.fault.kind, place.ptx_line), (kind, HEAD + 1 + at), "{body}\n{report}");
            if seed == 0 {
                assert_eq!(first.get_or_insert(report.clone()), &report, "threads must not matter");
            }
        }
    }
}

fn pass(shape: (u32, u32), body: &str) {
    for seed in 0..4 {
        let settings = Settings { seed, threads: 2, ..Settings::default() };
        run(body, shape.0, shape.1, &settings).unwrap_or_else(|report| panic!("{body}\n{report}"));
    }
}

#[test]
fn bounds() {
    pass((1, 64), "ld.global.u32 %r5,[%rd4];");
    expect(Kind::OutOfBounds, 1, (1, 65), "ld.global.u32 %r5,[%rd4];");
    expect(Kind::OutOfBounds, 2, (1, 32), "add.s64 %rd5,%rd4,-4;\nst.global.u32 [%rd5],%r0;");
    expect(Kind::OutOfBounds, 1, (1, 32), "st.shared.u32 [%r4+4092],%r0;");
    expect(Kind::OutOfBounds, 2, (1, 32), "mov.u64 %rd5,0;\nld.u32 %r5,[%rd5];");
    pass(
        (1, 32),
        "cvta.shared.u64 %rd5,0; cvt.u64.u32 %rd6,%r4; add.s64 %rd5,%rd5,%rd6; st.u32 [%rd5],%r0; ld.shared.u32 %r5,[%r4];",
    );
}

#[test]
fn the_distance_is_told() {
    let report = run("ld.global.u32 %r5,[%rd4+16];", 1, 64, &Settings::default()).unwrap_err();
    assert!(report.fault.what.contains("ends 4 bytes past the end of the allocation of 256 bytes"), "{report}");
    assert_eq!((report.block, report.thread), (Some([0; 3]), Some([60, 0, 0])));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((json["kind"].as_str(), json["kernel"].as_str()), (Some("out_of_bounds"), Some("k")));
    assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
}

#[test]
fn alignment() {
    pass((1, 8), "mul.wide.u32 %rd5,%r0,16; add.s64 %rd5,%rd1,%rd5; ld.global.v4.u32 {%r5,%r6,%r7,%r8},[%rd5];");
    expect(Kind::Misaligned, 1, (1, 8), "ld.global.v2.u32 {%r5,%r6},[%rd4];");
    expect(Kind::Misaligned, 1, (1, 8), "st.shared.u32 [%r4+2],%r0;");
}

#[test]
fn unwritten_bytes() {
    expect(Kind::Uninitialised, 2, (1, 32), "add.s64 %rd5,%rd2,%rd3;\nld.global.u32 %r5,[%rd5];");
    pass((1, 32), "add.s64 %rd5,%rd2,%rd3; st.global.u32 [%rd5],%r0; ld.global.u32 %r5,[%rd5];");
    expect(Kind::Uninitialised, 1, (1, 32), "ld.shared.u32 %r5,[%r4];");
    expect(Kind::Uninitialised, 2, (1, 32), ".local .align 4 .b8 own[16];\nld.local.u32 %r5,[own];");
    pass((1, 32), ".local .align 4 .b8 own[16]; st.local.u32 [own+4],%r0; ld.local.u32 %r5,[own+4];");
}

#[test]
fn shared_races() {
    let twin =
        "st.shared.u32 [%r4],%r0; bar.sync 0; xor.b32 %r5,%r2,128; add.u32 %r5,%r5,%r3; ld.shared.u32 %r6,[%r5];";
    pass((1, 64), twin);
    expect(Kind::SharedRace, 1, (1, 64), "st.shared.u32 [tile],%r0;");
    // Two halves of a word are nobody's business but their writers'.
    pass((1, 64), "mul.lo.u32 %r5,%r0,2; add.u32 %r5,%r5,%r3; cvt.u16.u32 %h1,%r0; st.shared.u16 [%r5],%h1;");
    pass(
        (1, 64),
        "mov.u32 %r5,0; setp.eq.u32 %p1,%r0,0; @%p1 st.shared.u32 [tile],%r5; bar.sync 0; red.shared.add.u32 [tile],%r0;",
    );
}

#[test]
fn a_warp_barrier_orders_a_warp() {
    pass(
        (1, 32),
        "st.shared.u32 [%r4],%r0; bar.warp.sync 0xffffffff; xor.b32 %r5,%r2,4; add.u32 %r5,%r5,%r3; ld.shared.u32 %r6,[%r5];",
    );
    expect(
        Kind::SharedRace,
        2,
        (1, 32),
        "st.shared.u32 [%r4],%r0; xor.b32 %r5,%r2,4; add.u32 %r5,%r5,%r3;\nld.shared.u32 %r6,[%r5];",
    );
}

#[test]
fn races_between_blocks() {
    expect(Kind::GlobalRace, 1, (4, 32), "st.global.u32 [%rd4],%r1;");
    pass((4, 32), "ld.global.u32 %r5,[%rd4];");
    pass((4, 32), "red.global.add.u32 [%rd4],%r1;");
    expect(
        Kind::GlobalRace,
        2,
        (4, 32),
        "setp.eq.u32 %p1,%r0,0;
@%p1 st.global.u32 [%rd1+8],%r5;",
    );
}

#[test]
fn both_sides_of_a_race_between_blocks_are_named() {
    let settings = Settings { threads: 2, ..Settings::default() };
    let report = run("setp.eq.u32 %p1,%r0,7;\n@%p1 st.global.u32 [%rd1+8],%r5;", 4, 32, &settings).unwrap_err();
    let other = report.other.unwrap();
    assert_eq!((report.block, other.block), (Some([1, 0, 0]), [0, 0, 0]));
    assert_eq!((report.thread, other.thread), (Some([7, 0, 0]), Some([7, 0, 0])));
    assert_eq!(other.place.unwrap().ptx_line, HEAD + 3);
}

#[test]
fn the_last_block_may_read_what_the_others_wrote() {
    // Each block writes its word, and the one that counts to the end reads them all; the fence makes it right.
    let body = |fence: &str| {
        format!(
            "setp.ne.u32 %p1,%r0,0; @%p1 bra E; mul.wide.u32 %rd5,%r1,4; add.s64 %rd5,%rd1,%rd5; st.global.u32 [%rd5],%r1; {fence} \
             atom.global.add.u32 %r5,[%rd1+128],1; setp.ne.u32 %p2,%r5,4; @%p2 bra E;\n\
             ld.global.u32 %r6,[%rd1]; ld.global.u32 %r7,[%rd1+4]; ld.global.u32 %r8,[%rd1+8]; E:"
        )
    };
    pass((4, 32), &body("membar.gl;"));
    expect(Kind::GlobalRace, 2, (4, 32), &body(""));
}

#[test]
fn barriers() {
    pass((1, 64), "bar.sync 0; bar.sync 0;");
    expect(Kind::BarrierDivergence, 2, (1, 64), "setp.lt.u32 %p1,%r0,40; @!%p1 bra E;\nbar.sync 0; E:");
    expect(Kind::BarrierDivergence, 2, (1, 64), "setp.lt.u32 %p1,%r0,32; @!%p1 bra E;\nbar.sync 0; E:");
    expect(Kind::BarrierDivergence, 2, (1, 64), "setp.gt.u32 %p1,%r0,50; @%p1 ret;\nbar.sync 0;");
}

#[test]
fn missing_lanes() {
    expect(
        Kind::MissingLanes,
        2,
        (1, 32),
        "setp.lt.u32 %p1,%r0,16; @!%p1 bra E;\nshfl.sync.bfly.b32 %r5,%r0,1,0x1f,0xffffffff; E:",
    );
    pass((1, 32), "setp.lt.u32 %p1,%r0,16; @!%p1 bra E; shfl.sync.bfly.b32 %r5,%r0,1,0x1f,0xffff; E:");
    expect(
        Kind::MissingLanes,
        2,
        (1, 32),
        "setp.lt.u32 %p1,%r0,16; @!%p1 bra E;\nshfl.sync.idx.b32 %r5,%r0,20,0x1f,0xffff; E:",
    );
}

#[test]
fn copies_before_their_wait() {
    let copy = "cp.async.ca.shared.global [%r4],[%rd4],4; cp.async.commit_group;";
    expect(Kind::AsyncNotWaited, 2, (1, 32), &format!("{copy}\nld.shared.u32 %r5,[%r4];"));
    pass((1, 32), &format!("{copy} cp.async.wait_group 0; ld.shared.u32 %r5,[%r4]; setp.ne.u32 %p1,%r5,1; @%p1 trap;"));
    expect(
        Kind::SharedRace,
        2,
        (1, 32),
        &format!("{copy} cp.async.wait_group 0; xor.b32 %r6,%r4,4;\nld.shared.u32 %r5,[%r6];"),
    );
    pass((1, 64), &format!("{copy} cp.async.wait_group 0; bar.sync 0; xor.b32 %r6,%r4,128; ld.shared.u32 %r5,[%r6];"));
}

#[test]
fn the_kernels_own() {
    expect(Kind::Trap, 2, (1, 32), "setp.eq.u32 %p1,%r0,5;\n@%p1 trap;");
    let report = run("setp.eq.u32 %p1,%r0,5; @%p1 trap;", 1, 32, &Settings::default()).unwrap_err();
    assert_eq!(report.thread, Some([5, 0, 0]));
    expect(
        Kind::Hang,
        1,
        (1, 32),
        "mbarrier.init.shared.b64 [tile],1; L: mbarrier.try_wait.parity.shared.b64 %p1,[tile],0; @!%p1 bra L;",
    );
}

#[test]
fn launches_that_no_device_accepts() {
    let host = Host::of_body("");
    let params = [Param::Wide(0); 4];
    for shape in [Shape([0, 1, 1], [32, 1, 1], 0), Shape([1; 3], [1025, 1, 1], 0), Shape([1; 3], [32, 1, 1], 1 << 20)] {
        assert_eq!(host.run("k", shape, &params).unwrap_err().fault.kind, Kind::InvalidLaunch);
    }
    assert_eq!(host.run("k", line(1, 32), &params[..3]).unwrap_err().fault.kind, Kind::InvalidLaunch);
}
