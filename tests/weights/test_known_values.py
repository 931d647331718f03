"""Keys of known values in files: numbers instead of keys where these are small, and never another key."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import zoo
from zoo import registry
from zoo.files import FileError
from zoo.tabular import keys
from zoo.weights.known_values import pack, unpack

ANY = st.integers(-(2**63), 2**63 - 1)
SMALL = st.one_of(st.integers(0, 300), st.integers(0, 2**33)).map(lambda one: keys.signed(keys.mixed(one)))


@given(st.lists(st.one_of(ANY, SMALL), max_size=40))
def test_every_key_comes_back(found: list[int]) -> None:
    array = np.array(found, dtype=np.int64)
    packed = pack(array)
    if packed is not None:
        assert packed[0].nbytes + packed[1].nbytes < array.nbytes
        assert np.array_equal(unpack(*packed, "here"), array)


def test_mixing_is_undone() -> None:
    numbers = np.concatenate([np.arange(1000), np.random.default_rng(0).integers(0, 2**63, 1000)]).astype(np.uint64)
    assert np.array_equal(keys.unmixed_array(keys.mixed_array(numbers)), numbers)


def test_ids_take_two_bytes() -> None:
    numbers, values = pack(np.sort(keys.of_integers(np.arange(1, 1683)))) or (np.zeros(0), np.zeros(0))
    assert numbers.shape == (1682, 2) and not len(values)


@pytest.mark.parametrize("array", [np.zeros(0, np.int64), np.zeros((2, 2), np.int64), np.zeros(3, np.int32)])
def test_what_is_not_packed(array: np.ndarray) -> None:
    assert pack(array) is None


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(FileError, match="here: 2 keys are no numbers, but 1 are stored"):
        unpack(np.array([[255], [3], [255]], np.uint8), np.array([7]), "here")


def test_a_recommender_comes_back_from_few_bytes(tmp_path) -> None:
    model = zoo.create(registry.spec("deepfm"))
    ids = torch.from_numpy(np.sort(keys.of_integers(np.arange(18))))
    model.vocabulary[:18], model.vocabulary[18:] = ids, torch.tensor([-(2**62), 0, 1, 2**62])
    zoo.save(model, tmp_path / "m")
    assert b"embed.vocabulary.numbers" in (tmp_path / "m" / "model.safetensors").read_bytes()[:20_000]
    again = zoo.load(tmp_path / "m")
    assert torch.equal(again.vocabulary, model.vocabulary)
