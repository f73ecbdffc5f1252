//! Questions that cannot be read.

use glimmer::backend::Stored;
use glimmer::model::{Passages, Question};
use half::bf16;

use crate::tiny::{cut, question, reader};

/// What a reader says about a batch of a good question and this one.
fn complaint(bad: Question<'_>) -> String {
    let reader = reader::<f32>(cut(3, 1, 2), 1);
    let passages: [&[u32]; 2] = [&[7, 1], &[8, 9, 1]];
    let good = question(&[4, 1], &passages);
    assert!(reader.read(&[good, good], 2).is_ok());
    let said = format!("{:#}", reader.read(&[good, bad], 2).unwrap_err());
    assert!(said.contains("question 1"), "the question is not named: {said}");
    said
}

#[test]
fn a_question_without_tokens() {
    let said = complaint(question(&[], &[&[7, 1]]));
    assert!(said.contains("no tokens"), "{said}");
}

#[test]
fn a_question_without_passages() {
    let said = complaint(question(&[4, 1], &[]));
    assert!(said.contains("no passages"), "{said}");
    let said = complaint(Question { ids: &[4, 1], passages: Passages::Memory(&[]) });
    assert!(said.contains("no passages"), "{said}");
}

#[test]
fn an_empty_passage() {
    let said = complaint(question(&[4, 1], &[&[7, 1], &[], &[8, 1]]));
    assert!(said.contains("passage 1") && said.contains("no tokens"), "{said}");
}

#[test]
fn ids_beyond_the_vocabulary() {
    let said = complaint(question(&[4, 5, 53, 1], &[&[7, 1]]));
    assert!(said.contains("token 2 has id 53") && said.contains("vocabulary has 53"), "{said}");
    let said = complaint(question(&[4, 1], &[&[7, 1], &[8, u32::MAX]]));
    assert!(said.contains("passage 1") && said.contains("token 1 has id 4294967295"), "{said}");
}

#[test]
fn ids_beyond_the_vocabulary_in_texts_for_the_store() {
    let reader = reader::<f32>(cut(3, 1, 2), 1);
    let said = format!("{:#}", reader.encode_memory(&[&[4, 1], &[5, 77, 1]]).err().expect("77 is too much"));
    assert!(said.contains("text 1") && said.contains("token 1 has id 77"), "{said}");
}

#[test]
fn memory_of_another_width() {
    let rows = vec![bf16::ONE; 21];
    let memories = [Stored::Bf16(&rows[..20]), Stored::Bf16(&rows)];
    let said = complaint(Question { ids: &[4, 1], passages: Passages::Memory(&memories) });
    assert!(said.contains("passage 1") && said.contains("21") && said.contains("width 20"), "{said}");
    let said = complaint(Question { ids: &[4, 1], passages: Passages::Memory(&[Stored::Bf16(&[])]) });
    assert!(said.contains("passage 0"), "{said}");
}

#[test]
fn int8_memory_without_a_scale_for_each_row() {
    let values = [1i8; 40];
    for scales in [&[1f32; 3][..], &[1.0], &[]] {
        let memories = [Stored::Int8 { values: &values, scales }];
        let said = complaint(Question { ids: &[4, 1], passages: Passages::Memory(&memories) });
        assert!(said.contains("passage 0") && said.contains("scale"), "{said}");
    }
}

#[test]
fn stored_and_fresh_passages_in_one_batch() {
    let rows = vec![bf16::ONE; 20];
    let memories = [Stored::Bf16(&rows)];
    let said = complaint(Question { ids: &[4, 1], passages: Passages::Memory(&memories) });
    assert!(said.contains("not both") && said.contains("question 0"), "{said}");
}
