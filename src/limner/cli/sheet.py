"""`limner sheet`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limner.batch import sheet
from limner.cli.application import SHORT_STYLE, Words, annotate, application, call
from limner.cli.console import complain, say
from limner.progress import Bar

app = application("limner sheet")
annotate(sheet.Options, style=SHORT_STYLE)


def run(*words: Words) -> int:
    return call(app, words)


@app.default
def command(
    photos: list[str],
    *,
    out: Annotated[Path, Parameter(alias="-o")] = Path("sheet.jpg"),
    options: Annotated[sheet.Options, Parameter(name="*")] = sheet.Options(),  # noqa: B008 (frozen)
) -> int:
    """Lay photographs and what every style makes of them side by side on one sheet: a row for each photograph, a column for each style.

    Parameters
    ----------
    photos
        Pictures, folders of pictures (searched at any depth), or patterns such as 'photos/**/*.jpg'.
    out
        The sheet to write.
    """
    work = sheet.Sheet(photos, out, options)
    with Bar("paintings", len(work)) as bar:
        whole = work.write(bar.advance, complain)
    say(str(out))
    return 0 if whole else 2
