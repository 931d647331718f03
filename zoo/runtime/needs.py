"""Packages that runtimes and exports need, and that a plain installation has not."""

from importlib.util import find_spec


class MissingPackage(ValueError):
    """A package that is not installed; the message says how to install it."""


def installed(package: str) -> bool:
    return find_spec(package) is not None


def need(*packages: str, extra: str = "") -> None:
    """Raise MissingPackage unless all are installed; `extra` is the extra of this package that installs them."""
    missing = [package for package in packages if not installed(package)]
    if missing:
        ours = f", or zoo-efficient[{extra}]" if extra else ""
        raise MissingPackage(f"This needs {' and '.join(missing)}: pip install {' '.join(missing)}{ours}.")
