"""Keys of ids in files: one bit for each number, and never another key."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo.files import FileError
from zoo.tabular import keys
from zoo.weights.known_ids import pack, unpack

ANY = st.integers(-(2**63), 2**63 - 1)
SMALL = st.one_of(st.integers(0, 300), st.integers(0, 2**33)).map(lambda one: keys.signed(keys.mixed(one)))


def ids(numbers: np.ndarray) -> np.ndarray:
    return np.sort(keys.of_integers(numbers))


@given(st.lists(st.lists(st.one_of(ANY, SMALL), max_size=40), max_size=4))
def test_every_key_comes_back(features: list[list[int]]) -> None:
    parts = [np.sort(np.array(one, dtype=np.int64)) for one in features]
    array = np.concatenate([np.zeros(0, np.int64), *parts])
    packed = pack(array)
    if packed is not None:
        assert sum(one.nbytes for one in packed) < array.nbytes
        assert np.array_equal(unpack(*packed, len(array), "here"), array)


def test_ids_in_a_row_take_a_bit() -> None:
    texts = np.array([-(2**62), 5, 2**62])
    array = np.concatenate([ids(np.arange(1, 944)), ids(np.arange(1, 1683, 2)), texts])
    packed = pack(array)
    assert packed is not None and sum(one.nbytes for one in packed) < 118 + 211 + 24 + 3 * 16 + 2
    assert np.array_equal(unpack(*packed, len(array), "here"), array)


@pytest.mark.parametrize(
    "array", [np.zeros(0, np.int64), np.zeros((2, 2), np.int64), np.zeros(3, np.int32), np.full(9, 2**63 - 1)]
)
def test_what_is_not_packed(array: np.ndarray) -> None:
    assert pack(array) is None


@pytest.mark.parametrize(
    ("bits", "runs", "values"),
    [
        ([255], [[1, 0]], [3]),  # a value of no run
        ([255], [[2, 1]], [3]),  # more bytes than there are
        ([127], [[1, 1]], [3]),  # a key too few
        ([255, 255], [[3, 2], [-1, -1]], [3]),
        ([255], [[1, 0]], []),
    ],
)
def test_what_does_not_fit_together_is_refused(bits: list[int], runs: list[list[int]], values: list[int]) -> None:
    arrays = np.array(bits, np.uint8), np.array(runs, np.int64), np.array(values, np.int64)
    with pytest.raises(FileError, match="here: the stored ids are not 9 keys"):
        unpack(*arrays, 9, "here")


def test_a_recommender_comes_back_from_few_bytes(tmp_path) -> None:
    table = {"user_id": list(range(500)) * 2, "film": [f"f{one % 7}" for one in range(1000)], "click": [0, 1] * 500}
    model = zoo.create("deepfm", schema=zoo.infer_schema(table)).fit_vocabulary(table)
    zoo.save(model, tmp_path)
    assert b"embed.vocabulary.runs" in (tmp_path / "model.safetensors").read_bytes()[:20_000]
    assert torch.equal(zoo.load(tmp_path).vocabulary, model.vocabulary)
    assert torch.equal(zoo.load(tmp_path)(table), model(table))
