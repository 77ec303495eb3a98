"""A batch, put together as the options ask for it."""

from collections.abc import Callable, Sequence

from limner.batch.batch import Batch, Here, LocalPaintings, LocalPhotographs
from limner.batch.options import Options, check
from limner.errors import require
from limner.extras import need
from limner.style import style


def open_batch(inputs: Sequence[str], out: str | None, options: Options, tell: Callable[[str], None] = lambda _: None) -> Batch:
    """The batch that paints ``inputs`` (pictures, folders, patterns; with Ray also URIs and tables) into ``out``.

    ``tell`` takes remarks for people. Raises ``LimnerError`` where the call as a whole cannot work.
    """
    check(options)
    if options.executor == "ray":
        need("ray", "`executor` ray")
        require(options.film.frame is None, "A single `frame` is painted by this program: leave `executor` out.")
        from limner.batch import on_ray

        return on_ray.open_batch(inputs, out, options, tell)
    for name in (*inputs, out or ""):
        require("://" not in name and not name.endswith(".parquet"), f"{name} is for Ray Data: set `executor` to ray.")
    if options.film.codec is not None:  # not after an hour of painting photographs
        need("video", f"A film in {options.film.codec}, which")
        from limner.film import writing

        writing.encoder(options.film.codec)
    opened = style.load(options.style, tier=options.tier, runtime=options.runtime, device=options.device)
    return Batch(LocalPhotographs(inputs, options.film.frame), LocalPaintings(out), Here(opened, options, tell), opened, options, tell)
