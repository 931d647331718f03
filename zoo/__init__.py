"""Efficient models by name: dense, distilled, pruned, sparse and int8, each with measured numbers.

    import zoo
    model = zoo.create("mobilenet-int8")

Every public name is fetched when it is first used, so that `import zoo` costs no torch.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take this name for true; typing itself would cost an import
if TYPE_CHECKING:
    from zoo import blocks as blocks
    from zoo.catalog.info import info as info
    from zoo.catalog.listing import list_models as list_models
    from zoo.data.preprocess import preprocess as preprocess
    from zoo.data.samples import samples as samples
    from zoo.factory import create as create
    from zoo.files import FileError as FileError
    from zoo.model.build import build as build
    from zoo.model.editing import edit as edit
    from zoo.naming import Name as Name
    from zoo.naming import UnknownName as UnknownName
    from zoo.naming import parse as parse_name  # noqa: F401
    from zoo.parallel.tables import shard_tables as shard_tables
    from zoo.passes.compress import compress as compress
    from zoo.passes.fuse import fuse as fuse
    from zoo.passes.qat import prepare_qat as prepare_qat
    from zoo.passes.sparsify import Sparsifier as Sparsifier
    from zoo.planning.planner import plan as plan
    from zoo.report.bench import bench as bench
    from zoo.report.compare import compare as compare
    from zoo.report.evaluate import evaluate as evaluate
    from zoo.runtime.choose import to_runtime as to_runtime
    from zoo.runtime.export import export as export
    from zoo.spec import Block as Block
    from zoo.spec import ModelSpec as ModelSpec
    from zoo.spec import SpecError as SpecError
    from zoo.tabular.schema import infer_schema as infer_schema
    from zoo.train import losses as losses
    from zoo.train.recover import recover as recover
    from zoo.weights.adopt import AdoptionError as AdoptionError
    from zoo.weights.adopt import adopt as adopt
    from zoo.weights.file import load as load
    from zoo.weights.file import save as save
    from zoo.weights.hub import HubError as HubError
    from zoo.weights.push import push_to_hub as push_to_hub

# public name -> "module:attribute", or a module
_PUBLIC = {
    "create": "zoo.factory:create",
    "list_models": "zoo.catalog.listing:list_models",
    "info": "zoo.catalog.info:info",
    "adopt": "zoo.weights.adopt:adopt",
    "compress": "zoo.passes.compress:compress",
    "prepare_qat": "zoo.passes.qat:prepare_qat",
    "save": "zoo.weights.file:save",
    "load": "zoo.weights.file:load",
    "push_to_hub": "zoo.weights.push:push_to_hub",
    "infer_schema": "zoo.tabular.schema:infer_schema",
    "evaluate": "zoo.report.evaluate:evaluate",
    "compare": "zoo.report.compare:compare",
    "bench": "zoo.report.bench:bench",
    "plan": "zoo.planning.planner:plan",
    "preprocess": "zoo.data.preprocess:preprocess",
    "samples": "zoo.data.samples:samples",
    "fuse": "zoo.passes.fuse:fuse",
    "to_runtime": "zoo.runtime.choose:to_runtime",
    "export": "zoo.runtime.export:export",
    "build": "zoo.model.build:build",
    "edit": "zoo.model.editing:edit",
    "blocks": "zoo.blocks",
    "shard_tables": "zoo.parallel.tables:shard_tables",
    "losses": "zoo.train.losses",
    "recover": "zoo.train.recover:recover",
    "Sparsifier": "zoo.passes.sparsify:Sparsifier",
    "AdoptionError": "zoo.weights.adopt:AdoptionError",
    "ModelSpec": "zoo.spec:ModelSpec",
    "Block": "zoo.spec:Block",
    "Name": "zoo.naming:Name",
    "parse_name": "zoo.naming:parse",
    "SpecError": "zoo.spec:SpecError",
    "UnknownName": "zoo.naming:UnknownName",
    "FileError": "zoo.files:FileError",
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


from zoo import moved as moved  # noqa: E402  old names of modules
