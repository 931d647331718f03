"""A network in another runtime, behind the same call."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from functools import cached_property
from itertools import chain
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor

from zoo.blocks.int8.layer import fits
from zoo.build import Model
from zoo.runtime.cache import Report, exported_file, model_key, silent
from zoo.runtime.engines import ENGINES, Engine
from zoo.runtime.text import answer_of, names
from zoo.spec import ModelSpec
from zoo.text.model import TextOutput
from zoo.weights.header import FileError

MAX_ENGINES = 8  # input shapes and numbers of threads kept ready
ALIKE = 0.98  # cosine of the outputs of int8 networks in two executions: a unit here and there
CLOSE = 1e-3  # of float networks, relative to the largest output


class RuntimeModel(nn.Module):
    """`model` run by `runtime`, on the CPU: the same call, the same output within tolerance, for inference.

    Its engine is made for each input shape and number of threads (torch.get_num_threads()) when one first comes, and
    its first answer compared with the model's. The weights are the model's, and those at the time of the call.
    """

    def __init__(
        self,
        model: Model,
        runtime: str,
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        report: Report = silent,
    ) -> None:
        super().__init__()
        self.spec, self.labels, self.made, self.tokenizer = model.spec, model.labels, model.made, model.tokenizer
        self.runtime = runtime
        self.exact = saturates(model)
        self._source = (model,)  # no child: its tensors are not this module's
        self._key = model_key(model)
        self._cache_dir, self._report = cache_dir, report
        self._engines: dict[tuple[Any, ...], Engine] = {}
        self._compared = False
        self.eval()

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Tensor:
        """(B, channels, H, W) to the last row's output."""
        if tuple(taps):
            raise ValueError(f'{self.runtime} gives no taps; zoo.create(..., runtime="torch") does.')
        model = self._source[0]
        model.check_input(x)
        if x.device.type != "cpu" or not x.numel():
            return model(x)
        array = x.detach().float().contiguous().numpy()
        y = torch.from_numpy(self._engine(array.shape)(array)[0])
        if not self._compared and bool(x.isfinite().all()):  # of others there is nothing to compare
            check_alike(y, self._answer(x.detach().float()), self.spec, self.runtime)
            self._compared = True
        return y

    def extra_repr(self) -> str:
        return f"{self.spec.name}, runtime={self.runtime}" + (", exact" if self.exact else "")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engines": {}}

    def _answer(self, *given: Tensor) -> Any:
        """The network's own, of what the engine got."""
        model = self._source[0]
        device = next(chain(model.parameters(), model.buffers())).device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            answer = model(*(one.to(device) for one in given))
        return answer.cpu() if isinstance(answer, Tensor) else answer

    def _engine(self, shape: tuple[int, ...]) -> Engine:
        threads = torch.get_num_threads()
        key = (shape if self.runtime == "openvino" else shape[1:], threads)
        engine = self._engines.get(key)
        if engine is None:
            engine = self._make(shape, threads)
            while len(self._engines) >= MAX_ENGINES:
                self._engines.pop(next(iter(self._engines)), None)
            self._engines[key] = engine
        return engine

    def _make(self, shape: tuple[int, ...], threads: int) -> Engine:
        for last in (False, True):
            file = exported_file(
                self._source[0], self._key, shape[2:], self._cache_dir, self._report, runtime=self.runtime
            )
            try:
                return ENGINES[self.runtime](file, shape or None, threads, exact=self.exact)
            except Exception as error:
                file.unlink(missing_ok=True)  # cut off or damaged: it is made once more
                if last:
                    raise FileError(f"{self.runtime} cannot run {self.spec.name}: {error}") from error
        raise AssertionError


class TextRuntimeModel(RuntimeModel):
    """The same for a language model: one engine serves every batch and length. It keeps no cache, so it continues no
    texts."""

    def forward(  # type: ignore[override]
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Any:
        """(B, N) token ids to a `TextOutput`."""
        model: Any = self._source[0]
        model.check_ids(input_ids, attention_mask, token_type_ids)
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask.to(torch.int64)
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        if input_ids.device.type != "cpu" or not input_ids.numel():
            return model(input_ids, mask, types)
        inputs, outputs = self._named
        given = [one.long().contiguous() for one in (input_ids, mask, types)[: len(inputs)]]
        found = tuple(map(torch.from_numpy, self._engine(())(*(one.numpy() for one in given))))
        if not self._compared:
            expected = self._answer(*given)
            theirs, ours = (answer_of(x, outputs, mask) for x in (found, tuple(expected[name] for name in outputs)))
            check_alike(theirs, ours, self.spec, self.runtime)
            self._compared = True
        return TextOutput(**{"last_hidden_state": found[0], **dict(zip(outputs, found, strict=True))})

    def generate(self, *prompts: Any, **settings: Any) -> Tensor:
        """Raises ValueError: only torch's own execution keeps what generation needs."""
        raise ValueError(f'{self.runtime} continues no texts; zoo.create(..., runtime="torch") does.')

    stream = generate

    @cached_property
    def _named(self) -> tuple[list[str], list[str]]:
        return names(self._source[0])


def check_alike(found: Tensor, expected: Tensor, spec: ModelSpec, by: str) -> None:
    """Raise FileError unless what `by` answers is what the network does, but for roundings."""
    if any(row.precision.startswith("int8") for row in spec):
        measured = float(torch.nn.functional.cosine_similarity(found.flatten(1), expected.flatten(1)).min())
        right = measured >= ALIKE
    else:
        measured = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
        right = measured <= CLOSE
    if not right:
        raise FileError(f"{by} answers otherwise than {spec.name} does (by {measured:.3g}): use another runtime.")


def saturates(model: Model) -> bool:
    """Whether products of its int8 weights could saturate on this processor."""
    return platform.machine().lower() in ("x86_64", "amd64", "i686") and not fits(model)
