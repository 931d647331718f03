"""`zoo finetune`, `distill`, `prune`, `recover` and `quantize`: the commands that train. They need the extra `train`.

Each is a file with `Settings`, a dataclass whose fields are the command's options, and `run(settings)`.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import typer

from zoo.cli.common import BAD, in_the_shell, out_of_memory
from zoo.cli.screen import complain

COMMANDS = {
    "finetune": "Train a network on your own pictures or table rows. Its variant stays what it is.",
    "distill": "Train a student on the answers of one or more teachers.",
    "prune": "Remove channels and train the rest, at once or in rounds.",
    "recover": "Win back what compression cost, without labels: learn the dense network's answers.",
    "quantize": "Quantize a network to int8, after training or, with --qat, while it trains.",
}

_EXTRA = ("timm", "torchvision", "datasets", "pyarrow")


def add_to(app: typer.Typer) -> None:
    """Register the commands. Each command's Settings read its arguments."""
    for name, about in COMMANDS.items():
        app.command(
            name,
            help=about,
            add_help_option=False,
            context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
        )(_run)


def _run(context: typer.Context) -> None:
    main(str(context.info_name), context.args, program=f"zoo {context.info_name}")


def main(name: str, arguments: Sequence[str] | None = None, *, program: str | None = None) -> None:
    """Read a command's arguments (default: sys.argv's) and run it. An error is one line on stderr."""
    missing = [module for module in _EXTRA if importlib.util.find_spec(module) is None]
    if missing:
        complain(
            f"zoo {name} needs packages that are not installed: {', '.join(missing)}. "
            "Run: pip install 'zoo-efficient[train]'."
        )
        raise SystemExit(BAD)
    from zoo.parallel.watch import Lost
    from zoo.train.divergence import Diverged
    from zoo.train.loop import Interrupted

    try:
        from zoo.cli.training.common import options_of, read

        command = importlib.import_module(f"zoo.cli.training.{name}")
        settings = read(command, sys.argv[1:] if arguments is None else arguments, program)
        _check_alone(name, settings)
        command.run(settings)
    except (ValueError, OSError, Diverged, Lost) as error:
        _after_the_first()
        complain(in_the_shell(str(error), options_of(command)))
        raise SystemExit(BAD) from None
    except (MemoryError, RuntimeError) as error:
        if (told := out_of_memory(error)) is None:
            raise
        complain(told)
        raise SystemExit(BAD) from None
    except Interrupted:
        raise SystemExit(130) from None


def _check_alone(name: str, settings: Any) -> None:
    """Raise ValueError where torchrun started several processes of a command that shares nothing."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not hasattr(settings, "sharing"):
        raise ValueError(f"zoo {name} runs as one process; of the commands, zoo finetune alone shares its work.")


def _after_the_first() -> None:
    """Let the first process tell first: where it fails too, torchrun ends the others, and one line is enough."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(2)
