"""What PyTorch takes for the work of `cargo bench --bench reader` and `--bench training`: T5.1.1 with random weights,
encoder, decoder, and with --train a training step (of small as in the bench: one question, 8 passages).

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


def train(model, ids, target):
    """Forward and backward of a FiD; no optimiser."""
    model.zero_grad(set_to_none=False)
    encoded = model.encoder(input_ids=ids).last_hidden_state.reshape(1, ids.numel(), -1)
    model(encoder_outputs=(encoded,), labels=target).loss.backward()


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("sizes", nargs="+", choices=SHAPES)
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--rounds", type=int, default=7)
    args.add_argument("--train", action="store_true", help="time training steps instead")
    args = args.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(args.train)
    for size in args.sizes:
        d, f, h, layers = SHAPES[size]
        config = T5Config(vocab_size=32128, d_model=d, d_kv=64, d_ff=f, num_heads=h, num_layers=layers,
                          num_decoder_layers=layers, feed_forward_proj="gated-gelu", tie_word_embeddings=False,
                          dropout_rate=0.0, decoder_start_token_id=0)
        model = T5ForConditionalGeneration(config).eval()
        ids = torch.randint(2, 32000, (SEGMENTS, TOKENS))
        if args.train:
            target = torch.randint(2, 32000, (1, 16))
            for rate in (0.0, 0.1):
                for part in model.train().modules():
                    if isinstance(part, torch.nn.Dropout):
                        part.p = rate
                    elif hasattr(part, "dropout") and isinstance(part.dropout, float):
                        part.dropout = rate
                measure(f"{size}: training step, dropout {rate}", args.rounds, lambda: train(model, ids, target))
            continue
        encode = lambda: model.encoder(input_ids=ids).last_hidden_state
        measure(f"{size}: encoder, {SEGMENTS} x {TOKENS} tokens", args.rounds, encode)
        encoded = encode().reshape(1, SEGMENTS * TOKENS, d)
        for tokens in (1, 16):
            job = lambda: greedy(model, encoded, tokens)
            measure(f"{size}: decoder, {tokens} tokens over {SEGMENTS * TOKENS}", args.rounds, job)


if __name__ == "__main__":
    main()
