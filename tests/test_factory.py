"""From a name to a network."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import toy_shipped
import zoo
from networks import PICTURES, by_structure
from toy_shipped import DENSE, VARIANTS
from zoo import kinds, registry, tasks
from zoo.catalog import hub_index, manifest, resolve
from zoo.runtime.choose import check_runtime

X = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Path:
    return toy_shipped.use(monkeypatch)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_comes_by_its_names(toys: Path, variant: str) -> None:
    full = DENSE if variant == "dense" else f"{DENSE}-{variant}"
    model = zoo.create(f"mobilenet-{variant}")
    other = zoo.create(full.replace(".cifar10", ""))  # one tag ships, so it may be left out
    assert model.labels == toy_shipped.CLASSES and not model.training
    assert torch.equal(model(X), other(X)) and torch.equal(model(X), zoo.load(manifest.entries()[full].path)(X))
    assert any(tensor.dtype == torch.int8 for tensor in model.state_dict().values()) == ("int8" in variant)


@pytest.mark.parametrize("name", manifest.entries())
def test_what_ships_can_be_created(name: str) -> None:
    model = zoo.create(name)
    if tasks.of(model.spec).objects:
        assert len(model(X)) == 4 and model.boxes.classes == len(model.labels)
    elif model.spec.task == "translation":
        assert "Hund" in model.translate("A dog is running.")
    elif model.spec.input.ids:
        scores = model(model.spec.input.example(4)).answer
        assert len(scores) == 4 and scores.isfinite().all()
    else:
        given = model.spec.input.example(4) if model.spec.input.embedded else X
        assert model(given).shape[:2] == (4, kinds.classes(model.spec))
    assert model.spec.name == manifest.entries()[name].spec_name


@pytest.mark.parametrize("name", by_structure(PICTURES))
def test_fresh_weights_and_other_classes(name: str) -> None:
    model = zoo.create(name, weights=None, num_classes=7, device="meta")
    y = model(torch.empty(2, 3, 64, 64, device="meta"))
    if tasks.of(model.spec).objects:
        assert model.boxes.classes == 7 and y.shape[0] == 2
    else:
        assert y.shape[:2] == (2, 7)


@pytest.mark.parametrize("name", [name for name in registry.MODELS if name not in PICTURES])
def test_fresh_networks_of_texts_and_rows_and_other_classes(name: str) -> None:
    if registry.spec(name).task in ("text-generation", "translation", "tabular-classification"):
        with pytest.raises(ValueError, match="takes no num_classes"):
            zoo.create(name, weights=None, num_classes=7, device="meta")
        return
    model = zoo.create(name, weights=None, num_classes=7, device="meta")
    assert model(torch.zeros(2, 9, dtype=torch.long, device="meta")).logits.shape == (2, 7)


def test_a_spec_is_a_name_too() -> None:
    spec = registry.spec("mobilenetv2_cifar_small")
    assert zoo.create(spec).spec == spec
    assert zoo.create(spec, num_classes=3)(X).shape == (4, 3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_number_of_classes_keeps_the_trunk(toys: Path, variant: str) -> None:
    model, new = zoo.create(f"mobilenet-{variant}"), zoo.create(f"mobilenet-{variant}", num_classes=37)
    assert new(X).shape == (4, 37) and new.labels == ()
    assert new.classifier.fc.weight.dtype == torch.float32 and not torch.equal(new(X)[0], new(X)[1])
    _, before = model(X, taps=["head"])
    _, after = new(X, taps=["head"])
    assert torch.equal(before["head"], after["head"])
    trunk, whole = new.state_dict(), model.state_dict()
    assert all(torch.equal(trunk[key], whole[key]) for key in whole if not key.startswith("classifier."))
    new(X).sum().backward()
    assert new.classifier.fc.weight.grad is not None


def test_a_network_with_a_fresh_classifier_can_be_saved(toys: Path, tmp_path: Path) -> None:
    new = zoo.create("mobilenet-int8", num_classes=5)
    zoo.save(new, tmp_path / "new")
    assert torch.equal(zoo.load(tmp_path / "new")(X), new(X))


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_own_number_of_classes_keeps_the_classifier(toys: Path, variant: str) -> None:
    new, model = zoo.create(f"mobilenet-{variant}", num_classes=10), zoo.create(f"mobilenet-{variant}")
    assert torch.equal(new(X), model(X)) and new.spec == model.spec and new.labels == toy_shipped.CLASSES


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_classes_leave_what_the_classifier_is_given(toys: Path, tmp_path: Path, variant: str) -> None:
    model, name = zoo.create(f"mobilenet-{variant}"), f"mobilenetv2_cifar-{variant}"
    pooled = zoo.create(f"mobilenet-{variant}", num_classes=0)
    width = model.spec["classifier"].args["in_features"]
    assert pooled(X).shape == (4, width) and pooled(X).dtype == torch.float32 and pooled.labels == ()
    assert torch.equal(pooled(X), model(X, taps=["pool"])[1]["pool"])
    zoo.save(pooled, tmp_path / "pooled")
    assert f"{width} outputs" in (tmp_path / "pooled" / "README.md").read_text()
    again = zoo.create(name, weights=tmp_path / "pooled")
    assert again.spec == pooled.spec and torch.equal(again(X), pooled(X))
    assert torch.equal(zoo.create(name, weights=tmp_path / "pooled", num_classes=0)(X), pooled(X))
    with pytest.raises(ValueError, match="ends in a global_pool, not in a classifier, so it takes no num_classes"):
        zoo.create(name, weights=tmp_path / "pooled", num_classes=10)


def test_fresh_weights_without_a_classifier() -> None:
    assert zoo.create("resnet20", weights=None, num_classes=0)(X).shape == (4, 64)


def test_weights_from_a_file_and_a_folder(toys: Path, tmp_path: Path) -> None:
    file = toys / "shipped" / f"{DENSE}-pruned-int8.safetensors"
    zoo.save(zoo.load(file), tmp_path / "saved")
    for weights in (file, str(file), tmp_path / "saved"):
        model = zoo.create("mobilenetv2_cifar-pruned-int8", weights=weights)
        assert torch.equal(model(X), zoo.load(file)(X))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mobilenetv2_035", {}, r"zoo.create\(\"mobilenetv2_035\", weights=None\) gives fresh ones"),
        ("mobilenet-int8", {"weights": None}, "A compressed network comes from weights"),
        ("mobilenet", {"num_classes": -1}, "num_classes is a whole number, 0 for no classifier, not -1"),
        ("mobilenet", {"num_classes": True}, "num_classes is a whole number"),
        ("mobilenet", {"num_classes": 2.0}, "num_classes is a whole number"),
        ("mobilenet", {"device": "toaster"}, "Device 'toaster' cannot be used here; choose cpu, cuda or mps"),
        ("mobilenet", {"weights": False}, "weights= takes 'default', None for fresh weights, .* not False"),
        ("mobilenet", {"features_only": "yes"}, "features_only= takes True or False, not 'yes'"),
        ("mobilenet", {"allow_untuned": 1}, "allow_untuned= takes True or False, not 1"),
        (
            "bert_tiny",
            {"weights": None, "in_chans": 1},
            "^in_chans= is for networks of pictures; bert_tiny takes texts",
        ),
        ("mobilenet", {"weights": "no/such/folder"}, "no such file or folder"),
        ("mobilenetv2_100", {"weights": "dense"}, "holds a mobilenetv2_cifar, not a mobilenetv2_100"),
        ("mobilenet-int8", {"weights": "dense"}, "holds float32 weights"),
        ("mobilenet", {"weights": "int8"}, f"holds int8 weights: that is {DENSE}-int8"),
        ("mobilenet", {"weights": "pruned"}, "a pruned one is named mobilenetv2_cifar-pruned"),
        (
            "mobilenet-pruned",
            {"weights": "dense"},
            f"of full width; nothing is pruned there, so it is no {DENSE}-pruned",
        ),
        ("mobilenet-sparse", {"weights": "dense"}, r"0\.0% are zero; that is not sparse"),
        ("mobilenet-pruned-int8", {"weights": "int8"}, "nothing is pruned there"),
        ("mobilenet-sparse-int8", {"weights": "int8"}, "that is not sparse"),
        ("mobilenet-distilled-pruned", {"weights": "distilled"}, "a mobilenetv2_cifar_small of full width"),
        ("mobilenet-sprase", {}, "Did you mean 'sparse'"),
        (None, {}, "A model's name is a string, not NoneType"),
    ],
)
def test_bad_options_give_one_clear_error(toys: Path, name: str, options: dict[str, object], message: str) -> None:
    if options.get("weights") in VARIANTS:
        variant = options["weights"]
        file = DENSE if variant == "dense" else f"{DENSE}-{variant}"
        options = {"weights": toys / "shipped" / f"{file}.safetensors"}
    with pytest.raises(ValueError, match=message):
        zoo.create(name, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_fits_its_own_name(toys: Path, variant: str) -> None:
    file = DENSE if variant == "dense" else f"{DENSE}-{variant}"
    model = zoo.create(f"mobilenet-{variant}", weights=toys / "shipped" / f"{file}.safetensors")
    assert model.labels == toy_shipped.CLASSES


def test_a_spec_refuses_the_weights_of_another(toys: Path) -> None:
    with pytest.raises(ValueError, match="another spec"):
        zoo.create(registry.spec("mobilenetv2_cifar_small"), weights=toys / "shipped" / f"{DENSE}.safetensors")


def test_a_damaged_shipped_file_is_refused(toys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)
    with pytest.raises(zoo.FileError, match="install the package again"):
        zoo.create("mobilenet")
    data = bytearray((toys / "shipped" / f"{DENSE}.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / f"{DENSE}.safetensors").write_bytes(data)
    with pytest.raises(zoo.FileError, match="SHA-256 is not the manifest's"):
        zoo.create("mobilenet")


def documented(name: object, **options: Any) -> None:
    """What an example of the docstring does, without fetching or measuring."""
    if runtime := options.pop("runtime", None):
        check_runtime(runtime)
    if options.get("backbone_weights"):
        resolve(options["backbone"], weights=options["backbone_weights"])
    elif "/" in str(name) or name in hub_index.published() or str(name).partition("-")[0] in hub_index.published():
        resolve(name, **options)  # type: ignore[arg-type]
    else:
        zoo.create(name, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("example", re.findall(r"`zoo\.(create\([^`]*\))`", zoo.create.__doc__ or ""))
def test_the_examples_of_the_docstring_run(example: str) -> None:
    eval(example, {"create": documented, "torch": torch, "zoo": zoo})


def test_every_argument_is_documented_with_its_default_and_an_example() -> None:
    said = (zoo.create.__doc__ or "").split("Args:")[1].split("Returns:")[0]
    parts = dict(re.findall(r"\n {8}(\w+) \([^\n]*\): (.*?)(?=\n {8}\w|\n\s*$)", said, re.DOTALL))
    arguments = inspect.signature(zoo.create).parameters
    assert list(parts) == list(arguments)
    for name, argument in arguments.items():
        default = {"default": '"default"', "torch": '"torch"'}.get(str(argument.default), str(argument.default))
        assert argument.default is inspect.Parameter.empty or f"Default: {default}." in parts[name]
        assert "zoo.create(" in parts[name]


def test_wrong_shapes_are_told_what_is_right(toys: Path) -> None:
    with pytest.raises(ValueError, match=r"zoo\.preprocess"):
        zoo.create("mobilenet")(torch.zeros(3, 32, 32))
