"""Passes on Transformers: heads and hidden units leave for good, integers stay near floats, in both executions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from networks import EACH_TRANSFORMER, TRANSFORMERS, answer, calibration_of, inputs, small
from zoo import kinds
from zoo.engine.execution import reference_execution
from zoo.model.build import Model
from zoo.passes import Pruned, prune
from zoo.passes.compress import compress, convert
from zoo.passes.decision import Decision
from zoo.passes.qat import prepare_qat
from zoo.spec import TextInput


def zeroed(model: Model, decision: Decision) -> Model:
    """The dense network in which what is dropped says nothing: its reader's columns are zero."""
    out = copy.deepcopy(model)
    readers = {"heads": "attn.proj", "mlp": "mlp.fc2", "cross": "cross.proj"}
    for group, kept in decision.choices["kept"].items():
        row, _, space = group.partition(".")
        weight = out.get_submodule(f"{row}.{readers[space]}").weight
        size = kinds.layer_widths(model.spec[row])[space]
        keep = torch.zeros(size, dtype=torch.bool)
        keep[kept] = True
        with torch.no_grad():
            weight[:, ~keep.repeat_interleave(weight.shape[1] // size)] = 0
    return out


@pytest.mark.parametrize("name", TRANSFORMERS)
@torch.inference_mode()
def test_the_pruned_network_is_the_dense_one_with_zeros(name: str) -> None:
    model = small(name)
    decision = prune.plan(model, Pruned(ratio=0.5, round_to=1))
    spaces = {group.rpartition(".")[2] for group in decision.choices["kept"]}
    assert spaces - {"cross"} == {"heads", "mlp"} or kinds.arguments(model.spec["h0"])["kv_heads"] == 1
    pruned = convert(model, decision)
    given = inputs(model)
    expected = answer(zeroed(model, decision), given)
    torch.testing.assert_close(answer(pruned, given), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert kinds.cost(pruned.spec).parameters < kinds.cost(model.spec).parameters


def test_groups_of_heads_keep_their_ratio() -> None:
    spec = small("llama3_2_1b").spec
    assert kinds.arguments(spec["h0"])["heads"] == 8 and kinds.arguments(spec["h0"])["kv_heads"] == 2
    pruned = compress(small("llama3_2_1b"), "pruned", ratio=0.5).spec["h0"]
    assert (pruned.args["heads"], pruned.args["kv_heads"]) == (4, 1)


@pytest.mark.parametrize("name", ["gpt2", "vit_base_patch16_224"])
def test_taylor_keeps_the_heads_and_units_that_matter(name: str) -> None:
    """A head and a unit whose readers are silent go first."""
    model = small(name)
    with torch.no_grad():
        model.h0.attn.proj.weight[:, :64] = 0
        model.h0.mlp.fc2.weight[:, :10] = 0
    given = inputs(model, 8)
    labels = given[0] if name == "gpt2" else torch.randint(0, 1000, (8,))
    decision = prune.plan(model, Pruned(ratio=0.3, importance="taylor", round_to=1), data=(given[0], labels))
    assert 0 not in decision.choices["kept"]["h0.heads"]
    assert not set(range(10)) & set(decision.choices["kept"]["h0.mlp"])


def test_a_network_without_a_head_has_no_loss() -> None:
    model = small("bert_base_uncased")
    with pytest.raises(ValueError, match='importance="l2"'):
        compress(model, "pruned", data=(inputs(model)[0], torch.zeros(4, dtype=torch.long)), importance="taylor")


def near(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min())


@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", EACH_TRANSFORMER)
@torch.inference_mode()
def test_int8_is_near_float_in_both_executions(name: str, dynamic: bool, reduce_range: bool) -> None:
    model = small(name)
    options: dict[str, Any] = {"dynamic": True} if dynamic else {"calibration": calibration_of(model)}
    int8 = compress(model, "int8", reduce_range=reduce_range, **options)
    given = inputs(model)
    expected, fast = answer(model, given), answer(int8, given)
    with reference_execution():
        reference = answer(int8, given)
    assert near(fast, expected) > 0.98
    assert near(fast, reference) > 0.999
    precisions = {row.precision for row in int8.spec if row.kind == "transformer_block"}
    assert precisions == {"int8_dynamic" if dynamic else "int8"}


@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("name", EACH_TRANSFORMER)
def test_int8_answers_where_gradients_are_on(name: str, dynamic: bool, reduce_range: bool) -> None:
    """As a first user calls it: the float rows around integer ones have parameters that could learn."""
    model = small(name)
    options: dict[str, Any] = {"dynamic": True} if dynamic else {"calibration": calibration_of(model)}
    int8 = compress(model, "int8", reduce_range=reduce_range, **options)
    given = inputs(model)
    with torch.inference_mode():
        expected = answer(int8, given)
    torch.testing.assert_close(answer(int8, given), expected)


@pytest.mark.parametrize("dynamic", [False, True])
@torch.inference_mode()
def test_one_block_agrees_with_the_reference(dynamic: bool) -> None:
    """Behind one block alone nothing has had time to grow."""
    model = small("gpt2")
    options: dict[str, Any] = {"dynamic": True} if dynamic else {"calibration": calibration_of(model)}
    block = compress(model, "int8", reduce_range=True, **options).h0
    for tokens in (1, 3, 40):
        x = torch.randn(2, tokens, 192)
        fast = block(x)
        with reference_execution():
            assert near(fast, block(x)) > 0.9999
        again = copy.deepcopy(block)
        torch.testing.assert_close(again(x), fast)


@torch.inference_mode()
def test_a_token_does_not_depend_on_its_neighbours_in_dynamic_int8() -> None:
    model = compress(small("gpt2"), "int8", reduce_range=True)
    ids, _ = inputs(model)
    whole = model(ids).logits
    torch.testing.assert_close(model(ids[1:2]).logits, whole[1:2], rtol=0, atol=2e-2 * float(whole.abs().max()))


@torch.inference_mode()
def test_int8_generates_with_its_cache() -> None:
    model = compress(small("smollm2_135m"), "int8", reduce_range=True)
    ids, _ = inputs(model)
    found = model.generate(ids[1:, :6], max_new_tokens=10, stop_tokens=())
    assert found.shape == (3, 16)


def test_what_does_not_fit_is_said() -> None:
    text, picture = small("bert_base_uncased"), small("vit_tiny_patch16_224")
    with pytest.raises(ValueError, match="takes no calibration="):
        compress(text, "int8", dynamic=True, calibration=calibration_of(text))
    for unused in ({"observer": "minmax"}, {"correct_bias": False}):
        with pytest.raises(ValueError, match="are for calibrated int8"):
            compress(text, "int8", **unused)
    with pytest.raises(ValueError, match="needs calibration="):
        compress(picture, "int8")
    with pytest.raises(ValueError, match="has no rows that range"):
        compress(small("mobilenetv2_cifar"), "int8", dynamic=True)
    with pytest.raises(ValueError, match="no quantization-aware training for patch_embedding"):
        prepare_qat(picture, calibration_of(picture))
    with pytest.raises(ValueError, match="say by name"):
        compress(text, "int8", calibration=calibration_of(text), keep_float=2)
    kept = compress(text, "int8", calibration=calibration_of(text), keep_float=("h0",))
    assert kept.spec["h0"].precision == "float32"


@pytest.mark.parametrize("name", EACH_TRANSFORMER)
def test_sparse_leaves_tables_alone(name: str) -> None:
    model = compress(small(name), "sparse", sparsity=0.7)
    weights = [row for row in model.spec if row.kind == "transformer_block"]
    share = torch.cat([model.get_submodule(row.name).mlp.fc1.weight.flatten() for row in weights])
    assert 0.4 < float((share == 0).float().mean()) < 0.95
    if isinstance(model.spec.input, TextInput):
        assert float((model.embed.tokens.weight == 0).float().mean()) < 0.01
    else:
        assert float((model.embed.positions == 0).float().mean()) < 0.01


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "gpt2"])
@torch.inference_mode()
def test_whole_blocks_go_on_request(name: str) -> None:
    model = small(name)
    last = [row.name for row in model.spec if row.kind == "transformer_block"][-1]
    model.get_submodule(last).attn.proj.weight.zero_()
    model.get_submodule(last).attn.proj.bias.zero_()
    model.get_submodule(last).mlp.fc2.weight.zero_()
    model.get_submodule(last).mlp.fc2.bias.zero_()  # it adds nothing now
    given = inputs(model)
    shallow = compress(model, "pruned", drop_blocks=1, data=given[0])
    assert [row.name for row in model.spec if row.name not in [r.name for r in shallow.spec]] == [last]
    torch.testing.assert_close(answer(shallow, given), answer(model, given))
    assert shallow.spec == compress(model, "pruned", drop_blocks=(last,)).spec
    for wrong in (0, 2, ("norm",), True):
        with pytest.raises(ValueError, match="drop_blocks"):
            compress(model, "pruned", drop_blocks=wrong)
    with pytest.raises(ValueError, match="needs data="):
        compress(model, "pruned", drop_blocks=1)
    with pytest.raises(ValueError, match="drop_blocks= alone"):
        compress(model, "pruned", drop_blocks=1, ratio=0.5, data=given[0])


@pytest.mark.parametrize("name", ["gpt2", "bert_base_uncased"])
@torch.inference_mode()
def test_integers_stay_under_half(name: str) -> None:
    model = compress(small(name), "int8", reduce_range=True)
    given = inputs(model)
    expected = answer(model, given).float()
    moved = copy.deepcopy(model).half()
    assert moved.h0.attn.qkv.weight.dtype == torch.int8 and moved.h0.attn.qkv.scale.dtype == torch.float32
    assert near(answer(moved, given).float(), expected) > 0.999


@torch.inference_mode()
def test_several_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = compress(small("all_minilm_l6_v2"), "int8", reduce_range=True)
    given = [inputs(model, batch) for batch in (1, 2, 3, 4) * 2]
    expected = [answer(model, one) for one in given]

    def ask(one: tuple[torch.Tensor, ...]) -> torch.Tensor:
        with torch.inference_mode():
            return answer(model, one)

    with ThreadPoolExecutor(4) as pool:
        for found, right in zip(pool.map(ask, given), expected, strict=True):
            assert near(found, right) > 0.999
