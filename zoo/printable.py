"""Text from outside, made safe to show: the names, labels, tokens and messages that files and servers give."""

from __future__ import annotations

LIMIT = 500  # characters of a message


def printable(text: object, limit: int = LIMIT) -> str:
    """`str(text)` on one line, with every character that is not printable escaped, and at most `limit` characters.

    Control characters, line ends, marks that turn the direction of writing, and halves of surrogate pairs become
    escapes such as `\\x1b` and `\\u202e`. A longer text loses its middle.
    """
    whole = str(text)
    if len(whole) > 4 * limit:  # each escape is longer than its character: nothing beyond is needed
        whole = whole[: 2 * limit] + whole[-2 * limit :]
    if not whole.isprintable():
        whole = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in whole)
    if len(whole) <= limit:
        return whole
    end = (limit - 3) // 3
    return f"{whole[: limit - 3 - end]}...{whole[len(whole) - end :]}"


def one_line(text: str, limit: int = 300) -> str:
    """The same with every stretch of blanks and line ends as one blank, and none at either end."""
    return printable(" ".join(text.split()), limit)


class PrintableError(ValueError):
    """An error whose message may repeat what a file, a server or another package said: it is shown by `printable`."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
