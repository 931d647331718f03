"""`create`: from a name to a network with its weights."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from zoo import catalog, kinds, registry, tasks
from zoo.catalog import backbones, listing
from zoo.catalog.derive import MIN_AGREEMENT
from zoo.checks import check_flag
from zoo.lazy import fetch
from zoo.spec import ModelSpec, SpecError, TableInput

if TYPE_CHECKING:
    from zoo.model.build import Model
    from zoo.model.features import Features


def pull(name: str, *, revision: str | None = None, cache_dir: str | Path | None = None) -> Path:
    """Fetch ahead of time what `create(name)` or `load(name)` would, newer than the cache too; its folder or file.

    `name` is a model's, or a repository of the Hub. A variant that is made of published weights is made too. Raises as
    `create` does.
    """
    file = catalog.resolve(name, revision=revision, cache_dir=cache_dir).fetch(fresh=True, report=_report)
    assert file is not None
    return file


@overload
def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = ...,
    num_classes: int | None = ...,
    in_chans: int | None = ...,
    features_only: Literal[True],
    out_indices: int | Iterable[int] | None = ...,
    device: str | None = ...,
    schema: TableInput | Mapping[str, Any] | str | os.PathLike[str] | None = ...,
    dim: int | None = ...,
    backbone: str | Model | None = ...,
    backbone_weights: str | os.PathLike[str] | None = ...,
    output_stride: int | None = ...,
    decoder_channels: int | None = ...,
    revision: str | None = ...,
    calibration: Any = ...,
    allow_untuned: bool = ...,
    min_agreement: float = ...,
    cache_dir: str | Path | None = ...,
    runtime: str = ...,
    devices: Sequence[str] | None = ...,
) -> Features: ...


@overload
def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = ...,
    num_classes: int | None = ...,
    in_chans: int | None = ...,
    features_only: bool = ...,
    out_indices: int | Iterable[int] | None = ...,
    device: str | None = ...,
    schema: TableInput | Mapping[str, Any] | str | os.PathLike[str] | None = ...,
    dim: int | None = ...,
    backbone: str | Model | None = ...,
    backbone_weights: str | os.PathLike[str] | None = ...,
    output_stride: int | None = ...,
    decoder_channels: int | None = ...,
    revision: str | None = ...,
    calibration: Any = ...,
    allow_untuned: bool = ...,
    min_agreement: float = ...,
    cache_dir: str | Path | None = ...,
    runtime: str = ...,
    devices: Sequence[str] | None = ...,
) -> Model: ...


def create(
    name_or_spec: str | ModelSpec,
    *,
    weights: str | os.PathLike[str] | None = "default",
    num_classes: int | None = None,
    in_chans: int | None = None,
    features_only: bool = False,
    out_indices: int | Iterable[int] | None = None,
    device: str | None = None,
    schema: TableInput | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    dim: int | None = None,
    backbone: str | Model | None = None,
    backbone_weights: str | os.PathLike[str] | None = None,
    output_stride: int | None = None,
    decoder_channels: int | None = None,
    revision: str | None = None,
    calibration: Any = None,
    allow_untuned: bool = False,
    min_agreement: float = MIN_AGREEMENT,
    cache_dir: str | Path | None = None,
    runtime: str = "torch",
    devices: Sequence[str] | None = None,
) -> Model:
    """Make the network of a name, in eval mode.

    Args:
        name_or_spec (str | ModelSpec): The name of a network, of a variant, or of a repository on the Hugging Face Hub.
            `zoo.list_models()` lists the names. A ModelSpec gets fresh weights by default.
            `zoo.create("mobilenet-int8")`, `zoo.create("timm/resnet18.a1_in1k")`.
        weights (str | path | None): Where the weights come from. "default" takes those that ship with the package or
            are published on the Hub. None makes fresh weights. A folder, a file or "hf-hub:org/name[@revision]" is a
            saved network of the named architecture. Default: "default". `zoo.create("resnet20", weights=None)`.
        num_classes (int | None): The number of classes. Another number than the weights' own keeps all rows but the
            classifier, which becomes fresh and float32. 0 removes the classifier: the output is its input,
            (B, features) in float32. None keeps the classifier. Default: None.
            `zoo.create("mobilenet", num_classes=5)`.
        in_chans (int | None): The number of channels of the pictures. The weights of the first layer are adapted as
            timm does: summed for one channel, repeated and scaled for more. That layer has to be float32. None keeps
            the channels. Default: None. `zoo.create("mobilenet", in_chans=1)`.
        features_only (bool): Return the trunk as a backbone, a `zoo.model.features.Features`. Its output is a list
            of float32 maps (B, C, H, W), of int8 networks too: the last map of each resolution, the largest first.
            `feature_info` has their `channels()`, `reduction()` and `module_name()`. A backbone has no classifier, so
            `num_classes` changes nothing. Default: False. `zoo.create("mobilenet", features_only=True)`.
        out_indices (int | list of int | None): Which maps a backbone returns, and in which order. Negative numbers
            count from the end; one number n stands for the last n maps. Needs `features_only`. None returns all.
            Default: None. `zoo.create("mobilenet", features_only=True, out_indices=[1, -1])`.
        device (str | None): The device of the weights. None is the CPU. Default: None.
            `zoo.create("resnet20", weights=None, device="meta")`.
        schema (TableInput | dict | path | None): What a recommender reads: the features of its table, in a file of
            `zoo schema` or as the dict of its JSON too. The weights are fresh, and no value is known until
            `model.fit_vocabulary(table)`. None is the schema of the weights, or a small example without. Default: None.
            `zoo.create("deepfm", schema=zoo.infer_schema({"user": [1, 2], "click": [0, 1]}, label="click"))`.
        dim (int | None): The width of a recommender's vectors, with fresh weights. None is 16. Default: None.
            `zoo.create("deepfm", weights=None, dim=32)`.
        backbone (str | Model | None): What a segmenter stands on: the name of a network of pictures, or such a float
            network, pruned ones too. Its weights are kept, the rows behind it are fresh. None is the usual backbone of
            the name. Default: None. `zoo.create("lraspp", backbone="mobilenetv2_100", num_classes=11)`.
        backbone_weights (str | path | None): Where the weights of a backbone given by name come from, as `weights`
            says. None are those of the tag in its name, and without a tag fresh ones. Default: None.
            `zoo.create("lraspp", backbone="tf_efficientnet_lite0", backbone_weights="default")`.
        output_stride (int | None): How much smaller than the picture the backbone's last map is: 8, 16 or 32. Strides
            that would go further become dilations. None is the usual one. Default: None.
            `zoo.create("deeplabv3plus", weights=None, output_stride=8)`.
        decoder_channels (int | None): The width of a segmenter behind its backbone. None is the usual one.
            Default: None. `zoo.create("deeplabv3plus", weights=None, decoder_channels=128)`.
        revision (str | None): Another branch, tag or commit of the repository on the Hub. None is the one that is
            pinned, or else the main branch. Default: None. `zoo.create("resnet18.a1_in1k", revision="main")`.
        calibration (tensor | list | None): Preprocessed inputs, as `zoo.compress` takes them, for a variant that
            nobody published: it is made here, once, and kept. None takes photographs that ship. Default: None.
            `zoo.create("resnet18.a1_in1k-int8", calibration=torch.randn(16, 3, 224, 224))`.
        allow_untuned (bool): Return a pruned or sparse variant that is made here whatever it lost without training.
            Default: False. `zoo.create("resnet18.a1_in1k-pruned", allow_untuned=True)`.
        min_agreement (float): Refuse such a variant where a smaller share of the calibration inputs gets the dense
            network's answer; without classes, where the mean cosine of the answers is smaller. 0 to 1. Default: 0.5.
            `zoo.create("resnet18.a1_in1k-pruned", min_agreement=0.8)`.
        cache_dir (path | None): The folder that keeps what is downloaded and made. None is HF_HUB_CACHE.
            Default: None. `zoo.create("resnet18.a1_in1k", cache_dir="~/weights")`.
        runtime (str): What runs the network: "torch", or another runtime of `zoo.to_runtime`, the same call in another
            engine on the CPU. "auto" is the fastest of those installed, measured once on this host.
            Default: "torch". `zoo.create("mobilenet-int8", runtime="auto")`.
        devices (list of str | None): Several devices that hold the network together, for one that is too large for
            each: slices of rows of about equal work, in order. The answer is on the last one. None is `device`.
            Default: None. `zoo.create("resnet20", devices=["cpu", "cpu"])`.

    Returns:
        Model: The network; a `Features` with `features_only`; with another runtime a module with the same call.

    Raises:
        UnknownName: The name stands for nothing, or no weights are known for it.
        FileError: The file is damaged, or holds no network.
        HubError: The weights cannot be downloaded. A HubError is a FileError.
        ValueError: Arguments that do not fit together, such as weights that the passes in the name did not make; a
            variant made here that agrees less than `min_agreement`.

    Example:
        >>> model = zoo.create("resnet20-int8")
        >>> model(torch.randn(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """
    _check_options(num_classes, in_chans, features_only, out_indices, device)
    _check_runtime(runtime, name_or_spec, features_only, device)
    if devices is not None:
        others = {"device": device is not None, "features_only": features_only, "runtime": runtime != "torch"}
        fetch("zoo.parallel.placed:check_devices")(devices, others)
    check_flag("allow_untuned", allow_untuned)
    _check_share("min_agreement", min_agreement)
    if schema is not None or dim is not None:
        name_or_spec = _with_schema(name_or_spec, schema, dim, weights)
    body = None
    options = {"output_stride": output_stride, "decoder_channels": decoder_channels}
    if any(one is not None for one in (backbone, backbone_weights, *options.values())):
        body = backbones.given(backbone, backbone_weights, partial(create, cache_dir=cache_dir))
        name_or_spec = backbones.spec_on(name_or_spec, body, options, weights, num_classes)
    source = catalog.resolve(
        name_or_spec,
        weights=weights,
        num_classes=num_classes,
        revision=revision,
        calibration=calibration,
        allow_untuned=allow_untuned,
        min_agreement=min_agreement,
        cache_dir=cache_dir,
    )
    file = source.fetch(report=_report)
    model = source.load(file, device)
    if body is not None and not isinstance(body, ModelSpec):
        from zoo.model.backbone import on_backbone

        model = on_backbone(model.spec, body)
    model = _with_ends(model, num_classes, in_chans, features_only, out_indices)
    if devices is not None:
        return fetch("zoo.parallel.placed:place")(model, devices)  # type: ignore[no-any-return]
    return _running(model, runtime, cache_dir, device)


def _known(name: str | ModelSpec) -> ModelSpec | None:
    """The spec of a name, as far as the name alone says it."""
    if isinstance(name, ModelSpec):
        return name
    try:
        return registry.spec(registry.resolve(name).arch)
    except ValueError:  # a repository of the Hub, or nothing, which is told later
        return None


def _with_schema(name: str | ModelSpec, schema: Any, dim: int | None, weights: Any) -> ModelSpec:
    """The spec of a recommender for other tables, or with vectors of another width."""
    given = "schema=" if schema is not None else "dim="
    wanted = registry.resolve(name) if isinstance(name, str) else None
    usual = registry.spec(wanted.arch).input if wanted and not wanted.passes else None
    if wanted is None or usual is None or not usual.embedded:
        raise ValueError(f"{given} is for recommenders by their name, such as 'deepfm', not for {str(name)[:100]!r}.")
    if schema is None and weights is not None:
        raise ValueError("dim= is for fresh weights: give weights=None, or a schema=.")
    if weights not in ("default", None):
        raise ValueError("schema= is for fresh weights: those of a file have the schema that they were trained with.")
    schema = schema if schema is None else fetch("zoo.tabular.fresh:as_schema")(schema)
    return registry.spec(wanted.arch, schema=schema, **({} if dim is None else {"dim": dim}))


def _with_ends(
    model: Model,
    num_classes: int | None,
    in_chans: int | None,
    features_only: bool,
    out_indices: int | Iterable[int] | None,
) -> Model:
    """The network with other channels in front, and with another head or as a backbone."""
    if in_chans is not None:
        from zoo.model.editing import with_channels

        try:
            _ = model.spec.pictures
        except SpecError:
            takes = model.spec.input.unit
            raise ValueError(f"in_chans= is for networks of pictures; {model.spec.name} takes {takes}.") from None
        model = with_channels(model, in_chans)
    if features_only:
        from zoo.model.features import Features

        return Features(model, out_indices)
    return model if num_classes is None else with_classes(model, num_classes)


def _running(model: Model, runtime: str, cache_dir: str | Path | None, device: str | None) -> Model:
    """The network in its runtime, on its device."""
    if runtime != "torch":
        from zoo.runtime.choose import to_runtime

        return to_runtime(model, runtime, cache_dir=cache_dir, report=_report)  # type: ignore[no-any-return]
    return model if device is None else model.to(device)


def open_model(name: str | os.PathLike[str]) -> Model:
    """The network of a name, or of a saved network's folder or file."""
    from zoo.weights.file import load

    return load(name) if listing.is_path(name) else create(str(name))


def with_classes(model: Model, num_classes: int) -> Model:
    """The same trunk under a fresh float32 head, or for 0 none; the model itself where it is so already."""
    from zoo.model.editing import edit, without_head

    spec, head = model.spec, kinds.head(model.spec)
    classes = kinds.outputs(spec) if tasks.of(spec).objects else kinds.classes(spec)
    if spec.input.header and not classes:
        return spec.input.fetch("header")(model, num_classes)  # type: ignore[no-any-return]
    if num_classes == 0:
        return without_head(model)
    if head is None or not classes:
        last = spec.rows[-1].kind
        raise ValueError(f"{spec.name} ends in a {last}, not in a classifier, so it takes no num_classes.")
    return model if classes == num_classes else edit(model, head.name, **{kinds.width_argument(head): num_classes})


def _report(step: str) -> None:
    """A line on stderr, under the switch of huggingface_hub's own progress bars."""
    from huggingface_hub.utils import are_progress_bars_disabled  # type: ignore[attr-defined]

    if not are_progress_bars_disabled():
        print(f"zoo: {step}", file=sys.stderr)


def _check_options(
    num_classes: int | None,
    in_chans: int | None,
    features_only: bool,
    out_indices: int | Iterable[int] | None,
    device: str | None,
) -> None:
    check_flag("features_only", features_only)
    whole = isinstance(num_classes, int) and not isinstance(num_classes, bool)
    if num_classes is not None and not (whole and num_classes >= 0):
        raise ValueError(f"num_classes is a whole number, 0 for no classifier, not {num_classes!r}.")
    if in_chans is not None and (not isinstance(in_chans, int) or isinstance(in_chans, bool) or in_chans < 1):
        raise ValueError(f"in_chans is a whole number above 0, not {in_chans!r}.")
    if out_indices is not None and not features_only:
        raise ValueError(f"out_indices={out_indices!r} chooses among features; it needs features_only=True.")
    if device is not None:
        from zoo.model.defaults import check_device

        check_device(device)


def _check_share(name: str, value: float) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ValueError(f"{name}= takes a share from 0 to 1, not {value!r}.")


def _check_runtime(runtime: str, name: str | ModelSpec, features_only: bool, device: str | None) -> None:
    if runtime == "torch":
        return
    from zoo.runtime import find
    from zoo.runtime.choose import check_runtime

    spec = _known(name)
    if spec is not None and runtime != "auto":  # before its package is asked for, or weights are fetched
        find(runtime).refuse(spec.name, spec.input)
    check_runtime(runtime)
    if features_only:
        raise ValueError(f'runtime={runtime!r} gives no features; features_only needs runtime="torch".')
    if device not in (None, "cpu"):
        raise ValueError(f"runtime={runtime!r} runs on the CPU, not on {device!r}.")
