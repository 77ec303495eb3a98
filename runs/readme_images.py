"""The pictures of the README, from the example photographs: docs/images/gallery.jpg and docs/images/strength.jpg."""

from pathlib import Path

from PIL import Image

import limner
from limner.sheet import lay_out, scaled

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"
HEIGHT = 300


def main() -> None:
    styles = [limner.load(card.name) for card in limner.styles()]
    rows = []
    for name in ("chelsea", "china", "coffee"):
        photo = scaled(Image.open(PHOTOS / f"{name}.jpg").convert("RGB"), HEIGHT)
        rows.append([photo, *(style(photo) for style in styles)])
    lay_out(rows, ["photograph", *(style.card.title for style in styles)]).save(ROOT / "docs" / "images" / "gallery.jpg", quality=88)

    photo = scaled(Image.open(PHOTOS / "astronaut.jpg").convert("RGB"), HEIGHT)
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    row = [styles[0](photo, strength=strength) for strength in strengths]
    titles = [f"--strength {strength:g}" for strength in strengths]
    sheet = lay_out([[*row, styles[0](photo, keep_colors=True)]], [*titles, "--keep-colors"])
    sheet.save(ROOT / "docs" / "images" / "strength.jpg", quality=88)


if __name__ == "__main__":
    main()
