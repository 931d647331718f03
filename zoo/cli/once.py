"""Options are used as typed, or refused: the parser alone would keep the last of two values, and drop an empty one."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand

MAY_BE_EMPTY = {"prompt"}


class Once(TyperCommand):
    """A command that refuses an option given twice, unless it may be repeated, and an empty value."""

    def make_parser(self, ctx: Any) -> Any:
        parser: Any = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            values, left, order = parse(args)
            if not ctx.resilient_parsing:
                for option in [one for one in order if one.param_type_name == "option"]:
                    _check(ctx, option, order.count(option), values.get(option.name))
            return values, left, order

        parser.parse_args = parse_args
        return parser


def _check(ctx: Any, option: Any, times: int, value: Any) -> None:
    name = max(option.opts, key=len)
    if times > 1 and not option.multiple:
        both = f" (or {'/'.join(option.secondary_opts)})" if option.secondary_opts else ""
        raise typer.BadParameter(f"{name}{both} is given {times} times, and only one can count.", ctx=ctx)
    if "" in (value if option.multiple else [value]) and option.name not in MAY_BE_EMPTY:
        raise typer.BadParameter(f"{name} is given an empty value (''). Leave it out, or give a value.", ctx=ctx)
