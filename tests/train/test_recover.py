"""`zoo.recover`: what was lost comes back without labels, the variant stays, and a run that was stopped goes on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import zoo
from daily import daily
from networks import lively
from reduced import reduced
from zoo import kinds, registry
from zoo.model.answer import answer
from zoo.model.build import Model
from zoo.train import recover as module
from zoo.train.divergence import Diverged
from zoo.train.imitation import shared_rows
from zoo.train.unlabelled import Unlabelled, cut_at_random

QUIET: dict[str, Any] = {"steps": 4, "batch_size": 8, "quiet": True}


@pytest.fixture(scope="module")
def dense() -> Model:
    return zoo.create("resnet20")


@pytest.fixture(scope="module")
def pictures(dense: Model) -> Tensor:
    return zoo.preprocess(dense)(zoo.samples("cifar10", "train").images[:96])


@pytest.fixture(scope="module")
def unseen(dense: Model) -> Tensor:
    return zoo.preprocess(dense)(zoo.samples("cifar10", "train").images[96:192])


def distance(model: Model, teacher: Model, x: Any) -> float:
    with torch.inference_mode():
        return float((answer(model, x) - answer(teacher, x)).square().mean())


@pytest.mark.parametrize(
    "passes",
    daily(["pruned", "sparse", "pruned-int8", "sparse-int8"], ["sparse-int8"]),
)
def test_answers_come_nearer_on_inputs_not_seen_and_the_variant_stays(
    dense: Model, pictures: Tensor, unseen: Tensor, passes: str
) -> None:
    options = {"macs": 0.8, "importance": "l2"} if "pruned" in passes else {"sparsity": 0.7}
    calibration = {"calibration": pictures} if "int8" in passes else {}
    small = zoo.compress(dense, passes.removesuffix("-int8"), **options)
    small = zoo.compress(small, "int8", **calibration) if calibration else small
    before = {key: tensor.clone() for key, tensor in small.state_dict().items()}
    better = zoo.recover(small, teacher=dense, data=pictures, steps=24, batch_size=16, learning_rate=3e-4, quiet=True)
    assert better.spec == small.spec
    assert distance(better, dense, unseen) < 0.8 * distance(small, dense, unseen)
    if "sparse" in passes and "int8" not in passes:
        for key, tensor in small.state_dict().items():
            if key.endswith("weight") and tensor.dim() > 1:
                assert not better.state_dict()[key][tensor == 0].any(), key
    assert all(torch.equal(before[key], tensor) for key, tensor in small.state_dict().items()), "the start changed"
    told = better.made["trained"]
    assert (told["by"], told["teacher"], told["inputs"], told["steps"]) == ("recover", "resnet20.cifar10", 96, 24)
    assert 0 <= told["agreement"] <= 100
    assert [one["pass"] for one in better.made["passes"]][:1] == [passes.split("-")[0]]


def test_texts(tmp_path: Path) -> None:
    spec = registry.spec("all_minilm_l6_v2")
    teacher = lively(reduced(spec))
    ids = torch.randint(5, 90, (12, 9), generator=torch.Generator().manual_seed(0))
    texts = [{"input_ids": ids[:6], "attention_mask": torch.ones(6, 9)}, {"input_ids": ids[6:, :7]}]
    texts[1]["attention_mask"] = torch.ones(6, 7)
    small = zoo.compress(teacher, "sparse", sparsity=0.6)
    better = zoo.recover(
        small, teacher=teacher, data=texts, steps=8, batch_size=6, learning_rate=3e-4, quiet=True, out=tmp_path / "out"
    )
    assert sum(distance(better, teacher, one) for one in texts) < sum(distance(small, teacher, one) for one in texts)
    assert 0 < better.made["trained"]["cosine"] <= 1
    assert zoo.load(tmp_path / "out").made["trained"] == better.made["trained"]


def test_the_same_call_gives_the_same_weights_and_goes_on_where_it_stopped(
    dense: Model, pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROUND", 2)
    small = zoo.compress(dense, "sparse", sparsity=0.7)
    whole = zoo.recover(small, teacher=dense, data=pictures[:16], **QUIET)

    class Stopped(Exception):
        pass

    class Stopping(module.Imitation):
        calls = 0

        def loss(self, *given: Any) -> Any:
            Stopping.calls += 1
            if Stopping.calls == 3:
                raise Stopped
            return super().loss(*given)

    with monkeypatch.context() as patched:
        patched.setattr(module, "Imitation", Stopping)
        with pytest.raises(Stopped):
            zoo.recover(small, teacher=dense, data=pictures[:16], out=tmp_path / "out", **QUIET)
    assert list((tmp_path / "out/training/checkpoints").iterdir())
    resumed = zoo.recover(small, teacher=dense, data=pictures[:16], out=tmp_path / "out", **QUIET)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key]), key
    with pytest.raises(ValueError, match=r"belongs to another run, which differs in .*data"):
        zoo.recover(small, teacher=dense, data=pictures[:8], out=tmp_path / "out", **QUIET)


def test_a_time_becomes_a_number_of_steps_that_a_second_call_keeps(
    dense: Model, pictures: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_seconds", lambda *given: 1.0)
    small = zoo.compress(dense, "sparse", sparsity=0.7)
    options: dict[str, Any] = {"teacher": dense, "data": pictures[:8], "minutes": 0.1, "batch_size": 4, "quiet": True}
    first = zoo.recover(small, out=tmp_path, **options)
    assert first.made["trained"]["steps"] == 6
    monkeypatch.setattr(module, "_seconds", lambda *given: 0.5)
    assert zoo.recover(small, out=tmp_path, **options).made["trained"]["steps"] == 6
    assert json.loads((tmp_path / "training/plan.json").read_text())["steps"] == 6


def test_what_cannot_be_is_refused_before_anything_is_written(dense: Model, pictures: Tensor, tmp_path: Path) -> None:
    small = zoo.compress(dense, "sparse", sparsity=0.7)
    out = tmp_path / "out"

    def refused(match: str, **changed: Any) -> None:
        with pytest.raises(ValueError, match=match):
            zoo.recover(**{"model": small, "teacher": dense, "data": pictures, "out": out, **QUIET, **changed})
        assert not out.exists()

    refused("minutes= takes a number above 0", minutes=0.0, steps=None)
    refused("minutes= takes a number above 0", minutes=float("nan"), steps=None)
    refused("at most 100,000", minutes=1e300, steps=None)
    refused("save_seconds= takes a number", save_seconds=-1)
    refused("Device 'foo.*cannot be used here", device="foo\x1b[31m")
    refused("teacher is smaller", model=dense, teacher=zoo.compress(dense, "pruned", macs=0.5))
    refused("teacher has more zeros", model=dense, teacher=small)
    refused("itself", model=dense)
    refused("normalised floats", data=(pictures * 20).byte())
    refused("normalised floats", data=pictures[0])
    refused("steps= takes a whole number above 0", steps=0)
    refused("give one of them", minutes=5.0)
    refused("batch_size= is from 1 to", batch_size=0)
    refused("learning_rate= is above 0", learning_rate=-1.0)
    refused("not finite", data=torch.full_like(pictures, float("nan")))
    refused("nothing can be ranged|Every value", data=torch.zeros_like(pictures))
    refused("other classes", teacher=zoo.create("resnet20", weights=None, num_classes=7))
    refused("takes other inputs", teacher=zoo.build(registry.spec("efficientnet_lite0")))
    refused("inputs without labels", data="pictures")


def test_harm_is_told(dense: Model, pictures: Tensor) -> None:
    small = zoo.compress(dense, "sparse", sparsity=0.3)
    with pytest.warns(UserWarning, match="further from its teacher than before: agreement"):
        worse = zoo.recover(small, teacher=dense, data=pictures, learning_rate=0.05, **QUIET)
    assert worse.made["trained"]["agreement"] < worse.made["trained"]["agreement_before"]


def test_a_loss_that_is_not_finite_is_one_clear_error(dense: Model, pictures: Tensor) -> None:
    small = zoo.compress(dense, "sparse", sparsity=0.3)
    with pytest.raises(Diverged, match=r"not finite\. Lower learning_rate=\.$"):
        zoo.recover(small, teacher=dense, data=pictures, learning_rate=5.0, **QUIET)


def test_labels_beside_the_inputs_are_left_out_and_modes_stay(dense: Model, pictures: Tensor) -> None:
    small, teacher = zoo.compress(dense, "sparse", sparsity=0.7), zoo.create("resnet20").train()
    before = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    labelled = (pictures[:16], torch.zeros(16, dtype=torch.int64))
    made = zoo.recover(small, teacher=teacher, data=labelled, **QUIET)
    assert made.made["trained"]["inputs"] == 16
    assert teacher.training and all(torch.equal(before[key], one) for key, one in teacher.state_dict().items())


def test_rows_whose_outputs_have_one_shape_are_shared(dense: Model) -> None:
    assert shared_rows(dense, dense) == tuple(row.name for row in dense.spec if kinds.KINDS[row.kind].role == "trunk")
    narrow = zoo.compress(dense, "pruned", macs=0.5)
    widths = {row.name: shape for row, shape in zip(narrow.spec, kinds.row_shapes(narrow.spec), strict=True)}
    wide = {row.name: shape for row, shape in zip(dense.spec, kinds.row_shapes(dense.spec), strict=True)}
    assert all(widths[name] == wide[name] for name in shared_rows(narrow, dense))


def test_cuts_keep_the_size_and_the_range_and_follow_the_generator() -> None:
    x = torch.rand(6, 3, 20, 24)
    torch.manual_seed(1)
    first = cut_at_random(x)
    torch.manual_seed(1)
    assert torch.equal(first, cut_at_random(x))
    assert first.shape == x.shape
    assert first.min() >= 0 and first.max() <= 1
    assert not torch.equal(first, cut_at_random(x))


def test_every_input_is_used_as_often_as_another() -> None:
    inputs = Unlabelled([torch.arange(5.0)[:, None]], length=10)
    seen = torch.cat(list(inputs.stream(torch.randperm(len(inputs)).split(4), 0)))
    assert seen.flatten().sort().values.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


def test_inputs_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        Unlabelled([torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 9, 9)])
    with pytest.raises(ValueError, match="different tensors"):
        Unlabelled([{"input_ids": torch.zeros(1, 3)}, {"attention_mask": torch.zeros(1, 3)}])


def test_the_recipe_stays_what_the_docstring_says() -> None:
    assert f"Default: {module.RECIPE.learning_rate}" in (zoo.recover.__doc__ or "")
    assert f"{module.MINUTES} without `steps`" in (zoo.recover.__doc__ or "")


def test_a_refused_call_leaves_the_run_as_it_was(dense: Model, pictures: Tensor, tmp_path: Path) -> None:
    small = zoo.compress(dense, "pruned", macs=0.8, importance="l2")
    given: dict[str, Any] = {"data": pictures[:8], "batch_size": 4, "out": tmp_path / "run", "quiet": True}
    first = zoo.recover(small, dense, minutes=0.001, **given)
    plan = (tmp_path / "run" / "training" / "plan.json").read_bytes()
    with pytest.raises(ValueError, match="another run, which differs in minutes"):
        zoo.recover(small, dense, minutes=0.002, **given)
    assert (tmp_path / "run" / "training" / "plan.json").read_bytes() == plan
    again = zoo.recover(small, dense, minutes=0.001, **given)
    assert again.made["trained"] == first.made["trained"]


def test_a_teacher_that_agrees_as_by_chance_is_told(dense: Model, pictures: Tensor) -> None:
    small = zoo.compress(dense, "pruned", macs=0.8, importance="l2")
    stranger = copy.deepcopy(dense)
    with torch.no_grad():
        for parameter in list(stranger.children())[-1].parameters():
            parameter.neg_()  # the least likely class is its answer
    with pytest.warns(UserWarning, match="about as often as by chance"):
        zoo.recover(small, stranger, pictures, steps=1, quiet=True)
