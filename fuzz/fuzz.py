"""`make fuzz`: damaged and hostile files at every door. Anything but LimnerError, or more than 2 GB of memory, is a fault.

    python fuzz/fuzz.py [TARGET ...] [--seconds 600]

Atheris leads the search by what the code has reached. What it finds lies in fuzz/found/; make a test of it.
"""

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent


def picture(data: bytes) -> None:
    from limner.pictures import image

    image.decode(io.BytesIO(data), "x", max_pixels=1_000_000)


def card(data: bytes) -> None:
    from limner.gallery.card import Card

    with suppress(ValueError):  # what `limner.gallery.card.read` turns into its sentence
        Card.from_json(data.decode("utf-8", "replace"))


def style_file(data: bytes) -> None:
    from limner.gallery import card

    card.read(_file(data, "x.onnx"))


def manifest(data: bytes) -> None:
    from limner.pictures import manifest

    manifest.parse(data.decode("ascii", "replace"), "x")


def npz(data: bytes) -> None:
    from limner.pictures.sources import open_source

    open_source(_file(data, "x.npz"))[0]


def tar(data: bytes) -> None:
    from limner.pictures.sources import open_source

    source = open_source(_file(data, "x.tar"))
    source[0]


TARGETS: dict[str, Callable[[bytes], None]] = {f.__name__: f for f in (picture, card, style_file, manifest, npz, tar)}

_folder = tempfile.TemporaryDirectory(prefix="limner-fuzz-")


def _file(data: bytes, name: str) -> Path:
    path = Path(_folder.name, name)
    path.write_bytes(data)
    return path


def seeds(target: str) -> list[bytes]:
    """Sound files to begin with, made here: the corpus takes no room."""
    import numpy as np
    from PIL import Image

    from limner.gallery import bundled
    from limner.pictures import image
    from limner.pictures.manifest import Entry

    pixels = np.arange(12 * 10 * 3, dtype=np.uint16).reshape(12, 10, 3) * 180
    small = [image.encode(image.Picture(each), suffix) for suffix in image.WRITABLE for each in (pixels, (pixels >> 8).astype(np.uint8))]
    if target == "picture":
        grey = io.BytesIO()
        Image.fromarray(pixels[..., 0].astype(np.uint8)).save(grey, "TIFF", compression="tiff_lzw")
        return [*small, grey.getvalue()]
    if target == "card":
        return [bundled.card.read(bundled.find("starry-night")).to_json().encode()]
    if target == "style_file":
        return [bundled.find("starry-night", "live").read_bytes()]
    if target == "manifest":
        return [Entry("a.jpg", 1, 2, "b.jpg", "s", "0", {"strength": 1.0}).line().encode() * 3]
    data = io.BytesIO()
    if target == "npz":
        np.savez_compressed(data, images=np.zeros((2, 4, 4, 3), np.uint8))
        assert zipfile.is_zipfile(data)
    else:
        with tarfile.open(fileobj=data, mode="w") as archive:
            member = tarfile.TarInfo("1.png")
            member.size = len(small[2])
            archive.addfile(member, io.BytesIO(small[2]))
    return [data.getvalue()]


def one(target: str, seconds: int) -> None:
    """Search in this process, which ends with the first fault."""
    import atheris

    with atheris.instrument_imports(include=["limner"]):
        from limner.errors import LimnerError
        from limner.pictures import manifest  # noqa: F401

    corpus = Path(_folder.name, "corpus")
    corpus.mkdir()
    for number, data in enumerate(seeds(target)):
        (corpus / str(number)).write_bytes(data)
    found = HERE / "found"
    found.mkdir(exist_ok=True)

    def run(data: bytes) -> None:
        with suppress(LimnerError):
            TARGETS[target](data)

    limits = [f"-max_total_time={seconds}", "-rss_limit_mb=2048", "-timeout=20", f"-max_len={1 << 18}"]
    atheris.Setup([sys.argv[0], str(corpus), *limits, f"-artifact_prefix={found}/{target}-"], run)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []])
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.here:
        one(words.targets[0], words.seconds)
        return
    bad = []
    for target in words.targets or TARGETS:
        code = subprocess.run([sys.executable, __file__, target, "--here", "--seconds", str(words.seconds)]).returncode
        bad += [target] if code else []
        print(json.dumps({"target": target, "fault": bool(code)}), flush=True)
    sys.exit(1 if bad else 0)


main()
