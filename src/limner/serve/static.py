"""The page as plain files that need no server: the styles run in the browser, by ONNX Runtime Web."""

import base64
import hashlib
import io
import json
import shutil
import tarfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from limner import files
from limner.batch.options import Options
from limner.errors import LimnerError, require
from limner.gallery import bundled
from limner.serve.app import PAGE, THUMBNAIL, style_infos
from limner.serve.asked import Asked
from limner.serve.studio import Photo, Studio

VERSION = "1.30.0"
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package, as the registry itself states it."""

RUNTIME = (
    *("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    *("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
)
"""The package's files that the page loads: on the processor, and on a graphics card."""

LARGEST = 200_000_000
"""Bytes of the package."""

SILENCE = 20.0
"""Seconds without a byte after which fetching is given up."""

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'"
)

SERVED_ONLY = ("server.js",)


def write(folder: Path, runtime: Path | None, tell: Callable[[str], None]) -> Path:
    """Write the page and all that it needs into ``folder``; what else is in there stays. Gives the page's path.

    ``runtime`` is the npm package onnxruntime-web, a .tgz or a folder; without it, it is fetched from the npm registry and its hash
    checked. ``tell`` is told so. Raises ``LimnerError`` where it cannot be had, or the folder not be written.
    """
    parts = _runtime(runtime, tell)
    try:
        shutil.copytree(PAGE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*SERVED_ONLY))
        page = folder / "index.html"
        page.write_text(_page((PAGE / "index.html").read_text(encoding="utf-8")), encoding="utf-8")
        (folder / "ort").mkdir(exist_ok=True)
        for name, data in parts.items():
            (folder / "ort" / name).write_bytes(data)
        (folder / "styles").mkdir(exist_ok=True)
        _write_styles(folder / "styles")
    except OSError as error:
        raise files.cannot_write(folder, error) from error
    return page


def _page(text: str) -> str:
    return text.replace("./server.js", "./browser.js").replace(
        '<meta charset="utf-8">', f'<meta charset="utf-8">\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    )


def _write_styles(folder: Path) -> None:
    studio = Studio()
    example = Photo((PAGE / "examples" / "flower.jpg").read_bytes(), "flower.jpg")
    try:
        for name in bundled.names():
            for tier in bundled.tiers(name):
                path = bundled.find(name, tier)
                shutil.copyfile(path, folder / path.name)
            painted = studio.paint(example, Options(style=name, max_size=THUMBNAIL, strip=True, quality=88))
            (folder / f"{name}.jpg").write_bytes(painted.data)
    finally:
        studio.close()
    infos = [info.model_dump() for info in style_infos()]
    for name, what in (
        ("styles", infos),
        ("options", Asked.model_json_schema()),
    ):
        (folder / f"{name}.json").write_text(json.dumps(what, ensure_ascii=False), encoding="utf-8")


def _runtime(given: Path | None, tell: Callable[[str], None]) -> dict[str, bytes]:
    """The files of ONNX Runtime Web."""
    if given is not None and given.is_dir():
        place = next((each for each in (given / "dist", given / "package" / "dist", given) if (each / RUNTIME[0]).is_file()), given)
        missing = [name for name in RUNTIME if not (place / name).is_file()]
        require(not missing, f"{given} is not the package onnxruntime-web: it has no {', '.join(missing)}.")
        return {name: (place / name).read_bytes() for name in RUNTIME}
    if given is None:
        tell(f"Fetching ONNX Runtime Web {VERSION} from the npm registry (33 MB); `ort` names a package that is here already.")
        return _unpacked(fetch(), ADDRESS)
    try:
        return _unpacked(given.read_bytes(), str(given))
    except OSError as error:
        raise LimnerError(f"{given} cannot be read ({error.strerror or error}): name the package onnxruntime-web.") from error


def fetch() -> bytes:
    """The package, from the npm registry. Raises ``LimnerError`` where it cannot be had, or is another."""
    try:
        with urllib.request.urlopen(ADDRESS, timeout=SILENCE) as answer:
            data: bytes = answer.read(LARGEST)
    except OSError as error:
        raise LimnerError(
            f"ONNX Runtime Web cannot be fetched ({getattr(error, 'reason', None) or error}): `npm pack onnxruntime-web@{VERSION}` "
            "where there is a network, and give the file as `ort`."
        ) from error
    require(
        base64.b64encode(hashlib.sha512(data).digest()).decode() == SHA512,
        f"What {ADDRESS} gave is not what it should be (its hash is another): try again, or give the package as `ort`.",
    )
    return data


def _unpacked(data: bytes, name: str) -> dict[str, bytes]:
    """The few files that are wanted, by their names: nothing else of the archive is looked at."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            members = {wanted: archive.extractfile(f"package/dist/{wanted}") for wanted in RUNTIME}
            return {wanted: member.read() for wanted, member in members.items() if member is not None}
    except (tarfile.TarError, KeyError, OSError, EOFError) as error:
        raise LimnerError(f"{name} is not the package onnxruntime-web ({error}): name its .tgz, or its folder.") from error
