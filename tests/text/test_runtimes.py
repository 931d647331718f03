"""Language models in other runtimes and as files: the same call, the same answers, any batch and any length."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from daily import nightly
from networks import calibration_of, inputs, lively
from reduced import reduced
from zoo import registry
from zoo.model.build import Model
from zoo.passes.compress import compress
from zoo.text.model import TextOutput

RUNTIMES = ("openvino", "onnxruntime")
FORMS = ("dense", "static", "dynamic")
CASES = [  # an export is the same on every processor: each form of int8 is compared with the network on several
    *(("all_minilm_l6_v2", form, RUNTIMES, "vnni") for form in FORMS),
    ("smollm2_135m", "static", RUNTIMES, "avx2"),
    ("gpt2", "static", ("onnxruntime",), "other"),
    nightly(("smollm2_135m", "dense", RUNTIMES, "avx2")),
    nightly(("smollm2_135m", "dynamic", RUNTIMES, "avx2")),
    nightly(("bert_base_uncased", "dense", ("openvino",), "vnni")),
    nightly(("roberta_base", "dense", ("onnxruntime",), "vnni")),
]


def brief(name: str) -> Model:
    """With one block: an export takes as long as there are blocks, and writes each as the one before."""
    spec = reduced(registry.spec(name))
    blocks = [row for row in spec if row.kind == "transformer_block"]
    return lively(spec.replace(rows=tuple(row for row in spec if row not in blocks[1:])))


def made(name: str, form: str, *, reduce_range: bool = True) -> Model:
    model = brief(name)
    if form == "dense":
        return model
    options: dict[str, Any] = {"calibration": calibration_of(model)} if form == "static" else {"dynamic": True}
    return compress(model, "int8", reduce_range=reduce_range, **options)


def near(found: Tensor, expected: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min())


def assert_alike(found: TextOutput, expected: TextOutput, mask: Tensor, form: str) -> None:
    assert set(found) == set(expected)
    for name in found:
        one, other = found[name], expected[name]
        if one.dim() == 3:
            one, other = one * mask[..., None], other * mask[..., None]
        if form == "dense":
            assert (one - other).abs().max() <= 1e-4 * other.abs().max(), name
        else:
            assert near(one, other) > 0.98, name


@pytest.mark.parametrize(("name", "form", "runtimes", "processor"), CASES, indirect=["processor"])
def test_the_same_call_and_answers(
    name: str, form: str, runtimes: tuple[str, ...], processor: str, tmp_path: Path
) -> None:
    model = made(name, form, reduce_range=processor == "avx2")
    ids, mask = inputs(model)
    short, ones = ids[1:2, :7], torch.ones(1, 7, dtype=torch.long)
    with torch.inference_mode():
        whole, part = model(ids, mask), model(short)
    for runtime in runtimes:
        pytest.importorskip(runtime)
        fast = zoo.to_runtime(model, runtime, cache_dir=tmp_path)
        assert_alike(fast(ids, mask), whole, mask, form)
        assert_alike(fast(short), part, ones, form)
    assert len(list((tmp_path / "zoo" / "runtime").glob("*.onnx"))) == 1


@pytest.mark.parametrize(
    ("name", "form", "runtime"),
    [
        ("vit_tiny_patch16_224", "static", "openvino"),
        nightly(("vit_tiny_patch16_224", "dense", "onnxruntime")),
        ("deit_tiny_distilled_patch16_224", "static", "onnxruntime"),
    ],
)
def test_vit_in_runtimes(name: str, form: str, runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    model = made(name, form)
    (x,) = inputs(model)
    with torch.inference_mode():
        found, expected = zoo.to_runtime(model, runtime, cache_dir=tmp_path)(x), model(x)
    assert near(found, expected) > (0.98 if form == "static" else 0.99999)


@pytest.mark.parametrize(
    ("form", "suffix"),
    [("dense", ".onnx"), nightly(("static", ".xml")), ("static", ".pt2"), ("dynamic", ".xml"), ("static", ".pte")],
)
def test_files_are_checked_before_they_count(form: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".pte":
        pytest.importorskip("executorch")
    model = made("all_minilm_l6_v2", form)
    assert zoo.export(model, tmp_path / f"m{suffix}").stat().st_size > 1000


def test_wrong_input_is_refused_before_the_runtime_sees_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    fast = zoo.to_runtime(brief("all_minilm_l6_v2"), "onnxruntime", cache_dir=tmp_path)
    ids = torch.ones(1, 5, dtype=torch.long)
    fast(ids)  # what comes later is not compared with the network
    for wrong, said in (
        ((torch.zeros(1, 3),), r"zoo\.preprocess"),
        ((torch.ones(1, 600, dtype=torch.long),), "cut the text"),
        ((ids, ids[:, :3]), "attention_mask"),
        ((ids, ids, 7 * ids), "token types"),
    ):
        with pytest.raises(ValueError, match=said):
            fast(*wrong)
    with pytest.raises(ValueError, match="continues no texts"):
        fast.generate(ids, max_new_tokens=4, temperature=0.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [("gpt2", 'onnxruntime continues no texts; .*runtime="torch"'), ("all_minilm_l6_v2", "Only a decoder does")],
)
def test_other_runtimes_generate_nothing(name: str, said: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    fast = zoo.to_runtime(brief(name), "onnxruntime", cache_dir=tmp_path)
    for one in (fast, copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert not hasattr(one, "generate") and not hasattr(one, "stream")
        with pytest.raises(AttributeError, match=said):
            one.stream(torch.ones(1, 5, dtype=torch.long))


def test_the_tokenizer_goes_along(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    pytest.importorskip("openvino")
    from tokenizers import Tokenizer, models

    model = brief("all_minilm_l6_v2")
    model.tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1}, unk_token="[UNK]")).to_str()
    fast = zoo.to_runtime(model, "openvino", cache_dir=tmp_path)
    given = zoo.preprocess(fast)(["cat"])
    with torch.inference_mode():
        assert near(fast(**given).sentence_embedding, model(**given).sentence_embedding) > 0.9999


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_questions_are_answered_elsewhere(runtime: str, tmp_path: Path) -> None:
    """With windows of one question, whose last one is short, and with the same characters."""
    pytest.importorskip(runtime)
    pytest.importorskip("transformers")
    import reading

    reading.saved("bert_answers", tmp_path / "folder")
    model = zoo.load(tmp_path / "folder")
    fast = zoo.to_runtime(model, runtime, cache_dir=tmp_path / "cache")
    context = reading.text(60)
    for stride in (5, 0):
        given = {"question": reading.text(4, seed=1), "context": context, "window": 24, "stride": stride}
        expected, found = model.answer(**given), fast.answer(**given)
        assert found.pop("score") == pytest.approx(expected.pop("score"), abs=1e-4) and found == expected
