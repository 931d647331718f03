"""The loop: repeatable, resumable bit for bit at any step, and strict about whose checkpoint it goes on from."""

from __future__ import annotations

import csv
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from zoo.files import FileError
from zoo.model.build import Model, build
from zoo.passes.sparsify import Sparsifier
from zoo.spec import Block, ImageInput, ModelSpec
from zoo.train.depthwise_bf16 import subsampled_depthwise
from zoo.train.divergence import Diverged
from zoo.train.images import ImageSet, normalize
from zoo.train.log import TrainingLog
from zoo.train.loop import Interrupted, accuracy, fit
from zoo.train.optim import Schedule, make_optimizer
from zoo.train.recipe import Recipe
from zoo.train.recompute import recomputed
from zoo.train.teachers import Ensemble

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RECIPE = Recipe(
    epochs=3,
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="one_cycle",
    warmup=0.2,
    shift=1,
    bfloat16=False,
)
STEPS = 5  # an epoch of the 40 pictures
SPEC = ModelSpec(
    "tiny",
    (
        Block("conv_norm_act", "stem", in_channels=3, out_channels=8, stride=2),
        Block("inverted_residual", "a", in_channels=8, mid_channels=16, out_channels=8, stride=2),
        Block("global_pool", "pool"),
        Block("classifier", "classifier", in_features=8, num_classes=2, dropout=0.2),
    ),
    ImageInput(size=(8, 8), mean=MEAN, std=STD),
)
# Everything at once that draws from chance or keeps state of its own.
EVERYTHING = replace(
    RECIPE,
    optimizer="adamw",
    schedule="cosine",
    hole=2,
    rand_augment=5,
    erasing=0.5,
    mixup=0.2,
    cutmix=1.0,
    label_smoothing=0.1,
    average=0.9,
    accumulate=2,
    recompute=True,
)


class Killed(Exception):
    pass


class Cut:
    """Stops the run at a step (0: never), and is a Sparsifier besides, where it is given one."""

    def __init__(self, at: int, sparsifier: Sparsifier | None = None, how: object = Killed) -> None:
        self.at, self.sparsifier, self.how = at, sparsifier, how

    def step(self, done: int, total: int) -> None:
        if done == self.at and isinstance(self.how, signal.Signals):
            os.kill(os.getpid(), self.how)
        elif done == self.at:
            raise Killed
        if self.sparsifier is not None:
            self.sparsifier.step(done, total)

    def state_dict(self) -> dict:
        return self.sparsifier.state_dict() if self.sparsifier else {}

    def load_state_dict(self, state: dict) -> None:
        if self.sparsifier:
            self.sparsifier.load_state_dict(state)


def pictures() -> ImageSet:
    """Dark pictures are of class 0, bright ones of class 1."""
    labels = torch.arange(40) % 2
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 120, (40, 8, 8, 3), generator=generator) + 130 * labels[:, None, None, None]
    return ImageSet(images.to(torch.uint8), labels, "made up", "")


@pytest.fixture
def data() -> ImageSet:
    return pictures()


def fresh(seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return build(SPEC)


def run(data: ImageSet, folder: Path, recipe: Recipe = RECIPE, **more: object) -> dict[str, Tensor]:
    more.setdefault("log", TrainingLog(folder, quiet=True))
    model = fit(fresh(), data, recipe, folder=folder, **more)
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


def newest(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("*.pt"))[-1]


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


@pytest.mark.parametrize("recipe", [RECIPE, EVERYTHING], ids=["plain", "all"])
@pytest.mark.parametrize("every_step", [True, False])
@pytest.mark.parametrize("cut", [1, 4, 5, 6])
def test_a_run_cut_at_any_step_ends_as_the_uninterrupted_one(
    data: ImageSet, tmp_path: Path, cut: int, every_step: bool, recipe: Recipe
) -> None:
    recipe = replace(recipe, epochs=4 if recipe is EVERYTHING else 2)
    whole = run(data, tmp_path / "whole", recipe, after_step=Cut(0))
    often = {"save_seconds": 0 if every_step else 1000}
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", recipe, after_step=Cut(cut), **often)
    assert_equal(run(data, tmp_path / "cut", recipe, after_step=Cut(0), **often), whole)
    figures = [
        [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in csv.DictReader(file)]
        for file in ((tmp_path / name / "metrics.csv").open() for name in ("whole", "cut"))
    ]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("end", [0.4, 0.9])
def test_a_sparse_run_resumes_with_its_masks(data: ImageSet, tmp_path: Path, end: float) -> None:
    def sparse(folder: str, cut: int) -> dict[str, Tensor]:
        model = fresh()
        sparsifier = Cut(cut, Sparsifier(model, sparsity=0.6, end=end, every=3))
        log = TrainingLog(tmp_path, quiet=True)
        fit(model, data, RECIPE, folder=tmp_path / folder, after_step=sparsifier, log=log)
        return model.state_dict()

    whole = sparse("whole", 0)
    assert sum(int((v == 0).sum()) for v in whole.values() if v.ndim > 1) > 100
    with pytest.raises(Killed):
        sparse("cut", 12)
    assert_equal(sparse("cut", 0), whole)


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


def test_a_finished_run_is_only_loaded(data: ImageSet, tmp_path: Path) -> None:
    whole = run(data, tmp_path)
    before = newest(tmp_path).stat().st_mtime_ns
    assert_equal(run(data, tmp_path), whole)
    assert newest(tmp_path).stat().st_mtime_ns == before
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"checkpoints", "metrics.csv", "curves.png", "tensorboard"}, "something unfinished was left behind"
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_the_run_goes_on(data: ImageSet, tmp_path: Path, signal_number: signal.Signals) -> None:
    whole = run(data, tmp_path / "whole")
    before = signal.getsignal(signal_number)
    with pytest.raises(Interrupted):
        run(data, tmp_path / "cut", after_step=Cut(7, how=signal_number))
    assert signal.getsignal(signal_number) is before
    assert newest(tmp_path / "cut").name == "step-000000007.pt"
    assert_equal(run(data, tmp_path / "cut", after_step=Cut(0)), whole)


@pytest.mark.parametrize("damage", ["cut short", "one bit", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    data: ImageSet, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(data, tmp_path / "whole")
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", after_step=Cut(13))
    path = newest(tmp_path / "cut")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut short": content[: len(content) // 2], "one bit": content, "empty": b""}[damage])
    assert_equal(run(data, tmp_path / "cut", after_step=Cut(0), log=TrainingLog(tmp_path / "cut")), whole)
    said = capsys.readouterr().err
    assert f"{path} is damaged" in said
    assert f"Going on from step {STEPS}" in said


def test_a_full_disk_is_told_and_costs_no_checkpoint(
    data: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(data, tmp_path / "whole")
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", after_step=Cut(7))
    kept = newest(tmp_path / "cut")

    place = os.replace

    def full(source: Path, target: Path) -> None:
        if target.suffix == ".pt":
            raise OSError(28, "No space left on device")
        place(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(FileError, match=r"checkpoint of step 10 was not written.*Make room.*No space left"):
            run(data, tmp_path / "cut", after_step=Cut(0))
    assert newest(tmp_path / "cut") == kept
    assert not list((tmp_path / "cut").rglob("*.tmp*"))
    assert_equal(run(data, tmp_path / "cut", after_step=Cut(0)), whole)


def test_another_runs_checkpoint_is_refused(data: ImageSet, tmp_path: Path) -> None:
    run(data, tmp_path, replace(RECIPE, epochs=1))
    with pytest.raises(ValueError, match=r"belongs to another run, which differs in recipe\.epochs; choose"):
        run(data, tmp_path)
    with pytest.raises(ValueError, match="differs in teacher"):
        run(data, tmp_path, replace(RECIPE, epochs=1), identity={"teacher": "dense"})


def test_fewer_pictures_than_a_step_are_refused(data: ImageSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="40 pictures make no step of 64; choose a smaller batch_size"):
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
        teacher=Ensemble([teacher], SPEC.input),
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
        torch.testing.assert_close(Ensemble([one, other], SPEC.input)(x), expected, rtol=1e-4, atol=1e-5)


def test_teachers_of_different_classes_are_refused() -> None:
    wide = build(SPEC.replace(name="wide").edit("classifier", num_classes=3))
    with pytest.raises(ValueError, match="must know the same classes, but they have"):
        Ensemble([fresh(), wide], SPEC.input)


def test_teachers_of_another_size_are_refused() -> None:
    large = build(SPEC.replace(input=ImageInput(size=(16, 16), mean=MEAN, std=STD)))
    with pytest.raises(ValueError, match=r"takes pictures of \(16, 16\) pixels, the student of \(8, 8\)"):
        Ensemble([large], SPEC.input)


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
