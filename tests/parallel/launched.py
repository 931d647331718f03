"""Runs functions of a module here on several processes, which are forked from one that has imported everything."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SECONDS = 200  # a busy machine takes its time


def launched(count: int, names: Sequence[str], folder: Path, module: str = "workers") -> None:
    """Call each of the functions (mesh, folder) on `count` processes; raises AssertionError where one fails."""
    done = subprocess.run(
        [sys.executable, __file__, module, str(count), str(folder), *names],
        capture_output=True,
        text=True,
        timeout=SECONDS + 100,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr


def _main(module: str, count: int, folder: Path, names: Sequence[str]) -> int:
    workers = importlib.import_module(module)

    from zoo.parallel.processes import processes

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    children = []
    for rank in range(count):
        if (child := os.fork()) == 0:
            os.environ["RANK"] = str(rank)
            failed = True
            try:
                with processes(seconds=SECONDS) as mesh:
                    for name in names:
                        getattr(workers, name)(mesh, folder)
                failed = False
            except BaseException as error:
                import traceback

                traceback.print_exception(error)
            finally:
                sys.stderr.flush()
                os._exit(failed)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(_main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
