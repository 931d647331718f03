"""Training on masks: pictures and masks change alike, runs resume, and compressed segmenters stay compressed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import toy_segmenter
import zoo
from mask_data import NAMES, scene, write_parquet
from zoo import kinds
from zoo.cli import app
from zoo.data.masks import MASK_DATA, open_masks
from zoo.data.void import IGNORED
from zoo.model.editing import with_size
from zoo.train.data import hold_out
from zoo.train.finetune import finetune
from zoo.train.loop import accuracy
from zoo.train.objective import Supervised
from zoo.train.paired import PairedAugmentation
from zoo.train.pairs import PairStream, open_pairs
from zoo.train.recipe import Recipe

pytest.importorskip("datasets")
pytest.importorskip("timm")

QUICK = Recipe(epochs=6, batch_size=8, learning_rate=0.02, scale_jitter=1.25, color_jitter=0.1)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    toy_segmenter.known(monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streets")
    write_parquet(folder / "train.parquet", [scene(seed) for seed in range(40)])
    write_parquet(folder / "validation.parquet", [scene(100 + seed) for seed in range(10)])
    return folder


def opened(data: Path, split: str = "train", **options: Any) -> PairStream:
    return open_pairs(MASK_DATA, data, toy_segmenter.network().pictures, split=split, workers=0, **options)


@pytest.mark.parametrize("size", [(24, 32), (40, 20)])
def test_a_picture_and_its_mask_change_alike(size: tuple[int, int]) -> None:
    """Every pixel of a picture shows the class that its mask says, apart from the border between two classes."""
    given = toy_segmenter.network(size=size).pictures
    change = PairedAugmentation(given, Recipe(scale_jitter=3.0, color_jitter=0.0))
    torch.manual_seed(0)
    shares, mirrored, rights = [], [], []
    for seed in range(30):
        picture, mask = scene(seed, (30, 44))
        image, target = change(picture, mask)
        assert image.shape == (*size, 3) and target.shape == size and image.dtype == target.dtype == np.uint8
        counts = target != IGNORED
        assert (image[~counts] == [round(255 * one) for one in given.mean]).all()
        right = image.argmax(-1)[counts] == target[counts]
        assert right.mean() > 0.8  # of a small picture, the border between two classes is a tenth
        rights.append(right.mean())
        shares.append(counts.mean())
        mirrored.append(target[counts][0] != mask[0, 0] if counts.any() else None)
    assert np.mean(rights) > 0.95 and min(shares) < 0.5 and max(shares) == 1.0 and {True, False} <= set(mirrored)


def test_without_changes_the_whole_picture_is_seen() -> None:
    change = PairedAugmentation(
        toy_segmenter.network().pictures, Recipe(scale_jitter=1.0, mirror=False, color_jitter=0.0)
    )
    picture, mask = scene(0)
    image, target = change(picture, mask)
    np.testing.assert_array_equal(image, picture)
    np.testing.assert_array_equal(target, mask)


@pytest.mark.multiprocess
def test_changes_depend_on_seed_and_row_alone(data: Path) -> None:
    here, workers = opened(data), opened(data)
    workers = PairStream(workers.pairs, workers.rows, workers.input, True, workers=2)
    batches = list(torch.arange(12).split(4))
    one, two = (list(stream.stream(batches, 7)) for stream in (here, workers))
    later = list(here.stream(batches[1:], 7))
    other = next(iter(here.stream(batches, 8)))
    for (x, y), (again, target) in zip(one, two, strict=True):
        assert torch.equal(x, again) and torch.equal(y, target)
    assert torch.equal(later[0][0], one[1][0]) and not torch.equal(other[0], one[0][0])


def test_what_is_measured_is_whole_and_still(data: Path) -> None:
    stream = opened(data, "validation")
    images, masks = next(stream.stream([torch.arange(3)], 0))
    for row, (image, mask) in enumerate(zip(images, masks, strict=True)):
        np.testing.assert_array_equal(image, scene(100 + row)[0])
        np.testing.assert_array_equal(mask, scene(100 + row)[1])
    train, held = hold_out(opened(data), 0.25)
    assert (len(train), len(held), train.train, held.train) == (30, 10, True, False)
    assert not set(train.rows.tolist()) & set(held.rows.tolist())


def test_damaged_masks_are_an_error_or_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[Any] = [scene(seed) for seed in range(6)]
    rows[2] = (rows[2][0], rows[2][1][:-2])
    rows[4] = (b"no picture", rows[4][1])
    file = write_parquet(tmp_path / "train.parquet", rows)
    with pytest.raises(ValueError, match=r"train\.parquet, row 2 is 32x24 pixels, and its mask 32x22.*skip_damaged"):
        list(opened(file).stream([torch.arange(6)], 0))
    stream = opened(file, skip_damaged=True)
    ((images, masks),) = stream.stream([torch.arange(6)], 0)
    assert len(images) == len(masks) == 4 and stream.skipped == ("row 2", "row 4")
    with pytest.raises(
        ValueError, match=r"None of the 2 pictures of a batch of train\.parquet can be used: row 2, row 4"
    ):
        list(stream.stream([torch.tensor([2, 4])], 0))

    model = zoo.build(toy_segmenter.network())
    with pytest.raises(ValueError, match="row 2 is 32x24 pixels"):
        zoo.evaluate(model, file)
    found = zoo.evaluate(model, file, skip_damaged=True)
    assert found.examples == 4 and found.skipped == ("row 2", "row 4")


def test_settings_of_other_data_are_refused(data: Path, tmp_path: Path) -> None:
    model = zoo.build(toy_segmenter.network())
    for wrong in ("rand_augment", "mixup", "hole"):
        with pytest.raises(
            ValueError, match=f"{wrong}=: for pictures with a class, and toy_segmenter learns their parts"
        ):
            Supervised(model, Recipe(**{wrong: 1}))
    with pytest.raises(ValueError, match=r"scale_jitter=: for pictures with masks or boxes, and .* learns classes"):
        Supervised(zoo.create("resnet20", weights=None), Recipe(scale_jitter=1.5))
    for options in ({"ignore_index": 3}, {"skip_damaged": True}):
        with pytest.raises(ValueError, match=r"are for masks and boxes, and .* is for image-classification"):
            zoo.evaluate(zoo.create("resnet20", weights=None), data, **options)  # type: ignore[arg-type]
    cut = toy_segmenter.network()
    cut = cut.replace(input=toy_segmenter.ImageInput(size=(24, 32)))
    with pytest.raises(ValueError, match=r"takes whole ones: crop=1\.0 and squash=True"):
        open_pairs(MASK_DATA, data, cut.pictures)
    done = CliRunner().invoke(
        app, ["finetune", "resnet20", "--data", str(data), "--out", str(tmp_path), "--ignore-index", "3"]
    )
    assert done.exit_code and "--ignore-index: for masks and boxes" in done.output


def test_the_teacher_counts_by_pixels() -> None:
    torch.manual_seed(0)
    student, teacher = (zoo.build(toy_segmenter.network()) for _ in range(2))
    recipe = Recipe(temperature=1.0, soft_weight=0.25, bfloat16=False)
    picture, mask = scene(0)
    mask[:4] = IGNORED
    batch = torch.from_numpy(picture)[None], torch.from_numpy(mask)[None]
    loss, x = Supervised(student, recipe, teacher).loss(student, batch)
    with torch.no_grad():
        ours, theirs = (network(x).softmax(1)[0, :, 4:] for network in (student, teacher))
    hard = -ours.gather(0, batch[1][:, 4:].long()).log().mean()
    soft = (theirs * (theirs / ours).log()).sum(0).mean()
    torch.testing.assert_close(loss.detach(), 0.25 * soft + 0.75 * hard)


def told(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.slow
def test_commands_train_measure_and_compress(data: Path, tmp_path: Path) -> None:
    base = ["--data", str(data), "--batch-size", "8", "--learning-rate", "0.02", "--workers", "0"]
    base += ["--scale-jitter", "1.25", "--color-jitter", "0.1"]

    def run(*arguments: object, epochs: int = 2) -> str:
        done = CliRunner().invoke(app, [*map(str, arguments), *base, "--epochs", str(epochs)])
        assert done.exit_code == 0, done.output
        return done.output

    dense = tmp_path / "dense"
    shown = run("finetune", "toy_segmenter", "--fresh", "--out", dense, "--class-names", ",".join(NAMES), epochs=6)
    assert "validation mIoU" in shown
    model = zoo.load(dense)
    assert model.labels == NAMES and model.made["trained"]["validation_mIoU"] > 80
    found = told("eval", dense, "--data", data)
    assert found["metric"] == "mIoU" and found["value"] > 80 and found["metrics"]["pixel accuracy"] > 90
    assert set(found["per_class"]) == set(NAMES) and found["examples"] == 10
    assert found["value"] == pytest.approx(model.made["trained"]["validation_mIoU"], abs=1e-4)

    run("quantize", dense, "--out", tmp_path / "int8", "--qat")
    int8 = zoo.load(tmp_path / "int8")
    assert {row.precision for row in int8.spec} == {"int8"}
    assert zoo.evaluate(int8, data).value > found["value"] - 5

    run("prune", dense, "--out", tmp_path / "pruned", "--macs", "0.7", "--teacher", dense)
    pruned = zoo.load(tmp_path / "pruned")
    assert kinds.cost(pruned.spec).macs <= 0.7 * kinds.cost(model.spec).macs and pruned.labels == NAMES
    assert zoo.evaluate(pruned, data).value > found["value"] - 15

    run("finetune", dense, "--out", tmp_path / "sparse", "--sparsity", "0.5")
    sparse = zoo.load(tmp_path / "sparse")
    assert float((sparse.get_submodule("body").conv.weight == 0).double().mean()) > 0.4  # type: ignore[union-attr, operator]
    assert zoo.evaluate(sparse, data).value > found["value"] - 15

    table = told("compare", dense, tmp_path / "int8", "--data", data)
    assert [row["accuracy"] for row in table["rows"]] == [
        pytest.approx(zoo.evaluate(one, data).value) for one in (model, int8)
    ]
    assert table["metric"] == "mIoU"


def test_a_run_goes_on_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    start = zoo.build(toy_segmenter.network())
    train, recipe = opened(data), Recipe(epochs=2, batch_size=10, seed=3)
    whole = finetune(start, train, recipe, tmp_path / "whole", quiet=True)
    half = Stops(train, after=5)
    with pytest.raises(KeyboardInterrupt):
        finetune(start, half, recipe, tmp_path / "parts", quiet=True, save_seconds=0)  # type: ignore[arg-type]
    parts = finetune(start, train, recipe, tmp_path / "parts", quiet=True)
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, parts.state_dict()[key]), key
    assert accuracy(whole, opened(data, "validation")) == accuracy(parts, opened(data, "validation"))


class Stops:
    """Examples whose stream is interrupted after some batches."""

    def __init__(self, data: PairStream, after: int) -> None:
        self.data, self.after = data, after

    def __len__(self) -> int:
        return len(self.data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.data, name)

    def with_recipe(self, recipe: Recipe) -> Stops:
        return Stops(self.data.with_recipe(recipe), self.after)

    def stream(self, batches: Any, seed: int) -> Any:
        for batch in self.data.stream(batches, seed):
            if not self.after:
                raise KeyboardInterrupt
            self.after -= 1
            yield batch


def test_a_network_for_pictures_of_another_size(data: Path, tmp_path: Path) -> None:
    base = ["--data", str(data), "--epochs", "1", "--workers", "0", "--batch-size", "20", "--fresh"]
    arguments = ["finetune", "toy_segmenter", *base, "--out", str(tmp_path / "m")]
    done = CliRunner().invoke(app, [*arguments, "--input-size", "18x40"])
    assert done.exit_code == 0, done.output
    model = zoo.load(tmp_path / "m")
    assert model.spec.pictures.size == (18, 40) and model.made["edited"][0] == {"input": {"size": [18, 40]}}
    with torch.inference_mode():
        assert model(zoo.preprocess(model)(scene(0)[0])).shape == (1, 3, 18, 40)
    assert zoo.evaluate(model, data).examples == 10  # at the size of the masks
    for wrong, said in (
        ("18", "is a height and a width, such as 360x480, not '18'"),
        ("0x9", "size is from 1 to 8192"),
    ):
        done = CliRunner().invoke(app, [*arguments, "--input-size", wrong])
        assert done.exit_code and said in done.output, done.output
    with pytest.raises(ValueError, match="has learned positions for pictures of 224x224"):
        with_size(zoo.create("vit_tiny_patch16_224", weights=None), (160, 160))


def test_one_class_alone_is_nothing_to_learn(tmp_path: Path) -> None:
    picture, mask = scene(0)
    file = write_parquet(tmp_path / "a.parquet", [(picture, mask * 0)] * 4)
    assert open_masks(file).classes == ("0",)
    with pytest.raises(ValueError, match="has one class alone"):
        finetune(zoo.build(toy_segmenter.network()), opened(file), Recipe(batch_size=2), tmp_path / "m", quiet=True)
