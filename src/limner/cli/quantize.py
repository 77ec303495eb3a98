"""`limner quantize`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limner.cli.application import Words, application, call
from limner.cli.console import complain, say
from limner.style import quantize

app = application("limner quantize")


def run(*words: Words) -> int:
    return call(app, words)


@app.default
def command(
    style: str,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    options: Annotated[quantize.Options, Parameter(name="*")],
) -> int:
    """Write the int8 form of a style file: faster on CPUs, and refused where it would paint visibly differently.

    Parameters
    ----------
    style
        A bundled style, or a style file.
    out
        The style file to write: mine.int8.onnx beside mine.onnx becomes its tier int8.
    """
    distance = quantize.quantize(style, out, options)
    complain(str(distance))
    say(str(out))
    return 0
