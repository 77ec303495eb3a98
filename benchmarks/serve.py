"""`limner serve` on loopback: pictures a second, how long they take, what happens when too many come, and whether it grows.

    python benchmarks/serve.py                                   # all of it
    python benchmarks/serve.py --seconds 5 --pictures 200        # a short look

Prints, for pictures of 512 x 512 pixels: seconds from the start to the first picture; a table for 1, 8 and 64 clients that send one
picture after the other; what becomes of twice as many clients as the line has places; the server's memory over 2,000 pictures; and whether
the engine paints faster where it is given several pictures of one size at once. Beside it, in the same run, the same pictures by library
calls and by `limner apply`, a process each, so that every number is a ratio as well. Goals stand in brackets.
"""

import argparse
import http.client
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import limner
from limner.gallery import bundled
from limner.pictures import image
from limner.style.runtimes.contract import Engine

CLIENTS = (1, 8, 64)
TOGETHER = (1, 2, 4, 8)


class Server:
    """A `limner serve`, and how it is asked."""

    def __init__(self, *flags: str) -> None:
        self.start = time.perf_counter()
        command = [sys.executable, "-m", "limner", "serve", "--port", "0", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline().rstrip("/\n").rsplit(":", 1)[1])

    def post(self, connection: http.client.HTTPConnection, path: str, data: bytes) -> int:
        connection.request("POST", path, data, {"Content-Type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def memory(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return float(text.split("VmRSS:")[1].split()[0]) / 1e3

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--style", default=bundled.default())
    parser.add_argument("--seconds", type=float, default=20.0, help="for each number of clients")
    args = parser.parse_args()
    data, path = _picture(args.side), f"/v1/stylize?style={args.style}"

    server = Server("--queue", str(2 * max(CLIENTS)))
    try:
        status = server.post(server.connect(), path, data)
        print(f"From starting the server to the first picture: {time.perf_counter() - server.start:.2f} s (below 2 s), status {status}.\n")
        alone, each = _library(args.style, data), _apply(args.style, data)
        print(f"Library calls, one after the other: {1 / alone:.1f} pictures/s; `limner apply`, a process each: {1 / each:.2f}.\n")
        print("| clients | pictures/s | of library calls | p50 | p99 | p99 / p50 (below 3) | answers |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for clients in CLIENTS:
            load = _load(server, path, data, clients, args.seconds)
            row = (
                clients,
                f"{load.rate:.1f}",
                f"{load.rate * alone:.2f}",
                _ms(load.p50),
                _ms(load.p99),
                f"{load.p99 / load.p50:.2f}",
                load.told,
            )
            print("|", " | ".join(str(cell) for cell in row), "|", flush=True)
        print(f"\n{_growth(server, path, data, args.pictures)}\n")
    finally:
        server.stop()

    server = Server("--queue", "14", "--workers", "2")
    try:
        server.post(server.connect(), path, data)
        load = _load(server, path, data, 32, args.seconds)
        print(f"32 clients for 16 places: {load.told} (200 and 503 alone). p50 {_ms(load.p50)}, p99 {_ms(load.p99)}.\n", flush=True)
        assert set(load.statuses) <= {200, 503}, load.statuses
    finally:
        server.stop()
    _together(args.style, args.side)


def _picture(side: int) -> bytes:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (side // 16, side // 16, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    coarse.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


@dataclass
class Load:
    """What clients got."""

    times: list[float]
    """Seconds of each picture that was painted."""
    statuses: "Counter[int]"
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds

    @property
    def p50(self) -> float:
        return float(np.percentile(self.times, 50))

    @property
    def p99(self) -> float:
        return float(np.percentile(self.times, 99))

    @property
    def told(self) -> str:
        return ", ".join(f"{count:,} x {status}" for status, count in sorted(self.statuses.items()))


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"


def _load(server: Server, path: str, data: bytes, clients: int, seconds: float) -> Load:
    """``clients`` that send one picture after the other; one that gets no answer ends the benchmark."""
    times, statuses, lock = list[float](), Counter[int](), threading.Lock()
    end = time.perf_counter() + seconds

    def client(_: int) -> None:
        connection = server.connect()
        while time.perf_counter() < end:
            start = time.perf_counter()
            status = server.post(connection, path, data)
            with lock:
                statuses[status] += 1
                if status == 200:
                    times.append(time.perf_counter() - start)
            if status == 503:
                time.sleep(0.05)  # less than Retry-After says: this is to be overload

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return Load(times, statuses, time.perf_counter() - start)


def _growth(server: Server, path: str, data: bytes, count: int) -> str:
    """Memory after a tenth of the pictures, and after all."""
    connection, marks = server.connect(), list[float]()
    for number in range(count):
        server.post(connection, path, data)
        if number + 1 in (count // 10, count):
            marks.append(server.memory())
    growth = marks[-1] / marks[0] - 1
    return f"Memory after {count // 10:,} pictures: {marks[0]:.0f} MB; after {count:,}: {marks[-1]:.0f} MB ({growth:+.1%}; within 5 %)."


def _library(style: str, data: bytes) -> float:
    """Seconds of a picture from bytes to bytes by `limner.load`."""
    loaded, times = limner.load(style), []
    for _ in range(12):
        start = time.perf_counter()
        image.encode(loaded.paint(image.decode(io.BytesIO(data))), ".jpg")
        times.append(time.perf_counter() - start)
    return float(np.median(times[2:]))


def _apply(style: str, data: bytes) -> float:
    with tempfile.TemporaryDirectory() as place:
        photo = Path(place) / "photo.jpg"
        photo.write_bytes(data)
        start = time.perf_counter()
        for _ in range(3):
            command = [
                sys.executable,
                "-m",
                "limner",
                "apply",
                str(photo),
                "-s",
                style,
                "-o",
                str(photo.with_name("out.jpg")),
                "--overwrite",
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return (time.perf_counter() - start) / 3


def _together(style: str, side: int) -> None:
    """Pictures of one size through the engine at once."""
    print("| pictures at once |", " | ".join(str(count) for count in TOGETHER), "|\n| --- |" + " --- |" * len(TOGETHER))
    for runtime in ("openvino", "onnxruntime"):
        engine = limner.load(style, runtime=runtime).open()
        rates = [_rate(engine, count, side) for count in TOGETHER]
        print(f"| {runtime} |", " | ".join(f"{rate:.1f}/s, {rate / rates[0]:.2f} x" for rate in rates), "|", flush=True)


def _rate(engine: Engine, count: int, side: int) -> float:
    """Pictures a second, the best of several."""
    photos = np.random.default_rng(0).random((count, 3, side, side), np.float32)
    engine(photos)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        engine(photos)
        times.append(time.perf_counter() - start)
    return count / min(times)


if __name__ == "__main__":
    main()
