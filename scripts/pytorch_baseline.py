"""What PyTorch takes for the work of `cargo bench --bench reader`: T5.1.1 with random weights, encoder and decoder.

    python -m venv peers && peers/bin/pip install torch transformers
    peers/bin/python scripts/pytorch_baseline.py small base --threads 2

Prints the median and the range of each. On a shared machine, run it in turn with the bench and compare ratios.
"""
import argparse
import statistics
import time

import torch
from transformers import T5Config, T5ForConditionalGeneration

SHAPES = {"small": (512, 1024, 6, 8), "base": (768, 2048, 12, 12)}
SEGMENTS, TOKENS = 8, 352


def measure(name, rounds, job):
    job()
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - begin)
    low, high = min(seconds), max(seconds)
    print(f"{name}: median {statistics.median(seconds):.3f} s ({low:.3f} to {high:.3f})", flush=True)


def greedy(model, encoded, tokens):
    past, token = None, torch.zeros(1, 1, dtype=torch.long)
    for _ in range(tokens):
        out = model.decoder(input_ids=token, encoder_hidden_states=encoded, past_key_values=past, use_cache=True)
        past = out.past_key_values
        token = model.lm_head(out.last_hidden_state[:, -1:]).argmax(-1)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("sizes", nargs="+", choices=SHAPES)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=7)
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    for size in args.sizes:
        d, f, h, layers = SHAPES[size]
        config = T5Config(vocab_size=32128, d_model=d, d_kv=64, d_ff=f, num_heads=h, num_layers=layers,
                          num_decoder_layers=layers, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                          dropout_rate=0.0)
        model = T5ForConditionalGeneration(config).eval()
        ids = torch.randint(2, 32000, (SEGMENTS, TOKENS))
        encode = lambda: model.encoder(input_ids=ids).last_hidden_state
        measure(f"{size}: encoder, {SEGMENTS} x {TOKENS} tokens", args.rounds, encode)
        encoded = encode().reshape(1, SEGMENTS * TOKENS, d)
        for tokens in (1, 16):
            job = lambda: greedy(model, encoded, tokens)
            measure(f"{size}: decoder, {tokens} tokens over {SEGMENTS * TOKENS}", args.rounds, job)


if __name__ == "__main__":
    main()
