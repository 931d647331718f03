"""Weights with many zeros are packed: every bit is kept, and a mask that lies is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from zoo.weights.bitmask import pack, unpack
from zoo.weights.file import FileError


def with_zeros(dtype: type) -> st.SearchStrategy[np.ndarray]:
    shapes = array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9)
    elements = (
        st.one_of(st.just(0), st.integers(-128, 127))
        if dtype is np.int8
        else st.one_of(st.just(0.0), st.just(-0.0), st.floats(width=32))
    )
    return shapes.flatmap(lambda shape: arrays(dtype, shape, elements=elements, fill=st.just(0)))


@given(st.one_of(with_zeros(np.int8), with_zeros(np.float32)))
def test_packing_keeps_every_bit_and_only_shrinks(array):
    packed = pack(array)
    if packed is None:
        zeros = np.count_nonzero(np.frombuffer(array.tobytes(), f"i{array.itemsize}") == 0)
        assert -(-array.size // 8) + (array.size - zeros) * array.itemsize >= array.nbytes
        return
    mask, values = packed
    assert mask.nbytes + values.nbytes < array.nbytes
    again = unpack(mask, values, array.shape, "here")
    assert (values.dtype, again.dtype, again.shape) == (array.dtype, array.dtype, array.shape)
    assert again.tobytes() == array.tobytes()


def test_negative_zero_is_a_value():
    array = np.zeros((8, 8), np.float32)
    array[3, 4] = -0.0
    mask, values = pack(array)
    assert len(values) == 1
    assert np.signbit(values[0])
    assert np.signbit(unpack(mask, values, (8, 8), "here")[3, 4])


def test_the_first_value_is_the_lowest_bit():
    array = np.zeros((3, 3), np.int8)
    array[0, 0], array[2, 2] = 5, -6
    mask, values = pack(array)
    assert (mask.tolist(), values.tolist()) == ([1, 1], [5, -6])


@pytest.mark.parametrize("array", [np.zeros(64, np.float32), np.zeros((8, 8), np.int64), np.ones((8, 8), np.float32)])
def test_what_is_not_packed(array):
    assert pack(array) is None


@pytest.mark.parametrize(
    ("mask", "count", "words"),
    [
        ([1, 0], 2, "marks 1 values, but 2 are stored"),
        ([3, 0], 1, "marks 2 values, but 1 are stored"),
        ([1, 2], 1, "bits set behind its 9 values"),
        ([1], 1, "has 2 bytes, not 1"),
        ([1, 0, 0], 1, "has 2 bytes, not 3"),
    ],
)
def test_a_mask_that_lies(mask, count, words):
    with pytest.raises(FileError, match=f"^file: key: .*{words}"):
        unpack(np.array(mask, np.uint8), np.ones(count, np.int8), (3, 3), "file: key")
