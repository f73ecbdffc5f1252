"""One program of the comparison, in a process of its own: `workers.py NAME CHECKPOINT THREADS`.

Says `ready`, then answers each line of its input with the seconds that it took: `encode`, `decode`, `train RATE` (a step
with dropout at that rate, forward and backward, without the optimiser), `save FILE` (the encoder's last result, f32 in
row-major order).
"""
import contextlib
import pathlib
import statistics
import sys
import time

import numpy
import torch

from checkpoint import ANSWER, SEGMENTS, TOKENS, VOCABULARY, model, token_ids

PAD, END = 0, 1


class PyTorch:
    """Hugging Face's T5 with PyTorch's fused attention."""
    beside_decoding = 0

    def __init__(self, folder, threads, dtype=torch.float32):
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self.net, self.ids = model(folder).to(dtype), token_ids()

    def encode(self):
        return self.net.encoder(input_ids=self.ids).last_hidden_state

    def before_decoding(self):
        self.encoded = self.encode().reshape(1, SEGMENTS * TOKENS, -1)

    def decode(self):
        """Keys and values of all that was encoded, and 16 tokens, greedily."""
        past, token = None, torch.full((1, 1), PAD)
        for _ in range(ANSWER):
            out = self.net.decoder(
                input_ids=token, encoder_hidden_states=self.encoded, past_key_values=past, use_cache=True)
            past = out.past_key_values
            token = self.net.lm_head(out.last_hidden_state[:, -1:]).argmax(-1)

    @torch.enable_grad()
    def train(self, rate):
        """A FiD of one question with 8 passages."""
        for part in self.net.train().modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = rate
            elif isinstance(getattr(part, "dropout", None), float):
                part.dropout = rate
        self.net.zero_grad(set_to_none=False)
        encoded = self.net.encoder(input_ids=self.ids).last_hidden_state.reshape(1, SEGMENTS * TOKENS, -1)
        self.net(encoder_outputs=(encoded,), labels=self.ids[:1, :ANSWER]).loss.backward()


class PyTorchBf16(PyTorch):
    def __init__(self, folder, threads):
        super().__init__(folder, threads, torch.bfloat16)


class CTranslate2:
    """The encoder as CTranslate2's encoder-only model, which it has no converter for. Its decoder comes with an encoder over
    all tokens at once, which takes far longer than decoding; so it gets one layer of it that is as thin as a layer can be,
    and the time of that alone is taken off."""
    type, words = "float32", [f"t{i}" for i in range(VOCABULARY)]

    def __init__(self, folder, threads):
        self.folder, self.threads = pathlib.Path(folder), threads
        self.encoder = self.open("Encoder", "ctranslate2-encoder", lambda spec: self.encoder_only(spec.encoder))
        self.ids = token_ids().tolist()

    def open(self, kind, name, part):
        import ctranslate2
        place = self.folder / name
        if not place.exists():
            from ctranslate2.converters.transformers import T5Loader
            spec = part(T5Loader().get_model_spec(model(self.folder)))
            for token in set(spec.config.to_dict()) & {"bos_token", "eos_token", "unk_token", "decoder_start_token"}:
                setattr(spec.config, token, self.words[END if token == "eos_token" else PAD])
            spec.validate()
            spec.optimize(quantization="float32")
            place.mkdir()
            spec.save(str(place))
        return getattr(ctranslate2, kind)(
            str(place), device="cpu", compute_type=self.type, inter_threads=1, intra_threads=self.threads)

    def encoder_only(self, encoder):
        from ctranslate2.specs import TransformerEncoderModelSpec
        spec = TransformerEncoderModelSpec(encoder)
        spec.register_vocabulary(self.words)
        return spec

    def thin(self, spec):
        """One head and a feed-forward of 16 numbers are left of the encoder."""
        width, encoder = 16, spec.encoder
        del encoder.layer[1:]
        encoder.num_heads = numpy.int16(1)
        attention, ffn = encoder.layer[0].self_attention, encoder.layer[0].ffn
        attention.relative_attention_bias = attention.relative_attention_bias[:, :1]
        for linear, rows in ((attention.linear[0], 3 * width), (ffn.linear_0, width), (ffn.linear_0_noact, width)):
            linear.weight = linear.weight[:rows]
        for linear in (attention.linear[1], ffn.linear_1):
            linear.weight = linear.weight[:, :width]
        spec.register_source_vocabulary(self.words)
        spec.register_target_vocabulary(self.words)
        return spec

    def encode(self):
        return self.encoder.forward_batch(self.ids).last_hidden_state

    def before_decoding(self):
        self.decoder = self.open("Translator", "ctranslate2-decoder", self.thin)
        encoder = self.open("Encoder", "ctranslate2-thin", lambda spec: self.encoder_only(self.thin(spec).encoder))
        every_id = sum(self.ids, [])
        self.source, times = [[self.words[i] for i in every_id]], []
        for _ in range(9):
            begin = time.perf_counter()
            encoder.forward_batch([every_id])
            times.append(time.perf_counter() - begin)
        self.beside_decoding = statistics.median(times)

    def decode(self):
        options = dict(beam_size=1, min_decoding_length=ANSWER, max_decoding_length=ANSWER, max_input_length=0)
        answer = self.decoder.translate_batch(self.source, **options)[0].hypotheses[0]
        assert len(answer) == ANSWER


class CTranslate2Int8(CTranslate2):
    type = "int8"


class OnnxRuntime:
    """The encoder as PyTorch exports it."""
    int8 = False

    def __init__(self, folder, threads):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        self.session = onnxruntime.InferenceSession(
            str(exported(folder, self.int8)), options, providers=["CPUExecutionProvider"])
        self.given = {self.session.get_inputs()[0].name: token_ids().numpy()}

    def encode(self):
        return self.session.run(None, self.given)[0]


class OnnxRuntimeInt8(OnnxRuntime):
    int8 = True


class OpenVino:
    hint = "f32"

    def __init__(self, folder, threads):
        import openvino
        options = {"INFERENCE_PRECISION_HINT": self.hint, "INFERENCE_NUM_THREADS": threads}
        self.compiled = openvino.Core().compile_model(str(exported(folder, False)), "CPU", options)
        self.ids = token_ids().numpy()

    def encode(self):
        return self.compiled(self.ids)[0]


class OpenVinoBf16(OpenVino):
    hint = "bf16"


def exported(folder, int8):
    """The encoder as ONNX, unless it is there; in int8 with weights by output channel and activations as they come."""
    plain, quantised = (pathlib.Path(folder) / f"encoder{kind}.onnx" for kind in ("", "-int8"))
    if not plain.exists():
        class Encoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                net = model(folder)
                # What the exporter makes of the fused attention, it then refuses.
                net.set_attn_implementation("eager")
                self.encoder = net.encoder

            def forward(self, ids):
                return self.encoder(input_ids=ids).last_hidden_state
        # What it says of its progress is no answer.
        with contextlib.redirect_stdout(sys.stderr):
            torch.onnx.export(Encoder().eval(), (token_ids(),), str(plain), dynamo=True, optimize=True)
    if int8 and not quantised.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic
        quantize_dynamic(plain, quantised, per_channel=True, weight_type=QuantType.QInt8)
    return quantised if int8 else plain


PROGRAMS = {
    "pytorch": PyTorch, "pytorch-bf16": PyTorchBf16,
    "ctranslate2": CTranslate2, "ctranslate2-int8": CTranslate2Int8,
    "onnxruntime": OnnxRuntime, "onnxruntime-int8": OnnxRuntimeInt8,
    "openvino": OpenVino, "openvino-bf16": OpenVinoBf16,
}


def main():
    name, folder, threads = sys.argv[1:]
    program = PROGRAMS[name](folder, int(threads))
    ready_to_decode = False
    print("ready", flush=True)
    for line in sys.stdin:
        job, *place = line.split()
        if job == "decode" and not ready_to_decode:
            program.before_decoding()
            ready_to_decode = True
        begin = time.perf_counter()
        if job == "encode":
            result = program.encode()
        elif job == "decode":
            program.decode()
        elif job == "train":
            program.train(float(place[0]))
        elif job == "save":
            result = result.float().numpy() if isinstance(result, torch.Tensor) else numpy.array(result)
            result.astype(numpy.float32).tofile(place[0])
        taken = time.perf_counter() - begin
        print(taken - program.beside_decoding if job == "decode" else taken, flush=True)


if __name__ == "__main__":
    main()
