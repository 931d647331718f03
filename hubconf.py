"""For `torch.hub`: every network under its name, with underscores in place of its dots and hyphens.

    torch.hub.load("path/of/this/checkout", "mobilenet_int8", source="local")

What ships has its weights, a bare architecture fresh ones; the keywords are those of `zoo.create`.
"""

import zoo as _zoo
from zoo import registry as _registry
from zoo.catalog import listing as _listing
from zoo.catalog.manifest import entries as _entries

dependencies = ["torch", "safetensors", "numpy", "PIL"]


def _entry(name, purpose, **defaults):
    def load(**options):
        return _zoo.create(name, **{**defaults, **options})

    load.__name__ = load.__qualname__ = name.replace(".", "_").replace("-", "_")
    given = "".join(f", {key}={value!r}" for key, value in defaults.items())
    load.__doc__ = f"{purpose}: zoo.create({name!r}{given}), which takes the same keywords."
    return load


for _name in _registry.MODELS:
    _purpose = f"{_listing.purpose(_registry.spec(_name))}, fresh weights"
    globals()[_name] = _entry(_name, _purpose, weights=None)
for _full, _shipped in _entries().items():
    for _name in (_full, *_listing.aliases(_full)):
        _load = _entry(_name, _shipped.purpose)
        globals()[_load.__name__] = _load
