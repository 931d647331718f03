"""`export`: a network as a file for other systems, checked against the network before it counts as done."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.engine.arithmetic import undisturbed
from zoo.files import FileError, make_folder, path_to_write
from zoo.lazy import fetch
from zoo.model.build import Model
from zoo.model.features import Features
from zoo.model.verify import rebuildable
from zoo.runtime import check_written, formats, told
from zoo.runtime.opset import OPSET, check_opset


def export(
    model: Model,
    file: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002
    *,
    opset: int | None = None,
) -> Path:
    """Write a network to a file for another system, and check the file against the network.

    The file is read back by its own runtime, and its answers are compared with the network's. Pictures have the
    network's own size, and the batch is free; the texts of a language model may have any length too. The file also
    holds labels and preprocessing (`zoo.runtime.facts`): in ONNX's metadata, in OpenVINO's runtime information under
    "zoo", in torch.export's extra file "zoo.json", and beside an ExecuTorch program in FILE.pte.json.

    Args:
        model (Model): the network, or a backbone (`features_only=True`), which has one named output a map.
        file (str | os.PathLike[str]): the file to write; its folder is made if it is missing.
        format (str | None): one of FORMATS. Default: None, what the file's suffix says.
        opset (int | None): the version of ONNX's operators. Default: None, 18.

    Returns:
        The path of the file.

    Raises:
        ValueError: the format is unknown, does not fit the suffix or holds no such networks, a package is missing, or
            the model was changed by hand or is in quantization-aware training.
        FileError: the file cannot be written, or gives other answers than the network.

    Example:
        >>> zoo.export(zoo.create("resnet20"), "resnet20.pt2").name
        'resnet20.pt2'
        >>> program = torch.export.load("resnet20.pt2").module()
        >>> program(torch.randn(4, 3, 32, 32)).shape
        torch.Size([4, 10])
    """
    if not isinstance(model, Features):
        model = rebuildable(model, "export", float32=True)
    target = path_to_write(file, "file")
    known = formats()
    if format is None:
        format = next((one.name for one in known.values() if one.suffix == target.suffix), None)  # noqa: A001
    if format is None:
        ends = f"No format ends in {target.suffix}" if target.suffix else f"{target.name!r} ends in no format"
        raise ValueError(f"{ends}; choose {', '.join(one.suffix for one in known.values())}.")
    if format not in known:
        raise ValueError(f"Unknown format {format!r} for {target.name!r}; choose one of {', '.join(known)}.")
    chosen = known[format]
    if target.suffix != chosen.suffix:
        raise ValueError(f"A file of {format} ends in {chosen.suffix}, and {target.name!r} does not.")
    check_written(chosen, model.spec.input)
    if opset is not None:
        check_opset(opset)
        if not chosen.opsets:
            raise ValueError(f"opset is for ONNX files, and {target.name!r} is of {format}.")
    if any(row.precision == "qat" for row in model.spec):
        raise ValueError(f'{model.spec.name} is in quantization-aware training: zoo.compress(model, "int8") ends it.')
    if not chosen.any_name and not _is_utf8(target):
        raise FileError(f"{target}: cannot be written: the library of {format} opens no name that is not UTF-8.")
    written = (target, *chosen.companion_files(target))
    if taken := [one for one in written if os.path.isdir(one)]:  # isdir raises nothing for a name that is too long
        raise FileError(f"{taken[0]}: cannot be written: it is a folder.")
    make_folder(target.parent)
    with undisturbed():
        fetch(chosen.write)(model, target, *((opset or OPSET,) if chosen.opsets else ()))
    return target


def _is_utf8(file: Path) -> bool:
    try:
        str(file.absolute()).encode()
    except UnicodeEncodeError:  # bytes that Python keeps as halves of surrogate pairs
        return False
    return True


if export.__doc__:
    export.__doc__ = export.__doc__.replace("FORMATS", told(formats().values()))
