"""Tokens a second of decoders at batch 1, in every precision, beside transformers and llama.cpp.

    python benchmarks/decoders.py --threads 1

Weights are random. Needs transformers; llama.cpp joins where xllamacpp and gguf are installed, with the same weights in
Q8_0 and Q4_0. All take turns in one process. The share is that of the memory's speed which reading the weights takes.
"""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder, in which transformers.py stands in the way of the package of its name

import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer

import zoo
from zoo import formatting, kinds
from zoo.report.generation import NEW, PROMPT, bandwidth, bytes_read, step_times
from zoo.report.timing import cpu_name

DECODERS = ("gpt2", "smollm2_135m")
FORMS = ("bfloat16", "w8", "w4", "int8")


def main(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    threads: int = 1,
    rounds: int = 3,
    form: Annotated[list[str] | None, typer.Option(help="Only these of the zoo's forms, beside float32.")] = None,
    out: Annotated[Path | None, typer.Option(help="A file for the table.")] = None,
) -> None:
    torch.set_num_threads(threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names or DECODERS:
            rows += measured(name, rounds, threads, Path(folder), form or FORMS)
    headers = ["decoder", "by", "tokens\na second", "MB read\na token", "share", "times\nfloat32"]
    text = formatting.text(headers, rows) + f"\n\n{cpu_name()}, {threads} thread(s), torch {torch.__version__}."
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")


def measured(name: str, rounds: int, threads: int, folder: Path, forms: Sequence[str]) -> list[list[str]]:
    torch.manual_seed(0)
    dense: Any = zoo.create(name, weights=None)
    models = {"float32": dense} | {form: made(dense, form) for form in forms}
    runs: dict[str, Callable[[], list[float]]] = {
        form: lambda model=model: step_times(model)
        for form, model in models.items()  # type: ignore[misc]
    }
    read = {form: bytes_read(model) for form, model in models.items()}
    theirs = network_of_transformers(dense)
    runs["transformers float32"] = lambda: steps_of_transformers(theirs)
    read["transformers float32"] = read["float32"]
    if find_spec("xllamacpp") and find_spec("gguf"):
        for kind in ("Q8_0", "Q4_0"):
            file = folder / f"{name}-{kind}.gguf"
            read[f"llama.cpp {kind}"] = write_gguf(dense, file, kind)
            runs[f"llama.cpp {kind}"] = llama_cpp(file, threads)
    times: dict[str, list[float]] = {form: [] for form in runs}
    speed = dict.fromkeys(runs, 0.0)
    for _ in range(rounds):
        for form, run in runs.items():
            speed[form] = max(speed[form], bandwidth(read[form]))
            times[form] += run()
    rows = []
    base = statistics.median(times["float32"])
    for form, steps in times.items():
        step = statistics.median(steps)
        share = read[form] / step / speed[form]
        rows.append(
            [name, form, f"{1 / step:.1f}", f"{read[form] / 1e6:.1f}", f"{share:.2f}", f"{base / step:.2f}"],
        )
    return rows


def made(dense: Any, form: str) -> Any:
    return copy.deepcopy(dense).to(torch.bfloat16) if form == "bfloat16" else zoo.compress(dense, form)


def network_of_transformers(model: Any) -> Any:
    """The same sizes; the weights are its own, random ones."""
    block, texts = kinds.arguments(model.spec["h0"]), model.spec.texts
    layers = sum(row.kind == "transformer_block" for row in model.spec)
    if block["positions"] == "none":
        config = transformers.GPT2Config(n_layer=layers, n_embd=block["dim"], n_head=block["heads"])
        return transformers.GPT2LMHeadModel(config).eval()
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=texts.vocabulary,
            hidden_size=block["dim"],
            intermediate_size=block["mlp_dim"],
            num_hidden_layers=layers,
            num_attention_heads=block["heads"],
            num_key_value_heads=block["kv_heads"],
            tie_word_embeddings=True,
        )
    ).eval()


@torch.inference_mode()
def steps_of_transformers(model: Any) -> list[float]:
    """Its own steps with its own cache, without the loop of its generate."""
    out = model(torch.arange(PROMPT)[None], use_cache=True)
    times = []
    for _ in range(NEW):
        start = time.perf_counter()
        out = model(out.logits[:, -1:].argmax(-1), past_key_values=out.past_key_values, use_cache=True)
        times.append(time.perf_counter() - start)
    return times[1:]


def llama_cpp(file: Path, threads: int) -> Callable[[], list[float]]:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.n_ctx, params.n_parallel, params.warmup = 512, 1, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    ask = {"prompt": list(range(1, PROMPT + 1)), "n_predict": NEW, "ignore_eos": True, "temperature": 0.0}
    ask |= {"samplers": ["top_k"], "top_k": 1, "cache_prompt": False}

    def run() -> list[float]:
        answer = server.handle_completions(ask)
        found = json.loads(answer) if isinstance(answer, str) else answer
        return [found["timings"]["predicted_per_token_ms"] / 1e3] * NEW

    return run


def write_gguf(model: Any, file: Path, kind: str) -> int:
    """Write the weights for llama.cpp, and return the bytes that a token reads; the vocabulary's are in Q8_0."""
    import gguf

    block, texts, state = kinds.arguments(model.spec["h0"]), model.spec.texts, model.state_dict()
    layers = sum(row.kind == "transformer_block" for row in model.spec)
    arch = "gpt2" if block["positions"] == "none" else "llama"
    writer = gguf.GGUFWriter(str(file), arch)
    writer.add_context_length(1024)
    writer.add_embedding_length(block["dim"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(block["mlp_dim"])
    writer.add_head_count(block["heads"])
    if arch == "gpt2":
        writer.add_layer_norm_eps(block["eps"])
    else:
        writer.add_head_count_kv(block["kv_heads"])
        writer.add_layer_norm_rms_eps(block["eps"])
        writer.add_rope_freq_base(block["rotary_base"])
        writer.add_rope_dimension_count(block["head_dim"])
    writer.add_vocab_size(texts.vocabulary)
    letters = [chr(i) for i in range(33, 127)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(letters + [f"<t{i}>" for i in range(texts.vocabulary - len(letters))])
    writer.add_token_types([1] * texts.vocabulary)
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(texts.vocabulary - 1)
    total = 0

    def put(name: str, tensor: torch.Tensor, form: str = "F32", read: bool = True) -> None:
        nonlocal total
        of = gguf.GGMLQuantizationType[form]
        data = gguf.quants.quantize(tensor.float().contiguous().numpy(), of)
        writer.add_tensor(name, data, raw_dtype=of)
        total += data.nbytes if read else 0

    embed = next(row.name for row in model.spec if row.kind == "token_embedding")
    norm = next(row.name for row in model.spec if row.kind == "token_norm")
    put("token_embd.weight", state[f"{embed}.tokens.weight"], "Q8_0")
    if arch == "gpt2":
        put("position_embd.weight", state[f"{embed}.positions.weight"], read=False)
    for part in ("weight", "bias"):
        if f"{norm}.norm.{part}" in state:
            put(f"output_norm.{part}", state[f"{norm}.norm.{part}"])
    names = {
        "norm1": "attn_norm",
        "attn.proj": "attn_output",
        "norm2": "ffn_norm",
        "mlp.fc1": "ffn_up",
        "mlp.gate": "ffn_gate",
        "mlp.fc2": "ffn_down",
    }
    for layer in range(layers):
        ours, theirs = f"h{layer}.", f"blk.{layer}."
        for key, name in names.items():
            for part in ("weight", "bias"):
                tensor = state.get(f"{ours}{key}.{part}")
                if tensor is not None:
                    put(f"{theirs}{name}.{part}", tensor, kind if tensor.dim() > 1 else "F32")
        qkv = state[f"{ours}attn.qkv.weight"]
        if arch == "gpt2":
            put(f"{theirs}attn_qkv.weight", qkv, kind)
            put(f"{theirs}attn_qkv.bias", state[f"{ours}attn.qkv.bias"])
            continue
        sizes = [block["head_dim"] * heads for heads in (block["heads"], block["kv_heads"], block["kv_heads"])]
        for part, tensor in zip("qkv", qkv.split(sizes), strict=True):
            put(f"{theirs}attn_{part}.weight", tensor, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return total


if __name__ == "__main__":
    typer.run(main)
