"""A progress bar with ETA and speed, on stderr and only on a terminal. Rich is loaded only where the bar is shown."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def bar(total: int, what: str, *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """Call what it gives whenever one of ``total`` is done. ``what`` is their name, in the plural."""
    if not (shown and total and sys.stderr is not None and sys.stderr.isatty()):
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} {what}/s" if task.speed else "")

    columns = (BarColumn(), MofNCompleteColumn(), Speed(), TextColumn("ETA"), TimeRemainingColumn(compact=True))
    # Lines that are printed meanwhile go above the bar; those of an stdout that leads elsewhere go there.
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


@contextmanager
def percent(*, shown: bool = True) -> Iterator[Callable[[float], None]]:
    """Call what it gives with the part that is done, from 0 to 1. The bar comes with the first call: most work is done in one piece."""
    done = -1
    with ExitStack() as stack:
        advance: Callable[[], None] = lambda: None  # noqa: E731

        def watch(part: float) -> None:
            nonlocal done, advance
            if done < 0:
                advance, done = stack.enter_context(bar(100, "%", shown=shown)), 0
            while done < int(100 * part):
                done += 1
                advance()

        yield watch
