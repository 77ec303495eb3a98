"""`limner paint`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from limner.cli.application import application, as_defaults, call, preset, take
from limner.cli.console import log_to_stderr, need_torch, say


def run(words: list[str]) -> int:
    need_torch("Painting")
    from limner.methods import gatys
    from limner.training import painting

    app = application("limner paint")
    words, chosen = take(words, "--preset")
    if chosen is not None:
        app.config = (as_defaults(preset(gatys, chosen), source=f"preset {chosen}"),)

    @app.default
    def paint(
        photo: Path,
        paintings: list[Path],
        *,
        out: Annotated[Path | None, Parameter(alias="-o")] = None,
        config: Annotated[gatys.Config, Parameter(name="*")] = gatys.Config(),  # noqa: B008 (frozen)
        options: Annotated[painting.Options, Parameter(name="*")] = painting.Options(),  # noqa: B008 (frozen)
    ) -> int:
        """Paint a photograph in the style of any painting, slowly and well: Gatys' optimisation. Ctrl-C keeps what there is; the same
        command goes on.

        Parameters
        ----------
        photo
            The photograph.
        paintings
            One or several paintings.
        out
            The picture to write. By default beside the photograph, as photo.NAME-OF-THE-PAINTING.jpg.
        """
        from limner.style import style

        log_to_stderr()
        target = out or style.default_output(photo, "+".join(path.stem for path in paintings))
        start = style.load(options.init).paint if options.init else None
        finished = painting.paint(photo, paintings, target, config, options, start)
        say(str(target))
        return 0 if finished else 130

    return call(app, words)
