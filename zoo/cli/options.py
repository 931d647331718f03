"""Make a command's options from a dataclass: an option for each field. `build` makes the dataclass of typed values."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import ParameterInfo

from zoo.passes.options import about, alternatives


class Command:
    """`run(..., **options)` as a command; its `**options` are looked up when it runs, not when it is defined."""

    def __init__(self, run: Callable[..., None], options: Callable[[], list[inspect.Parameter]]) -> None:
        functools.update_wrapper(self, run)
        self._run, self._options = run, options

    def __call__(self, *args: Any, **given: Any) -> None:
        self._run(*args, **given)

    @property
    def __signature__(self) -> inspect.Signature:
        own = inspect.signature(self._run, eval_str=True).parameters.values()
        return inspect.Signature([*(one for one in own if one.kind is not one.VAR_KEYWORD), *self._options()])


def parameters(of: Any, panel: str | None = None) -> list[inspect.Parameter]:
    """A typer parameter for each field of a dataclass. If `of` is an instance, its values are the defaults shown.

    An option that was not typed is None, and `build` uses the dataclass's default. A field that is a dataclass gives
    the options of its own fields.
    """
    found, hints = [], get_type_hints(of if isinstance(of, type) else type(of), include_extras=True)
    for one in _typed(of):
        default = _default(of, one)
        if is_dataclass(hints[one.name]):
            found += parameters(hints[one.name] if default is MISSING else default, panel)
        else:
            hint = _hint(one, hints[one.name], default, panel)
            empty = inspect.Parameter.empty if default is MISSING else None
            found.append(inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=hint))
    return found


def build(of: type[Any], typed: Mapping[str, Any]) -> Any:
    """The dataclass with the typed values, and defaults for all other fields."""
    return of(**given(of, typed))


def given(of: type[Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    """The typed fields of the dataclass, converted to their types."""
    values, hints = {}, get_type_hints(of)
    for one in _typed(of):
        hint = hints[one.name]
        if is_dataclass(hint) and isinstance(hint, type):
            values[one.name] = replace(_default(of, one), **given(hint, typed))
        elif typed.get(one.name) is not None:
            values[one.name] = _read(typed[one.name], hint)
    return values


def _typed(of: Any) -> list[Field[Any]]:
    return [one for one in fields(of) if one.init]


def _default(of: Any, one: Field[Any]) -> Any:
    if not isinstance(of, type):
        return getattr(of, one.name)
    return one.default_factory() if one.default_factory is not MISSING else one.default


def _hint(one: Field[Any], hint: Any, default: Any, panel: str | None) -> Any:
    """The field's type for typer, annotated with help, default and choices."""
    for info in getattr(hint, "__metadata__", ()):
        if isinstance(info, ParameterInfo):  # the field has its own typer option
            return hint
    kinds = _kinds(hint)
    kind: Any = str if len(kinds) > 1 or get_origin(kinds[0]) is Literal else kinds[0]
    if get_origin(kind) is tuple:
        kind = list[str]
    choices = "|".join(get_args(kinds[0])) if get_origin(kinds[0]) is Literal else None
    shown = False if default in (MISSING, None, (), "") else str(default)
    if isinstance(default, bool):
        shown = "on" if default else "off"
    info = typer.Option(help=about(one).help, show_default=shown, metavar=choices, rich_help_panel=panel)
    return Annotated[kind if default is MISSING else kind | None, info]


def _kinds(hint: Any) -> list[Any]:
    return [one for one in alternatives(hint) if one is not NoneType]


def _read(value: Any, hint: Any) -> Any:
    """A typed value, converted to the field's type. Digits are a number; other text is names with commas between."""
    kinds = _kinds(hint)
    if len(kinds) > 1 and isinstance(value, str):
        return int(value) if value.strip().isdecimal() else tuple(name.strip() for name in value.split(","))
    return tuple(value) if get_origin(kinds[0]) is tuple else value
