//! `tokenizer.json`, with what would let text forge control tokens or cut it silently taken out.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::vocabulary::{Vocabulary, is_control};
use super::{SPACE, Tokenizer, charsmap};
use crate::io::sentencepiece::PieceKind;

/// A token beside the model's own vocabulary.
#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    special: bool,
}

/// Reads the file's text. Its normaliser, pre-tokenizer and decoder are used as they are; its post-processor (which
/// appends `</s>`), truncation and padding are not: [`Tokenizer::encode`] has its own and the caller cuts.
pub(super) fn parse(text: &str) -> Result<Tokenizer> {
    let mut file: Value = serde_json::from_str(text).context("it is not JSON")?;
    check_pipeline(&file)?;
    let added: Vec<Added> = match &file["added_tokens"] {
        Value::Null => Vec::new(),
        list => Vec::deserialize(list).context("added_tokens")?,
    };
    let mut vocabulary = vocabulary(&file["model"], &added)?;
    file["model"]["vocab"] = serde_json::to_value(std::mem::take(&mut vocabulary.tokens))?;
    if let Some(list) = file["added_tokens"].as_array_mut() {
        list.retain(|token| !token["content"].as_str().is_some_and(is_control));
    }
    for part in ["post_processor", "truncation", "padding"] {
        file[part] = Value::Null;
    }
    let inner: tokenizers::Tokenizer = file.to_string().parse().map_err(anyhow::Error::from_boxed)?;
    let mut hidden = vocabulary.hidden;
    hidden.resize(inner.get_vocab_size(true), false);
    for Added { id, content, special } in added.iter().filter(|token| !is_control(&token.content)) {
        let found = inner.token_to_id(content);
        ensure!(
            found == u32::try_from(*id).ok() && *id < hidden.len(),
            "its added token {content:?} claims id {id}, which does not follow the vocabulary"
        );
        hidden[*id] |= special;
    }
    Ok(Tokenizer { inner, hidden })
}

/// The model's vocabulary with its control tokens hidden.
fn vocabulary(model: &Value, added: &[Added]) -> Result<Vocabulary> {
    let entries =
        Vec::<(String, f64)>::deserialize(&model["vocab"]).context("its vocab is not a list of [token, score]")?;
    for Added { id, content, .. } in added.iter().filter(|token| is_control(&token.content)) {
        let found = entries.get(*id).map(|(token, _)| token);
        ensure!(found == Some(content), "its control token {content} claims id {id}, where the vocab has {found:?}");
    }
    let mut vocabulary = Vocabulary::default();
    for (token, score) in entries {
        let kind = if is_control(&token) { PieceKind::Hidden } else { PieceKind::Text };
        vocabulary.push(token, score, kind);
    }
    vocabulary.check()?;
    Ok(vocabulary)
}

/// Checks what hiding control tokens and decoding rely on, and tables that the library would walk unchecked.
fn check_pipeline(file: &Value) -> Result<()> {
    let model = &file["model"];
    ensure!(model["type"] == "Unigram", "its model is {}, not a Unigram", model["type"]);
    ensure!(model["byte_fallback"] != true, "its unknown characters become bytes (byte_fallback)");
    ensure!(model["unk_id"] == Tokenizer::UNK, "its unk_id is {}, and T5's is {}", model["unk_id"], Tokenizer::UNK);
    for part in ["pre_tokenizer", "decoder"] {
        let spaces = steps(&file[part], "Metaspace");
        let known = spaces.iter().any(|step| step["replacement"] == SPACE.to_string());
        ensure!(known, "its {part} has no Metaspace step with {SPACE}");
    }
    for step in steps(&file["normalizer"], "Precompiled") {
        let table = step["precompiled_charsmap"].as_str().and_then(base64);
        charsmap::check(&table.context("its precompiled_charsmap is not base64")?).context("precompiled_charsmap")?;
    }
    Ok(())
}

/// All steps of a kind in a part of the pipeline, at any depth.
fn steps<'a>(part: &'a Value, kind: &str) -> Vec<&'a Value> {
    match part {
        Value::Object(step) if step.get("type").is_some_and(|found| found == kind) => vec![part],
        Value::Object(step) => step.values().flat_map(|inner| steps(inner, kind)).collect(),
        Value::Array(list) => list.iter().flat_map(|inner| steps(inner, kind)).collect(),
        _ => Vec::new(),
    }
}

/// The bytes of a base64 text (RFC 4648, padded); nothing if it is not one.
fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut value_of = [u8::MAX; 256];
    for (value, &digit) in (0..).zip(DIGITS) {
        value_of[usize::from(digit)] = value;
    }
    let (groups, []) = text.as_bytes().as_chunks::<4>() else {
        return None;
    };
    let padding = text.bytes().rev().take_while(|&byte| byte == b'=').count();
    let digits = text.len() - padding;
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    let mut bits = 0u32;
    for (at, byte) in text.bytes().take(digits).enumerate() {
        let value = value_of[usize::from(byte)];
        if value == u8::MAX {
            return None;
        }
        bits = bits << 6 | u32::from(value);
        if at % 4 > 0 {
            bytes.push((bits >> (6 - 2 * (at % 4))) as u8);
        }
    }
    (padding <= 2).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_agrees_with_its_standard() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("+/+/").unwrap(), [0xfb, 0xff, 0xbf]);
        for text in ["Zg", "Z===", "Zm9*", "Zg==Zg==", "===="] {
            assert!(base64(text).is_none(), "{text}");
        }
    }

    fn complaint(change: impl Fn(&mut Value)) -> String {
        let mut file = small();
        change(&mut file);
        format!("{:#}", parse(&file.to_string()).err().expect("an error"))
    }

    fn small() -> Value {
        let spaces =
            serde_json::json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
        serde_json::json!({
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0},
            "padding": null,
            "added_tokens": [
                added(1, "</s>", true), added(5, "[SEP]", false), added(6, "<mark>", true),
            ],
            "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, spaces]},
            "post_processor": null,
            "decoder": spaces,
            "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": [
                ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0], ["▁", -2.0], ["a", -3.0],
            ]},
        })
    }

    fn added(id: u32, content: &str, special: bool) -> Value {
        serde_json::json!({"id": id, "content": content, "special": special, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false})
    }

    #[test]
    fn added_tokens_count_but_control_tokens_in_text_do_not() {
        let tokenizer = parse(&small().to_string()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 7);
        // Five ids where the file's own truncation would have left two.
        assert_eq!(tokenizer.encode("a [SEP] a a").unwrap(), [3, 4, 5, 3, 4, 3, 4, 1]);
        assert!(!tokenizer.encode_without_eos("a </s> a</s>").unwrap().contains(&1));
        assert_eq!(tokenizer.decode(&[3, 4, 6, 5, 1, 0]).unwrap(), "a[SEP]");
    }

    #[test]
    fn files_that_are_not_t5s_say_why() {
        assert!(format!("{:#}", parse("{").err().unwrap()).contains("not JSON"));
        assert!(format!("{:#}", parse("[]").err().unwrap()).contains("not a Unigram"));
        assert!(complaint(|file| file["model"]["type"] = "BPE".into()).contains("\"BPE\""));
        assert!(complaint(|file| file["model"]["unk_id"] = 0.into()).contains("unk_id is 0"));
        assert!(complaint(|file| file["model"]["byte_fallback"] = true.into()).contains("byte_fallback"));
        assert!(complaint(|file| file["model"]["vocab"] = 3.into()).contains("vocab"));
        assert!(complaint(|file| file["decoder"] = Value::Null).contains("decoder"));
        assert!(complaint(|file| file["pre_tokenizer"] = Value::Null).contains("pre_tokenizer"));
        assert!(complaint(|file| file["added_tokens"][0]["id"] = 4.into()).contains("claims id 4"));
        assert!(complaint(|file| file["added_tokens"][1]["id"] = 9.into()).contains("claims id 9"));
        assert!(complaint(|file| file["added_tokens"][0] = "x".into()).contains("added_tokens"));
        let table = |text: &str| {
            let text = text.to_string();
            move |file: &mut Value| {
                file["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": text}]});
            }
        };
        assert!(complaint(table("?")).contains("base64"));
        assert!(complaint(table("BAAAAAAAAAA=")).contains("out of the table"));
        assert!(complaint(|file| file["normalizer"] = serde_json::json!({"type": "Nothing"})).len() > 10);
    }

    #[test]
    fn vocabularies_that_are_not_t5s_say_why() {
        let entry = |id: usize, token: &str, score: f64| {
            let token = token.to_string();
            move |file: &mut Value| file["model"]["vocab"][id] = serde_json::json!([token, score])
        };
        assert!(complaint(entry(0, "<s>", 0.0)).contains("token 0 is <s>"));
        assert!(complaint(entry(4, "", 0.0)).contains("token 4 is empty"));
        assert!(complaint(entry(4, "▁", 0.0)).contains("twice"));
        assert!(complaint(|file| file["model"]["vocab"] = serde_json::json!([])).contains("claims id 1"));
        assert!(complaint(|file| file["model"]["vocab"][4][1] = Value::Null).contains("vocab"));
    }
}
