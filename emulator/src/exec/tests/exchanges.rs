//! What lanes do together: votes, matches, reductions, shuffles, the choice of a leader.

use super::harness::{Host, Param, line};

/// Runs a body that leaves its result in `%r20`, on lanes that each hold one of `values` in `%r10`.
fn warp(body: &str, values: [u32; 32]) -> [u32; 32] {
    let host = Host::of_body(&format!(
        "mov.u32 %r0,%tid.x; ld.param.u64 %rd1,[a]; mul.wide.u32 %rd2,%r0,4; add.s64 %rd1,%rd1,%rd2; ld.global.u32 %r10,[%rd1]; \
         mov.u32 %r20,0xdead; {body} st.global.u32 [%rd1],%r20;"
    ));
    let a = host.upload(&values);
    host.run("k", line(1, 32), &[Param::Wide(a), Param::Wide(0), Param::Wide(0), Param::Wide(0)])
        .unwrap_or_else(|report| panic!("{body}: {report}"));
    host.download(a, 32).try_into().unwrap()
}

/// Lanes 3, 4, 8 and 30, and a predicate that is set in them.
const SOME: u32 = 1 << 3 | 1 << 4 | 1 << 8 | 1 << 30;
const AMONG: &str = "shl.b32 %r1,1,%r0; and.b32 %r1,%r1,0x40000118; setp.ne.u32 %p1,%r1,0;";

fn lanes(f: impl Fn(u32) -> u32) -> [u32; 32] {
    std::array::from_fn(|lane| f(lane as u32))
}

/// The result in the lanes of [`SOME`], and what was there before in the others.
fn in_some(f: impl Fn(u32) -> u32) -> [u32; 32] {
    lanes(|lane| if SOME >> lane & 1 == 1 { f(lane) } else { 0xdead })
}

#[test]
fn votes() {
    let vote = |kind: &str, set: u32| {
        let body = format!(
            "setp.ne.u32 %p2,%r10,0; {AMONG} @!%p1 bra E; vote.sync.{kind}.pred %p3,%p2,0x40000118; selp.u32 %r20,1,0,%p3; E:"
        );
        warp(&body, lanes(|lane| set >> lane & 1))
    };
    for set in [0, SOME, !0, 1 << 8, !SOME] {
        let among = set & SOME;
        assert_eq!(vote("all", set), in_some(|_| u32::from(among == SOME)), "{set:#x}");
        assert_eq!(vote("any", set), in_some(|_| u32::from(among != 0)), "{set:#x}");
        assert_eq!(vote("uni", set), in_some(|_| u32::from(among == 0 || among == SOME)), "{set:#x}");
        let body = format!("setp.ne.u32 %p2,%r10,0; {AMONG} @%p1 vote.sync.ballot.b32 %r20,%p2,0x40000118;");
        assert_eq!(warp(&body, lanes(|lane| set >> lane & 1)), in_some(|_| among), "{set:#x}");
    }
    let body = "setp.ne.u32 %p2,%r10,0; vote.sync.all.pred %p3,!%p2,0xffffffff; selp.u32 %r20,1,0,%p3;";
    assert_eq!((warp(body, [0; 32]), warp(body, lanes(|lane| lane))), ([1; 32], [0; 32]));
    assert_eq!(warp(&format!("{AMONG} @%p1 activemask.b32 %r20;"), [0; 32]), in_some(|_| SOME));
}

#[test]
fn matches() {
    let value = |lane: u32| lane % 3;
    let same = |among: u32, lane: u32| {
        (0..32).filter(|&l| among >> l & 1 == 1 && value(l) == value(lane)).fold(0, |all, l| all | 1 << l)
    };
    assert_eq!(warp("match.any.sync.b32 %r20,%r10,0xffffffff;", lanes(value)), lanes(|lane| same(!0, lane)));
    let some = format!("{AMONG} @%p1 match.any.sync.b32 %r20,%r10,0x40000118;");
    assert_eq!(warp(&some, lanes(value)), in_some(|lane| same(SOME, lane)));
    // The upper halves alone tell these apart.
    let wide =
        "mov.b64 %rd5,{%r0,%r10}; and.b64 %rd5,%rd5,0xffffffff00000000; match.any.sync.b64 %r20,%rd5,0xffffffff;";
    assert_eq!(warp(wide, lanes(value)), lanes(|lane| same(!0, lane)));
    let all = "match.all.sync.b32 %r20|%p2,%r10,0xffffffff; @!%p2 add.u32 %r20,%r20,5;";
    assert_eq!(warp(all, [7; 32]), [!0; 32]);
    assert_eq!(warp(all, lanes(|lane| u32::from(lane == 31))), [5; 32]);
    let all = format!("{AMONG} mov.b64 %rd5,{{%r10,%r10}}; @%p1 match.all.sync.b64 %r20|%p2,%rd5,0x40000118;");
    assert_eq!(warp(&all, lanes(|lane| if SOME >> lane & 1 == 1 { 9 } else { lane })), in_some(|_| SOME));
    assert_eq!(warp(&all, lanes(|lane| lane)), in_some(|_| 0));
    assert_eq!(warp("match.all.sync.b32 %r20,%r10,0xffffffff;", [7; 32]), [!0; 32]);
}

#[test]
fn reductions() {
    let values = lanes(|lane| lane.wrapping_mul(0x9e37_79b9) ^ 0x8000_0000);
    let run = |op: &str, f: &dyn Fn(u32, u32) -> u32| {
        let reduce = |among: u32| (0..32).filter(|l| among >> l & 1 == 1).map(|l| values[l]).reduce(f).unwrap();
        assert_eq!(warp(&format!("{op} %r20,%r10,0xffffffff;"), values), [reduce(!0); 32], "{op}");
        let some = format!("{AMONG} @%p1 {op} %r20,%r10,0x40000118;");
        assert_eq!(warp(&some, values), in_some(|_| reduce(SOME)), "{op}");
    };
    run("redux.sync.add.u32", &|a, b| a.wrapping_add(b));
    run("redux.sync.add.s32", &|a, b| a.wrapping_add(b));
    run("redux.sync.min.u32", &|a, b| a.min(b));
    run("redux.sync.max.u32", &|a, b| a.max(b));
    run("redux.sync.min.s32", &|a, b| (a as i32).min(b as i32) as u32);
    run("redux.sync.max.s32", &|a, b| (a as i32).max(b as i32) as u32);
    run("redux.sync.and.b32", &|a, b| a & b);
    run("redux.sync.or.b32", &|a, b| a | b);
    run("redux.sync.xor.b32", &|a, b| a ^ b);
}

#[test]
fn one_lane_is_elected() {
    let some = format!("{AMONG} @!%p1 bra E; elect.sync %r20|%p2,0x40000118; @%p2 add.u32 %r20,%r20,100; E:");
    assert_eq!(warp(&some, [0; 32]), in_some(|lane| if lane == 3 { 103 } else { 3 }));
    let all = "elect.sync _|%p2,0xffffffff; selp.u32 %r20,1,0,%p2;";
    assert_eq!(warp(all, [0; 32]), lanes(|lane| u32::from(lane == 0)));
}

#[test]
fn shuffles() {
    // Whoever takes from beyond its segment keeps its own, and is told.
    let run = |op: &str, from: &dyn Fn(u32) -> Option<u32>| {
        let body = format!("{op} @!%p2 add.u32 %r20,%r20,1000;");
        let expected = lanes(|lane| from(lane).map_or(lane + 1000, |source| source));
        assert_eq!(warp(&body, lanes(|lane| lane)), expected, "{op}");
    };
    run("shfl.sync.up.b32 %r20|%p2,%r10,5,0,0xffffffff;", &|lane| lane.checked_sub(5));
    run("shfl.sync.down.b32 %r20|%p2,%r10,5,31,0xffffffff;", &|lane| Some(lane + 5).filter(|&source| source < 32));
    run("shfl.sync.bfly.b32 %r20|%p2,%r10,21,31,0xffffffff;", &|lane| Some(lane ^ 21));
    run("shfl.sync.idx.b32 %r20|%p2,%r10,21,31,0xffffffff;", &|_| Some(21));
    // Segments of eight: 0x18 in the upper byte.
    run("shfl.sync.up.b32 %r20|%p2,%r10,3,0x1800,0xffffffff;", &|lane| (lane % 8 >= 3).then(|| lane - 3));
    run("shfl.sync.down.b32 %r20|%p2,%r10,3,0x181f,0xffffffff;", &|lane| (lane % 8 < 5).then_some(lane + 3));
    run("shfl.sync.bfly.b32 %r20|%p2,%r10,5,0x181f,0xffffffff;", &|lane| Some(lane ^ 5));
    run("shfl.sync.idx.b32 %r20|%p2,%r10,10,0x181f,0xffffffff;", &|lane| Some(lane / 8 * 8 + 2));
    // Each lane has a distance of its own.
    let body = "sub.u32 %r1,31,%r0; shfl.sync.idx.b32 %r20,%r10,%r1,31,0xffffffff;";
    assert_eq!(warp(body, lanes(|lane| lane * lane)), lanes(|lane| (31 - lane) * (31 - lane)));
}
