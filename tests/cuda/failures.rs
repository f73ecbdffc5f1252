//! The first failure is remembered, reported once at the next download, and says what was launched with what.

use glimmer::backend::{Backend, Mat};

use crate::{emulated_machine, machine};

#[test]
fn an_emulated_fault_names_the_launch() {
    let (emulator, be) = emulated_machine::<f32>();
    let table = Mat::upload(&be, 3, 4, vec![1.0; 12]);
    emulator.configure_context(r#"{"reports": "keep"}"#).unwrap();
    let ids = be.upload(vec![0, 1 << 20]);
    let y = be.embed(&table, &ids);
    let after = be.rms_norm(&y, &Mat::upload(&be, 1, 4, vec![1.0; 4]), 1e-6);
    let error = after.download(&be).unwrap_err().to_string();
    for part in ["embed_f32 failed", "[1, 1, 1] blocks of [32, 8, 1] threads", "([3, 4], [2], [2, 4], 4, 2, none)"] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
}

#[test]
fn memory_that_is_not_there_is_reported_and_forgotten() {
    let be = machine::<f32>();
    let small = Mat::upload(&be, 1, 64, vec![2.0; 64]);
    let square = Mat::upload(&be, 64, 64, vec![0.0; 64 * 64]);
    let mut sum = Mat { rows: 1, cols: 64, buf: be.cache(1, 1 << 31, 64).k.buf };
    be.linear_add(&small, &square, &mut sum);
    let error = small.download(&be).unwrap_err().to_string();
    assert!(error.contains("cannot allocate 549755813888 bytes"), "{error}");
    assert_eq!(small.download(&be).unwrap(), [2.0; 64], "what was there is there");
    be.linear_add(&small, &square, &mut sum);
    let error = small.download(&be).unwrap_err().to_string();
    assert!(error.contains("linear_add_plain8_f32") && error.contains("missing"), "{error}");
}

#[test]
fn another_machine_does_not_notice_an_emulated_fault() {
    let (emulator, broken) = emulated_machine::<f32>();
    let sound = machine::<f32>();
    let x = Mat::upload(&sound, 1, 4, vec![2.0; 4]);
    let table = Mat::upload(&broken, 1, 1, vec![1.0]);
    let ids = broken.upload(vec![1 << 20]);
    emulator.configure_context(r#"{"reports": "keep"}"#).unwrap();
    broken.embed(&table, &ids).download(&broken).unwrap_err();
    assert_eq!(x.download(&sound).unwrap(), [2.0; 4]);
}
