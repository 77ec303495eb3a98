"""Pictures in and out, each test with a real file."""

from __future__ import annotations

import io
import os
import resource
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image, features
from PIL.TiffImagePlugin import IFDRational

from limner.errors import LimnerError
from limner.pictures import image as limner_image
from limner.pictures.image import (
    SUFFIXES,
    WRITABLE,
    Metadata,
    Picture,
    decode,
    encode,
    find,
    fit,
    from_float,
    from_pil,
    read,
    to_float,
    to_pil,
    write,
)

RNG = np.random.default_rng(7)
MAKE, ORIENTATION, EXIF_IFD, GPS_IFD = 0x010F, 0x0112, 0x8769, 0x8825


def noise(height: int = 12, width: int = 17, channels: int = 3, dtype: type[Any] = np.uint8) -> np.ndarray:
    shape = (height, width, channels) if channels else (height, width)
    return RNG.integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """Soft colours, inside every gamut and easy for a lossy format."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack((90 + x * 80 // width, 90 + y * 80 // height, np.full_like(x, 120)), axis=-1).astype(np.uint8)


def matrix_profile(primaries: tuple[tuple[float, float], ...], gamma: float = 2.2) -> bytes:
    """A minimal ICC v2 RGB display profile: three colorants, adapted from D65 to D50, and one gamma."""
    xyz = np.array([[x / y, 1, (1 - x - y) / y] for x, y in primaries]).T
    white = np.array([0.3127 / 0.3290, 1, (1 - 0.3127 - 0.3290) / 0.3290])
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1, 0.8249])
    adapt = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ white)) @ bradford
    colorants = adapt @ (xyz * np.linalg.solve(xyz, white))

    def s15(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    name = b"Limner test\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 78
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))
    parts = {b"desc": description, b"cprt": b"text\0\0\0\0none\0", b"wtpt": b"XYZ \0\0\0\0" + s15(*d50)}
    for index, letter in enumerate((b"r", b"g", b"b")):
        parts[letter + b"XYZ"] = b"XYZ \0\0\0\0" + s15(*colorants[:, index])
        parts[letter + b"TRC"] = curve
    table, body, offset = struct.pack(">I", len(parts)), b"", 128 + 4 + 12 * len(parts)
    for tag, data in parts.items():
        table += tag + struct.pack(">II", offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + s15(*d50)
    return header.ljust(128, b"\0") + table + body


P3 = matrix_profile(((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)))
ADOBE = matrix_profile(((0.640, 0.330), (0.210, 0.710), (0.150, 0.060)))
SRGB = bytes(imagecodecs.cms_profile("srgb"))
GREY = bytes(imagecodecs.cms_profile("gray", gamma=1.0))


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[MAKE] = "Limner Camera"
    exif[ORIENTATION] = orientation
    exif[EXIF_IFD] = {0x9003: "2026:01:02 03:04:05", 0x829A: IFDRational(1, 125), 0xA002: 17, 0xA003: 12}
    exif[GPS_IFD] = {1: "N", 2: (48.0, 12.0, 30.0)}
    return exif.tobytes()


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="Boat"/></x:xmpmeta>'


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IDAT", b"") * 2


# ---------------------------------------------------------------------------------------------------------- orientation


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores so that a viewer obeying the orientation shows `upright`; no code shared."""
    turned = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),  # to be turned 90 degrees clockwise, so stored anticlockwise
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    return np.ascontiguousarray(turned)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_png_8_and_16_bit(tmp_path: Path, orientation: int) -> None:
    upright = noise(channels=4)
    Image.fromarray(stored(upright, orientation)).save(tmp_path / "a.png", exif=exif_block(orientation))
    picture = read(tmp_path / "a.png")
    assert np.array_equal(picture.pixels, upright[..., :3])
    assert np.array_equal(picture.alpha, upright[..., 3])

    upright = noise(dtype=np.uint16)
    data = bytes(imagecodecs.png_encode(stored(upright, orientation)))
    (tmp_path / "b.png").write_bytes(data[:33] + chunk(b"eXIf", exif_block(orientation)[6:]) + data[33:])
    assert np.array_equal(read(tmp_path / "b.png").pixels, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_orientation_tiff(tmp_path: Path, orientation: int, dtype: type[Any]) -> None:
    upright = noise(dtype=dtype)
    tag = [(ORIENTATION, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "a.tif", stored(upright, orientation), photometric="rgb", extratags=tag)
    assert np.array_equal(read(tmp_path / "a.tif").pixels, upright)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_agrees_with_pillow_in_jpeg(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif_block(orientation), dpi=(300, 150))
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read(tmp_path / "a.jpg")
    assert np.array_equal(picture.pixels, expected)
    assert picture.metadata.dpi == ((300, 150) if orientation < 5 else (150, 300))


# ------------------------------------------------------------------------------------------------------------- metadata


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_metadata_travels_with_orientation_1_and_strip_removes_it(tmp_path: Path, suffix: str, dtype: type[Any]) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.fromarray(smooth()).save(tmp_path / "in.jpg", exif=exif_block(6), xmp=XMP, dpi=(300, 300), icc_profile=P3)
    picture = read(tmp_path / "in.jpg")
    picture = picture.with_pixels(picture.pixels.astype(dtype) * (257 if dtype is np.uint16 else 1))
    write(picture, tmp_path / f"out{suffix}")
    with Image.open(tmp_path / f"out{suffix}") as image:
        image.load()
        assert image.size == (48, 64)
        exif = image.getexif()
        assert exif[MAKE] == "Limner Camera"
        assert exif.get(ORIENTATION, 1) == 1
        assert exif.get_ifd(EXIF_IFD)[0x9003] == "2026:01:02 03:04:05"
        assert exif.get_ifd(EXIF_IFD)[0x829A] == 1 / 125
        assert 0xA002 not in exif.get_ifd(EXIF_IFD)
        assert exif.get_ifd(GPS_IFD)[2] == (48, 12, 30)
        assert b'dc:title="Boat"' in image.info["xmp"]
        assert b"Orientation" not in image.info["xmp"]
        assert image.info["icc_profile"] == P3
        if suffix not in (".webp", ".avif"):
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    again = read(tmp_path / f"out{suffix}")
    assert again.metadata.exif is not None
    assert again.pixels.dtype == (dtype if suffix in (".png", ".tif") else np.uint8)

    write(picture, tmp_path / f"bare{suffix}", strip=True)
    with Image.open(tmp_path / f"bare{suffix}") as image:
        image.load()
        exif = image.getexif()
        assert MAKE not in exif and not exif.get_ifd(EXIF_IFD) and not exif.get_ifd(GPS_IFD)
        assert not {"icc_profile", "xmp", "exif"} & set(image.info)
    bare = read(tmp_path / f"bare{suffix}")
    assert bare.metadata.exif is bare.metadata.icc is bare.metadata.xmp is None
    assert np.abs(to_float(bare.pixels) - to_float(picture.pixels)).mean() < 2 / 255


def test_thumbnail_is_not_carried(tmp_path: Path) -> None:
    thumbnail = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(thumbnail, "JPEG")
    body = thumbnail.getvalue()
    ifd0 = struct.pack("<HHHIII", 1, MAKE, 2, 4, int.from_bytes(b"abc\0", "little"), 26)
    ifd1 = struct.pack("<H", 2) + struct.pack("<HHII", 0x201, 4, 1, 56) + struct.pack("<HHII", 0x202, 4, 1, len(body))
    block = b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + ifd0 + ifd1 + b"\0\0\0\0" + body
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=block)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.getexif().get_ifd(ExifTags.IFD.IFD1)[0x202] == len(body)  # the test's own EXIF is sound
    write(read(tmp_path / "a.jpg"), tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.getexif()[MAKE] == "abc"
        assert not image.getexif().get_ifd(ExifTags.IFD.IFD1)
    assert (tmp_path / "b.jpg").read_bytes().count(b"\xff\xd8\xff") == 1


def test_orientation_only_in_xmp(tmp_path: Path) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", xmp=XMP)
    picture = read(tmp_path / "a.jpg")
    assert picture.pixels.shape == (64, 48, 3)
    assert picture.metadata.exif is None


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01" * 9]
)
def test_broken_exif_is_no_reason_to_refuse(tmp_path: Path, block: bytes) -> None:
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=block)
    picture = read(tmp_path / "a.jpg")
    assert picture.pixels.shape == (48, 64, 3)
    write(picture, tmp_path / "b.png")


def test_exif_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[EXIF_IFD] = {0x927C: b"maker" * 20_000}
    Image.fromarray(smooth()).save(tmp_path / "a.png", exif=exif)
    write(read(tmp_path / "a.png"), tmp_path / "b.jpg")
    assert read(tmp_path / "b.jpg").metadata.exif is None


# ---------------------------------------------------------------------------------------------------------------- alpha


def test_alpha_comes_back_exactly(tmp_path: Path) -> None:
    rgba = noise(channels=4)
    for suffix, options in ((".png", {}), (".webp", {"lossless": True, "exact": True}), (".tif", {})):
        Image.fromarray(rgba).save(tmp_path / f"a{suffix}", **options)
        picture = read(tmp_path / f"a{suffix}")
        assert np.array_equal(picture.pixels, rgba[..., :3]), suffix
        assert np.array_equal(picture.alpha, rgba[..., 3]), suffix
        for target in (".png", ".webp", ".tif"):
            write(picture, tmp_path / f"b{target}")
            assert np.array_equal(read(tmp_path / f"b{target}").alpha, rgba[..., 3]), (suffix, target)


def test_grey_with_alpha(tmp_path: Path) -> None:
    grey = noise(channels=2)
    Image.fromarray(grey).save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png")
    assert np.array_equal(picture.pixels, np.repeat(grey[..., :1], 3, axis=2))
    assert np.array_equal(picture.alpha, grey[..., 1])


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    palette, index = noise(1, 8)[0], RNG.integers(0, 8, (9, 7), dtype=np.uint8)
    image = Image.fromarray(index)
    image.putpalette(palette.tobytes())
    assert image.mode == "P"
    image.save(tmp_path / "plain.png")
    image.save(tmp_path / "one.png", transparency=3)
    alphas = bytes((0, 10, 20, 30, 40, 50, 60, 255))
    image.save(tmp_path / "bytes.png", transparency=alphas)
    for name, alpha in (
        ("plain", None),
        ("one", np.where(index == 3, 0, 255)),
        ("bytes", np.frombuffer(alphas, np.uint8)[index]),
    ):
        picture = read(tmp_path / f"{name}.png")
        assert np.array_equal(picture.pixels, palette[index]), name
        assert picture.alpha is None if alpha is None else np.array_equal(picture.alpha, alpha), name


def test_colour_key_transparency(tmp_path: Path) -> None:
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "rgb.png", transparency=tuple(int(v) for v in pixels[2, 3]))
    alpha = read(tmp_path / "rgb.png").alpha
    assert alpha is not None and alpha[2, 3] == 0 and alpha[0, 0] == 255
    wide = noise(dtype=np.uint16)
    data = bytes(imagecodecs.png_encode(wide))
    (tmp_path / "wide.png").write_bytes(data[:33] + chunk(b"tRNS", wide[2, 3].astype(">u2").tobytes()) + data[33:])
    picture = read(tmp_path / "wide.png")
    assert np.array_equal(picture.pixels, wide)
    assert picture.alpha is not None and picture.alpha[2, 3] == 0 and picture.alpha[0, 0] == 65535


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_over_white_where_there_is_no_room_for_it(tmp_path: Path, dtype: type[Any]) -> None:
    full = np.iinfo(dtype).max
    pixels, alpha = np.zeros((4, 3, 3), dtype), np.zeros((4, 3), dtype)
    pixels[..., 0] = full
    alpha[1], alpha[2], alpha[3] = full, full // 3, round(full * 0.2)
    write(Picture(pixels, alpha), tmp_path / "a.bmp")
    with Image.open(tmp_path / "a.bmp") as image:
        assert image.mode == "RGB"
        assert [image.getpixel((0, y)) for y in range(4)] == [(255, 255, 255), (255, 0, 0), (255, 170, 170), (255, 204, 204)]


# --------------------------------------------------------------------------------------------------------------- 16 bit


def test_alpha_over_white_is_rounded_to_the_nearest(tmp_path: Path) -> None:
    write(Picture(np.full((1, 1, 3), 100, np.uint8), np.full((1, 1), 101, np.uint8)), tmp_path / "a.bmp")
    assert read(tmp_path / "a.bmp").pixels[0, 0, 0] == 194  # 193.6


def test_exif_behind_the_pixels_of_a_16_bit_png(tmp_path: Path) -> None:
    data = bytes(imagecodecs.png_encode(noise(dtype=np.uint16)))
    (tmp_path / "a.png").write_bytes(data[:-12] + chunk(b"eXIf", exif_block(6)[6:]) + data[-12:])
    assert read(tmp_path / "a.png").pixels.shape == (17, 12, 3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [0, 2, 3, 4])
def test_sixteen_bits_survive(tmp_path: Path, suffix: str, channels: int) -> None:
    samples = noise(channels=channels, dtype=np.uint16)
    if suffix == ".png":
        (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(samples))
    else:
        extra = {"extrasamples": ["unassalpha"]} if channels in (2, 4) else {}
        tifffile.imwrite(
            tmp_path / "a.tif",
            samples,
            photometric="rgb" if channels > 2 else "minisblack",
            planarconfig=1 if channels else None,
            **extra,
        )
    picture = read(tmp_path / f"a{suffix}")
    colour = np.repeat(samples.reshape(12, 17, -1)[..., :1], 3, axis=2) if channels < 3 else samples[..., :3]
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(picture.pixels, colour)
    for target in (".png", ".tif"):
        write(picture, tmp_path / f"b{target}")
        again = read(tmp_path / f"b{target}")
        assert np.array_equal(again.pixels, colour)
        if channels in (2, 4):
            assert np.array_equal(again.alpha, samples[..., -1])
        else:
            assert again.alpha is None


def test_sixteen_bit_tiff_variants(tmp_path: Path) -> None:
    rgb = noise(dtype=np.uint16)
    for name, options in {
        "big-endian": {"byteorder": ">"},
        "planar": {"planarconfig": "separate"},
        "lzw": {"compression": "lzw", "predictor": True},
        "tiled": {"tile": (16, 16), "compression": "zlib"},
        "bigtiff": {"bigtiff": True},
    }.items():
        samples = np.moveaxis(rgb, -1, 0) if name == "planar" else rgb
        tifffile.imwrite(tmp_path / f"{name}.tif", samples, photometric="rgb", **options)
        assert np.array_equal(read(tmp_path / f"{name}.tif").pixels, rgb), name
    tifffile.imwrite(tmp_path / "inverse.tif", rgb[..., 0], photometric="miniswhite")
    assert np.array_equal(read(tmp_path / "inverse.tif").pixels[..., 0], 65535 - rgb[..., 0])
    with tifffile.TiffWriter(tmp_path / "pages.tif") as writer:
        writer.write(rgb, photometric="rgb")
        writer.write(rgb[::-1], photometric="rgb")
    assert np.array_equal(read(tmp_path / "pages.tif").pixels, rgb)
    alpha = np.full((12, 17), 32768, np.uint16)
    tifffile.imwrite(tmp_path / "premultiplied.tif", np.dstack((rgb // 2, alpha)), photometric="rgb", extrasamples=["assocalpha"])
    picture = read(tmp_path / "premultiplied.tif")
    assert np.abs(picture.pixels.astype(int) - rgb).max() <= 2
    assert np.array_equal(picture.alpha, alpha)


def test_sixteen_bits_round_to_eight(tmp_path: Path) -> None:
    pixels = np.array([0, 128, 129, 257, 385, 386, 65406, 65407, 65535], np.uint16).reshape(3, 3, 1).repeat(3, axis=2)
    write(Picture(pixels), tmp_path / "a.bmp")
    assert read(tmp_path / "a.bmp").pixels[..., 0].ravel().tolist() == [0, 0, 1, 1, 1, 2, 254, 255, 255]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_with_profile(tmp_path: Path, suffix: str) -> None:
    pixels = smooth().astype(np.uint16) * 257 + 100
    write(Picture(pixels, None, Metadata(icc=SRGB)), tmp_path / f"srgb{suffix}")
    assert np.array_equal(read(tmp_path / f"srgb{suffix}").pixels, pixels)

    write(Picture(pixels, None, Metadata(icc=ADOBE)), tmp_path / f"adobe{suffix}")
    raw = imagecodecs.png_decode((tmp_path / "adobe.png").read_bytes()) if suffix == ".png" else tifffile.imread(tmp_path / "adobe.tif")
    assert np.abs(raw.astype(int) - pixels).max() > 1000, "the values in the file are those of the profile"
    picture = read(tmp_path / f"adobe{suffix}")
    assert picture.metadata.icc == ADOBE
    assert np.abs(picture.pixels.astype(int) - pixels).max() <= 4  # of 65535
    assert len(np.unique(picture.pixels % 257)) > 1


# ------------------------------------------------------------------------------------------------------------------ ICC


def test_srgb_profile_changes_nothing_and_is_kept(tmp_path: Path) -> None:
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=SRGB)
    write(read(tmp_path / "a.png"), tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
        assert image.info["icc_profile"] == SRGB


def test_no_profile_changes_nothing(tmp_path: Path) -> None:
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for suffix in (".png", ".tif", ".bmp"):
        write(read(tmp_path / "a.png"), tmp_path / f"b{suffix}")
        with Image.open(tmp_path / f"b{suffix}") as image:
            assert np.array_equal(np.asarray(image), pixels)
            assert "icc_profile" not in image.info


@pytest.mark.parametrize("profile", [P3, ADOBE], ids=["P3", "Adobe"])
def test_wide_profile_there_and_back(tmp_path: Path, profile: bytes) -> None:
    pixels = smooth()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
    picture = read(tmp_path / "a.png")
    assert np.abs(picture.pixels.astype(int) - pixels).mean() > 2, "read must convert"
    write(picture, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert image.info["icc_profile"] == profile
        difference = np.abs(np.asarray(image).astype(int) - pixels)
    assert difference.mean() < 1
    assert difference.max() <= 6  # eight bits each way cost this much where the profile's curve is flat
    write(picture, tmp_path / "c.bmp")  # no room for a profile: the values must be sRGB
    assert np.array_equal(read(tmp_path / "c.bmp").pixels, picture.pixels)


def test_p3_colours_are_really_converted(tmp_path: Path) -> None:
    # Display P3 with gamma 2.2, (200, 100, 50), worked out by hand with the matrices of the colour spaces:
    linear_p3 = (np.array([200, 100, 50]) / 255) ** 2.2
    to_linear_srgb = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
    linear = to_linear_srgb @ linear_p3
    expected = 255 * np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    pixels = np.empty((4, 4, 3), np.uint8)
    pixels[:] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=P3)
    assert read(tmp_path / "a.png").pixels[0, 0] == pytest.approx(expected, abs=1.5)
    pixels[:] = (255, 0, 0)  # outside sRGB: clipped
    Image.fromarray(pixels).save(tmp_path / "b.png", icc_profile=P3)
    assert read(tmp_path / "b.png").pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("profile", [b"garbage", P3[:200], b"\0" * 16 + b"RGB " + b"\0" * 200], ids=["short", "cut", "zeros"])
def test_broken_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=profile)
    picture = read(tmp_path / "a.png")
    assert np.array_equal(picture.pixels, pixels)
    assert picture.metadata.icc is None


def test_grey_profile_is_converted_in_and_dropped(tmp_path: Path) -> None:
    for dtype, middle in ((np.uint8, 128), (np.uint16, 32896)):
        Image.fromarray(np.full((4, 5), middle, dtype)).save(tmp_path / "a.tif", icc_profile=GREY)
        picture = read(tmp_path / "a.tif")
        assert picture.metadata.icc is None
        assert picture.pixels.dtype == dtype
        value = picture.pixels[0, 0] / np.iinfo(dtype).max * 255
        assert value == pytest.approx([188, 188, 188], abs=1.5)  # linear one half is 188 in sRGB


def test_profile_of_another_colour_space_is_ignored(tmp_path: Path) -> None:
    pixels = noise()
    Image.fromarray(pixels).save(tmp_path / "a.png", icc_profile=GREY)
    assert np.array_equal(read(tmp_path / "a.png").pixels, pixels)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "b.png", icc_profile=SRGB)
    picture = read(tmp_path / "b.png")
    assert np.array_equal(picture.pixels, np.repeat(pixels[..., :1], 3, axis=2))
    assert picture.metadata.icc == SRGB


# ---------------------------------------------------------------------------------------------------------------- modes


def test_grey_and_bilevel(tmp_path: Path) -> None:
    grey = noise(channels=0)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png").pixels, np.repeat(grey[..., None], 3, axis=2))
    Image.fromarray(grey > 127).save(tmp_path / "bits.png")
    assert np.array_equal(read(tmp_path / "bits.png").pixels[..., 1], np.where(grey > 127, 255, 0))
    with Image.open(tmp_path / "bits.png") as image:
        assert image.mode == "1"


def test_cmyk_jpeg(tmp_path: Path) -> None:
    inks = {
        (0, 0, 0, 0): (255, 255, 255),
        (0, 255, 255, 0): (255, 0, 0),
        (0, 0, 0, 255): (0, 0, 0),
        (128, 0, 0, 64): (95, 191, 191),
    }
    for ink, expected in inks.items():
        Image.new("CMYK", (16, 16), ink).save(tmp_path / "a.jpg", quality=100)
        picture = read(tmp_path / "a.jpg")
        assert picture.pixels.shape == (16, 16, 3)
        assert picture.pixels[5, 5] == pytest.approx(expected, abs=2), ink
        assert picture.metadata.format == "JPEG"


def test_cmyk_sixteen_bit_tiff(tmp_path: Path) -> None:
    ink = noise(channels=4, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="separated")
    expected = (1 - ink[..., :3] / 65535) * (1 - ink[..., 3:] / 65535) * 65535
    assert np.abs(read(tmp_path / "a.tif").pixels - expected).max() <= 0.51


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "RGBX", "La", "RGBa", "PA", "L", "1"])
def test_from_pil_modes(mode: str) -> None:
    rgb = Image.fromarray(smooth())
    image = (
        rgb.convert("RGBA").convert("LA").convert("La") if mode == "La" else rgb.convert(mode if mode != "RGBa" else "RGBA").convert(mode)
    )
    picture = from_pil(image)
    assert picture.pixels.shape == (48, 64, 3)
    if mode in ("YCbCr", "LAB", "HSV", "RGBX", "RGBa"):
        assert np.abs(picture.pixels.astype(int) - smooth()).mean() <= 4
    assert (picture.alpha is not None) == (mode in ("La", "RGBa", "PA"))


def test_first_frame_of_gif_webp_and_tiff(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (9, 6), colour) for colour in ("red", "lime", "blue")]
    for suffix, options in ((".gif", {}), (".webp", {"lossless": True}), (".tif", {}), (".png", {})):
        frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **options)
        picture = read(tmp_path / f"a{suffix}")
        assert (picture.pixels == (255, 0, 0)).all(), suffix
        assert picture.pixels.shape == (6, 9, 3)


def test_from_pil_leaves_the_image_alone_and_to_pil_gives_it_back() -> None:
    upright = noise(channels=4)
    image = Image.fromarray(stored(upright, 6))
    image.info.update(exif=exif_block(6), icc_profile=SRGB, dpi=(72, 72))
    picture = from_pil(image)
    assert np.array_equal(picture.pixels, upright[..., :3])
    assert image.getexif()[ORIENTATION] == 6 and np.array_equal(np.asarray(image), stored(upright, 6))
    back = to_pil(picture)
    assert back.mode == "RGBA" and np.array_equal(np.asarray(back), upright)
    assert back.getexif()[ORIENTATION] == 1 and back.getexif()[MAKE] == "Limner Camera"
    assert back.info["icc_profile"] == SRGB and back.info["dpi"] == (72, 72)
    wide = noise(channels=0, dtype=np.uint16)
    assert np.array_equal(from_pil(Image.fromarray(wide)).pixels[..., 0], wide)
    with pytest.raises(LimnerError, match="32 bits"):
        from_pil(Image.new("F", (3, 3)))


def test_to_pil_with_wide_profile() -> None:
    image = Image.fromarray(smooth())
    image.info["icc_profile"] = ADOBE
    back = np.asarray(to_pil(from_pil(image))).astype(int)
    assert np.abs(back - smooth()).mean() < 1


# -------------------------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("suffix", sorted(WRITABLE))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_every_format_there_and_back(tmp_path: Path, suffix: str, dtype: type[Any], with_alpha: bool) -> None:
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    scale = 257 if dtype is np.uint16 else 1
    alpha = np.full((48, 64), 255 * scale, dtype) if with_alpha else None
    picture = Picture(smooth().astype(dtype) * dtype(scale), alpha)
    path = tmp_path / "new" / "folders" / f"Ä b{suffix.upper()}"
    write(picture, path)
    again = read(path)
    assert again.metadata.format == WRITABLE[suffix]
    difference = np.abs(again.pixels.astype(int) / (np.iinfo(again.pixels.dtype).max // 255) - smooth())
    limit = {"GIF": 4, "JPEG": 1, "WEBP": 1.5, "AVIF": 1.5}.get(WRITABLE[suffix], 0)
    assert difference.mean() <= limit
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_jpeg_has_full_colour_resolution_and_obeys_quality(tmp_path: Path) -> None:
    picture = Picture(noise(64, 64))
    write(picture, tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.layer == [(1, 1, 1, 0), (2, 1, 1, 1), (3, 1, 1, 1)]  # type: ignore[attr-defined]
        assert "progressive" not in image.info
    write(picture, tmp_path / "b.jpg", quality=40)
    assert (tmp_path / "b.jpg").stat().st_size < 0.6 * (tmp_path / "a.jpg").stat().st_size


def test_encode_decode_in_memory() -> None:
    picture = Picture(noise(dtype=np.uint16))
    assert np.array_equal(decode(io.BytesIO(encode(picture, ".png"))).pixels, picture.pixels)
    with pytest.raises(LimnerError, match=r"^upload is empty"):
        decode(io.BytesIO(), "upload")


def test_unknown_suffix(tmp_path: Path) -> None:
    for name in ("a.xyz", "a", "a.heic"):
        with pytest.raises(LimnerError, match=r"\.jpg.*\.png.*\.webp") as caught:
            write(Picture(noise()), tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(LimnerError, match="quality"):
        write(Picture(noise()), tmp_path / "a.jpg", quality=0)
    assert list(tmp_path.iterdir()) == []


def test_picture_too_large_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(LimnerError, match="WEBP holds at most 16383"):
        write(Picture(np.zeros((1, 16384, 3), np.uint8)), tmp_path / "a.webp")


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("bug")])
def test_failure_while_renaming_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def fail(self: Path, other: Path) -> None:
        assert self.parent == target.parent and self.name.startswith(".") and self.stat().st_size > 100
        raise failure

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(LimnerError if isinstance(failure, OSError) else type(failure)) as caught:
        write(Picture(noise()), target)
    if isinstance(failure, OSError):
        assert str(target) in str(caught.value) and "No space left" in str(caught.value)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_disk_that_stops_in_the_middle(tmp_path: Path) -> None:
    target = tmp_path / "a.bmp"
    target.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # a real refusal by the system, after 100 kB
    try:
        with pytest.raises(LimnerError, match="cannot be written") as caught:
            write(Picture(noise(300, 300)), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(target) in str(caught.value)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_bad_targets(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "folder.png", tmp_path / "file" / "a.png", tmp_path / ("n" * 300 + ".png")):
        with pytest.raises(LimnerError) as caught:
            write(Picture(noise()), target)
        assert str(target) in str(caught.value)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder.png"]


# ------------------------------------------------------------------------------------------------------------ bad input


def bad_files(folder: Path) -> dict[str, str]:
    """File name -> what the message must say."""
    (folder / "a folder.jpg").mkdir()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("This is not a picture. " * 10)
    (folder / "cut header.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x10JF")
    (folder / "iphone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (folder / "float.tif").write_bytes(b"")
    tifffile.imwrite(folder / "float.tif", np.zeros((5, 6, 3), np.float32), photometric="rgb")
    tifffile.imwrite(folder / "float grey.tif", np.zeros((5, 6), np.float32))
    tifffile.imwrite(folder / "int32.tif", np.zeros((5, 6), np.int32))
    (folder / "tiff.tif").write_bytes(b"II*\0" + b"\xff" * 40)
    picture = Picture(noise(40, 50))
    wide = Picture(noise(40, 50, dtype=np.uint16))
    for name, suffix, source in (
        *(("cut", suffix, picture) for suffix in sorted(WRITABLE) if suffix != ".avif" or features.check("avif")),
        ("cut16", ".png", wide),
        ("cut16", ".tif", wide),
    ):
        data = encode(source, suffix)
        (folder / f"{name}{suffix}").write_bytes(data[: len(data) * 2 // 3])
    return {
        "missing.jpg": "does not exist",
        "a folder.jpg": "is a folder",
        "empty.png": "is empty",
        "text.jpg": "is not a picture",
        "cut header.jpg": "is not a picture, or damaged|is damaged",
        "iphone.heic": "pip install pillow-heif",
        "float.tif": "unusual kind|32 bits",
        "float grey.tif": "unusual kind|32 bits",
        "int32.tif": "unusual kind|32 bits",
        "tiff.tif": "damaged",
        **{path.name: "damaged" for path in folder.glob("cut*") if "header" not in path.name},
    }


def test_bad_input_is_told_in_one_sentence_with_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for name, expected in bad_files(tmp_path).items():
        with pytest.raises(LimnerError, match=expected) as caught:
            pytest.fail(f"{name} was read as {read(tmp_path / name).pixels.shape}")
        message = str(caught.value)
        assert message.startswith(str(tmp_path / name)), message
        assert ": " in message and "\n" not in message, message


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise()).save(path)
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything, so the system's answer has to be played

        def refuse(self: Path, mode: str) -> None:
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(LimnerError, match="not permitted") as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60_000, 60_000))
    with pytest.raises(LimnerError, match=r"60000 x 60000 pixels, more than the limit of 200,000,000.*`max_pixels`") as caught:
        read(path)
    assert str(path) in str(caught.value)
    path.write_bytes(png_header(13_500, 13_500))  # Pillow's own limit is 179 million, and it warns at half of that
    with pytest.raises(LimnerError, match="damaged or cut short"):
        read(path)
    Image.fromarray(noise(100, 100)).save(tmp_path / "ok.png")
    with pytest.raises(LimnerError, match="100 x 100"):
        read(tmp_path / "ok.png", max_pixels=9_999)
    assert read(tmp_path / "ok.png", max_pixels=10_000).pixels.shape == (100, 100, 3)
    tifffile.imwrite(tmp_path / "ok.tif", noise(100, 100, dtype=np.uint16), photometric="rgb")
    with pytest.raises(LimnerError, match="100 x 100"):
        read(tmp_path / "ok.tif", max_pixels=9_999)
    assert before == Image.MAX_IMAGE_PIXELS


def test_open_limits_hold_for_other_threads_afterwards(tmp_path: Path) -> None:
    Image.fromarray(noise()).save(tmp_path / "a.png", exif=exif_block(3))
    before = (Image.MAX_IMAGE_PIXELS, len(warnings.filters))
    threads = [threading.Thread(target=lambda: [read(tmp_path / "a.png") for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert before == (Image.MAX_IMAGE_PIXELS, len(warnings.filters))


# ------------------------------------------------------------------------------------------------------- float and back


@pytest.mark.parametrize(("dtype", "shape"), [(np.uint8, (16, 16)), (np.uint16, (256, 256))])
def test_to_float_and_from_float_are_inverse(dtype: type[Any], shape: tuple[int, int]) -> None:
    every = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(shape)
    pixels = np.stack((every, every[::-1], every.T), axis=-1)
    array = to_float(pixels)
    assert array.shape == (1, 3, *shape) and array.dtype == np.float32 and array.flags.c_contiguous
    assert array.min() == 0 and array.max() == 1
    assert np.array_equal(array[0, 2], (every.T / np.iinfo(dtype).max).astype(np.float32))
    assert from_float(array, dtype).dtype == dtype
    assert np.array_equal(from_float(array, dtype), pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_from_float_rounds_to_the_nearest(dtype: type[Any]) -> None:
    full = np.iinfo(dtype).max
    steps = np.linspace(0, full - 1, 200).round()
    for offset, expected in ((0.49, 0), (0.51, 1), (0.99, 1)):
        values = ((steps + offset) / full).astype(np.float32).reshape(1, 1, 10, 20)
        assert np.array_equal(from_float(values, dtype).ravel(), steps + expected), offset


def test_from_float_half_clip_and_nan() -> None:
    values = np.array([0.5, -1, -1e-9, 2, np.inf, -np.inf, np.nan, 0.5 / 255 * 0.999, 0.5 / 255 * 1.001], np.float32)
    pixels = from_float(values.reshape(1, 1, 1, -1).repeat(3, axis=1), np.uint8)
    assert pixels.shape == (1, 9, 3)
    assert pixels[0, :, 2].tolist() == [128, 0, 0, 255, 255, 0, 0, 0, 1]  # 127.5 goes up
    with pytest.raises(ValueError, match="uint8 or uint16"):
        from_float(np.zeros((2, 3, 4, 4), np.float32), np.uint8)


def test_from_float_larger_than_a_band_and_strided() -> None:
    pixels = noise(77, 53)
    array = to_float(pixels)
    assert np.array_equal(from_float(array[:, :, ::-1, 3:], np.uint8), pixels[::-1, 3:])


# ------------------------------------------------------------------------------------------------- Picture, fit and find


def test_picture_refuses_arrays_that_do_not_fit() -> None:
    good = noise()
    for pixels, alpha in (
        (good.astype(np.float32), None),
        (good[..., :2], None),
        (good, np.zeros((3, 3), np.uint8)),
        (good, np.zeros((12, 17), np.uint16)),
    ):
        with pytest.raises(ValueError, match=r"pixels|alpha"):
            Picture(pixels, alpha)
    picture = Picture(good, good[..., 0]).with_pixels(good.astype(np.uint16))
    assert np.array_equal(picture.alpha, good[..., 0].astype(np.uint16) * 257)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fit(dtype: type[Any]) -> None:
    scale = np.iinfo(dtype).max // 255
    pixels = (smooth(60, 90).astype(int) * scale).astype(dtype)
    picture = Picture(pixels, None, Metadata(format="PNG"))
    assert fit(picture, 90) is picture
    small = fit(picture, 30)
    assert small.pixels.shape == (20, 30, 3) and small.pixels.dtype == dtype and small.metadata.format == "PNG"
    expected = np.asarray(Image.fromarray(smooth(60, 90)).resize((30, 20), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(small.pixels.astype(int) / scale - expected).max() <= (0 if dtype is np.uint8 else 1)
    if dtype is np.uint16:
        assert len(np.unique(small.pixels % 257)) > 10, "really 16 bits, not 8 blown up"
    assert fit(Picture(np.zeros((2, 900, 3), dtype)), 10).pixels.shape == (1, 10, 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_fit_scales_alpha_and_does_not_bleed_hidden_colour(dtype: type[Any]) -> None:
    full = np.iinfo(dtype).max
    pixels, alpha = np.zeros((40, 40, 3), dtype), np.zeros((40, 40), dtype)
    alpha[:, :21], pixels[:, 21:] = full, full  # black and solid on the left, white and hidden on the right
    small = fit(Picture(pixels, alpha), 20)
    assert small.alpha is not None and small.alpha.shape == (20, 20) and small.alpha.dtype == dtype
    assert small.alpha[10, 0] == full and small.alpha[10, 19] == 0 and 0.3 < small.alpha[10, 10] / full < 0.7
    assert small.pixels[10, 10].max() <= full // 100


def test_find(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "a.png",
        "notes.txt",
        ".hidden.png",
        "noend",
        "sub/c.webp",
        "sub/.git/d.png",
        "A.tiff",
        "sub2/deep/e.heic",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    expected = ["A.tiff", "a.png", "b.JPG", "link.png", "sub/c.webp", "sub2/deep/e.heic"]
    assert [path.relative_to(tmp_path).as_posix() for path in find(tmp_path)] == expected
    assert set(WRITABLE) <= SUFFIXES
    for wrong in (tmp_path / "none", tmp_path / "a.png"):
        with pytest.raises(LimnerError, match="is not a folder") as caught:
            find(wrong)
        assert str(wrong) in str(caught.value)


def test_import_is_light() -> None:
    heavy = ("PIL.ImageCms", "imagecodecs", "tifffile", "torch", "openvino")
    code = f"import sys, limner.pictures.image; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(Path(limner_image.__file__).parents[2])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.strip() == "[]"
