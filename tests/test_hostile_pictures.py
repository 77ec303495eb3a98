"""Pictures, folders and surroundings as they are out there: what is kept, what is told, what is bounded."""

import io
import json
import os
import stat
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, IptcImagePlugin, PngImagePlugin

from limner import files, limits
from limner.batch import planning
from limner.blocks import features
from limner.cli import main
from limner.errors import LimnerError
from limner.pictures import formats, image, manifest, scanlines, signatures, sources, tags
from limner.style.style import default_output
from tests.conftest import Full, make_photo

XMP = b"<x:xmpmeta><rdf:Description %s/>%s<dc:title>Harbour</dc:title></x:xmpmeta>"


def png(width: int = 8, height: int = 6, chunks: bytes = b"") -> bytes:
    pixels = zlib.compress((b"\0" + bytes(3 * width)) * height)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + tags.chunk(b"IHDR", header) + chunks + tags.chunk(b"IDAT", pixels) + tags.chunk(b"IEND", b"")


def read(data: bytes) -> image.Picture:
    return image.decode(io.BytesIO(data), "x")


def saved(format: str, picture: Any = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(make_photo(40, 30)) if picture is None else picture).save(file, format, **options)
    return file.getvalue()


# ------------------------------------------------------------------------------------------------ what a picture is


def box(major: bytes, *others: bytes) -> bytes:
    brands = major + bytes(4) + b"".join(others)
    return struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (box(b"heic", b"mif1"), "HEIF"),
        (box(b"mif1", b"heic", b"miaf"), "HEIF"),
        (box(b"mif1", b"avif", b"miaf"), "AVIF"),
        (box(b"avis"), "AVIF"),
        (box(b"crx ", b"isom"), "raw"),
        (box(b"isom", b"mp41"), ""),
        (b"II*\0\x10\0\0\0CR\x02\0", "raw"),
        (b"FUJIFILMCCD-RAW 0201", "raw"),
        (b"MM\0*" + bytes(8), "TIFF"),
        (b"\xff\xd8\xff\xe0", ""),
        (b"", ""),
    ],
)
def test_bytes_tell_what_a_file_is(head: bytes, kind: str) -> None:
    assert signatures.told_by(head) == kind


@pytest.mark.parametrize(("format", "name"), [("PNG", "a.jpg"), ("JPEG", "a.tif"), ("TIFF", "a.jpg"), ("WEBP", "a.heic"), ("JPEG", "a")])
def test_names_do_not_decide(format: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(saved(format))
    assert image.read(path).metadata.format == format


def test_heic_under_another_name_asks_for_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "photo.jpg"
    path.write_bytes(box(b"heic", b"mif1") + bytes(100))
    with pytest.raises(LimnerError, match="HEIC picture, which needs one more package"):
        image.read(path)


@pytest.mark.parametrize("suffix", [".jfif", ".jpe", ".mpo", ".hif", ".apng", ".JPG"])
def test_a_folder_holds_pictures_of_rare_names(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(saved("JPEG"))
    assert [path.name for path in image.find(tmp_path)] == [f"a{suffix}"]
    wanted = {".jfif": ".jfif", ".jpe": ".jpe", ".mpo": ".jpg", ".hif": ".png", ".apng": ".png", ".JPG": ".JPG"}
    assert default_output(Path(f"a{suffix}"), "s").name == f"a.s{wanted[suffix]}"


def test_what_is_left_out_of_a_folder_is_counted(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.mov", "c.MOV", "notes.txt", "README", ".hidden"):
        (tmp_path / name).write_bytes(saved("JPEG"))
    left_out = Counter[str]()
    image.find(tmp_path, left_out=left_out)
    assert image.told_left_out(left_out) == "2 .mov, 1 .txt, 1 without a suffix"


def tiff_of(*pages: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in pages:
            writer.write(**{"photometric": "rgb", "metadata": None, **page})
    return file.getvalue()


SMALL, LARGE = make_photo(16, 12), make_photo(64, 48)


def test_the_picture_of_a_tiff_is_no_thumbnail() -> None:
    found = read(tiff_of({"data": SMALL, "subfiletype": 1}, {"data": LARGE}))
    assert np.array_equal(found.pixels, LARGE)
    assert not found.metadata.lost
    deep = LARGE.astype(np.uint16) * 257
    assert np.array_equal(read(tiff_of({"data": SMALL, "subfiletype": 1}, {"data": deep})).pixels, deep)


def test_a_thumbnail_with_the_picture_below_it() -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(SMALL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        writer.write(LARGE, photometric="rgb", metadata=None)
    assert np.array_equal(read(file.getvalue()).pixels, LARGE)


@pytest.mark.parametrize("photometric", [32803, 34892])
def test_a_raw_photograph_is_not_painted_as_its_thumbnail(photometric: int, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(SMALL, photometric="rgb", subfiletype=1, subifds=1, metadata=None)
        sensor = LARGE.astype(np.uint16) if photometric == 34892 else LARGE[..., 0].astype(np.uint16)
        writer.write(sensor, photometric=photometric, metadata=None)
    path = tmp_path / "photo.tif"
    path.write_bytes(file.getvalue())
    with pytest.raises(LimnerError, match="raw photograph"):
        image.read(path)
    assert scanlines.size_in_rows(path) is None


def test_a_tiff_whose_pages_lead_back_ends() -> None:
    data = bytearray(tiff_of({"data": SMALL}, {"data": LARGE}))
    first = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, first)[0]
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    assert signatures.tiff_page(io.BytesIO(data), "x") == signatures.Page()


def test_two_samples_a_pixel_are_no_picture_in_colour() -> None:
    data = bytearray(saved("TIFF", Image.fromarray(LARGE)))
    first = struct.unpack_from("<I", data, 4)[0]
    for entry in range(struct.unpack_from("<H", data, first)[0]):
        place = first + 2 + 12 * entry
        if struct.unpack_from("<H", data, place)[0] in (277,):
            struct.pack_into("<H", data, place + 8, 5000)
    with pytest.raises(LimnerError):
        read(bytes(data))


# ------------------------------------------------------------------------------------------------------- what is lost


@pytest.mark.parametrize(
    ("format", "what"), [("GIF", "frames"), ("WEBP", "frames"), ("PNG", "frames"), ("TIFF", "pages"), ("MPO", "pictures")]
)
def test_frames_that_are_not_painted_are_told(format: str, what: str) -> None:
    frames = [Image.fromarray(make_photo(40, 30, seed)) for seed in range(3)]
    data = saved(format, frames[0], save_all=True, append_images=frames[1:])
    assert read(data).metadata.lost == (f"all but the first of its 3 {what}",)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "JPEG"])
def test_of_a_single_frame_nothing_is_lost(format: str) -> None:
    assert read(saved(format)).metadata.lost == ()


IPTC = b"".join(
    bytes([0x1C, 2, kind]) + struct.pack(">H", len(text)) + text for kind, text in ((120, b"Harbour at dusk"), (116, b"A. Example"))
)


def jpeg_with_iptc() -> bytes:
    data = saved("JPEG", comment=b"hello")
    return data[:2] + tags.iptc_segment(IPTC) + data[2:]


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".png"])
def test_iptc_goes_along(suffix: str) -> None:
    picture = read(jpeg_with_iptc())
    assert (picture.metadata.iptc, picture.metadata.comment) == (IPTC, b"hello")
    again = Image.open(io.BytesIO(image.encode(picture, suffix)))
    again.load()
    if suffix == ".png":
        assert bytes.fromhex("".join(again.text["Raw profile type iptc"].split("\n")[3:])) == tags.iptc_resource(IPTC)  # type: ignore[attr-defined]
        assert again.text["Comment"] == "hello"  # type: ignore[attr-defined]
    else:
        assert IptcImagePlugin.getiptcinfo(again)[(2, 120)] == b"Harbour at dusk"  # type: ignore[index]
        assert read(image.encode(picture, suffix)).metadata.iptc == IPTC
    if suffix == ".jpg":
        assert again.info["comment"] == b"hello"


def test_text_of_a_png_goes_along_before_and_behind_the_pixels() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("parameters", "a tree, steps 40")
    text.add_itxt("Title", "Hafen Ä")
    text.add_text("Long", "x" * 3_000_000, zip=True)  # Pillow calls such a file damaged
    text.add_text("Raw profile type exif", "lies about the orientation")
    picture = read(saved("PNG", pnginfo=text))
    again = tags.png_texts(io.BytesIO(image.encode(picture, ".png")))
    assert again.chunks == picture.metadata.text
    assert b"parameters\0a tree, steps 40" in again.chunks
    assert b"Title\0\0\0\0\0Hafen \xc3\x84" in again.chunks
    assert b"Raw profile" not in again.chunks
    assert zlib.compress(b"x" * 3_000_000)[-20:] in again.chunks


def test_a_large_profile_is_no_damage() -> None:
    """Pillow unpacks no profile of more than a megabyte; those of presses and scanners have some."""
    data = png(chunks=tags.chunk(b"iCCP", b"icc\0\0" + zlib.compress(b"no profile" * 200_000)))
    assert read(data).pixels.shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("suffix", "lost"),
    [(".jpg", []), (".tif", ["comment"]), (".webp", ["IPTC", "comment"]), (".gif", ["EXIF", "XMP", "IPTC"]), (".png", [])],
)
def test_what_a_format_has_no_room_for_is_named(suffix: str, lost: list[str]) -> None:
    metadata = formats.Metadata(exif=b"Exif\0\0", xmp=b"<x/>", iptc=IPTC, comment=b"hello")
    assert image.left_behind(metadata, suffix) == lost
    assert image.left_behind(formats.Metadata(xmp=bytes(70_000)), ".jpg") == ["XMP"]


@pytest.mark.parametrize(
    "stale",
    [
        b'tiff:Orientation="6"',
        b"tiff:Orientation = '6'",
        b'tiff:ImageWidth="4000"',
        b'exif:PixelXDimension="4000"',
        b'GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"',
        b'xmpNote:HasExtendedXMP="0123"',
        b'hdrgm:Version="1.0"',
    ],
)
def test_xmp_that_is_no_longer_true_goes(stale: bytes) -> None:
    kept = b'xmp:Rating="5" photoshop:City="Bergen"'
    mended = tags.true_xmp(XMP % (b" " + stale + b" " + kept, b""))
    assert kept in mended
    assert stale.split(b"=")[0].strip() not in mended
    assert b"Harbour" in mended


def test_xmp_elements_that_are_no_longer_true_go() -> None:
    stale = b"<tiff:Orientation>6</tiff:Orientation><xmp:Thumbnails><rdf:Alt>AAAA</rdf:Alt></xmp:Thumbnails>"
    mended = tags.true_xmp(XMP % (b"", stale + b"<tiff:OrientationNote>up</tiff:OrientationNote>"))
    assert b">6<" not in mended
    assert b"AAAA" not in mended
    assert b"<tiff:OrientationNote>up</tiff:OrientationNote>" in mended


@pytest.mark.parametrize("run", [b" ", b"\n\t", b"<tiff:Orientation>", b' tiff:Orientation="', b" tiff:Orientation='", b"<xmp:Thumbnails "])
def test_xmp_of_any_kind_is_mended_in_time_that_grows_with_its_length(run: bytes) -> None:
    data = run * (8_000_000 // len(run))
    began = time.process_time()
    tags.true_xmp(data)
    assert time.process_time() - began < 20  # a quadratic search would take hours


def test_exif_that_is_no_longer_true_goes() -> None:
    exif = Image.Exif()
    exif[0x0100], exif[0x0112], exif[0x010F] = 4000, 6, "Camera"
    exif.get_ifd(0x8769).update({0xA002: 4000, 0x9214: (5, 5), 0x829A: 0.01})
    picture = read(saved("JPEG", exif=exif))
    again = Image.Exif()
    again.load(picture.metadata.exif or b"")
    assert (again.get(0x0100), again[0x0112], again[0x010F]) == (None, 1, "Camera")
    assert set(again.get_ifd(0x8769)) == {0x829A}


# ------------------------------------------------------------------------------------------------------- what is bounded


def npz(tmp_path: Path, header: bytes, data: bytes) -> Path:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", header + data)
    return path


def npy_header(shape: tuple[int, ...], descr: str = "|u1") -> bytes:
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (npy_header((8000, 1000, 1000, 3)), "24.0 GB of pictures"),
        (npy_header((2, 4, 4, 3)), "ends before its last picture"),
        (npy_header((2, 4, 4, 4)), "must be uint8"),
        (npy_header((2, 4, 4, 3), "|O"), "must be uint8"),
        (npy_header((-2, -4, 4, 3)), "negative"),
        (b"\x93NUMPY\x01\0\xff\xff" + b"(" * 60_000, "damaged"),
        (b"", "damaged"),
    ],
)
def test_an_npz_is_measured_before_it_is_unpacked(header: bytes, told: str, tmp_path: Path) -> None:
    with pytest.raises(LimnerError, match=told):
        sources.open_source(npz(tmp_path, header, bytes(10)))


def test_an_npz_in_columns_is_read_as_numpy_reads_it(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), np.uint8)
    np.savez(tmp_path / "x.npz", images=np.asfortranarray(images))
    source = sources.open_source(tmp_path / "x.npz")
    assert all(np.array_equal(source[n], images[n]) for n in range(3))


def test_a_film_of_two_frames_that_are_years_apart_is_refused(tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    from fractions import Fraction

    path = tmp_path / "far.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 64
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        for number, moment in enumerate((0, 10**10)):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = moment, stream.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(LimnerError, match="which is not possible"):
        sources.open_source(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_pipes_in_a_folder_are_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    os.mkfifo(tmp_path / "y.npz")
    (tmp_path / "a.png").write_bytes(png())
    assert [path.name for path in image.find(tmp_path)] == ["a.png"]
    assert len(sources.open_source(tmp_path)) == 1
    with pytest.raises(LimnerError, match="no ordinary file"):
        sources.open_source(tmp_path / "y.npz")
    with pytest.raises(LimnerError, match="no ordinary file"):
        limits.read(tmp_path / "x.jpg", 10)


def test_a_file_is_not_read_beyond_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: no byte of it lies on the disk
    with pytest.raises(LimnerError, match="1,000,000,000,000 bytes, more than the 512,000,000"):
        limits.read(path, limits.STYLE)


@pytest.mark.parametrize("word", ["silent", "junk", "other"])
def test_a_download_from_a_bad_server_is_given_up(word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket
    import threading

    answers = {"silent": b"", "junk": b"hello\r\n\r\n", "other": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nno"}
    server = socket.create_server(("127.0.0.1", 0))
    kept = []

    def serve() -> None:
        connection, _ = server.accept()
        kept.append(connection)
        connection.recv(4000)
        if answers[word]:
            connection.sendall(answers[word])
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(features, "URL", f"http://127.0.0.1:{server.getsockname()[1]}/vgg.pth")
    monkeypatch.setattr(features, "SILENCE", 0.5)
    with pytest.raises(LimnerError, match="could not be downloaded"):
        features._download()
    thread.join()
    for each in (server, *kept):
        each.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# ---------------------------------------------------------------------------------------------- names, places, processes


def test_a_name_that_would_be_too_long_is_shortened_and_known_again() -> None:
    long = Path("in", "照" * 80 + ".jpg")
    painting = default_output(long, "starry-night")
    assert len(os.fsencode(painting.name)) <= 255
    assert painting.name.endswith(".starry-night.jpg")
    assert painting != default_output(Path("in", "照" * 80 + "a.jpg"), "starry-night")
    assert planning.without_paintings([long, painting], "starry-night") == [long]


def limner(*words: object, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "limner", *map(str, words)]
    return subprocess.run(command, capture_output=True, env={**os.environ, **(env or {})}, check=False, **options)


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main.main([str(word) for word in words])
        return int(stop.value.code or 0), *capsys.readouterr()

    return run


LIVE = ("-s", "storybook", "--tier", "live")


def test_paintings_in_the_folder_of_the_photographs_are_no_photographs(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    for out in ("one", "deep/two", "one"):
        assert call("apply", tmp_path, *LIVE, "-o", tmp_path / out)[0] == 0
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")) == [
        *("a.png", "deep/two/a.storybook.png", "one/a.storybook.png")
    ]
    jobs = planning.plan([tmp_path / "**" / "*.png"], tmp_path / "three", "storybook")  # a pattern finds no others
    assert [job.source.name for job in jobs] == ["a.png"]
    assert len(image.find(tmp_path / "one")) == 1  # named by itself, it is a folder of pictures


def test_a_run_among_the_photographs_is_not_trained_on(tmp_path: Path) -> None:
    for name in ("a.jpg", "run/samples/sheet.jpg", "run/checkpoints/x.pt", "run/config.toml", "other/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(saved("JPEG"))
    assert [path.name for path in image.find(tmp_path)] == ["a.jpg", "b.jpg"]


def test_one_bad_picture_fails_alone_whatever_it_raises(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(saved("PNG"))
    write = image.write
    wrong = KeyError("of our own")
    monkeypatch.setattr(
        image,
        "write",
        lambda picture, path, **options: (_ for _ in ()).throw(wrong) if "b." in path.name else write(picture, path, **options),
    )
    code, out, err = call("apply", tmp_path, *LIVE, "-o", tmp_path / "out")
    assert (code, len(out.split())) == (2, 2)
    assert "b.png could not be painted, by a mistake of Limner's (KeyError: 'of our own')" in err


def test_what_is_lost_is_told_once(call: Call, tmp_path: Path) -> None:
    frames = [Image.fromarray(make_photo(40, 30, seed)) for seed in range(2)]
    for number in range(5):
        frames[0].save(tmp_path / f"{number}.tif", save_all=True, append_images=frames[1:])
    code, _, err = call("apply", tmp_path, *LIVE, "-o", tmp_path / "out")
    assert code == 0
    assert err.count("all but the first of its 2 pages") == 1
    assert "and 2 more: all but the first" in err


@pytest.mark.skipif(files.fcntl is None, reason="no locks here")
def test_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    code = f"from limner import files; from pathlib import Path\nwith files.holding(Path({str(tmp_path)!r}), 'taken'): print('held')"
    with files.holding(tmp_path, "taken"), files.holding(tmp_path, "asked for again"):
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LimnerError: taken" in other.stderr
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "held\n"

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("filelock.FileLock._acquire", refuse)
    told: list[str] = []
    manifest.Manifest(tmp_path / "out", told.append).close()
    assert "without locks" in told[0]


def test_leftovers_go_and_what_is_being_written_stays(tmp_path: Path) -> None:
    left, living = tmp_path / ".0123456789abcdef.tmp", tmp_path / "x"
    left.write_bytes(b"x")
    (tmp_path / ".mine.tmp").write_bytes(b"x")
    with files.replacing(living) as beside:
        beside.write_bytes(b"new")
        files.clear_leftovers([tmp_path])
        assert beside.exists()
    assert living.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "x"]


@pytest.mark.skipif(os.name != "posix", reason="no such rights here")
def test_rights_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    with files.replacing(link) as beside:
        assert stat.S_IMODE(beside.stat().st_mode) == 0o640
        beside.write_bytes(b"new")
    assert link.is_symlink()
    assert (real.read_bytes(), stat.S_IMODE(real.stat().st_mode)) == (b"new", 0o640)


def test_a_place_is_tried_before_hours_of_work(tmp_path: Path) -> None:
    files.check_place(tmp_path / "new" / "deep" / "x.png")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    for bad in (tmp_path, tmp_path / "file" / "x", tmp_path / ("x" * 300)):
        with pytest.raises(LimnerError):
            files.check_place(bad)


@pytest.mark.parametrize(
    "line",
    [
        "[" * 100_000,
        "7",
        '{"source": 1}',
        json.dumps({"source": "a", "size": "x", "mtime_ns": 1, "target": "b", "style": "s", "weights": "w", "options": {}}),
    ],
)
def test_a_damaged_manifest_is_told(line: str) -> None:
    with pytest.raises(LimnerError, match="damaged in line 1"):
        manifest.parse([line.encode()], "m")


# -------------------------------------------------------------------------------------------------- surroundings, doors


def test_a_picture_goes_through_pipes() -> None:
    for data, words, format in ((saved("JPEG"), (), "JPEG"), (saved("PNG"), (), "PNG"), (saved("JPEG"), ("--format", "webp"), "WEBP")):
        run = limner("apply", "-", *LIVE, *words, "-o", "-", input=data)
        assert (run.returncode, run.stderr) == (0, b"")
        painted = Image.open(io.BytesIO(run.stdout))
        assert (painted.format, painted.size) == (format, (40, 30))


def test_a_pipe_keeps_the_photograph_at_strength_nought() -> None:
    data = jpeg_with_iptc()
    assert limner("apply", "-", *LIVE, "--strength", "0", "-o", "-", input=data).stdout == data


def test_nothing_comes_out_of_a_pipe_where_nothing_goes_in(tmp_path: Path) -> None:
    run = limner("apply", "-", *LIVE, "-o", tmp_path / "x.png", input=b"")
    assert (run.returncode, run.stdout) == (2, b"")
    assert b"standard input is empty" in run.stderr
    assert not list(tmp_path.iterdir())
    assert b"name no other" in limner("apply", "-", "b.png", "-o", "-", input=b"").stderr
    assert b"give -o a file" in limner("apply", "-", input=b"").stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_that_is_named_is_read(tmp_path: Path) -> None:
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(saved("PNG"),))
    writer.start()
    assert image.read(pipe).pixels.shape == (30, 40, 3)
    writer.join()


@pytest.mark.parametrize("columns", ["0", "1", "-5", "many", "99999999999"])
def test_help_comes_at_any_width(columns: str) -> None:
    run = limner("apply", "--help", env={"COLUMNS": columns}, timeout=60)
    assert run.returncode == 0
    assert b"--strength" in run.stdout


def test_several_values_after_one_option() -> None:
    from limner.cli.application import application

    app, got = application("x"), []

    @app.default
    def command(*, names: tuple[str, ...] = (), number: int = 0) -> int:
        got.append((names, number))
        return 0

    for words in (["--names", "a", "b", "--number", "3"], ["--names", "a", "--names", "b", "--number", "3"]):
        app(words, exit_on_error=False, result_action="return_value")
    assert got == [(("a", "b"), 3)] * 2


def test_names_give_a_terminal_no_orders(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n\u202eb.jpg"
    code, _, err = call("apply", path, *LIVE)
    assert code == 2
    assert "\\x1b[31m\\n\\u202eb.jpg" in err
    assert not set("\x1b\u202e") & set(err)
    assert err.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="a shell is needed")
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- 2>&-"])
def test_closed_streams_stop_nothing(closed: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved("PNG"))
    command = f"'{sys.executable}' -m limner apply '{tmp_path}' {' '.join(LIVE)} -o '{tmp_path}/out' {closed}"
    assert subprocess.run(command, shell=True, check=False, capture_output=True).returncode == 0
    assert image.read(tmp_path / "out" / "a.storybook.png").pixels.shape == (30, 40, 3)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk here")
def test_a_full_output_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        run = subprocess.run([sys.executable, "-m", "limner", "styles"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert run.returncode == 2
    assert b"No space left" in run.stderr
    assert b"Traceback" not in run.stderr


def test_a_manifest_that_cannot_grow_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = manifest.Manifest(tmp_path)
    entry = manifest.Entry("a", 1, 2, "b", "s", "w", {})
    record.add(entry)

    record._journal._file = Full(record._journal._file)  # type: ignore[assignment]
    with pytest.raises(LimnerError, match=r"limner-manifest\.jsonl cannot be written"):
        record.add(entry)
    record.close()
    assert (tmp_path / manifest.NAME).read_text() == entry.line()  # no half of a line


def test_a_format_that_holds_no_such_side_is_told_before_painting() -> None:
    with pytest.raises(LimnerError, match="at most 65500 pixels a side"):
        image.check_side("JPEG", 10, 70_000)
    image.check_side("PNG", 10, 70_000)
