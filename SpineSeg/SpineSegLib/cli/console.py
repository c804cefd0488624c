"""What commands show: progress on stderr, results on stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLAIN_EVERY = 10.0  # seconds between lines where stderr is no terminal


def print_json(values: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(as_json(values))


def as_json(values: dict[str, Any]) -> str:
    """JSON text that any reader accepts in any encoding: ASCII, no NaN or infinity."""
    return json.dumps(values, indent=2, allow_nan=False)


def say(text: str) -> None:
    """Print one line on stdout."""
    print(text)


def note(text: str) -> None:
    """Print one line on stderr, for what goes on while working."""
    print(text, file=sys.stderr, flush=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Print a table on stdout; `right`: columns aligned to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for n, column in enumerate(columns):
        table.add_column(column, justify="right" if n in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    # a file or pipe has no width; lines must not be cut there
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@contextmanager
def quiet_libraries(debug: bool) -> Iterator[None]:
    """Keep what libraries write to stderr while they start from the terminal, unless `debug`.

    TensorFlow has start-up notes that no setting stops and that don't go through Python, hence the detour.
    """
    if debug:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def progress(task: str, total: int, unit: str, silent: bool) -> Iterator[Callable[[int], None]]:
    """Show how far a task is, on stderr; yields a function to call with the number of units done.

    On a terminal a bar with the time left, elsewhere a line every few seconds, nothing where `silent`.
    """
    if silent:
        yield lambda done: None
    elif sys.stderr.isatty():
        yield from _bar(task, total, unit)
    else:
        yield _lines(task, total, unit)


def _bar(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        shown = bar.add_task(task, total=total)
        yield lambda done: bar.update(shown, completed=done)


def _lines(task: str, total: int, unit: str) -> Callable[[int], None]:
    start = said = time.monotonic()

    def update(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if done and (now - said >= PLAIN_EVERY or done == total):
            said = now
            left = round((now - start) / done * (total - done))
            rest = f", {left // 60}:{left % 60:02d} left" if left else ""
            print(f"{task}: {done} of {total} {unit}{rest}", file=sys.stderr, flush=True)

    return update
