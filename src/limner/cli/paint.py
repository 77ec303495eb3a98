"""`limner paint`: the methods that paint single pictures."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from cyclopts import Parameter

from limner import extras
from limner.cli.application import Words, application, as_defaults, call, preset, take
from limner.cli.console import log_to_stderr, say

METHOD = "gatys"
"""The one that paints where none is named."""


def run(*words: Words) -> int:
    extras.need("train", "Painting")
    from limner.methods import contract

    app = application("limner paint")
    rest, method = take(words, "--method")
    rest, chosen = take(rest, "--preset")
    module = contract.find((method or METHOD).replace("-", "_"))
    if chosen is not None:
        app.config = (as_defaults(preset(module, chosen), source=f"preset {chosen}"),)
    app.default(_command(module))
    return call(app, rest)


def _command(module: ModuleType) -> Callable[..., int]:
    from limner.training import painting

    def paint(  # type: ignore[no-untyped-def]
        photo: Path,
        paintings: list[Path],
        *,
        out: Annotated[Path | None, Parameter(alias="-o")] = None,
        config=module.Config(),  # noqa: B008 (frozen)
        options: Any = painting.Options(),  # noqa: B008 (frozen)
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

    paint.__annotations__ |= {
        "config": Annotated[module.Config, Parameter(name="*")],
        "options": Annotated[painting.Options, Parameter(name="*")],
    }
    return paint
