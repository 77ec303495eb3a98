"""`limner styles`."""

from typing import Any

from limner.cli.application import Words, application, call
from limner.cli.console import say
from limner.gallery.bundled import Tier

app = application("limner styles")


def run(*words: Words) -> int:
    return call(app, words)


@app.default
def command(name: str = "", *, tier: Tier = "standard", names: bool = False) -> int:
    """List the bundled styles and their tiers, or show one style's card.

    Parameters
    ----------
    name
        A bundled style, or a style file.
    tier
        The tier whose card to show.
    names
        Print the names alone, for scripts.
    """
    from limner.gallery import bundled, card

    if names:
        for each in bundled.names():
            say(each)
    elif name:
        _show_card(card.read(bundled.find(name, tier)))
    else:
        table = [(style.name, style.title, ", ".join(bundled.tiers(style.name)), style.description) for style in bundled.cards()]
        widths = [max(len(row[column]) for row in table) for column in range(3)]
        for row in table:
            say("  ".join([*(f"{entry:{width}}" for entry, width in zip(row[:3], widths, strict=True)), row[3]]))
    return 0


def _show_card(card: Any) -> None:
    say(f"{card.title} ({card.name})")
    if card.description:
        say(card.description)
    facts = {
        "tier": card.tier,
        "method": card.method.replace("_", "-"),
        "teacher": card.teacher,
        "int8": card.quantized,
        "licence": card.licence,
        "authors": card.authors,
        "trained on": card.trained_on,
        "steps": f"{card.steps:,}",
        "recipe": card.recipe,
        "parameters": f"{card.parameters:,}",
        "best short side": f"{card.best_short_side} px",
        "working size": f"{card.working_size} px" if card.working_size else "",
        "receptive field": f"{card.receptive_field} px",
        "weights sha256": card.weights_sha256,
        "limner": card.limner_version,
    }
    for name, value in facts.items():
        for number, line in enumerate([value] if isinstance(value, str) else value):
            if line:
                say(f"  {'' if number else name:16}{line}")
