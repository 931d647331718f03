"""What every modality says of itself: its form in files, its sizes, its words, and by name the parts that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from zoo.checks import SpecError, check_keys, require, short
from zoo.lazy import fetch

if TYPE_CHECKING:
    from torch import Tensor

MAX_VALUES = 8192  # in one field of an input
MAX_DEPTH = 4

Size = tuple[int, ...]  # what differs from example to example of one network: (height, width), (tokens,), or nothing


class Input:
    """The base of all modalities. Each is a frozen dataclass; its fields are what files hold, so they are bounded.

    No torch is imported before a method needs it. What lies further away has a name here, "module:attribute".
    """

    type: ClassVar[str]  # its name in files
    unit: ClassVar[str]  # several examples, in messages: "pictures"
    one: ClassVar[str]  # and one of them
    later: ClassVar[frozenset[str]] = frozenset()  # fields added later; absent in older files
    keys: ClassVar[tuple[str, str]] = ("input", "inputs")  # of one example and of all, in `zoo predict --json`
    batch: ClassVar[int] = 250  # how many examples are evaluated together
    ids: ClassVar[bool] = False  # whole numbers that the first row looks up in a table
    double: ClassVar[bool] = False  # inputs are float64 and stay so, whatever the network computes in
    raw: ClassVar[bool] = False  # the network's call takes raw examples too, which its `encode` prepares
    ragged: ClassVar[bool] = False  # examples differ in length, so that one export serves any

    model: ClassVar[str] = "zoo.model.build:Model"  # the class of the network's call
    preparer: ClassVar[str]  # (spec, what `learned` names) -> what makes inputs of raw examples
    learned: ClassVar[str] = ""  # the attribute of a network that its preparer and its loader take too
    reader: ClassVar[str]  # finds raw examples where they lie: a `zoo.data.readers.Reader`
    signature: ClassVar[str] = "zoo.runtime.signature:plain"  # what goes in and comes out of an export, by name
    runner: ClassVar[str] = "zoo.runtime.compiled:RuntimeModel"  # the call in another runtime
    header: ClassVar[str] = ""  # (model, classes) -> the model under a head, where it has none to change
    tables: ClassVar[tuple[str, ...]] = (".parquet",)  # what the names of files end in that hold examples
    files: ClassVar[str] = "DATA"  # a name of a file or folder with raw examples, for messages
    samples: ClassVar[str] = ""  # raw examples that ship, to calibrate with
    batches: ClassVar[str] = "zoo.train.batches:Batches"  # makes inputs of what `loader` opened, and augments them
    augment: ClassVar[str] = ""  # (batch) -> the batch changed at random, for training without labels; empty: none
    translation: ClassVar[str] = "zoo.train.teachers:same_inputs"  # (student, teacher) -> (x) -> the teacher's x
    loader: ClassVar[str] = ""  # opens data for the training loop; empty: the loop does not train such networks
    fresh: ClassVar[str] = ""  # (architecture, data, ...) -> a fresh network, where its input depends on the data
    fresh_options: ClassVar[tuple[str, ...]] = ()  # what the commands hand to `fresh`, beside the data

    # ------------------------------------------------------------------------------------------------ files

    def to_json(self) -> dict[str, Any]:
        written = [f for f in fields(self) if f.name not in self.later or getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        return {"type": self.type, **{f.name: _listed(getattr(self, f.name)) for f in written}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        own = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        check_keys(data, "a spec's input", required=own - cls.later, optional=(cls.later & own) | {"type"})
        return cls(**{key: _plain(value) for key, value in data.items() if key != "type"})

    # ------------------------------------------------------------------------------------------------ sizes

    @property
    def usual_size(self) -> Size:
        """The size of the examples that costs are told for."""
        return ()

    @property
    def width(self) -> int:
        """How many channels, columns or words there are: the axis that the first row's weights read."""
        raise NotImplementedError

    def shape(self, size: Size | None = None) -> tuple[int, ...]:
        """The shape of one example of `size`, by default the usual one, as the first row takes it."""
        raise NotImplementedError

    @property
    def translates(self) -> bool:
        """Whether targets, token ids too, go in beside the examples."""
        return False

    @property
    def embedded(self) -> Mapping[str, tuple[Any, ...]]:
        """The arguments of the rows that look values of this input up in tables; empty where none do."""
        return {}

    def probes(self) -> Tensor:
        """Three inputs that are quick to answer."""
        import torch

        x = self.probe()
        return torch.cat([x, x.flip(-1), x])

    def axes(self) -> dict[int, tuple[str, int | None]]:
        """Axis of a batch -> its name in exports, and the most entries (None: any), where its length is free."""
        return {0: ("batch", None)}

    # ------------------------------------------------------------------------------------------------ words

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of a table that a network takes; empty where it takes none."""
        return ()

    @property
    def brief(self) -> str:
        """Behind "pictures of": "32x32"."""
        raise NotImplementedError

    @property
    def described(self) -> str:
        """Everything that is read, in words."""
        return self.brief

    @property
    def takes(self) -> str:
        """In a list of networks: "32x32 pixels", "text"."""
        return self.brief

    @property
    def usual_one(self) -> str:
        """The example that costs are told for: "picture", "text of 128 tokens"."""
        return self.one

    def facts(self) -> dict[str, Any]:
        """What an exported file says, so that others can prepare inputs."""
        return {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]

    # ------------------------------------------------------------------------------------------------ tensors

    def example(self, batch: int, size: int | Size | None = None) -> Tensor:
        """A batch of random inputs of `size`, the same each time."""
        raise NotImplementedError

    def probe(self) -> Tensor:
        """One input that is quick to answer."""
        return self.example(1)

    def check(self, name: str, x: Any) -> None:
        """Raise ValueError for what the network `name` does not take; the batch and the size are free."""
        raise NotImplementedError

    def of_dict(self, name: str, given: Mapping[str, Any]) -> Any:
        """The network's input of the dict that a loader gave, without labels; raises ValueError for other keys."""
        raise ValueError(f"{name} takes tensors, not dicts with {sorted(map(str, given))}.")

    def fetch(self, part: str) -> Any:
        """The object that stands under the name `part`: "model", "reader" ..."""
        return fetch(getattr(self, part))


INPUTS: dict[str, type[Input]] = {}  # type in files -> class; a file can name nothing else

AnyInput = TypeVar("AnyInput", bound=Input)


def register(modality: type[AnyInput]) -> type[AnyInput]:
    """Let files name this class of inputs by its `type`; raises ValueError where another class has that name."""
    known = INPUTS.setdefault(modality.type, modality)
    if known.__qualname__ != modality.__qualname__:
        raise ValueError(f"Inputs of type {modality.type!r} are {known.__name__} already.")
    INPUTS[modality.type] = modality
    return modality


def known(given: object) -> bool:
    """Whether it is an input that files can hold."""
    return isinstance(given, Input) and INPUTS.get(given.type) is type(given)


def from_json(data: Any) -> Input:
    """The input that JSON describes. Older files have no `type`: their fields tell the kind of input."""
    require(isinstance(data, Mapping), f"a spec's input is an object, not {type(data).__name__}")
    kind = data.get("type", "text" if "vocabulary" in data else "image")
    require(isinstance(kind, str) and kind in INPUTS, f"a spec's input is of type {short(kind)}, not of {list(INPUTS)}")
    return INPUTS[kind].from_json(data)


def narrowed(given: Input, wanted: type[AnyInput], name: str) -> AnyInput:
    """`given`, which is of the class wanted; raises SpecError, naming the network, where it is not."""
    if not isinstance(given, wanted):
        raise SpecError(f"This is for networks of {wanted.unit}; {name} takes {given.unit}.")
    return given


def _listed(value: Any) -> Any:
    return [_listed(one) for one in value] if isinstance(value, tuple) else value


def _plain(value: Any, depth: int = 0) -> Any:
    """JSON's lists as tuples, of bounded depth and length."""
    if not isinstance(value, list):
        require(not isinstance(value, Mapping), "a spec's input holds numbers, texts and lists of them")
        return value
    require(depth < MAX_DEPTH and len(value) <= MAX_VALUES, "a spec's input holds too many values")
    return tuple(_plain(one, depth + 1) for one in value)
