"""In one process the ONNX file of the very same network is written once: to write it takes seconds, to copy it none.

What is written follows from the network, its size and the opset alone, as the cache of exports takes for granted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zoo.model.build import Model, is_whole

_PLACES = ("zoo.runtime.onnx", "zoo.runtime.backends.onnxruntime", "zoo.runtime.backends.openvino")
_MOST = 64  # files that are held
_held: dict[str, bytes] = {}


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the zoo writes an export."""
    from zoo.runtime.cache import model_key
    from zoo.runtime.facts import facts
    from zoo.runtime.onnx import write_onnx
    from zoo.runtime.opset import OPSET

    def once(model: Model, file: Path, size: Any, **more: Any) -> None:
        if not is_whole(model):
            return write_onnx(model, file, size, **more)
        key = f"{model_key(model)} {json.dumps(facts(model), sort_keys=True)} {tuple(size)} {more.get('opset', OPSET)}"
        if key in _held:
            file.write_bytes(_held[key])
            return None
        write_onnx(model, file, size, **more)
        if len(_held) < _MOST:
            _held[key] = file.read_bytes()
        return None

    for place in _PLACES:
        monkeypatch.setattr(f"{place}.write_onnx", once)
