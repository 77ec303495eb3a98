"""`limner evaluate`: how good paintings are, in numbers."""

from pathlib import Path

from limner.cli.application import Words, application, call
from limner.cli.console import complain, say
from limner.progress import Bar

app = application("limner evaluate", "Measure paintings.")


def run(*words: Words) -> int:
    return call(app, words)


@app.command
def video(film: Path, painting: Path) -> int:
    """Measure how much a painted film flickers, shot by shot: what changes from frame to frame beyond what moves, relative to the film
    itself (1 flickers as much as the film does; less is calmer).

    Parameters
    ----------
    film
        The film.
    painting
        What `limner apply` made of all of it.
    """
    from limner.film import flicker

    with Bar("%") as bar:
        shots = flicker.measure(film, painting, lambda part: bar.show(100 * part, 100))
    if not shots:
        complain(f"{film} has no two neighbouring frames in one shot.")
        return 2
    lines = [(f"{shot.start:7.2f} s to {shot.end:7.2f} s", shot) for shot in shots]
    for place, shot in [*lines, (f"{'all shots':>22}", flicker.whole(shots))]:
        say(f"{place}  {shot.frames:6,} frames  film {shot.film:6.2f}  painting {shot.painting:6.2f}  flicker {shot.flicker:6.2f}")
    return 0
