"""Efficient models by name: dense, distilled, pruned, sparse and int8, each with measured numbers.

    import zoo
    model = zoo.create("mobilenet-int8")

Every public name is fetched when it is first used, so that `import zoo` costs no torch.
"""

import sys
from types import ModuleType

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take this name for true; typing itself would cost an import
if TYPE_CHECKING:
    from zoo import blocks as blocks
    from zoo.adopt import AdoptionError as AdoptionError
    from zoo.adopt import adopt as adopt
    from zoo.bench import bench as bench
    from zoo.build import build as build
    from zoo.build import edit as edit
    from zoo.compare import compare as compare
    from zoo.compress import compress as compress
    from zoo.compress.qat import prepare_qat as prepare_qat
    from zoo.compress.sparsify import Sparsifier as Sparsifier
    from zoo.evaluate import evaluate as evaluate
    from zoo.factory import create as create
    from zoo.fuse import fuse as fuse
    from zoo.listing import info as info
    from zoo.listing import list_models as list_models
    from zoo.naming import Name as Name
    from zoo.naming import UnknownName as UnknownName
    from zoo.naming import parse as parse_name  # noqa: F401
    from zoo.preprocess import preprocess as preprocess
    from zoo.runtime.choose import to_runtime as to_runtime
    from zoo.runtime.export import export as export
    from zoo.samples import samples as samples
    from zoo.spec import Block as Block
    from zoo.spec import ModelSpec as ModelSpec
    from zoo.spec import SpecError as SpecError
    from zoo.train import losses as losses
    from zoo.weights.file import load as load
    from zoo.weights.file import save as save
    from zoo.weights.header import FileError as FileError
    from zoo.weights.hub import HubError as HubError
    from zoo.weights.push import push_to_hub as push_to_hub

# public name -> "module:attribute", or a module
_PUBLIC = {
    "create": "zoo.factory:create",
    "list_models": "zoo.listing:list_models",
    "info": "zoo.listing:info",
    "adopt": "zoo.adopt:adopt",
    "compress": "zoo.compress:compress",
    "prepare_qat": "zoo.compress.qat:prepare_qat",
    "save": "zoo.weights.file:save",
    "load": "zoo.weights.file:load",
    "push_to_hub": "zoo.weights.push:push_to_hub",
    "evaluate": "zoo.evaluate:evaluate",
    "compare": "zoo.compare:compare",
    "bench": "zoo.bench:bench",
    "preprocess": "zoo.preprocess:preprocess",
    "samples": "zoo.samples:samples",
    "fuse": "zoo.fuse:fuse",
    "to_runtime": "zoo.runtime.choose:to_runtime",
    "export": "zoo.runtime.export:export",
    "build": "zoo.build:build",
    "edit": "zoo.build:edit",
    "blocks": "zoo.blocks",
    "losses": "zoo.train.losses",
    "Sparsifier": "zoo.compress.sparsify:Sparsifier",
    "AdoptionError": "zoo.adopt:AdoptionError",
    "ModelSpec": "zoo.spec:ModelSpec",
    "Block": "zoo.spec:Block",
    "Name": "zoo.naming:Name",
    "parse_name": "zoo.naming:parse",
    "SpecError": "zoo.spec:SpecError",
    "UnknownName": "zoo.naming:UnknownName",
    "FileError": "zoo.weights.header:FileError",
    "HubError": "zoo.weights.hub:HubError",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> object:
    target = _PUBLIC.get(name)
    if target is None:
        raise AttributeError(f"module 'zoo' has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = target.partition(":")
    value = getattr(import_module(module), attribute) if attribute else import_module(module)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Face(ModuleType):
    """Keeps `zoo.compress` and its like the public functions, although modules of the same names exist.

    Importing a submodule binds it on its package, over whatever stood there; for public names that is refused.
    So `from zoo.compress import prune` is the way to what lies in such a module: `import zoo.compress.prune as p`
    looks for `prune` on the function and fails.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _PUBLIC and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
