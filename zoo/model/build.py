"""`build(spec)`: the only way from a spec to a model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain
from typing import Any, cast

import torch
import torch.nn as nn
from torch import Tensor

from zoo import kinds, tasks
from zoo.blocks.memory import arranged, in_order
from zoo.blocks.traced import traced
from zoo.blocks.wiring import INPUT, Wiring, run
from zoo.kinds.streams import edges_of, sources, takes_codes
from zoo.lazy import fetch
from zoo.model.defaults import usual_defaults
from zoo.model.finite import check_finite, check_small, check_values
from zoo.model.streams import check_edges, share_scales
from zoo.registry import BLOCKS
from zoo.spec import Block, ModelSpec, SpecError


class Model(nn.Module):
    """A network built from its spec: a `torch.nn.Module` with one child a row, run in order.

    `zoo.create`, `zoo.load` and `zoo.build` return one; its attributes are meant to be read and set.

    Args:
        spec (ModelSpec): the rows, in order, and what the network takes.

    Attributes:
        labels (tuple[str, ...]): the names of the classes. Default: empty, where they are unknown.
        made (Mapping[str, Any]): how the weights came to be, as JSON values. Default: empty.
        tokenizer (str): the text of a language model's tokenizer.json. Default: empty.

    Raises:
        SpecError: a row has the name of an attribute of `torch.nn.Module`.

    Example:
        >>> model = zoo.create("resnet20")
        >>> model(torch.randn(2, 3, 32, 32)).shape
        torch.Size([2, 10])
        >>> model.labels[:2]
        ('airplane', 'automobile')
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.labels: tuple[str, ...] = ()
        self.made: Mapping[str, Any] = {}
        self.tokenizer = ""
        # Of nan, integers and oneDNN's activations make ordinary numbers.
        self._unread = False  # whether large weights of a file have not been looked at
        self._needs_finite = any(row.precision not in ("float32", "qat") for row in spec)
        self._tapped = frozenset(tap for row in spec for tap in row.taps)
        coded = [place for place, row in enumerate(spec) if takes_codes(row)]
        self._wiring = Wiring.of([row.name for row in spec], [row.taps for row in spec], coded)
        self._runner: Callable[..., Tensor] = in_order
        reads, emits = "float32", {"input": "float32"}
        for row in spec:
            if hasattr(self, row.name):
                raise SpecError(f"A row cannot be called {row.name!r}: a module has an attribute of that name.")
            self.add_module(row.name, build_row(row, reads, tuple(emits[tap] for tap in row.taps)))
            reads = emits[row.name] = row.emits
        runners: list[Any] = [row.runner for row in self.children() if getattr(row, "runner", None)]
        if runners:  # of int8 and fused rows
            self._runner = runners[0]()

    def forward(self, x: Tensor, *, taps: Iterable[str] = ()) -> Any:
        """Run the network.

        Args:
            x (Tensor): pictures, (B, channels, H, W), normalised as `zoo.preprocess` does.
            taps (Iterable[str]): names of rows whose outputs are returned too; "input" is `x`. Default: none.

        Returns:
            The output of the last row, for a classifier logits (B, classes). With `taps`, a pair: that output, and
            {row name: output of that row}, where uint8 outputs are returned as the floats that they stand for.

        Raises:
            ValueError: `x` has a shape, dtype or device that the network does not take, or a tap is no row. In a
                network with int8 or fused rows: `x` has nan or infinity.

        Example:
            >>> model = zoo.create("resnet20")
            >>> logits, maps = model(torch.randn(1, 3, 32, 32), taps=["s1_3"])
            >>> maps["s1_3"].shape
            torch.Size([1, 16, 32, 32])
        """
        self.check_input(x)
        self.check_weights_once()
        try:
            return self._run(x, tuple(taps))
        except RuntimeError as error:  # looked for afterwards: a good input costs no time
            if reason := self._misfit(x):
                raise ValueError(reason) from error
            raise

    def _run(self, x: Tensor, taps: tuple[str, ...]) -> Any:
        modules: Any = tuple(self._modules.values())
        if not taps:
            x = x if self.training else arranged(x)
            return self._runner(modules, x, self._wiring)
        if unknown := set(taps) - {"input", *self._modules}:
            raise ValueError(f"No such rows to tap: {sorted(unknown)}; the rows are {list(self._modules)}.")
        places = {name: place for place, name in enumerate(self._modules)} | {"input": INPUT}
        kept: dict[int, Tensor] = {}
        x = run(modules, modules, x, self._wiring.keeping(places[name] for name in taps), kept)
        return x, {name: kept[places[name]] for name in taps}

    def _misfit(self, x: Tensor) -> str:
        """Why the first row cannot compute with `x`; empty where dtype and device are its own."""
        first = next(iter(self._modules.values()))
        held = next(chain(first.parameters(), first.buffers()), None)  # type: ignore[union-attr]
        if held is not None and held.device != x.device:
            return f"{self.spec.name} is on {held.device}, and its input on {x.device}: give it x.to(model.device)."
        if held is None or held.dtype == x.dtype or self.spec.rows[0].precision.startswith("int8"):
            return ""
        ours, theirs = (str(one.dtype).removeprefix("torch.") for one in (held, x))
        return f"{self.spec.name} computes in {ours}, and its input is {theirs}: give it x.to(torch.{ours})."

    @property
    def device(self) -> torch.device:
        """The device of the network's tensors (torch.device).

        Example:
            >>> zoo.create("resnet20").device
            device(type='cpu')
        """
        return next((one.device for one in chain(self.parameters(), self.buffers())), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """The float type that the network computes in (torch.dtype); int8 rows take and return float32.

        Example:
            >>> zoo.create("resnet20").dtype
            torch.float32
        """
        return next((one.dtype for one in self.parameters()), torch.float32)

    def completed(self, batch: Any) -> Any:
        """Complete an input with what else the call needs, such as a text's translation; here nothing.

        Args:
            batch (Any): what the call takes.
        """
        return batch

    def num_parameters(self) -> int:
        """Count the learned values, in whatever type they are stored.

        `parameters()` leaves out int8 and fused rows, which store buffers; this count includes them. To train an int8
        network, use `zoo.prepare_qat`.

        Returns:
            The number of values, those that are zero included.

        Example:
            >>> zoo.create("resnet20-int8").num_parameters()
            272474
        """
        return kinds.cost(self.spec).parameters

    def initialize(self) -> None:
        """Make fresh weights."""
        initialize(self)

    def check_weights_once(self) -> None:
        """Raise ValueError, naming the row, for weights of a file that are not finite: at the first call, which reads
        them from the file anyway. Traces and captures look at no values.
        """
        if self._unread and not traced():
            check_values(self.state_dict(), self.spec.name, beside=self._looked_up_later())
            self._unread = False

    def _looked_up_later(self) -> Collection[str]:
        """The keys of tables that are so large that their rows are looked at when they are asked for."""
        return ()

    def check_input(self, x: Tensor) -> None:
        """Check the shape and the dtype of an input, and in a network with int8 or fused rows its values.

        Args:
            x (Tensor): what `forward` would be given.

        Raises:
            ValueError: `forward` does not take `x`, or `x` has nan or infinity and the network int8 or fused rows.

        Example:
            >>> zoo.create("resnet20").check_input(torch.randn(3, 32, 32))
            Traceback (most recent call last):
                ...
            ValueError: ...
        """
        self.spec.input.check(self.spec.name, x)
        if self._needs_finite:
            check_finite(self.spec.name, x, self.spec.input.unit)


def build(spec: ModelSpec, *, device: str | torch.device | None = None) -> Model:
    """Build the network of a spec with fresh weights, in eval mode.

    The weights are float32 whatever `torch.set_default_dtype` and `torch.set_default_device` say. Convolutions are
    initialised by fan-out (He et al., 2015).

    Args:
        spec (ModelSpec): the network, for instance `zoo.create("resnet20").spec` or one of your own.
        device (str | torch.device | None): where the tensors are made; "meta" takes no memory. Default: None, the CPU.

    Returns:
        A `Model`.

    Raises:
        SpecError: a row is of an unknown kind, has arguments out of bounds, or does not fit the row before it.

    Example:
        >>> rows = (
        ...     zoo.Block("conv_norm_act", "stem", in_channels=3, out_channels=8),
        ...     zoo.Block("global_pool", "pool"),
        ...     zoo.Block("classifier", "classifier", in_features=8, num_classes=5),
        ... )
        >>> model = zoo.build(zoo.ModelSpec("tiny", rows))
        >>> model(torch.randn(1, 3, 64, 64)).shape
        torch.Size([1, 5])
    """
    kinds.check(spec)
    with usual_defaults(device):
        model: Model = tasks.model_class(spec)(spec)
    if device is None or torch.device(device).type != "meta":
        model.initialize()
    return model.eval()


def from_state(spec: ModelSpec, state: Mapping[str, Tensor]) -> Model:
    """The network around existing tensors, which are used as they are, not copied.

    Raises ValueError, naming the row, for scales, biases, norms and statistics that no network has.
    """
    kinds.check(spec)
    check_small(state, repr(spec.name))
    with usual_defaults("meta"):
        model: Model = tasks.model_class(spec)(spec)
    model.load_state_dict(state, assign=True)
    check_edges(model)
    share_scales(model)
    return model.eval()


def is_whole(model: object) -> bool:
    """Whether it is a network as `build` makes it, not features or a runtime around one."""
    return isinstance(model, Model) and type(model) is tasks.model_class(model.spec)


def not_a_model(asked: str, given: object) -> ValueError:
    """The error of a function called `asked` that takes whole zoo models, and was given something else."""
    library = type(given).__module__.partition(".")[0]
    if library in ("timm", "torchvision"):
        how = f"a network of {library}; zoo.adopt(network) makes a zoo model of it."
    elif isinstance(getattr(given, "module", None), Model):
        how = f"{type(given).__name__}, a wrapper: give the model inside, its `.module`."
    elif isinstance(given, str):
        how = f"the string {given[:100]!r}; zoo.create(name) and zoo.load(folder) give a model."
    elif isinstance(given, Model):
        how = f"{type(given).__name__}; the whole network is what `zoo.create` gives without options."
    else:
        how = f"{type(given).__name__}; zoo.create, zoo.load, zoo.build and zoo.adopt give one."
    return ValueError(f"{asked} takes a zoo model, not {how}")


def copy_metadata(model: Model, like: Model) -> Model:
    """Copy labels, notes (`made`) and tokenizer from `like` to `model`; returns `model`."""
    model.labels, model.made, model.tokenizer = like.labels, like.made, like.tokenizer
    return model


def fresh_rows(spec: ModelSpec, names: Collection[str], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The freshly initialised tensors of some float32 rows, by their keys in the model; on the device of `like`."""
    state: dict[str, Tensor] = {}
    for row in (row for row in spec if row.name in names):
        with usual_defaults(next(iter(like.values())).device):
            module = build_row(row, "float32")
        initialize(module)
        state |= {f"{row.name}.{key}": tensor for key, tensor in module.state_dict().items()}
    return state


def upto(model: Model, row: str) -> Model:
    """The model cut behind one row, whose output, as floats, is then the model's. It shares the model's tensors."""
    spec, state = model.spec.upto(row), model.state_dict()
    cut = from_state(spec, {key: state[key] for key in kinds.model_state(spec)})
    labels = model.labels if row == model.spec.rows[-1].name else ()
    copy_metadata(cut, model).labels = labels
    return cut


def learned_edges(model: Model) -> dict[str, Tensor]:
    """qat row -> scale and zero point (n, 2) of its edges as training has left them.

    Of a tensor between two rows, where it is codes, they are those of the row that makes it.
    """
    rows = [row for row in model.spec if row.precision == "qat"]
    given = sources(model.spec, rows)
    learned: dict[str, Tensor] = {}
    for row in rows:
        own = cast(Tensor, model.get_submodule(row.name).current_edges).detach().clone()
        for place, edge in enumerate(edges_of(row)):
            source = given[row.name, edge]
            if source and source.emits == "uint8":
                own[place] = learned[source.name][-1]
        learned[row.name] = own
    return learned


def initialize(model: nn.Module) -> None:
    """Convolutions by fan-out (He et al., 2015), linear layers and tables small, norms at rest."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
            nn.init.normal_(module.weight, 0.0, (2 / fan_out) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, 0.02)
        for name, learned in module.named_parameters(recurse=False):
            if learned.dim() == 3 and "." not in name:  # tokens and positions of their own
                nn.init.trunc_normal_(learned, std=0.02)
    for module in model.modules():
        begin: Any = getattr(module, "initialize_outputs", None)
        if begin is not None:  # of heads whose answers begin in a way of their own
            begin()


def build_row(row: Block, reads: str = "float32", tapped: tuple[str, ...] = ()) -> nn.Module:
    """The module of one row, behind a row that emits `reads`; `tapped` is what each of those that it taps emits."""
    make = fetch(BLOCKS[row.kind, row.precision])
    if row.precision == "float32" or kinds.KINDS[row.kind].float_io:
        return make(**kinds.arguments(row))  # type: ignore[no-any-return]
    return make(kinds.layout(row, reads, tapped))  # type: ignore[no-any-return]
