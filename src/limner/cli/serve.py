"""`limner serve`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limner import extras
from limner.cli.application import Words, annotate, application, call
from limner.cli.console import say
from limner.serve.settings import Settings

app = application("limner serve")
annotate(Settings, api_key=Parameter(env_var="LIMNER_API_KEY"))


def run(*words: Words) -> int:
    return call(app, words)


@app.default
def command(
    *,
    static: Path | None = None,
    ort: Path | None = None,
    settings: Annotated[Settings, Parameter(name="*")] = Settings(),  # noqa: B008 (frozen)
) -> int:
    """Serve a page to paint photographs on, and an API to build on. Or write the page as plain files that need no server.

    Parameters
    ----------
    static
        Write the page into this folder instead, with the styles in it: photographs are then painted in the browser itself.
    ort
        With --static: the npm package onnxruntime-web, as a .tgz or a folder; fetched from the npm registry if left out.
    """
    extras.need("web", "`limner serve`")
    if static is not None:
        from limner.serve import static as pages

        say(str(pages.write(static, ort, say)))
        return 0
    from limner.serve import run as server

    server.run(settings, say)
    return 0
