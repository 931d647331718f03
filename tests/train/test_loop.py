"""The loop: repeatable, resumable bit for bit, and strict about whose checkpoint it goes on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from torch import Tensor

from zoo.build import Model, build
from zoo.compress.sparsify import Sparsifier
from zoo.spec import Block, ImageInput, ModelSpec
from zoo.train.images import ImageSet, normalize
from zoo.train.loop import Recipe, accuracy, fit
from zoo.train.strided import subsampled_depthwise

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RECIPE = Recipe(epochs=3, batch_size=8, learning_rate=0.05, hole=2, bfloat16=False)
SPEC = ModelSpec(
    "tiny",
    (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2),
        Block("inverted_residual", "a", in_channels=8, mid_channels=16, out_channels=8, stride=2),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=2),
    ),
    ImageInput(size=(8, 8)),
)


class Interrupted(Exception):
    pass


class Cut:
    """Stops the run at a step (0: never), and is a Sparsifier besides, where it is given one."""

    def __init__(self, at: int, sparsifier: Sparsifier | None = None) -> None:
        self.at, self.sparsifier = at, sparsifier

    def step(self, done: int, total: int) -> None:
        if done == self.at:
            raise Interrupted
        if self.sparsifier is not None:
            self.sparsifier.step(done, total)

    def state_dict(self) -> dict:
        return self.sparsifier.state_dict() if self.sparsifier else {}

    def load_state_dict(self, state: dict) -> None:
        if self.sparsifier:
            self.sparsifier.load_state_dict(state)


@pytest.fixture
def data() -> ImageSet:
    """Dark pictures are of class 0, bright ones of class 1."""
    labels = torch.arange(40) % 2
    images = torch.randint(0, 120, (40, 8, 8, 3)) + 130 * labels[:, None, None, None]
    return ImageSet(images.to(torch.uint8), labels, "made up", "")


def fresh(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return build(SPEC)


def run(data: ImageSet, checkpoint: Path, recipe: Recipe = RECIPE, **more: object) -> dict[str, Tensor]:
    model = fit(fresh(), data, recipe, mean=MEAN, std=STD, checkpoint=checkpoint, report=lambda line: None, **more)
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def test_it_learns_and_reports(data: ImageSet, tmp_path: Path) -> None:
    lines: list[str] = []
    model = fit(
        fresh(),
        data,
        replace(RECIPE, epochs=8),
        mean=MEAN,
        std=STD,
        checkpoint=tmp_path / "c.pt",
        validation=data,
        report=lines.append,
    )
    assert not model.training
    assert len(lines) == 8
    assert lines[-1].startswith("epoch 8/8  loss ")
    assert accuracy(model, data, MEAN, STD) > 95
    assert f"validation {accuracy(model, data, MEAN, STD):.2f}" in lines[-1]


@pytest.mark.parametrize("bfloat16", [False, True])
def test_two_runs_are_equal(data: ImageSet, tmp_path: Path, bfloat16: bool) -> None:
    recipe = replace(RECIPE, epochs=2, bfloat16=bfloat16)
    first = run(data, tmp_path / "first.pt", recipe)
    assert_equal(first, run(data, tmp_path / "second.pt", recipe))
    other = run(data, tmp_path / "third.pt", replace(recipe, seed=1))
    assert not torch.equal(first["stem.conv.weight"], other["stem.conv.weight"])


@pytest.mark.parametrize("epochs_done", [1, 2])
def test_a_resumed_run_equals_the_uninterrupted_one(data: ImageSet, tmp_path: Path, epochs_done: int) -> None:
    whole = run(data, tmp_path / "whole.pt", after_step=Cut(0))
    steps = len(data) // RECIPE.batch_size

    with pytest.raises(Interrupted):
        run(data, tmp_path / "cut.pt", after_step=Cut(epochs_done * steps + 2))
    assert torch.load(tmp_path / "cut.pt", weights_only=True)["epoch"] == epochs_done
    assert_equal(run(data, tmp_path / "cut.pt", after_step=Cut(0)), whole)


@pytest.mark.parametrize("end", [0.4, 0.9])
def test_a_sparse_run_resumes_with_its_masks(data: ImageSet, tmp_path: Path, end: float) -> None:
    def sparse(checkpoint: str, cut: int) -> dict[str, Tensor]:
        model = fresh()
        sparsifier = Cut(cut, Sparsifier(model, sparsity=0.6, end=end, every=3))
        fit(
            model,
            data,
            RECIPE,
            mean=MEAN,
            std=STD,
            checkpoint=tmp_path / checkpoint,
            after_step=sparsifier,
            report=lambda line: None,
        )
        return model.state_dict()

    whole = sparse("whole.pt", 0)
    assert sum(int((v == 0).sum()) for v in whole.values() if v.ndim > 1) > 100
    with pytest.raises(Interrupted):
        sparse("cut.pt", 12)
    assert_equal(sparse("cut.pt", 0), whole)


def test_a_finished_run_is_only_loaded(data: ImageSet, tmp_path: Path) -> None:
    whole = run(data, tmp_path / "c.pt")

    before = (tmp_path / "c.pt").stat().st_mtime_ns
    assert_equal(run(data, tmp_path / "c.pt"), whole)
    assert (tmp_path / "c.pt").stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"], "something unfinished was left behind"


def test_another_recipes_checkpoint_is_refused(data: ImageSet, tmp_path: Path) -> None:
    run(data, tmp_path / "c.pt", replace(RECIPE, epochs=1))
    for other in ({}, {"recipe": replace(RECIPE, epochs=1), "identity": {"teacher": "dense"}}):
        with pytest.raises(ValueError, match=r"c\.pt belongs to another recipe"):
            run(data, tmp_path / "c.pt", **other)


def test_fewer_pictures_than_a_batch_are_refused(data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="40 pictures make no batch of 64; choose a smaller batch_size"):
        run(data, tmp_path / "c.pt", replace(RECIPE, batch_size=64))


def test_a_teacher_is_followed_and_left_as_it_was(data: ImageSet, tmp_path: Path) -> None:
    """Labels are turned round, and the teacher's word alone counts: the student answers as the teacher does."""
    teacher = fit(fresh(1), data, replace(RECIPE, epochs=8), mean=MEAN, std=STD, checkpoint=tmp_path / "t.pt")
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    turned = ImageSet(data.images, 1 - data.labels, "turned", "")
    student = fit(
        fresh(),
        turned,
        replace(RECIPE, epochs=8, soft_weight=1.0),
        mean=MEAN,
        std=STD,
        checkpoint=tmp_path / "s.pt",
        teacher=teacher,
        report=lambda line: None,
    )
    assert accuracy(student, data, MEAN, STD) > 95
    assert_equal(before, dict(teacher.state_dict()))
    assert not teacher.training


def test_biases_and_batch_norm_are_not_decayed(data: ImageSet, tmp_path: Path) -> None:
    run(data, tmp_path / "c.pt", replace(RECIPE, epochs=1))
    decayed, plain = torch.load(tmp_path / "c.pt", weights_only=True)["optimizer"]["param_groups"]
    assert decayed["weight_decay"] == RECIPE.weight_decay
    assert plain["weight_decay"] == 0.0
    parameters = list(fresh().parameters())
    assert len(decayed["params"]) == sum(p.ndim > 1 for p in parameters)
    assert len(plain["params"]) == sum(p.ndim <= 1 for p in parameters)


def test_accuracy_counts_and_restores_the_mode(data: ImageSet) -> None:
    model = fresh().train()
    share = accuracy(model, data, MEAN, STD)
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
            raise Interrupted

    with pytest.raises(Interrupted):
        interrupted()
    assert "forward" not in vars(strided)
