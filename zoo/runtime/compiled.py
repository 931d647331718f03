"""A network in another runtime, behind the same call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn as nn
from torch import Tensor

from zoo import tasks
from zoo.files import FileError, forget
from zoo.model.build import Model
from zoo.model.finite import is_finite
from zoo.printable import printable
from zoo.runtime import find
from zoo.runtime.alike import Engine, saturates
from zoo.runtime.cache import Report, exported, exported_file, model_key, silent
from zoo.runtime.near import check_alike
from zoo.runtime.text import answer_of, names
from zoo.text.model import DECODING, NoDecoder, TextOutput
from zoo.text.verbs import bound

T = TypeVar("T")

MAX_ENGINES = 8  # input shapes and numbers of threads kept ready


class RuntimeModel(nn.Module):
    """`model` run by `runtime`, on the CPU: the same call, the same output within tolerance, for inference.

    Its engine is made for each input shape and number of threads (torch.get_num_threads()) when one first comes, and
    its first answer is compared with the model's: an export in the cache that answers otherwise is made anew. The
    weights are those that the model had when this was made: after they have changed, an engine for another shape or
    number of threads is refused by a ValueError. Threads may share it.
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
        if (learned := model.spec.input.learned) and learned != "tokenizer":  # what its preparer asks of a network
            object.__setattr__(self, learned, getattr(model, learned))  # no buffer: its weights are the export's
        self.runtime = runtime
        self.exact = saturates(model)
        self._source = (model,)  # no child: its tensors are not this module's
        self._key = model_key(model)
        self._cache_dir, self._report = cache_dir, report
        self._engines: dict[tuple[Any, ...], Engine] = {}
        self._making = threading.Lock()
        self._compared = set[tuple[Any, ...]]()  # the engines whose first answer was right
        self.eval()

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Tensor:
        """(B, channels, H, W) to the last row's output."""
        if tuple(taps):
            raise ValueError(f'{self.runtime} gives no taps; zoo.create(..., runtime="torch") does.')
        model = self._source[0]
        self.spec.input.check(self.spec.name, x)
        if x.device.type != "cpu" or not x.numel() or not is_finite(x):  # an engine makes numbers of nan
            return model(x)
        x = x.detach() if self.spec.input.double else x.detach().float()
        array = x.contiguous().numpy()

        def run() -> Tensor:
            return torch.from_numpy(self._engine(array.shape)(array)[0])

        if self._is_compared(array.shape):
            return run()
        return self._compare(array.shape, run, self._answer(x), lambda y: y)

    @property
    def device(self) -> torch.device:
        """The CPU, where every runtime runs."""
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype:
        """float32, which every runtime takes."""
        return torch.float32

    def extra_repr(self) -> str:
        return f"{self.spec.name}, runtime={self.runtime}" + (", exact" if self.exact else "")

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engines": {}, "_compared": set(), "_making": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_making": threading.Lock()})

    def _answer(self, *given: Tensor) -> Any:
        """The network's own, of what the engine got."""
        model = self._source[0]
        device = next(chain(model.parameters(), model.buffers())).device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            answer = model(*(one.to(device) for one in given))
        return answer.cpu() if isinstance(answer, Tensor) else answer

    def _is_compared(self, shape: tuple[int, ...]) -> bool:
        return self._key_of(shape) in self._compared

    def _compare(self, shape: tuple[int, ...], run: Callable[[], T], own: T, answer: Callable[[T], Tensor]) -> T:
        """What the engine for `shape` gives, if its answer is the network's `own`; it gets a second export if not."""
        found, key = run(), self._key_of(shape)
        try:
            self._check(answer(found), answer(own), shape)
        except FileError:
            with self._making:
                self._engines.pop(key, None)
                forget(exported_file(self._source[0], self._key, shape[2:], self._cache_dir, runtime=self.runtime))
            found = run()
            self._check(answer(found), answer(own), shape)
        self._compared.add(key)
        return found

    def _check(self, found: Tensor, own: Any, shape: tuple[int, ...]) -> None:
        """Raise FileError unless what the engine found for inputs of `shape` is the network's `own` answer."""
        check_alike(found, own, self.spec, self.runtime)

    def _key_of(self, shape: tuple[int, ...]) -> tuple[Any, ...]:
        return (shape[1:] if find(self.runtime).any_batch else shape, torch.get_num_threads())

    def _engine(self, shape: tuple[int, ...]) -> Engine:
        key = self._key_of(shape)
        engine = self._engines.get(key)
        if engine is not None:
            return engine
        with self._making:
            engine = self._engines.get(key)  # another thread has made it meanwhile
            if engine is None:
                engine = self._make(shape, key[1])
                while len(self._engines) >= MAX_ENGINES:
                    oldest = next(iter(self._engines))
                    self._engines.pop(oldest)
                    self._compared.discard(oldest)
                self._engines[key] = engine
        return engine

    def _make(self, shape: tuple[int, ...], threads: int) -> Engine:
        model = self._source[0]
        if model_key(model) != self._key:
            raise ValueError(
                f"The weights of {printable(self.spec.name, 100)} have changed since zoo.to_runtime(model, "
                f"{self.runtime!r}). Call zoo.to_runtime again to use the new weights."
            )

        def read(file: Path) -> Engine:
            try:
                return find(self.runtime).fetch("engine")(file, shape or None, threads, exact=self.exact)
            except Exception as error:
                raise FileError(f"{self.runtime} cannot run {self.spec.name}: {error}") from error

        return exported(model, self._key, shape[2:], self._cache_dir, read, self._report, runtime=self.runtime)


class TableRuntimeModel(RuntimeModel):
    """The same for a network of table rows, which takes raw values too."""

    def forward(self, x: Any, *, taps: Iterable[str] = ()) -> Tensor:
        """(B, columns), or raw rows, to logits (B, 1)."""
        model: Any = self._source[0]
        x = x if isinstance(x, Tensor) else model.encode(x)
        model.check_input(x)  # an engine may look up whatever lies behind a table
        return super().forward(x, taps=taps)


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

        def run() -> tuple[Tensor, ...]:
            return tuple(map(torch.from_numpy, self._engine(())(*(one.numpy() for one in given))))

        if self._is_compared(()):
            found = run()
        else:
            own = self._answer(*given)
            expected = tuple(own[name] for name in outputs)
            found = self._compare((), run, expected, lambda y: answer_of(y, outputs, mask))
        return TextOutput(**{"last_hidden_state": found[0], **dict(zip(outputs, found, strict=True))})

    def __getattr__(self, name: str) -> Any:
        if name in tasks.VERBS:
            return bound(self, name)
        if name in DECODING:
            getattr(self._source[0], name)  # an encoder says that no runtime makes a decoder of it
            raise NoDecoder(f'{self.runtime} continues no texts; zoo.create(..., runtime="torch") does.')
        return super().__getattr__(name)

    @cached_property
    def _named(self) -> tuple[list[str], list[str]]:
        return names(self._source[0])
