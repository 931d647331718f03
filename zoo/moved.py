"""Modules that have moved: their old names go on working for one release, with a DeprecationWarning."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from warnings import warn

# old name -> new name, or several where the module was split; modules inside a package are in the last of them
MOVED = {
    "zoo.adopt": "zoo.weights.adopt",
    "zoo.agreement": "zoo.report.agreement",
    "zoo.answers": "zoo.tasks.answers",
    "zoo.bench": "zoo.report.bench",
    "zoo.blocks.flat": "zoo.engine.cpu.call_plan",
    "zoo.blocks.fused": "zoo.engine.fused",
    "zoo.blocks.int8": "zoo.engine.execution zoo.engine.reference zoo.engine.int8",
    "zoo.blocks.qat": "zoo.engine.qat",
    "zoo.build": "zoo.model.build",
    "zoo.catalog.cpu": "zoo.catalog.int8_support",
    "zoo.compare": "zoo.report.compare",
    "zoo.compress": "zoo.passes.compress zoo.passes",
    "zoo.data.labelled": "zoo.data.labelled_data",
    "zoo.data.tables": "zoo.data.table_files",
    "zoo.defaults": "zoo.model.defaults",
    "zoo.derive": "zoo.catalog.derive",
    "zoo.editing": "zoo.model.editing",
    "zoo.engine.int8.tables": "zoo.engine.int8.feature_embedding",
    "zoo.evaluate": "zoo.report.evaluate",
    "zoo.features": "zoo.model.features",
    "zoo.finetune": "zoo.train.finetune",
    "zoo.finite": "zoo.model.finite",
    "zoo.fuse": "zoo.passes.fuse",
    "zoo.host": "zoo.catalog.int8_support",
    "zoo.kinds.inputs": "zoo.kinds.input_shape",
    "zoo.labelled": "zoo.data.labelled_data",
    "zoo.listing": "zoo.catalog.listing zoo.catalog.info",
    "zoo.measure": "zoo.report.timing zoo.report.memory zoo.factory",
    "zoo.metrics": "zoo.tasks.metrics",
    "zoo.model.truth": "zoo.model.verify",
    "zoo.objectives": "zoo.tasks.objectives",
    "zoo.options": "zoo.passes.options",
    "zoo.preprocess": "zoo.data.preprocess",
    "zoo.samples": "zoo.data.samples",
    "zoo.tables": "zoo.formatting",
    "zoo.tabular.rows": "zoo.tabular.examples",
    "zoo.tabular.tables": "zoo.tabular.frames",
    "zoo.targets": "zoo.tasks.targets",
    "zoo.train.record": "zoo.train.log",
    "zoo.train.rows": "zoo.train.table_data",
    "zoo.train.strided": "zoo.train.depthwise_bf16",
    "zoo.train.trouble": "zoo.train.divergence",
    "zoo.truth": "zoo.model.verify",
    "zoo.weights.holds": "zoo.weights.matches_name",
    "zoo.weights.manifest": "zoo.catalog.manifest",
    "zoo.weights.opened": "zoo.weights.open_files",
    "zoo.weights.published": "zoo.catalog.hub_index",
    "zoo.weights.stored": "zoo.weights.tensor_source",
    "zoo.weights.written": "zoo.weights.folder_writer",
}


# module -> old name of what is in it -> new name; whoever comes by the module's old name finds both
RENAMED = {
    "zoo.data.labelled_data": {"open_labelled": "open_labelled_data", "Labelled": "LabelledData"},
    "zoo.train.log": {"Record": "TrainingLog"},
    "zoo.weights.tensor_source": {"Stored": "TensorSource"},
}


def new_names(old: str) -> list[str]:
    """Where the module of an old name is now, or its parts; empty for a name that has not moved."""
    package, inner = old, ""
    while package:
        if package in MOVED:
            new = MOVED[package].split()
            return [new[-1] + inner] if inner else new
        package, _, last = package.rpartition(".")
        inner = f".{last}{inner}"
    return []


class Finder:
    """Among the finders of `sys.meta_path`: an old name gives the module of the new one, the same object."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("zoo.") or not (new := new_names(name)):
            return None
        warn(f"{name} is {' and '.join(new)} now; the old name goes with the next release.", DeprecationWarning, 2)
        return ModuleSpec(name, Loader(new))  # type: ignore[arg-type]


class Loader:
    def __init__(self, new: list[str]) -> None:
        self.new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        modules = [import_module(name) for name in self.new]
        for module in modules:
            for old, new in RENAMED.get(module.__name__, {}).items():
                setattr(module, old, getattr(module, new))
        if len(modules) > 1:
            return _Parts(spec.name, modules)
        self.spec = modules[0].__spec__
        return modules[0]

    def exec_module(self, module: ModuleType) -> None:
        if not isinstance(module, _Parts):
            module.__spec__ = self.spec  # the import system has put the old name there


class _Parts(ModuleType):
    """One module that stands for several: the old name of a module that was split."""

    def __init__(self, name: str, parts: list[ModuleType]) -> None:
        super().__init__(name)
        self._parts = parts
        self.__path__: list[str] = []  # a package, to whose modules `Finder` knows the way

    def __getattr__(self, name: str) -> object:
        for part in self.__dict__.get("_parts", ()):
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Zoo(ModuleType):
    """Keeps `zoo.compress` the public function, although `import zoo.compress` puts the module there."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and f"zoo.{name}" in MOVED and name in self.__dict__["__all__"]):
            super().__setattr__(name, value)


sys.modules["zoo"].__class__ = _Zoo
sys.meta_path.insert(0, Finder)  # in front: a folder left behind with its __pycache__ would be taken for a package
