"""Numbers and tables as people read them: in a terminal and in a notebook."""

from collections.abc import Sequence
from html import escape

from zoo.printable import printable


def count(number: float) -> str:
    """842, 30.5k, 0.91M, 13.4M, 1.2G."""
    for limit, unit, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e3, "k", 1)):
        if number >= limit * 0.9995:
            scaled = number / limit
            return f"{scaled:.{digits if scaled < 10 else 1 if scaled < 100 else 0}f}{unit}"
    return str(int(number))


def size(number: float) -> str:
    """Bytes in units of 1000: 842 B, 30.5 kB, 3.68 MB."""
    if number < 1000:
        return f"{int(number)} B"
    scaled, unit = (number / 1e6, "MB") if number >= 999_500 else (number / 1e3, "kB")
    return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"


def text(headers: Sequence[str], rows: Sequence[Sequence[str]], *, gap: str = "  ") -> str:
    """Columns aligned by spaces, the first to the left and the others to the right; headers may have two lines."""
    rows = [[printable(cell) for cell in row] for row in rows]
    depth = max(header.count("\n") for header in headers) + 1
    tall = [[""] * (depth - 1 - header.count("\n")) + header.split("\n") for header in headers]
    lines = [[column[line] for column in tall] for line in range(depth)]
    widths = [max(len(line[i]) for line in (*lines, *rows)) for i in range(len(headers))]
    ruled = [*lines, ["-" * width for width in widths], *rows]
    return "\n".join(gap.join(_align(cell, widths[i], i) for i, cell in enumerate(line)).rstrip() for line in ruled)


def html(headers: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", notes: Sequence[str] = ()) -> str:
    """The same as one HTML table; with no headers, the first column of every row is its heading."""
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(_cell(i, cell) for i, cell in enumerate(row))}</tr>" for row in rows)
    above = f"<caption>{_escaped(caption)}</caption>" if caption else ""
    above += f"<thead><tr>{head}</tr></thead>" if head else ""
    below = "".join(f"<p><small>{_escaped(note)}</small></p>" for note in notes)
    return f"<table>{above}<tbody>{body}</tbody></table>{below}"


def _escaped(text: str) -> str:
    return escape(printable(text, 2000))


def _cell(column: int, text: str) -> str:
    tag = "td" if column else "th"
    return f"<{tag} style='text-align:left'>{_escaped(text)}</{tag}>"


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)
