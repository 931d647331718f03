"""The fast execution of int8 networks: flat lists of calls, and no wrong answer on any processor."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn as nn

import first_use
import processors
import zoo
from daily import daily
from networks import gated, pictures, small
from zoo import registry
from zoo.blocks import memory
from zoo.engine import arithmetic, module, reference_execution
from zoo.engine.arithmetic import QParams
from zoo.engine.cpu import call_plan, onednn
from zoo.engine.int8.layer import Int8Layer
from zoo.model.build import Model
from zoo.passes.compress import compress


def integer(name: str) -> Model:
    """A network that runs in integers on every x86 processor."""
    model = gated("hard_swish") if name == "gated" else small(name)
    return compress(model, "int8", calibration=pictures(model, 32), reduce_range=True)


def row_by_row(model: Model, x: torch.Tensor) -> torch.Tensor:
    for row in model.children():
        x = row(x)
    return x


@pytest.mark.parametrize("name", ["mobilenetv2_cifar", "resnet50", "efficientnet_cifar", "gated"])
def test_the_flat_list_is_the_rows(name: str) -> None:
    """Any batch, any image size, in any order, in either memory format, and again."""
    model = integer(name)
    with torch.inference_mode():
        for batch, *size in ((2, 32, 32), (1, 45, 33), (5, 32, 32), (1, 45, 33), (3, 64, 64)):
            x = torch.randn(batch, 3, *size)
            expected = row_by_row(model, x)
            assert torch.equal(model(x), expected)
            assert torch.equal(model(x.contiguous(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("form", ["int8", "fused"])
def test_a_large_batch_goes_through_in_parts(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nobody can tell, but by its memory."""
    model = integer("resnet20") if form == "int8" else zoo.fuse(small("resnet20"))
    x = torch.randn(7, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    last, seen = list(model.children())[-1], []
    with torch.inference_mode():
        whole = model(x)
        monkeypatch.setattr(call_plan, "PART", 2 * 32 * 32 // torch.get_num_threads())
        monkeypatch.setattr(last, "function", lambda x: lambda y: seen.append(len(y)) or last(y), raising=False)
        module.changed()
        in_parts = model(x)
        assert seen and max(seen) < 7 and sum(seen) == 7
        seen.clear()
        handle = last.register_forward_hook(lambda module, given, y: seen.append(len(y)))
        hooked = model(x)
        handle.remove()
    assert seen == [7]
    for found in (in_parts, hooked):
        torch.testing.assert_close(found, whole, rtol=1e-5, atol=0 if form == "int8" else 1e-5)
    single = model(torch.randn(1, 3, 320, 320))  # larger than a part by itself
    assert single.shape == (1, 10)


def test_what_trains_keeps_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch norm looks at all of it."""
    model = small("resnet20")
    x = torch.randn(4, 3, 32, 32)
    expected = model.train()(x)
    monkeypatch.setattr(memory, "PART", 1)
    torch.testing.assert_close(model(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(x), row_by_row(model, x))


def test_the_input_stays_as_it_is() -> None:
    model = integer("resnet20")
    x = torch.randn(2, 3, 32, 32)
    before = x.clone()
    assert torch.equal(model(x), model(x))
    assert torch.equal(x, before)


def test_more_sizes_than_are_kept_ready() -> None:
    model = integer("mobilenetv2_cifar")
    xs = [torch.randn(1, 3, 32 + 4 * i, 32) for i in range(call_plan.MAX_SIZES + 3)]
    with torch.inference_mode():
        first = [model(x) for x in xs]
        assert all(torch.equal(model(x), y) for x, y in zip(xs, first, strict=True))
    assert len(model._runner._lists) <= call_plan.MAX_SIZES
    assert all(len(m._calls) <= call_plan.MAX_SIZES for m in model.modules() if isinstance(m, Int8Layer))


def test_hooks_are_called_wherever_they_stand() -> None:
    model = integer("mobilenetv2_cifar")
    x = torch.randn(2, 3, 32, 32)
    expected, seen = model(x), []
    row, leaf = model.get_submodule("s2_2"), model.get_submodule("s3_1.expand")
    handles = [
        row.register_forward_hook(lambda m, args, out: seen.append("row")),
        leaf.register_forward_pre_hook(lambda m, args: seen.append("leaf")),
        nn.modules.module.register_module_forward_hook(
            lambda m, args, out: seen.append("everywhere") if m is model.pool else None
        ),
    ]
    assert torch.equal(model(x), expected)
    assert set(seen) == {"row", "leaf", "everywhere"}
    for handle in handles:
        handle.remove()
    seen.clear()
    assert torch.equal(model(x), expected) and not seen


def test_what_is_replaced_is_no_longer_run() -> None:
    model, other = integer("mobilenetv2_cifar"), integer("mobilenetv2_cifar")
    x = torch.randn(2, 3, 32, 32)
    model(x), other(x)
    model.s2_2 = other.s2_2  # a row
    model.s3_1.expand = other.s3_1.expand  # a leaf
    model.s3_1.project.bias = other.s3_1.project.bias + 1  # a tensor
    model.s2_1.expand.bias.add_(1.0)
    model.s2_1.expand.invalidate()  # changed in place
    expected = row_by_row(copy.deepcopy(model), x)
    assert torch.equal(model(x), expected)


def test_copies_stand_alone() -> None:
    model = integer("efficientnet_cifar")
    x = torch.randn(2, 3, 32, 32)
    expected = model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), expected)
        twin.load_state_dict(integer("efficientnet_cifar").state_dict())
        assert not torch.equal(twin(x), expected)
    assert torch.equal(model(x), expected)


def test_several_threads_at_once() -> None:
    model = integer("mobilenetv2_cifar")
    xs = [torch.randn(1 + i % 3, 3, 32 + 8 * (i % 4), 32) for i in range(24)]
    with torch.inference_mode():
        expected = [row_by_row(copy.deepcopy(model), x) for x in xs]

    def answer(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return model(x)

    with ThreadPoolExecutor(4) as pool:
        for y, right in zip(pool.map(answer, xs), expected, strict=True):
            assert torch.equal(y, right)


def test_first_used_in_inference_mode_then_outside() -> None:
    model = integer("mobilenetv2_cifar")
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = model(x)
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("name", daily(["mobilenet", "resnet", "efficientnet", "gated"], ["resnet", "gated"]))
def test_what_is_exported_is_the_reference(name: str) -> None:
    arch = name if name == "gated" else registry.resolve(name).arch
    model = integer(arch)
    x = pictures(model, 2)
    with reference_execution(), torch.inference_mode():
        expected = model(x)
    exported = torch.export.export(model, (x,))  # whatever this host runs
    assert not [node for node in exported.graph.nodes if "onednn" in str(node.target)]
    torch.testing.assert_close(exported.module()(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("processor", ["avx2"], indirect=True)
def test_wide_weights_warn_once_and_run_the_reference(processor: str) -> None:
    """On x86 without VNNI weights of 7 bits stay in integers, and those of 8 are computed right."""
    model = small("mobilenetv2_cifar")
    narrow = compress(model, "int8", calibration=pictures(model, 32), reduce_range=True)
    x = pictures(model, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        narrow(x)
    with pytest.warns(RuntimeWarning, match=r"runtime=.*reduce_range"):  # compress looks at the answers
        wide = compress(model, "int8", calibration=pictures(model, 32))
    y = wide(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wide(torch.randn(1, 3, 40, 40))
    with reference_execution():  # ties may be rounded either way in floats; saturated products would be far off
        assert float(torch.cosine_similarity(wide(x), y).min()) > 0.998


@pytest.mark.skipif(processors.of_host() != "avx2", reason="this processor's products do not saturate")
@pytest.mark.parametrize("name", ["mobilenet", "resnet", "efficientnet"])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_shipped_weights_and_narrow_ones_where_products_saturate(name: str) -> None:
    shipped, dense = zoo.create(f"{name}-int8"), zoo.create(name)
    x = zoo.preprocess(dense)(zoo.samples("cifar10", "train").images[:64])
    for model in (shipped, compress(dense, "int8", calibration=x, reduce_range=True)):
        with torch.inference_mode():
            y = model(x[:16])
            with reference_execution():
                expected = model(x[:16])
        assert torch.nn.functional.cosine_similarity(y, expected).min() > 0.999


HERE = Path(__file__).parent
# Its operators are those that stand in for them elsewhere; shipped networks, every structure and every activation.
OF_INTEGERS = "hosts_own or saturate or product_is or hard_networks or (layer_by_layer and True-avx2)"


@pytest.mark.multiprocess
@pytest.mark.skipif(processors.of_host() != "vnni", reason="this processor is not a newer one itself")
@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        pytest.param(("test_processors.py", "test_int8.py", "test_engine.py"), OF_INTEGERS, id="operators"),
        pytest.param(
            ("test_int8.py", "test_transformers.py", "../test_fuse.py", "test_engine.py"),
            "",
            id="all",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_the_tests_of_integers_pass_on_an_older_processor(files: tuple[str, ...], chosen: str) -> None:
    """`ONEDNN_MAX_CPU_ISA=AVX2` is a processor without VNNI, whose products saturate."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", "-m", "not timing and not multiprocess"]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", processors.SWITCH: ""}
    done = subprocess.run(
        [*command, "-k", chosen, *(str(HERE / file) for file in files)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.skipif(not onednn.widest_weight(), reason="a torch without the operators")
@pytest.mark.parametrize("target", [None, QParams(4.0, 100)])
@pytest.mark.parametrize("zero", [0, 128])
@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_product_is_a_convolution(activation: str, zero: int, target: QParams | None) -> None:
    """Of one column of pixels, packed once for every number of them."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-63, 64, (70, 48), generator=generator).to(torch.int8)
    scale, bias = torch.full((70,), 0.01), torch.linspace(-5, 5, 70)
    settings = (weight, scale, bias, QParams(0.05, zero), target, activation)
    convolve = onednn.linear_by_convolution(*settings)
    for tokens in (1, 5, 64):
        codes = torch.randint(0, 256, (tokens, 48), dtype=torch.uint8, generator=generator)
        expected = arithmetic.activate(arithmetic.multiply(codes, settings[3], weight, scale, bias), activation)
        found = convolve(codes)
        assert found.shape == (tokens, 70) and found.is_contiguous()
        if target is None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        else:
            assert int((found.int() - arithmetic.quantize(expected, target).int()).abs().max()) <= 1


@pytest.mark.parametrize("kind", ["int8", "fused"])
@torch.inference_mode()
def test_tensors_that_are_swapped_unseen(kind: str) -> None:
    """`functional_call` goes past every setter; what is packed is of the tensors that are there."""
    model = small("mobilenetv2_cifar")
    model = zoo.fuse(model) if kind == "fused" else zoo.compress(model, "int8", calibration=pictures(model))
    x = pictures(model, 2)
    other = copy.deepcopy(model)
    for name, tensor in other.state_dict().items():
        if name.endswith(("bias", "scale")):
            tensor.mul_(1.5)
    for part in other.modules():
        if hasattr(part, "invalidate"):
            part.invalidate()
    mine, theirs = model(x), other(x)
    assert not torch.allclose(mine, theirs)
    for asked in (model, copy.deepcopy(model)):  # packed before, and not yet
        assert torch.equal(torch.func.functional_call(asked, other.state_dict(), (x,)), theirs)
        assert torch.equal(asked(x), mine)


@pytest.mark.multiprocess
@pytest.mark.skipif(not onednn.widest_weight(), reason="a torch without the operators")
def test_what_the_first_use_finds_holds_for_all() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, first_use.__file__], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == list(first_use.STATES), done.stderr[-3000:]


@torch.inference_mode()
def test_a_hook_sees_what_a_layer_gave() -> None:
    model = gated("swish")
    int8 = zoo.compress(model, "int8", calibration=pictures(model), reduce_range=True)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    int8.a.depthwise.register_forward_hook(lambda module, given, y: seen.append((y, y.clone())))
    int8(pictures(int8, 2))
    assert torch.equal(*seen[0])
