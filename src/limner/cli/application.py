"""What all commands are made of: an application, flags taken before it reads them, and defaults from presets and files."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from cyclopts import App, Parameter

from limner.errors import LimnerError

if TYPE_CHECKING:
    from cyclopts.config import Dict

Words: TypeAlias = Annotated[str, Parameter(allow_leading_hyphen=True)]
"""Words that a command takes as they are, to parse them itself."""


def application(name: str, help: str | None = None) -> App:
    app = App(
        name=name, help=help, help_format="markdown", default_parameter=Parameter(negative=(), consume_multiple=True), version_flags=()
    )
    app["--help"].show = False  # whoever reads it has found it
    return app


def annotate(options: type, **parameters: Parameter) -> None:
    """Give fields of a dataclass of options what only the command line knows of them: short flags, defaults that are not shown."""
    for name, parameter in parameters.items():
        options.__annotations__[name] = Annotated[options.__annotations__[name], parameter]


SHORT_OUT, SHORT_STYLE = Parameter(alias="-o"), Parameter(alias="-s")
NO_DEFAULT = Parameter(show_default=False)


def renamed(words: Sequence[str], flags: dict[str, str]) -> list[str]:
    """``words`` with flags that had another name once under the one they have now."""
    found = (word.partition("=") for word in words)
    return [flags.get(flag, flag) + equals + value for flag, equals, value in found]


def call(application: App, words: Sequence[str]) -> int:
    """The command's exit code. Errors are raised."""
    result = application(list(words), exit_on_error=False, print_error=False, result_action="return_value")
    return result if isinstance(result, int) else 0


def take(words: Sequence[str], flag: str) -> tuple[list[str], str | None]:
    """``words`` without ``flag VALUE`` (or ``flag=VALUE``), and the value."""
    for i, word in enumerate(words):
        if word == flag:
            if i + 1 == len(words):
                raise LimnerError(f"{flag} needs a value.")
            return [*words[:i], *words[i + 2 :]], words[i + 1]
        if word.startswith(flag + "="):
            return [*words[:i], *words[i + 1 :]], word.removeprefix(flag + "=")
    return list(words), None


def preset(module: Any, name: str) -> dict[str, Any]:
    """The options of a method's preset."""
    presets: dict[str, dict[str, Any]] = module.Config.PRESETS
    if name not in presets:
        method = module.__name__.rpartition(".")[2].replace("_", "-")
        raise LimnerError(f"{method} has no preset {name!r}: there is {', '.join(presets)}.")
    return presets[name]


def as_defaults(table: dict[str, Any], *, source: str) -> "Dict":
    """Options as defaults that flags override."""
    from cyclopts.config import Dict

    return Dict({key.replace("_", "-"): value for key, value in table.items()}, use_commands_as_keys=False, source=source)
