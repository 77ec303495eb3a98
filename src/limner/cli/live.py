"""`limner live`."""

import webbrowser

from limner import extras
from limner.cli.application import Words, application, call
from limner.cli.console import say
from limner.errors import require
from limner.gallery import bundled

app = application("limner live")


def run(*words: Words) -> int:
    return call(app, words)


@app.default
def command(*, style: str = "storybook", port: int = 0, browser: bool = True) -> int:
    """Paint what the camera sees, live, on a page of this machine. Ctrl-C ends it.

    Parameters
    ----------
    style
        A bundled style that has a live tier; others can be chosen on the page.
    port
        Port to listen on; 0 takes a free one.
    browser
        Open the page. Without, only its address is told.
    """
    extras.need("web", "`limner live`")
    names = [name for name in bundled.names() if "live" in bundled.tiers(name)]
    require(style in names, f"{style} is no bundled style with a live tier: name one of {', '.join(names)}.")
    from limner.serve import run as server
    from limner.serve.settings import Settings

    def tell(address: str) -> None:
        page = f"{address}?style={style}#live"
        say(page)
        if browser:
            webbrowser.open(page)  # it waits for the server, which listens already

    server.run(Settings(port=port), tell)
    return 0
