"""Pictures of the docs, from the example photographs: gallery, painters, portraits, live, strength, storybook and autumn in docs/images."""

from pathlib import Path

from PIL import Image

import limner
from limner.batch.sheet import lay_out, scaled

ROOT = Path(__file__).parent.parent
PHOTOS = ROOT / "examples" / "photos"
HEIGHT = 300
LARGE = 420


def main() -> None:
    styles = [limner.load(card.name) for card in limner.styles()]
    painters = [style for style in styles if style.card.method == "fast_style"]
    for file, name, shown, columns in (
        ("gallery", "china", styles, 4),
        ("painters", "coffee", painters, 3),
        ("portraits", "astronaut", styles, 4),
    ):
        photo = Image.open(PHOTOS / f"{name}.jpg").convert("RGB")
        row = [scaled(picture, HEIGHT) for picture in (photo, *(style(photo) for style in shown))]
        titles = ["photograph", *(style.card.title for style in shown)]
        lay_out([row], titles, columns).save(ROOT / "docs" / "images" / f"{file}.jpg", quality=88)

    tiers = {name: [limner.load(name, tier=tier) for tier in ("standard", "live")] for name in ("storybook", "ink", "comic")}
    photos = [Image.open(PHOTOS / f"{name}.jpg").convert("RGB") for name in ("chelsea", "china")]
    rows = [
        [scaled(picture, HEIGHT) for picture in (photo, *(style(photo) for pair in tiers.values() for style in pair))] for photo in photos
    ]
    titles = ["photograph", *(f"{name}, {tier}" for name in tiers for tier in ("standard", "live"))]
    lay_out(rows, titles).save(ROOT / "docs" / "images" / "live.jpg", quality=88)

    photo = scaled(Image.open(PHOTOS / "chelsea.jpg").convert("RGB"), HEIGHT)
    strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
    starry = limner.load("starry-night")
    row = [starry(photo, strength=strength) for strength in strengths]
    titles = [f"--strength {strength:g}" for strength in strengths]
    sheet = lay_out([[*row, starry(photo, keep_colors=True)]], [*titles, "--keep-colors"])
    sheet.save(ROOT / "docs" / "images" / "strength.jpg", quality=88)

    for name, pairs in (
        ("storybook", [("astronaut", "chelsea"), ("china", "coffee"), ("flower", "rocket")]),
        ("autumn", [("china", "chelsea"), ("flower", "coffee")]),
    ):
        style, rows = limner.load(name), []
        for pair in pairs:
            photos = [scaled(Image.open(PHOTOS / f"{name}.jpg").convert("RGB"), LARGE) for name in pair]
            rows.append([picture for photo in photos for picture in (photo, style(photo))])
        lay_out(rows, ["photograph", name] * 2).save(ROOT / "docs" / "images" / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    main()
