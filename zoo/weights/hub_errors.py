"""`HubError`: one error for every failure of the Hub, which says what to do."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from zoo.files import FileError
from zoo.printable import one_line
from zoo.weights.patience import AsksToWait

if TYPE_CHECKING:
    from zoo.weights.hub import Address


class HubError(FileError):
    """The Hub cannot be reached, refuses, or sends something else than it promised.

    Args:
        message (str): the repository, what is wrong, and what to do.

    Example:
        >>> zoo.load("hf-hub:only-a-name")
        Traceback (most recent call last):
            ...
        HubError: 'hf-hub:only-a-name' is no address; ...
    """


class Absent(Exception):
    """The Hub does not have the file."""


def is_absent(error: Exception) -> bool:
    """Whether the repository exists and lacks the file."""
    if isinstance(error, Absent):
        return True
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    return isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)


def http_answer(error: BaseException | None) -> tuple[int, str]:
    """(HTTP status, method of the request), or (0, "") if the error is not an answer of a server."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    return (status, response.request.method) if status else (0, "")  # type: ignore[union-attr]


def explained(error: Exception, address: Address, name: str) -> HubError:
    """The `HubError` for any failure with the file called `name`."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what, where = f"{address}: {name}", constants.ENDPOINT
    if isinstance(error, AsksToWait):
        return HubError(f"{what}: {where} is busy: {error}. Call again later, with a token (HF_TOKEN).")
    if isinstance(error, LocalEntryNotFoundError):  # no answer, or another answer
        if constants.HF_HUB_OFFLINE:
            return HubError(
                f"{what} is not in the cache, and HF_HUB_OFFLINE is set. Unset it, or run `zoo pull` first where "
                "there is a network; weights=None gives fresh weights."
            )
        status = http_answer(error.__cause__)[0]
        if not status:
            return HubError(
                f"{what} is not in the cache, and {where} cannot be reached. Check the network (or HF_ENDPOINT) and "
                "call again; `zoo pull` fetches ahead of time, weights=None gives fresh weights."
            )
    else:
        status = http_answer(error)[0]
    if isinstance(error, GatedRepoError) or status == 403:
        return HubError(
            f"{address}: access is restricted. Ask for it at {where}/{address.repo}, then give a token of that "
            "account by HF_TOKEN or `hf auth login`."
        )
    if isinstance(error, RepositoryNotFoundError) or status == 401:
        return HubError(
            f"{address}: no such repository at {where}, or it is private: check the name, and give a token by "
            "HF_TOKEN or `hf auth login`."
        )
    if isinstance(error, RevisionNotFoundError):
        return HubError(f"{address}: has no such branch, tag or commit; {where}/{address.repo} shows them.")
    if is_absent(error):
        return HubError(f"{what} is not there.")
    if status == 429:
        return HubError(f"{what}: {where} asks to wait (429, too many requests). Call again later, with a token.")
    if status:
        return HubError(f"{what}: {where} answered {status}. Call again later.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(f"{what}: the disk is full. Make room, or name another place by HF_HUB_CACHE or cache_dir.")
    reason = one_line(str(error)) or type(error).__name__
    return HubError(f"{what} did not come whole: {reason}. It was not put in the cache; call again.")
