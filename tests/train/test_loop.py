"""The loop: repeatable, and what its settings do."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from short_runs import EVERYTHING, MEAN, RECIPE, SPEC, STD, STEPS, Cut, Killed, assert_equal, fresh, newest, run
from zoo.model.build import build
from zoo.passes.sparsify import Sparsifier
from zoo.spec import ImageInput
from zoo.train.depthwise_bf16 import subsampled_depthwise
from zoo.train.divergence import Diverged
from zoo.train.images import ImageSet, normalize
from zoo.train.log import TrainingLog
from zoo.train.loop import accuracy, fit
from zoo.train.optim import Schedule, make_optimizer
from zoo.train.recipe import Recipe
from zoo.train.recompute import recomputed
from zoo.train.teachers import Ensemble


def test_it_learns_and_keeps_the_figures(data: ImageSet, tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, quiet=True)
    model = fit(fresh(), data, replace(RECIPE, epochs=8), folder=tmp_path, validation=data, log=log)
    assert not model.training
    assert accuracy(model, data) > 95
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [float(row["step"]) for row in rows] == [STEPS * n for n in range(1, 9)]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert float(rows[-1]["validation"]) == pytest.approx(accuracy(model, data))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "tensorboard").iterdir())
    assert len(log.table().splitlines()) == 2 + 8


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, bfloat16=True), EVERYTHING], ids=["plain", "bf16", "all"])
def test_two_runs_are_equal(data: ImageSet, tmp_path: Path, recipe: Recipe) -> None:
    first = run(data, tmp_path / "first", recipe)
    torch.manual_seed(99)  # what others drew before does not matter
    assert_equal(first, run(data, tmp_path / "second", recipe))
    other = run(data, tmp_path / "third", replace(recipe, seed=1))
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])


def test_a_run_leaves_the_callers_random_numbers_alone(data: ImageSet, tmp_path: Path) -> None:
    model = fresh()
    expected = torch.random.get_rng_state()
    fit(model, data, EVERYTHING, folder=tmp_path, log=TrainingLog(tmp_path, quiet=True))
    assert torch.equal(torch.random.get_rng_state(), expected)


def test_zeros_stay_where_a_moving_average_counts(data: ImageSet, tmp_path: Path) -> None:
    model = fresh()
    sparsifier = Sparsifier(model, sparsity=0.6, end=0.9)
    fit(
        model,
        data,
        replace(RECIPE, average=0.9),
        folder=tmp_path,
        after_step=sparsifier,
        log=TrainingLog(tmp_path, quiet=True),
    )
    weights = [p for p in model.parameters() if p.ndim > 1]
    zeros = sum(int((w == 0).sum()) for w in weights)
    assert zeros == round(0.6 * sum(w.numel() for w in weights))


@pytest.mark.parametrize("recompute", [False, True])
def test_frozen_rows_keep_weights_and_statistics(recompute: bool, data: ImageSet, tmp_path: Path) -> None:
    before = {key: value.clone() for key, value in fresh().state_dict().items()}
    model = fresh()
    recipe = replace(RECIPE, freeze=1, average=0.9, recompute=recompute)
    log = TrainingLog(tmp_path, quiet=True)
    after = fit(model, data, recipe, folder=tmp_path, validation=data, log=log).state_dict()
    same = {key for key, value in after.items() if torch.equal(value, before[key])}
    assert {key for key in same if not key.startswith("stem.")} == set()
    assert {key for key in after if key.startswith("stem.")} <= same
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freezing_everything_is_refused(data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="freeze= leaves nothing to train: tiny has 4 rows, not 4"):
        run(data, tmp_path, replace(RECIPE, freeze=4))


def test_fewer_pictures_than_a_step_are_refused(data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="40 examples make no step of 64; choose a smaller batch_size"):
        run(data, tmp_path, replace(RECIPE, batch_size=32, accumulate=2))


@pytest.mark.parametrize("row", ["stem", "a", "classifier"])
def test_a_loss_that_is_not_finite_names_step_and_row(data: ImageSet, tmp_path: Path, row: str) -> None:
    model = fresh()
    weight = next(p for p in model.get_submodule(row).parameters() if p.ndim > 1)

    class Poison(Cut):
        def step(self, done: int, total: int) -> None:
            if done == 6:
                with torch.no_grad():
                    weight[(0,) * weight.ndim] = float("nan")

    with pytest.raises(Diverged, match=rf"The loss is nan at step 7: row '{row}' is the first") as raised:
        fit(model, data, RECIPE, folder=tmp_path, after_step=Poison(0), log=TrainingLog(tmp_path, quiet=True))
    assert (raised.value.step, raised.value.row) == (7, row)
    assert newest(tmp_path).name == "step-000000005.pt"


def test_a_teacher_is_followed_and_left_as_it_was(data: ImageSet, tmp_path: Path) -> None:
    """Labels are turned round, and the teacher's word alone counts: the student answers as the teacher does."""
    longer = replace(RECIPE, epochs=8)
    quiet = TrainingLog(tmp_path, quiet=True)
    teacher = fit(fresh(1), data, longer, folder=tmp_path / "t", log=quiet)
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    turned = ImageSet(data.images, 1 - data.labels, "turned", "")
    student = fit(
        fresh(),
        turned,
        replace(longer, soft_weight=1.0),
        folder=tmp_path / "s",
        teacher=Ensemble([teacher], fresh()),
        log=quiet,
    )
    assert accuracy(student, data) > 95
    assert_equal(before, dict(teacher.state_dict()))
    assert not teacher.training


def test_every_teacher_sees_pictures_as_it_wants_them(data: ImageSet) -> None:
    one = fresh(1)
    other = fresh(2)
    other.spec = other.spec.replace(input=ImageInput(size=(8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7)))
    x = normalize(data.images, MEAN, STD)
    with torch.inference_mode():
        expected = (one(x) + other(normalize(data.images, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)))) / 2
        torch.testing.assert_close(Ensemble([one, other], fresh())(x), expected, rtol=1e-4, atol=1e-5)


def test_teachers_of_different_classes_are_refused() -> None:
    wide = build(SPEC.replace(name="wide").edit("classifier", num_classes=3))
    with pytest.raises(ValueError, match="must know the same classes, but they have"):
        Ensemble([fresh(), wide], fresh())


def test_teachers_of_another_size_are_refused() -> None:
    large = build(SPEC.replace(input=ImageInput(size=(16, 16), mean=MEAN, std=STD)))
    with pytest.raises(ValueError, match=r"takes pictures of \(16, 16\) pixels, the student of \(8, 8\)"):
        Ensemble([large], fresh())


def test_biases_and_batch_norm_are_not_decayed() -> None:
    groups = make_optimizer(fresh(), RECIPE).param_groups
    by_decay = {group["weight_decay"]: group["params"] for group in groups}
    assert set(by_decay) == {0.0, RECIPE.weight_decay}
    assert all(p.ndim > 1 for p in by_decay[RECIPE.weight_decay])
    assert all(p.ndim <= 1 for p in by_decay[0.0])


def test_accumulated_batches_make_the_step_of_one_large_batch(data: ImageSet, tmp_path: Path) -> None:
    """Without batch norm's dependence on the batch, and without chance."""
    plain = replace(RECIPE, epochs=1, batch_size=20, shift=0, mirror=False, clip=0.0)

    def step(recipe: Recipe, folder: str) -> Tensor:
        torch.manual_seed(0)
        model = build(SPEC.edit("classifier", dropout=0.0))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train = lambda mode=True, module=module: module  # type: ignore[method-assign]
        fit(model, data, recipe, folder=tmp_path / folder, log=TrainingLog(tmp_path, quiet=True))
        return model.get_parameter("stem.conv.weight").detach()

    whole = step(plain, "whole")
    parts = step(replace(plain, batch_size=10, accumulate=2), "parts")
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-7)


def test_gradients_are_clipped_together(data: ImageSet, tmp_path: Path) -> None:
    def moved(clip: float) -> float:
        recipe = replace(
            RECIPE, epochs=1, batch_size=40, clip=clip, schedule="constant", warmup=0.0, weight_decay=0.0, momentum=0.0
        )
        before, after = fresh(), run(data, tmp_path / str(clip), recipe)
        return sum(float((after[k] - p.detach()).square().sum()) for k, p in before.named_parameters()) ** 0.5

    assert moved(1e-3) == pytest.approx(RECIPE.learning_rate * 1e-3, rel=1e-2)
    assert moved(0.0) > 10 * RECIPE.learning_rate * 1e-3


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_recomputing_changes_no_gradient_and_no_statistic(data: ImageSet, dropout: float) -> None:
    x = normalize(data.images, MEAN, STD)
    found = []
    for opened in (False, True):
        torch.manual_seed(0)
        model = build(SPEC.edit("classifier", dropout=dropout)).train()
        torch.manual_seed(1)
        if opened:
            with recomputed(model):
                model(x).square().sum().backward()
        else:
            model(x).square().sum().backward()
        found.append(({k: p.grad for k, p in model.named_parameters()}, model.state_dict()))
    for first, second in zip(*found, strict=True):
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, rtol=0, atol=0, msg=key)


@given(total=st.integers(1, 300), warmup=st.floats(0, 0.9), kind=st.sampled_from(["one_cycle", "cosine", "constant"]))
def test_schedules_rise_and_fall_within_their_bounds(total: int, warmup: float, kind: str) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0)
    schedule = Schedule(optimizer, replace(RECIPE, learning_rate=0.5, warmup=warmup, schedule=kind), total)
    rates = schedule.rates
    assert len(rates) == total + 1
    assert all(0 <= rate <= 0.5 + 1e-9 for rate in rates)
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    schedule.at(total)
    assert optimizer.param_groups[0]["lr"] == rates[-1]
    if kind != "constant":
        assert rates[-1] < 0.01 * 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs= is from 1 to 2,147,483,647, not 0"),
        ({"batch_size": 1.5}, "batch_size= is from 1 to 2,147,483,647, not 1.5"),
        ({"learning_rate": 0.0}, "learning_rate= is above 0"),
        ({"schedule": "sine"}, "schedule= is one of"),
        ({"average": 1.0}, "average= is from 0 to below 1"),
        ({"rand_augment": 31}, "rand_augment= is from 0 to 30"),
        ({"mixup": -1}, "mixup= is at least 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RECIPE, **change)


def test_an_optimizer_that_timm_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"timm has no optimizer 'sdg'; it has .*sgd"):
        make_optimizer(fresh(), replace(RECIPE, optimizer="sdg"))


def test_accuracy_counts_and_restores_the_mode(data: ImageSet) -> None:
    model = fresh().train()
    share = accuracy(model, data)
    assert model.training
    with torch.inference_mode():
        answers = model.eval()(normalize(data.images, MEAN, STD)).argmax(1)
    assert share == pytest.approx(100 * float((answers == data.labels).float().mean()))


@pytest.mark.parametrize(("kernel_size", "stride", "size"), [(3, 2, (9, 8)), (5, (2, 3), (11, 7)), (1, 2, (4, 4))])
def test_subsampling_computes_the_strided_convolution(
    kernel_size: int, stride: int | tuple[int, int], size: tuple[int, int]
) -> None:
    conv = nn.Conv2d(6, 6, kernel_size, stride, kernel_size // 2, groups=6).double()
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    answers = []
    for opened in (False, True):
        conv.zero_grad()
        inputs = x.clone().requires_grad_()
        if opened:
            with subsampled_depthwise(nn.Sequential(conv)):
                y = conv(inputs)
        else:
            y = conv(inputs)
        (y * torch.arange(y.numel()).reshape(y.shape)).sum().backward()
        answers.append((y.detach(), inputs.grad, conv.weight.grad.clone(), conv.bias.grad.clone()))
    for strided, subsampled in zip(*answers, strict=True):
        torch.testing.assert_close(subsampled, strided, rtol=1e-12, atol=1e-9)


def test_subsampling_touches_strided_depthwise_convolutions_alone_and_ends() -> None:
    strided = nn.Conv2d(4, 4, 3, 2, 1, groups=4)
    others = [nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(1, 1, 3, 2, 1)]

    def interrupted() -> None:
        with subsampled_depthwise(nn.ModuleList([strided, *others])):
            assert "forward" in vars(strided)
            assert not any("forward" in vars(conv) for conv in others)
            raise Killed

    with pytest.raises(Killed):
        interrupted()
    assert "forward" not in vars(strided)
