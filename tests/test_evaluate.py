"""Accuracy on every form of data."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import toy_shipped
import zoo
from zoo.model.build import Model
from zoo.report.evaluation import Evaluation


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    toy_shipped.use(monkeypatch)
    return zoo.create("mobilenet")


@pytest.fixture
def labelled(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, with the network's own answers as labels, but for every fourth."""
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        labels = model(zoo.preprocess(model)(images)).argmax(1).numpy().copy()
    labels[::4] = (labels[::4] + 1) % 10
    return images, labels


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_arrays(model: Model, labelled: tuple[np.ndarray, np.ndarray]) -> None:
    found = zoo.evaluate(model, labelled, batch_size=7)
    assert (found.value, found.examples, found.skipped) == (75.0, 20, ())
    assert len(found.sha256) == 64 and "75.00% top-1 accuracy on 20 pictures" in repr(found)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_network_in_another_precision(
    model: Model, labelled: tuple[np.ndarray, np.ndarray], dtype: torch.dtype
) -> None:
    assert zoo.evaluate(model.to(dtype), labelled).value == pytest.approx(75.0, abs=10.0)


def test_parquet_with_pictures_of_other_sizes_and_damaged_ones(
    model: Model, labelled: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    images, labels = labelled
    cells = [{"bytes": png(image), "path": None} for image in images]
    big = np.random.default_rng(1).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    cells += [
        {"bytes": png(big), "path": None},
        {"bytes": b"nothing", "path": None},
        {"bytes": png(big)[:5000], "path": None},
    ]
    parquet.write_table(arrow.table({"image": cells, "label": [*labels.tolist(), 0, 0, 0]}), tmp_path / "some.parquet")
    found = zoo.evaluate(model, tmp_path / "some.parquet")
    assert (found.examples, found.skipped) == (21, ("row 21", "row 22"))
    assert found.value == pytest.approx(100 * 15 / 21) or found.value == pytest.approx(100 * 16 / 21)
    assert "2 could not be read" in repr(found)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, None], "the column is int64 with 1 of 2 missing"),
        ([None, None], "the column is null with 2 of 2"),
        (["0", "1"], "the class '0', which is not known"),
        ([0.5, 1.5], "the column is double"),
        ([True, False], "the column is bool"),
    ],
)
def test_parquet_labels_are_whole_numbers_or_names(
    model: Model, tmp_path: Path, labels: list[object], message: str
) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    cells = [{"bytes": png(image)} for image in PICTURES]
    parquet.write_table(arrow.table({"img": cells, "label": labels}), tmp_path / "some.parquet")
    with pytest.raises(ValueError, match=message):
        zoo.evaluate(model, tmp_path / "some.parquet")


def test_folders_are_matched_by_label(model: Model, labelled: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    for i, (image, label) in enumerate(zip(*labelled, strict=True)):
        folder = tmp_path / model.labels[label].title()
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(image))
    assert zoo.evaluate(model, tmp_path).value == 75.0
    (tmp_path / "trucks").mkdir()
    (tmp_path / "trucks" / "0.png").write_bytes(png(labelled[0][0]))
    with pytest.raises(ValueError, match=r"has the class 'trucks', which is not known\. Did you mean 'truck'"):
        zoo.evaluate(model, tmp_path)


def test_shipped_pictures(model: Model) -> None:
    pictures = zoo.samples("cifar10", "test")
    images, labels = pictures
    assert images.shape == (40, 32, 32, 3) and labels.tolist()[:3] == [0, 1, 2]
    found = zoo.evaluate(model, pictures)
    assert (found.source, found.examples) == ("cifar10-test.zip", 40)
    assert set(found.per_class) == set(toy_shipped.CLASSES)


def test_the_model_stays_in_its_mode(model: Model, labelled: tuple[np.ndarray, np.ndarray]) -> None:
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert zoo.evaluate(model, labelled).value == 75.0
    assert model.training and all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


PICTURES = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((PICTURES, np.array([0, 10])), "has label 10, but the network knows only 0 to 9"),
        ((PICTURES, np.array([0, -1])), "has label -1"),
        ((PICTURES, np.array([0])), "labels are 2 whole numbers"),
        ((PICTURES, np.array([0.0, 1.0])), "labels are 2 whole numbers"),
        ((PICTURES.astype(np.float32), np.array([0, 1])), "images are uint8"),
        ((PICTURES[:0], np.array([], dtype=np.int64)), "holds no pictures"),
        (5, "data is a path"),
        ("text.csv", "is not a .parquet file; examples lie in one, or in a folder"),
        ("broken.parquet", "cannot be read as Parquet"),
        ("empty", "neither Parquet files nor folders of pictures"),
    ],
)
def test_bad_data_gives_one_clear_error(model: Model, tmp_path: Path, data: object, message: str) -> None:
    (tmp_path / "text.csv").write_text("a,b")
    (tmp_path / "broken.parquet").write_text("a,b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=message):
        zoo.evaluate(model, str(tmp_path / data) if isinstance(data, str) else data)


def test_bad_options(model: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size= takes a whole number"):
        zoo.evaluate(model, (PICTURES, np.array([0, 1])), batch_size=0)
    with pytest.raises(FileNotFoundError, match="No such data"):
        zoo.evaluate(model, tmp_path / "absent.parquet")
    with pytest.raises(ValueError, match="has no pictures of 'cifar100' 'test'; it has 'cifar10'"):
        zoo.samples("cifar100")


@pytest.mark.parametrize(("options", "last"), [({"num_classes": 0}, "pool"), ({"features_only": True}, "s4_3")])
def test_a_network_without_a_classifier_has_no_accuracy(
    labelled: tuple[np.ndarray, np.ndarray], options: dict[str, object], last: str
) -> None:
    with pytest.raises(ValueError, match=f"ends in '{last}', not in a classifier: evaluate has no figure"):
        zoo.evaluate(zoo.create("mobilenet", **options), labelled)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.nn.DataParallel, "takes a zoo model, not DataParallel, a wrapper: give the model inside"),
        (lambda model: model.stem, "takes a zoo model, not ConvNormAct"),
        (lambda model: "mobilenet", r"the string 'mobilenet'; zoo\.create"),
    ],
)
def test_what_is_no_model_is_told_so(model: Model, labelled: tuple[np.ndarray, np.ndarray], wrong, message) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.evaluate(wrong(model), labelled)


def test_every_figure_is_told_in_its_unit() -> None:
    """Percent as the main figure; what has no unit in four decimals."""
    told = {"AUC": (81.5, "%"), "log loss": (0.45214, ""), "precision": (12.3456, "%")}
    found = Evaluation(
        metric="AUC", value=81.5, examples=9, source="here", sha256="0" * 64, seconds=1.0, per_class={}, skipped=(),
        metrics={name: value for name, (value, _) in told.items()},
        units={name: unit for name, (_, unit) in told.items()},
        intervals={"log loss": (0.4, 0.5)},
    )  # fmt: skip
    assert "log loss 0.4521 (0.4000 to 0.5000), precision 12.35%" in repr(found)
