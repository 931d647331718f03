"""Which process a failure came from, and why: every process tells in the run's store that it lives and where it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

EVERY = 1.0  # seconds between two signs of life
QUIET = 3.0  # seconds without one: the process is gone, or stopped


class Lost(RuntimeError):
    """Another process has failed, hangs or is gone; says which, and where it was."""


class Watch:
    """The signs of life of all processes of a run.

    Args:
        store (Any): a `torch.distributed` store that all processes reach, for this alone.
        rank (int): the number of this process.
        size (int): how many processes there are.
        seconds (float): how long a process waits for another one, for messages.
    """

    def __init__(self, store: Any, rank: int, size: int, seconds: float) -> None:
        self.store, self.rank, self.size, self.seconds = store, rank, size, seconds
        self.at = "its start"
        self._beat, self._ended = 0, threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While open, this process gives signs of life. An error is told to the others; a broken wait is explained."""
        self._tell()
        self._thread.start()
        try:
            yield
        except BaseException as error:
            if isinstance(error, RuntimeError) and not isinstance(error, Lost) and _is_of_waiting(error):
                if found := self.culprits():
                    raise Lost(found) from error
            elif not isinstance(error, Lost):
                self._tell()
                self._set("failed", str(error).rstrip(".") or type(error).__name__)
            raise
        finally:
            self._ended.set()

    def culprits(self) -> str:
        """What is wrong with which of the other processes; empty where nothing is."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        before = {rank: self._get("alive", rank) for rank in others}
        time.sleep(QUIET)
        if not self._get("alive", self.rank):
            return f"Process 0 of {self.size}, which kept the store of the run, is gone."
        told = []
        for rank in others:
            who, alive = f"Process {rank} of {self.size}", self._get("alive", rank)
            at = alive.partition(" ")[2]
            if reason := self._get("failed", rank):
                told.append(f"{who} has failed at {at}: {reason}")
            elif not alive:
                told.append(f"{who} has never been there")
            elif alive == before[rank]:
                told.append(f"{who} is gone or stopped: no sign of life for {QUIET:.0f} seconds; it was at {at}")
            elif at != self.at:
                told.append(f"{who} hangs at {at}; the others have waited {self.seconds:.0f} seconds at {self.at}")
        return ". ".join(told) + "." if told else ""

    def _live(self) -> None:
        while not self._ended.wait(EVERY):
            self._tell()

    def _tell(self) -> None:
        self._beat += 1
        self._set("alive", f"{self._beat} {self.at}")

    def _set(self, what: str, value: str) -> None:
        with suppress(RuntimeError):  # the store is gone with the process that kept it
            self.store.set(f"{what}/{self.rank}", value)

    def _get(self, what: str, rank: int) -> str:
        with suppress(RuntimeError):
            if self.store.check([f"{what}/{rank}"]):
                return str(self.store.get(f"{what}/{rank}").decode())
        return ""


def _is_of_waiting(error: RuntimeError) -> bool:
    """Whether it is one of torch.distributed's, such as a time-out or a connection that is closed."""
    text = f"{type(error).__name__} {error}".lower()
    return any(word in text for word in ("gloo", "dist", "nccl", "connection", "timed out", "timeout", "process group"))
