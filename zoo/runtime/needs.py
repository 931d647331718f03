"""Packages that runtimes and exports need, and that a plain installation has not."""

from importlib.util import find_spec

EXTRAS = {
    "openvino": "openvino",
    "onnxruntime": "onnx",
    "onnx": "onnx",
    "onnxscript": "onnx",
    "executorch": "executorch",
}


class MissingPackage(ValueError):
    """A package that is not installed; the message says how to install it."""


def installed(package: str) -> bool:
    return find_spec(package) is not None


def need(*packages: str) -> None:
    """Raise MissingPackage unless all are installed."""
    missing = [package for package in packages if not installed(package)]
    if missing:
        extras = sorted({EXTRAS[package] for package in missing if package in EXTRAS})
        extra = f", or zoo-efficient[{','.join(extras)}]" if extras else ""
        raise MissingPackage(f"This needs {' and '.join(missing)}: pip install {' '.join(missing)}{extra}.")
