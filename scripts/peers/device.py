"""PyTorch in bf16 on a CUDA device, at the shapes of `cargo bench --bench operations`, `training` and `end_to_end`: cuBLAS's
products, its fused attention, Hugging Face's T5 reading and training.

    python scripts/peers/device.py [products attention reading training]

Times are medians by the device's own clock, of runs one behind the other; a training step is forward and backward, without
the optimiser.
"""
import statistics
import sys
import tempfile

import torch
from torch.nn import functional

import checkpoint

WIDTH, TOKENS, ANSWER = 64, checkpoint.TOKENS, checkpoint.ANSWER
DEVICE = "cuda"


def seconds(run, runs=20, inner=5):
    """Median over `runs` of the mean of `inner` calls."""
    for _ in range(3):
        run()
    times = []
    for _ in range(runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(inner):
            run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3 / inner)
    return statistics.median(times)


def random(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.bfloat16) * 0.1


def row(what, taken, flop, bytes_=0):
    print(f"| {what} | {taken * 1e6:.1f} | {flop / taken / 1e12:.1f} | {bytes_ / taken / 1e9:.0f} |", flush=True)


def head(title):
    print(f"\n| {title} | µs | TFLOP/s | GB/s |\n|---|---:|---:|---:|")


def products():
    head("products")
    x, w = random(8192, 8192), random(8192, 8192)
    row("8192³", seconds(lambda: functional.linear(x, w), 10, 2), 2 * 8192**3)
    source, target = (torch.empty(1 << 30, dtype=torch.uint8, device=DEVICE) for _ in range(2))
    row("copy of 1 GiB", seconds(lambda: target.copy_(source), 10, 2), 0, 2 << 30)
    del source, target
    for size in ("base", "large"):
        d, f, heads, _ = checkpoint.SIZES[size]
        inner = heads * WIDTH
        for n in (8 * TOKENS, 25 * TOKENS):
            for what, k, m in (("q, k, v", d, 3 * inner), ("output", inner, d), ("gate and hidden", d, 2 * f), ("feed-forward output", f, d)):
                x, w = random(n, k), random(m, k)
                row(f"{size}: {what}, [{n}, {k}] → {m}", seconds(lambda: functional.linear(x, w)), 2 * n * k * m)
            x, w_0, w_1 = random(n, d), random(f, d), random(f, d)
            gated = lambda: functional.gelu(functional.linear(x, w_0), approximate="tanh") * functional.linear(x, w_1)
            row(f"{size}: gated GELU, [{n}, {d}] → {f}", seconds(gated), 4 * n * d * f)
        x, head_ = random(1, d), random(checkpoint.VOCABULARY, d)
        row(f"{size}: [1, {d}] → {checkpoint.VOCABULARY}, argmax", seconds(lambda: functional.linear(x, head_).argmax(-1)),
            2 * d * checkpoint.VOCABULARY, 2 * d * checkpoint.VOCABULARY)


def attention():
    head("attention, forward and backward")
    for size in ("base", "large"):
        heads = checkpoint.SIZES[size][2]
        for segments in (8, 25):
            n, inner = segments * TOKENS, heads * WIDTH
            flop = 4 * n * TOKENS * inner
            q, k, v = (random(segments, heads, TOKENS, WIDTH).requires_grad_() for _ in range(3))
            table = random(1, heads, TOKENS, TOKENS).requires_grad_()
            for what, bias in (("position bias", table), ("no bias", None)):
                attend = lambda: functional.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
                name = f"{size}: {segments} × {TOKENS}, {heads} heads, {what}"
                with torch.no_grad():
                    forward = seconds(attend)
                row(name, forward, flop, 8 * n * inner)
                out, d_out = attend(), random(segments, heads, TOKENS, WIDTH)
                backward = seconds(lambda: out.backward(d_out, retain_graph=True))
                row(name + ", backward", backward, 2.5 * flop, 16 * n * inner)
            x = random(1, heads, 1, WIDTH)
            k, v = random(1, heads, n, WIDTH), random(1, heads, n, WIDTH)
            one = lambda: functional.scaled_dot_product_attention(x, k, v, scale=1.0)
            row(f"{size}: one row over {n}", seconds(one), 4 * n * inner, 4 * n * inner)


def net(size):
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.write(size, folder)
        return checkpoint.model(folder).to(DEVICE, torch.bfloat16)


def tokens(questions, passages, length=TOKENS):
    i = torch.arange(questions * passages * length, device=DEVICE)
    return (2 + i * 7919 % (checkpoint.VOCABULARY - 2)).reshape(questions * passages, length)


@torch.no_grad()
def read(t5, passages):
    encoded = t5.encoder(input_ids=tokens(1, passages)).last_hidden_state.reshape(1, passages * TOKENS, -1)
    past, token = None, torch.zeros((1, 1), dtype=torch.long, device=DEVICE)
    for _ in range(ANSWER):
        out = t5.decoder(input_ids=token, encoder_hidden_states=encoded, past_key_values=past, use_cache=True)
        past = out.past_key_values
        token = t5.lm_head(out.last_hidden_state[:, -1:]).argmax(-1)


def step(t5, ids, labels):
    t5.zero_grad(set_to_none=False)
    encoded = t5.encoder(input_ids=ids).last_hidden_state.reshape(len(labels), -1, t5.config.d_model)
    t5(encoder_outputs=(encoded,), labels=labels).loss.backward()


def reading_and_training(jobs):
    for size in ("base", "large"):
        t5 = net(size)
        if "reading" in jobs:
            for passages in (5, 25):
                taken = seconds(lambda: read(t5, passages), 5, 1)
                print(f"{size}: FiD reads {passages} passages and writes {ANSWER} tokens: {taken * 1e3:.2f} ms", flush=True)
        if "training" in jobs:
            t5.train()
            for questions in (1, 8):
                ids, labels = tokens(questions, 8), tokens(questions, 1, ANSWER)
                torch.cuda.reset_peak_memory_stats()
                taken = seconds(lambda: step(t5, ids, labels), 5, 1)
                peak = torch.cuda.max_memory_allocated() / 1e9
                print(f"{size}: a step of {questions} × 8 × {TOKENS} tokens: {taken * 1e3:.2f} ms, peak {peak:.2f} GB", flush=True)
        del t5


def main():
    jobs = sys.argv[1:] or ["products", "attention", "reading", "training"]
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    if "products" in jobs:
        products()
    if "attention" in jobs:
        attention()
    reading_and_training(jobs)


if __name__ == "__main__":
    main()
