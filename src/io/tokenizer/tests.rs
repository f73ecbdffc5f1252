use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/tokenizer");

static T5: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::open(Path::new(FOLDER)).unwrap());

/// Ids that Hugging Face's tokenizers 0.23 gives with T5's `tokenizer.json`, `</s>` included.
#[test]
fn ids_are_those_of_the_fast_tokenizer() {
    let cases: [(&str, &[u32]); 24] = [
        ("Hello world, this is the T5 tokenizer.", &[8774, 296, 6, 48, 19, 8, 332, 755, 14145, 8585, 5, 1]),
        ("A long paragraph for summarization.", &[71, 307, 8986, 21, 4505, 1635, 1707, 5, 1]),
        ("", &[1]),
        ("   ", &[1]),
        ("\n\t", &[1]),
        ("ﬁnancial ﬁ", &[981, 361, 1]),
        ("ＡＢＣ １２", &[14213, 586, 1]),
        ("café naïve Zürich", &[11949, 3, 29, 9, 2, 162, 25749, 1]),
        ("cafe\u{301}", &[11949, 1]),
        ("emoji 😀 here", &[3, 15, 51, 21892, 3, 2, 270, 1]),
        ("😀😀", &[3, 2, 1]),
        ("two  spaces   three", &[192, 4856, 386, 1]),
        ("tab\tand\nnewline\r\nend", &[3808, 11, 126, 747, 414, 1]),
        ("  leading and trailing  ", &[1374, 11, 5032, 53, 1]),
        ("Cirith Ungol [SEP] genre", &[4385, 30922, 597, 7579, 784, 134, 8569, 908, 5349, 1]),
        ("▁a ▁▁ b", &[3, 9, 3, 115, 1]),
        ("日本語", &[3, 2, 1]),
        ("100,000 km²", &[18829, 2280, 357, 1]),
        ("a\u{a0}b\u{200b}c", &[3, 9, 3, 115, 3, 75, 1]),
        ("½ ™ …", &[209, 2, 357, 3, 2305, 3, 233, 1]),
        ("\u{1}a\0b", &[3, 9, 2, 115, 1]),
        ("Ångström", &[3, 2, 1725, 30476, 1]),
        ("ß ŒÆ", &[3, 5202, 3, 2, 1]),
        ("🇩🇪 e\u{301}\u{301}", &[3, 2, 3, 154, 1]),
    ];
    for (text, ids) in cases {
        assert_eq!(T5.encode(text).unwrap(), ids, "{text:?}");
    }
}

/// Ids that SentencePiece 0.2 gives: control tokens are never found in text.
#[test]
fn text_cannot_forge_a_control_token() {
    let cases: [(&str, &[u32]); 4] = [
        ("</s>", &[3, 2, 87, 7, 3155, 1]),
        ("a </s> b", &[3, 9, 3, 2, 87, 7, 3155, 3, 115, 1]),
        ("<extra_id_0>", &[3, 2, 25666, 834, 23, 26, 834, 632, 3155, 1]),
        ("<pad> <unk>", &[3, 2, 5612, 3155, 3, 2, 6513, 3155, 1]),
    ];
    for (text, ids) in cases {
        assert_eq!(T5.encode(text).unwrap(), ids, "{text:?}");
    }
}

#[test]
fn decoding_skips_control_tokens_and_refuses_ids_beyond_the_vocabulary() {
    assert_eq!(T5.vocab_size(), 32100);
    assert_eq!(T5.decode(&[0, 8774, 32099, 296, 2, 6, 32000, 1, 0]).unwrap(), "Hello world,");
    assert_eq!(T5.decode(&[]).unwrap(), "");
    assert_eq!(T5.decode(&[1374, 11, 5032, 53, 1]).unwrap(), "leading and trailing");
    assert_eq!(T5.decode(&[1374, 32100, 32127, u32::MAX]).unwrap(), T5.decode(&[1374]).unwrap());
    assert_eq!(T5.fingerprint().unwrap(), T5.fingerprint().unwrap());
}

#[test]
fn a_batch_is_its_texts_in_order() {
    let texts: Vec<String> = (0..300).map(|i| format!("passage number {i}")).collect();
    let batch = T5.encode_batch(&texts).unwrap();
    assert_eq!(batch.len(), texts.len());
    for (text, ids) in texts.iter().zip(&batch) {
        assert_eq!(ids, &T5.encode(text).unwrap());
    }
}

#[test]
fn a_folder_without_a_tokenizer_names_both_files() {
    let folder = tempfile::tempdir().unwrap();
    let said = format!("{:#}", Tokenizer::open(folder.path()).err().unwrap());
    assert!(said.contains(JSON) && said.contains(SPIECE), "{said}");
}

#[test]
fn a_damaged_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(Path::new(FOLDER).join(SPIECE)).unwrap();
    std::fs::write(folder.path().join(SPIECE), &whole[..whole.len() / 2]).unwrap();
    let said = format!("{:#}", Tokenizer::open(folder.path()).err().unwrap());
    assert!(said.contains(SPIECE) && said.contains("ends early"), "{said}");
    std::fs::write(folder.path().join(JSON), "{}").unwrap();
    let said = format!("{:#}", Tokenizer::open(folder.path()).err().unwrap());
    assert!(said.contains(JSON) && said.contains("not a Unigram"), "{said}");
}

#[test]
fn a_vocabulary_that_is_not_t5s_is_refused() {
    let piece = |text: &[u8]| [&[0x0a, text.len() as u8 + 2, 0x0a, text.len() as u8], text].concat();
    let unk_is_two = [0x12, 3, 0xc0, 2, 2];
    let complaint = |model: Vec<u8>| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SPIECE);
        std::fs::write(&path, model).unwrap();
        format!("{:#}", Tokenizer::from_spiece(&path).err().unwrap())
    };
    assert!(complaint(piece(b"<unk>")).contains("unknown piece has id 0"));
    let swapped = [piece(b"<s>"), piece(b"</s>"), piece(b"<unk>"), unk_is_two.to_vec()].concat();
    assert!(complaint(swapped).contains("token 0 is <s>"));
    let t5 = [piece(b"<pad>"), piece(b"</s>"), piece(b"<unk>"), unk_is_two.to_vec()].concat();
    assert!(complaint([t5.clone(), piece(b"")].concat()).contains("token 3 is empty"));
    assert!(complaint([t5.clone(), piece(b"a"), piece(b"a")].concat()).contains("twice"));
    let charsmap = [0x1a, 4, 0x12, 2, 0, 0];
    assert!(complaint([&t5[..], &charsmap].concat()).contains("precompiled_charsmap"));
}

#[test]
fn a_megabyte_without_spaces_is_encoded() {
    let ids = T5.encode(&"abcdefghij".repeat(100_000)).unwrap();
    assert!(ids.len() > 100_000);
}

/// Words, numbers and punctuation as English passages have them, all inside T5's vocabulary.
const CORPUS: &str =
    r"([A-Z]?[a-zéèäöüșț]{1,12}|[0-9]{1,4})([,.;:!?)%]| \(|'s)?( ([A-Z]?[a-z]{1,12}|[0-9]{1,4})[,.]?){0,20}";

proptest! {
    #[test]
    fn passages_come_back_as_they_were(text in CORPUS) {
        let ids = T5.encode(&text).unwrap();
        prop_assert_eq!(ids.last(), Some(&Tokenizer::EOS));
        prop_assert_eq!(T5.decode(&ids).unwrap(), text);
    }

    #[test]
    fn any_text_gives_text_ids_and_one_end(text in r"(\PC|</s>|<pad>|<extra_id_1>|[ \t\n\x00-\x1f]|\p{M}|\p{So}){0,40}") {
        let ids = T5.encode_without_eos(&text).unwrap();
        prop_assert!(ids.iter().all(|id| (Tokenizer::UNK..32000).contains(id)));
        prop_assert_eq!(T5.encode(&text).unwrap(), [&ids[..], &[Tokenizer::EOS]].concat());
        T5.decode(&ids).unwrap();
    }
}
