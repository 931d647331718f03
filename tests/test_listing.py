"""Names, listings and facts: with toys, and with whatever ships."""

from pathlib import Path

import pytest

import toy_shipped
import zoo
from toy_shipped import DENSE, VARIANTS
from zoo import kinds, registry
from zoo.catalog import listing, manifest
from zoo.model.build import build


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Path:
    return toy_shipped.use(monkeypatch)


def test_list_shows_what_ships_first_and_nothing_twice(toys: Path) -> None:
    names = zoo.list_models()
    assert names[:6] == [DENSE] + [f"{DENSE}-{variant}" for variant in VARIANTS[1:]]
    assert "mobilenetv2_100.ra_in1k" in names and "mobilenetv2_035" in names
    assert "mobilenetv2_cifar" not in names  # it stands for the shipped one
    assert len({zoo.info(name).name for name in names}) == len(names)


def test_list_filters(toys: Path) -> None:
    assert zoo.list_models("mobilenet-int8") == [f"{DENSE}-int8"]
    assert zoo.list_models("mobilenetv2_cifar") == [DENSE]
    assert zoo.list_models("*-int8") == [f"{DENSE}-int8", f"{DENSE}-pruned-int8"]
    assert zoo.list_models(variant="pruned-int8") == [f"{DENSE}-pruned-int8"]
    assert zoo.list_models(variant="dense", shipped=True) == [DENSE]
    assert not any("cifar10" in name for name in zoo.list_models(shipped=False))
    assert "mobilenetv2_100.ra_in1k" in zoo.list_models(task="image-classification")
    assert "gpt2" in zoo.list_models(task="text-generation")
    assert "gpt2" not in zoo.list_models(task="image-classification")
    assert zoo.list_models("nothing*") == []
    with pytest.raises(ValueError, match="shipped= takes True or False, not 'yes'"):
        zoo.list_models(shipped="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("variant", "known"), [("pruned", False), ("pruned-int8", False), ("sparse", True), ("int8", True)]
)
def test_figures_of_what_is_not_made_yet_are_those_that_hold_however_it_is_made(variant: str, known: bool) -> None:
    dense, found = zoo.info("resnet18.a1_in1k"), zoo.info(f"resnet18.a1_in1k-{variant}")
    sizes = (dense.parameters, dense.macs) if known else (None, None)
    assert (found.parameters, found.macs) == sizes and found.nonzero is None and found.bytes is None
    assert "made here at first use" in found.purpose
    assert ("depends on the options" in found.purpose) == (variant != "int8")
    assert ("MACs" in dict(found.rows())) == known and repr(found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "image-clasification"}, "the tasks are feature-extraction, image-classification"),
        ({"variant": "int4"}, "Unknown pass 'int4'. Did you mean 'int8'"),
        ({"variant": "int8-pruned"}, "write 'pruned-int8'"),
        ({"pattern": 3}, "pattern is a string"),
    ],
)
def test_bad_filters_give_one_clear_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        zoo.list_models(**options)  # type: ignore[arg-type]


def test_info_of_a_shipped_variant(toys: Path) -> None:
    found = zoo.info("mobilenet-distilled")
    assert (found.name, found.alias, found.variant) == (f"{DENSE}-distilled", "mobilenet-distilled", "distilled")
    assert found.purpose == "CIFAR-10, 10 classes, 32x32"
    assert found.labels == toy_shipped.CLASSES
    assert found.bytes == (toys / "shipped" / f"{DENSE}-distilled.safetensors").stat().st_size
    assert "mean of 2 seeds 10.50%, by the same recipe without a teacher 9.50%" in repr(found)
    assert (found.teacher, found.metric.with_teacher if found.metric else ()) == ("some.teacher", (10.0, 11.0))
    assert "<table>" in found._repr_html_()
    assert "114,354 of them not zero" in repr(zoo.info("mobilenet-sparse"))


def test_info_of_an_architecture() -> None:
    found = zoo.info("mobilenetv2_035")
    assert (found.parameters, found.metric, found.shipped) == (1_677_128, None, False)
    assert found.purpose == "fresh weights only: 1000 classes, 224x224"


def test_info_of_a_file_and_a_folder(toys: Path, tmp_path: Path) -> None:
    file = toys / "shipped" / f"{DENSE}-int8.safetensors"
    assert (zoo.info(file).variant, zoo.info(str(file)).bytes) == ("int8", file.stat().st_size)
    zoo.save(zoo.load(file), tmp_path / "saved")
    assert zoo.info(tmp_path / "saved").labels == toy_shipped.CLASSES
    with pytest.raises(zoo.FileError, match="no such file or folder"):
        zoo.info(tmp_path / "absent")
    with pytest.raises(zoo.FileError, match="cannot be read: File name too long"):
        zoo.info(tmp_path / ("a" * 300))


def test_info_says_what_a_folder_without_a_model_holds(tmp_path: Path) -> None:
    with pytest.raises(zoo.FileError, match="it holds nothing"):
        zoo.info(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(zoo.FileError, match=r"only pickles \(pytorch_model.bin\)"):
        zoo.info(str(tmp_path))


@pytest.mark.parametrize(
    ("made", "teacher"),
    [
        ({"teacher": "big"}, "big"),
        ({"trained": {"teacher": "big"}}, "big"),
        ({"trained": {"teacher": None}}, ""),
        ({"trained": {"teacher": ["big"]}, "teacher": 7}, ""),
        ({"trained": "long ago", "teacher": 7}, ""),
        ({}, ""),
        ({"teacher": "\x1b[31mred\n"}, r"\x1b[31mred"),
        ({"teacher": "x" * 1000}, "x" * 65 + "..." + "x" * 32),
    ],
)
def test_the_teacher_is_read_from_how_it_was_made(tmp_path: Path, made: dict[str, object], teacher: str) -> None:
    model = build(registry.spec("mobilenetv2_cifar_small"))
    model.made = made
    zoo.save(model, tmp_path)
    assert zoo.info(tmp_path).teacher == teacher


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilnet", "Did you mean 'mobilenet'"),
        ("mobilenetv2_10", "Did you mean 'mobilenetv2_1"),
        ("mobilenet-int8-pruned", "write 'pruned-int8'"),
        ("mobilenet-int", "Did you mean 'int8'"),
        (
            "mobilenet-sparse-int8",
            r"Make it: zoo.compress\(zoo.create\(\"mobilenet\"\), \"sparse-int8\", calibration=...\)",
        ),
        ("mobilenet-distilled-int8", r"zoo.create\(\"mobilenet-distilled\"\), \"int8\""),
        ("mobilenet-pruned-sparse", r"\"pruned-sparse\", calibration=\.\.\.\)"),
        ("mobilenetv2_cifar.cifar100", f"Did you mean '{DENSE}'"),
        ("mobilenetv2_035-int8", "No weights ship for mobilenetv2_035"),
        ("mobilenetv2_100.ra", "Did you mean 'mobilenetv2_100.ra_in1k'"),
        ("", "Cannot read the name"),
        ("Mobile Net", "Cannot read the name"),
    ],
)
def test_bad_names_give_one_clear_error(toys: Path, name: str, message: str) -> None:
    with pytest.raises(zoo.UnknownName, match=message) as caught:
        listing.find(name)
    assert "\n" not in str(caught.value)


def test_a_name_comes_before_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mobilenet", "mine"):
        (tmp_path / name).mkdir()
    assert [listing.is_path(name) for name in ("mobilenet", "mine", "./mobilenet", "absent")] == [
        False,
        True,
        True,
        False,
    ]
    assert [listing.is_path(name) for name in ("", "a" * 5000, Path("mobilenet"))] == [False, False, True]


def test_a_faulty_manifest_names_the_entry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "manifest.toml").write_text('["some.name"]\nfile = "x"\nextra = 1\n')
    monkeypatch.setattr(manifest, "PATH", tmp_path / "manifest.toml")
    with pytest.raises(ValueError, match=r"'some\.name'"):
        manifest.entries()


@pytest.mark.parametrize("name", manifest.entries())
def test_what_ships_is_what_the_manifest_says(name: str) -> None:
    entry = manifest.entries()[name]
    found = zoo.info(name)
    assert entry.verified().stat().st_size == entry.bytes
    assert (found.parameters, found.macs) == (entry.parameters, entry.macs)
    assert entry.nonzero <= entry.parameters
    dense, shipped = registry.spec(entry.spec_name), zoo.load(entry.path).spec
    assert shipped.task == entry.task
    if "num_classes" in shipped.rows[-1].args and not dense.input.embedded:  # else there are no classes
        assert len(found.labels) == shipped.rows[-1].args["num_classes"]
        if shipped.task == "image-classification":  # the others have the classes and the size of their data
            assert kinds.classes(shipped) == kinds.classes(dense) and dense.input == shipped.input
    assert len(entry.metric.sha256) == 64
