"""What `save` accepts, `load` gives back: labels, how a model was made, its tokenizer. All else is refused at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.checks import NOTES
from zoo.model.build import Model
from zoo.spec import Block, ImageInput, ModelSpec

characters = st.characters(codec=None)  # surrogates too
keys = st.one_of(st.sampled_from(sorted(NOTES)), st.text(characters, max_size=4), st.integers(), st.none())
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(characters, max_size=4), st.just(10**200)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.tuples(inner), st.dictionaries(keys, inner, max_size=2), st.sets(st.integers())
    ),
    max_leaves=4,
)
labels = st.one_of(
    values,
    st.lists(st.text(characters, max_size=4), min_size=3, max_size=3),
    st.tuples(*[st.text(st.characters(codec="utf-8"), max_size=4)] * 3),
)


@pytest.fixture(scope="module")
def model() -> Model:
    stem = Block("conv_norm_act", "stem", in_channels=3, out_channels=2)
    rows = (stem, Block("global_pool", "pool"), Block("classifier", "classifier", in_features=2, num_classes=3))
    return zoo.build(ModelSpec("tiny", rows, ImageInput(size=(4, 4))))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("facts")


def as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_lists(one) for key, one in value.items()}
    return [as_lists(one) for one in value] if isinstance(value, (list, tuple)) else value


def kept_or_refused(model: Model, place: Path, name: str, value: Any) -> None:
    """In a file and in a folder alike."""
    before = getattr(model, name)
    setattr(model, name, value)
    try:
        for write, where in ((zoo.save, place / "folder"), (zoo.weights.file.save_file, place / "m.safetensors")):
            try:
                write(model, where)
            except zoo.FileError:
                continue
            assert as_lists(getattr(zoo.load(where), name)) == as_lists(value)
            zoo.info(where)
    finally:
        setattr(model, name, before)


@given(made=st.one_of(st.dictionaries(keys, values, max_size=3), values))
def test_how_a_model_was_made_is_kept_or_refused(model: Model, place: Path, made: Any) -> None:
    kept_or_refused(model, place, "made", made)


@given(labels=labels)
def test_labels_are_kept_or_refused(model: Model, place: Path, labels: Any) -> None:
    kept_or_refused(model, place, "labels", labels)


@given(text=st.one_of(st.text(characters, max_size=8), st.just('{"model": {}}')))
def test_a_tokenizer_is_kept_or_refused(model: Model, place: Path, text: str) -> None:
    kept_or_refused(model, place, "tokenizer", text)


@pytest.mark.parametrize(
    "made",
    [
        {1: "a number as a key"},
        {"deep": [[{"in": {2: 3}}]]},
        {"huge": 10**120},
        {"half": "\ud800"},
        {"set": {1}},
        {"nan": float("nan")},
        None,
    ],
)
def test_what_could_not_be_read_back_is_refused_before_there_is_a_file(model: Model, tmp_path: Path, made: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "made", made)
        with pytest.raises(zoo.FileError, match=r"model\.made"):
            zoo.save(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()
