"""T5.1.1 with random weights: a checkpoint in Hugging Face's layout, which every program reads, and the PyTorch model of it."""
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

VOCABULARY = 32128
SEGMENTS, TOKENS, ANSWER = 8, 352, 16
#        d_model, d_ff, heads, layers
SIZES = {"small": (512, 1024, 6, 8), "base": (768, 2048, 12, 12), "large": (1024, 2816, 16, 24)}


def config(size):
    d, f, heads, layers = SIZES[size]
    return {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "vocab_size": VOCABULARY,
        "d_model": d, "d_kv": 64, "d_ff": f, "num_heads": heads, "num_layers": layers, "num_decoder_layers": layers,
        "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6,
        "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "dropout_rate": 0.0,
        "initializer_factor": 1.0, "is_encoder_decoder": True, "use_cache": True,
        "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
    }


def weights(size):
    """Normal, with the deviations that T5 begins with."""
    d, f, heads, layers = SIZES[size]
    inner, draw = heads * 64, torch.Generator().manual_seed(1)
    normal = lambda rows, cols, deviation: torch.randn(rows, cols, generator=draw) * deviation
    p = {"shared.weight": normal(VOCABULARY, d, 1.0), "lm_head.weight": normal(VOCABULARY, d, d**-0.5)}
    for stack, kinds in (("encoder", ["SelfAttention"]), ("decoder", ["SelfAttention", "EncDecAttention"])):
        table = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        p[table] = normal(32, heads, d**-0.5)
        p[f"{stack}.final_layer_norm.weight"] = torch.ones(d)
        for i in range(layers):
            for j, kind in enumerate(kinds):
                layer = f"{stack}.block.{i}.layer.{j}"
                p[f"{layer}.layer_norm.weight"] = torch.ones(d)
                p[f"{layer}.{kind}.q.weight"] = normal(inner, d, (d * 64) ** -0.5)
                p[f"{layer}.{kind}.k.weight"] = normal(inner, d, d**-0.5)
                p[f"{layer}.{kind}.v.weight"] = normal(inner, d, d**-0.5)
                p[f"{layer}.{kind}.o.weight"] = normal(d, inner, inner**-0.5)
            layer = f"{stack}.block.{i}.layer.{len(kinds)}"
            p[f"{layer}.layer_norm.weight"] = torch.ones(d)
            p[f"{layer}.DenseReluDense.wi_0.weight"] = normal(f, d, d**-0.5)
            p[f"{layer}.DenseReluDense.wi_1.weight"] = normal(f, d, d**-0.5)
            p[f"{layer}.DenseReluDense.wo.weight"] = normal(d, f, f**-0.5)
    return p


def write(size, folder):
    """The checkpoint, unless it is there."""
    folder = pathlib.Path(folder)
    if (folder / "config.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights(size), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config(size), indent=1))


def model(folder):
    """The PyTorch model. transformers 5 ties the output layer to the embedding when it builds a T5, whatever the
    configuration says, so the output layer gets weights of its own before the checkpoint's are put in."""
    from transformers import T5Config, T5ForConditionalGeneration
    folder = pathlib.Path(folder)
    t5 = T5Config(**json.loads((folder / "config.json").read_text()))
    t5.tie_word_embeddings = False
    net = T5ForConditionalGeneration(t5).eval()
    net.lm_head.weight = torch.nn.Parameter(torch.empty_like(net.shared.weight))
    state = load_file(folder / "model.safetensors")
    state["encoder.embed_tokens.weight"] = state["decoder.embed_tokens.weight"] = state["shared.weight"]
    net.load_state_dict(state, strict=True)
    assert net.lm_head.weight.data_ptr() != net.shared.weight.data_ptr()
    return net


def token_ids():
    """`[SEGMENTS, TOKENS]`, those of `benches/peer.rs`."""
    i = torch.arange(SEGMENTS * TOKENS)
    return (2 + i * 7919 % (VOCABULARY - 2)).reshape(SEGMENTS, TOKENS)
