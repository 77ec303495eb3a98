"""`limner export`."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from limner import extras
from limner.cli.application import Words, application, call
from limner.cli.console import say

app = application("limner export")


def run(*words: Words) -> int:
    return call(app, words)


@app.default
def command(
    run: Path, *, out: Annotated[Path, Parameter(alias="-o")], checkpoint: Literal["best", "newest"] = "best", compact: bool = False
) -> int:
    """Write the style file of a training run.

    Parameters
    ----------
    run
        The run directory.
    out
        The style file to write, e.g. my-style.onnx.
    checkpoint
        The one with the best held-out number, or the newest.
    compact
        Store most weights in 8 bits: a file about half as large, whose pictures differ by about one level of 255.
    """
    extras.need("train", "Training")
    from limner.training import trainer

    say(str(trainer.write_style(run, out, which=checkpoint, compact=compact)))
    return 0
