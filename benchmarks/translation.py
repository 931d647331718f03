"""Tokens a second of an encoder with a decoder, beside transformers and CTranslate2 with the same weights.

    python benchmarks/translation.py marian_base --batch 1 --threads 1

Takes an architecture, whose weights are random and whose texts all get as many tokens, or a folder or file with trained
weights and `--texts`, a file with a text a line. Needs transformers; CTranslate2 joins where it is installed. All take
turns in one process. Greedy search is checked: float32 has transformers' very tokens. With one thread the processor's
time is measured, to which other processes add nothing.
"""

from __future__ import annotations

import sys

sys.path.pop(0)  # this folder, in which transformers.py stands in the way of the package of its name

import copy
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer

import zoo
from zoo import formatting, kinds
from zoo.report.timing import cpu_name
from zoo.weights import translation_names

NEVER = -100.0  # added to the score of the end where weights are random: every text then gets the same length
Tokens = list[list[int]]


def main(
    name: Annotated[str, typer.Argument()] = "marian_base",
    batch: Annotated[list[int] | None, typer.Option(help="Texts at once; given again, several in turn.")] = None,
    threads: int = 1,
    beams: int = 1,
    tokens: Annotated[int, typer.Option(help="Of a target; with texts, the most.")] = 24,
    source: Annotated[int, typer.Option(help="Tokens of a text, where weights are random.")] = 24,
    texts: Annotated[Path | None, typer.Option(help="A file with a text a line.")] = None,
    count: Annotated[int, typer.Option(help="Batches of texts.")] = 4,
    rounds: int = 7,
) -> None:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    trained = texts is not None
    dense: Any = zoo.create(name) if trained else unending(zoo.create(name, weights=None))
    theirs = of_transformers(dense)
    rows = []
    for size in batch or [1, 32]:
        batches = read(dense, texts, size, count) if texts is not None else made(dense, size, source)
        models = forms(dense, batches[0])
        runs: dict[str, Callable[[], Tokens]] = {
            form: partial(by_zoo, model, batches, beams, tokens) for form, model in models.items()
        }
        runs["transformers float32"] = partial(by_transformers, theirs, batches, beams, tokens)
        with tempfile.TemporaryDirectory() as folder:
            if find_spec("ctranslate2"):
                runs["CTranslate2 int8"] = ctranslate2_of(theirs, dense, Path(folder), batches, beams, tokens, threads)
            rows += measured(runs, rounds, size, tokens, same=beams == 1)
    headers = ["batch", "by", "tokens\na second", "times\ntransformers", "times\nCTranslate2", "texts as\nfloat32"]
    print(formatting.text(headers, rows))
    given = "texts of a file" if trained else f"random weights, {source} tokens to {tokens}"
    print(f"\n{name}, {given}, beams={beams}: {cpu_name()}, {threads} thread(s), torch {torch.__version__}.")


def measured(runs: dict[str, Callable[[], Tokens]], rounds: int, size: int, most: int, same: bool) -> list[list[str]]:
    found = {form: run() for form, run in runs.items()}  # weights are packed
    if same and found["zoo float32"] != found["transformers float32"]:
        raise SystemExit("Greedy tokens are not those of transformers.")
    times: dict[str, list[float]] = {form: [] for form in runs}
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    for _ in range(rounds):
        for form, run in runs.items():
            start = clock()
            run()
            times[form].append(clock() - start)
    speed = {form: sum(map(len, found[form])) / statistics.median(times[form]) for form in runs}
    rows, base = [], found["transformers float32"]
    for form, tokens in speed.items():
        # The last place is the end, whatever the scores; CTranslate2 writes one more token there.
        equal = sum(one[: most - 1] == other[: most - 1] for one, other in zip(found[form], base, strict=True))
        peers = (speed["transformers float32"], speed.get("CTranslate2 int8"))
        against = [f"{tokens / peer:.2f}" if peer else "" for peer in peers]
        rows.append([str(size), form, f"{tokens:.0f}", *against, f"{equal / len(base):.0%}"])
    return rows


def forms(dense: Any, calibration: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The network in every precision."""
    dynamic = zoo.compress(dense, "int8")
    static = zoo.compress(dense, "int8", calibration=calibration)
    return {"zoo float32": dense, "zoo int8": static, "zoo int8 dynamic": dynamic}


def made(model: Any, size: int, source: int) -> list[dict[str, torch.Tensor]]:
    ids = torch.randint(1, model.spec.texts.vocabulary - 1, (size, source))
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids)}]


def read(model: Any, file: Path, size: int, count: int) -> list[dict[str, torch.Tensor]]:
    prepare = zoo.preprocess(model)
    lines = file.read_text(encoding="utf-8").splitlines()[: size * count]
    return [dict(prepare(lines[at : at + size])) for at in range(0, len(lines), size)]


def unending(model: Any) -> Any:
    with torch.no_grad():
        model.head.bias[list(model.spec.texts.ends)] = NEVER
    return model


def ended(rows: Any, end: int) -> Tokens:
    """Without the start, and what follows the end."""
    return [[*row[: row.index(end)], end] if end in row else row for row in (list(row)[1:] for row in rows)]


def by_zoo(model: Any, batches: Sequence[dict[str, torch.Tensor]], beams: int, most: int) -> Tokens:
    end = model.spec.texts.ends[0]
    found = [model.translate_ids(**one, beams=beams, max_tokens=most).tolist() for one in batches]
    return [row for one in found for row in ended(one, end)]


@torch.inference_mode()
def by_transformers(model: Any, batches: Sequence[dict[str, torch.Tensor]], beams: int, most: int) -> Tokens:
    end = model.generation_config.eos_token_id
    options = {"num_beams": beams, "do_sample": False, "max_new_tokens": most}
    return [row for one in batches for row in ended(model.generate(**one, **options).tolist(), end)]


def of_transformers(dense: Any) -> Any:
    """The same network with the same weights."""
    spec, takes = dense.spec, dense.spec.texts
    block, of_decoder = kinds.arguments(spec["h0"]), kinds.arguments(spec["d0"])
    sides = [sum(row.kind == kind for row in spec) for kind in ("transformer_block", "decoder_block")]
    model = transformers.MarianMTModel(
        transformers.MarianConfig(
            vocab_size=takes.vocabulary,
            d_model=block["dim"],
            encoder_layers=sides[0],
            decoder_layers=sides[1],
            encoder_attention_heads=block["heads"],
            decoder_attention_heads=of_decoder["heads"],
            encoder_ffn_dim=block["mlp_dim"],
            decoder_ffn_dim=of_decoder["mlp_dim"],
            activation_function=block["activation"],
            max_position_embeddings=takes.length,
            scale_embedding=kinds.arguments(spec["embed"])["scale"] != 1,
            pad_token_id=takes.padding,
            eos_token_id=takes.ends[0],
            forced_eos_token_id=takes.last,
            decoder_start_token_id=takes.start,
            bos_token_id=None,
        )
    ).eval()
    state = model.state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    ours = dense.state_dict()
    for key, source in translation_names.places(spec, "marian", shapes).items():
        sizes = [shape[0] for _, shape in source.parts] if len(source.parts) > 1 else len(ours[key])
        parts = ours[key].split(sizes)
        for (name, shape), part in zip(source.parts, parts, strict=True):
            state[name].copy_(part.reshape(shape))
    model.tie_weights()
    config = model.generation_config
    config.forced_eos_token_id, config.bad_words_ids = takes.last, [[token] for token in takes.banned]
    return model


def ctranslate2_of(
    model: Any,
    dense: Any,
    folder: Path,
    batches: Sequence[dict[str, torch.Tensor]],
    beams: int,
    most: int,
    threads: int,
) -> Callable[[], Tokens]:
    """CTranslate2's own conversion, which here keeps the vector of padding: ours may start with another than zeros."""
    import ctranslate2
    from ctranslate2.converters import transformers as converters

    class Loader(converters.MarianMTLoader):  # type: ignore[misc]
        def _remove_pad_weights(self, spec: Any) -> None:
            pass

    takes = dense.spec.texts
    with torch.no_grad():
        spec = Loader().get_model_spec(copy.deepcopy(model))  # which it writes to
    spec.decoder.start_from_zero_embedding = False
    names = [f"t{i}" for i in range(takes.vocabulary)]
    names[takes.ends[0]] = "</s>"
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.eos_token, spec.config.unk_token = "</s>", names[1]
    spec.config.decoder_start_token, spec.config.bos_token = names[takes.start], names[takes.start]
    spec.validate()
    spec.optimize(quantization="int8")
    spec.save(str(folder))
    translator = ctranslate2.Translator(
        str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
    )
    numbers = {name: i for i, name in enumerate(names)}
    given = [
        [
            [names[i] for i, kept in zip(ids, mask, strict=True) if kept]
            for ids, mask in zip(one["input_ids"].tolist(), one["attention_mask"].tolist(), strict=True)
        ]
        for one in batches
    ]
    suppressed = [[names[i]] for i in takes.banned]

    def run() -> Tokens:
        rows = []
        for one in given:
            answers = translator.translate_batch(
                one, beam_size=beams, max_decoding_length=most, suppress_sequences=suppressed, return_end_token=True
            )
            rows += [[takes.start, *(numbers[token] for token in answer.hypotheses[0])] for answer in answers]
        return ended(rows, takes.ends[0])

    return run


if __name__ == "__main__":
    typer.run(main)
