"""What nobody means well with: the right status, and a server that lives on and does not grow."""

import io
import os
import socket
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from . import serving
from .conftest import make_photo
from .test_serve import half_sent, picture

GROWTH = 60.0
"""Megabytes by which a server may grow over all these uploads again and again: what its allocator keeps, and no more."""


@pytest.fixture(scope="module")
def served() -> Iterator[serving.Process]:
    with serving.process("--max-upload", "40000000", "--upload-seconds", "2", "--seconds", "20") as found:
        yield found


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, rows: bytes | None = None) -> bytes:
    """A PNG whose header promises this size; by default its rows are zeros, packed a thousandfold."""
    data = zlib.compress(bytes(height * (1 + 3 * width)), 9) if rows is None else rows
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg_with(marker: int, data: bytes) -> bytes:
    """A JPEG with this many segments of metadata as it takes."""
    plain = picture(40, 30, "JPEG")
    parts = [data[at : at + 65_000] for at in range(0, len(data), 65_000)]
    segments = b"".join(struct.pack(">BBH", 0xFF, marker, len(part) + 2) + part for part in parts)
    return plain[:2] + segments + plain[2:]


def animation(frames: int) -> bytes:
    buffer = io.BytesIO()
    pictures = [Image.fromarray(make_photo(32, 24, seed)) for seed in range(frames)]
    pictures[0].save(buffer, "WEBP", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("photo.jpg", bytes(20_000_000))
    return buffer.getvalue()


SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'

HOSTILE: dict[str, tuple[bytes, set[int]]] = {
    "a bomb": (png(30_000, 30_000, rows=zlib.compress(bytes(1_000_000))), {413}),
    "a bomb that is packed well": (png(12_000, 12_000, rows=zlib.compress(bytes(36_000_000), 9)), {413}),
    "1 x 100000": (png(1, 100_000), {200, 503}),  # 13 million pixels with the borders: painted, or given up in time
    "100000 x 1": (png(100_000, 1), {200, 503}),
    "a picture and a zip in one": (picture(40, 30, "PNG") + zip_bomb(), {200}),
    "a GIF that is a script": (b"GIF89a/*" + b"x" * 100 + b"*/=1;alert(1)", {415, 422}),
    "SVG": (SVG, {415}),
    "SVG that calls itself a JPEG": (SVG, {415}),
    "huge EXIF": (jpeg_with(0xE1, b"Exif\0\0II*\0" + os.urandom(20_000_000)), {200, 422}),
    "huge XMP": (jpeg_with(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x>" * 6_000_000), {200, 422}),
    "text that is packed well": (png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))), {200, 415, 422}),
    "a profile that is packed well": (png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(200_000_000), 9))), {200, 415, 422}),
    "a zip": (zip_bomb(), {415}),
    "an animation": (animation(20), {200}),
    "nothing": (b"", {422}),
    "a PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", {415}),
    "Postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n", {415}),
    "a pickle": (b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.", {415}),
    "noise": (bytes(np.random.default_rng(0).integers(0, 256, 100_000, np.uint8)), {415}),
    "a picture cut off": (picture(400, 300, "JPEG")[:2000], {422}),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_uploads_have_the_right_status(served: serving.Process, name: str) -> None:
    data, wanted = HOSTILE[name]
    with served.client() as client:
        kind = "image/svg+xml" if name == "SVG" else "image/jpeg"
        for answer in (
            client.post("/v1/stylize", content=data, headers={"content-type": kind}, params={"style": "starry-night"}),
            client.post("/v1/stylize", files={"image": ("photo.png", data)}, data={"style": "starry-night"}),
        ):
            assert answer.status_code in wanted, answer.text[:300]
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json"
        assert client.get("/healthz").status_code == 200


def test_what_its_format_cannot_hold_is_said_before_it_is_painted(served: serving.Process) -> None:
    with served.client() as client:
        answer = client.post("/v1/stylize", content=png(1, 100_000), params={"format": "jpg"})
    assert (answer.status_code, "JPEG holds at most" in answer.json()["detail"]) == (422, True)


def test_a_zip_as_a_batch_is_no_batch(served: serving.Process) -> None:
    with served.client() as client:
        files = [("image", ("photos.zip", zip_bomb())), ("image", ("a.png", picture()))]
        job = client.post("/v1/jobs", files=files).json()
        serving.until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["state"] not in ("waiting", "painting"))
        told = client.get(f"/v1/jobs/{job['id']}").json()
    assert told["state"] == "done"
    assert [sentence.startswith("photos.zip is not a picture") for sentence in told["errors"]] == [True]


def test_uploads_that_never_end_or_are_given_up_leave_a_server_that_answers(served: serving.Process) -> None:
    slow = [half_sent(served.url, body=b"x" * 1000) for _ in range(5)]
    for _ in range(5):
        half_sent(served.url, body=picture()).close()
    with half_sent(served.url) as connection:
        connection.shutdown(socket.SHUT_WR)
    with served.client() as client:
        serving.until(lambda: client.post("/v1/stylize", content=picture()).status_code == 200)
        serving.until(lambda: "limner_line_waiting 0.0" in client.get("/metrics").text)
    for connection in slow:
        assert connection.recv(12) == b"HTTP/1.1 408"
        connection.close()


def test_what_is_no_http_gets_an_answer_or_none_and_harms_nothing(served: serving.Process) -> None:
    address = urlsplit(served.url)
    for data in (
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 100_000,
        b"POST /v1/stylize HTTP/1.1\r\n" * 50,
    ):
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=serving.PATIENCE) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)
    with served.client() as client:
        assert client.get("/healthz").status_code == 200


def test_memory_does_not_grow(served: serving.Process) -> None:
    sent = [data for name, (data, _) in HOSTILE.items() if len(data) < 1_000_000 and "100000" not in name]

    def all_of_them() -> None:
        with served.client() as client:
            for data in sent:
                client.post("/v1/stylize", content=data, params={"style": "starry-night"})

    for _ in range(2):
        all_of_them()
    before = served.memory()
    for _ in range(6):
        all_of_them()
    assert served.memory() - before < GROWTH


@pytest.mark.slow
def test_schemathesis_finds_no_mistake_of_ours(served: serving.Process, tmp_path: Path) -> None:
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'limner[dev]'")
    command = [
        *(sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.argv[0] = 'st'; schemathesis()"),
        *("run", f"{served.url}openapi.json", "--checks", "not_a_server_error,content_type_conformance,status_code_conformance"),
        *("--max-examples", "15", "--seed", "7", "--phases", "examples,coverage,fuzzing", "--generation-database", "none"),
        *("--request-timeout", "300", "--suppress-health-check", "all", "--no-color"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    with served.client() as client:
        assert client.get("/healthz").status_code == 200
