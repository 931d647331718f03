"""Write a model file with any header, and read what is refused."""

import json

import pytest

from zoo.weights.file import FileError, load, read_header


def write(path, header, body=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + body)
    return path


def refused(path, words):
    for read in (read_header, load):
        with pytest.raises(FileError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 2000
