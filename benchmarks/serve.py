"""`limner serve` on loopback: pictures a second, how long they take, what happens when too many come, and whether it grows.

    python benchmarks/serve.py [--pictures 2000] [--side 512] [--style starry-night]

Prints: seconds from starting the server to the first picture; a table for 1, 8 and 64 clients that send one picture after the other; what
becomes of twice as many clients as the line has places; and the server's memory over so many pictures. Beside it, in one run: the same
pictures by library calls one after the other, and `limner apply` of them one process each, so that every number is a ratio as well.
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
from pathlib import Path

import numpy as np
from PIL import Image

CLIENTS = (1, 8, 64)
SECONDS = 20.0
"""For each number of clients."""


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
    parser.add_argument("--style", default="starry-night")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    args = parser.parse_args()
    data, path = _picture(args.side), f"/v1/stylize?style={args.style}"
    queue = 2 * max(CLIENTS)

    server = Server("--queue", str(queue))
    try:
        status = server.post(server.connect(), path, data)
        print(f"From starting the server to the first picture: {time.perf_counter() - server.start:.2f} s (status {status}).\n")
        alone = _library(args.style, data)
        each = _apply(args.style, data)
        print(f"Library calls, one after the other: {1 / alone:.1f} pictures/s; `limner apply`, a process each: {1 / each:.2f}.\n")
        print("| clients | pictures/s | of library calls | p50 | p99 | p99 / p50 | answers |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for clients in CLIENTS:
            times, statuses, seconds = _load(server, path, data, clients, args.seconds)
            p50, p99 = np.percentile(times, [50, 99])
            rate = len(times) / seconds
            told = ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))
            print(
                f"| {clients} | {rate:.1f} | {rate * alone:.2f} | {p50 * 1e3:.0f} ms | {p99 * 1e3:.0f} ms | {p99 / p50:.2f} | {told} |",
                flush=True,
            )
        print(f"\n{_growth(server, path, data, args.pictures)}")
    finally:
        server.stop()

    server = Server("--queue", "14", "--workers", "2")
    try:
        server.post(server.connect(), path, data)
        times, statuses, _ = _load(server, path, data, 32, args.seconds)
        told = ", ".join(f"{count:,} x {status}" for status, count in sorted(statuses.items()))
        p50, p99 = np.percentile(times, [50, 99])
        print(f"\nOverload, 32 clients for 16 places: {told}; nobody without an answer. p50 {p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms.")
        assert set(statuses) <= {200, 503}, statuses
    finally:
        server.stop()


def _picture(side: int) -> bytes:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (side // 16, side // 16, 3), np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    coarse.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _load(server: Server, path: str, data: bytes, clients: int, seconds: float) -> tuple[list[float], "Counter[int]", float]:
    """Times of the pictures that were painted, how many answers of each status, and how long it took."""
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
                time.sleep(0.05)

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return times, statuses, time.perf_counter() - start


def _growth(server: Server, path: str, data: bytes, count: int) -> str:
    """Memory after a tenth of the pictures, and after all."""
    connection, marks = server.connect(), list[float]()
    for number in range(count):
        server.post(connection, path, data)
        if number + 1 in (count // 10, count):
            marks.append(server.memory())
    growth = marks[-1] / marks[0] - 1
    return f"Memory after {count // 10:,} pictures: {marks[0]:.0f} MB; after {count:,}: {marks[-1]:.0f} MB ({growth:+.1%})."


def _library(style: str, data: bytes) -> float:
    """Seconds of a picture from bytes to bytes by `limner.load`."""
    import limner
    from limner.pictures import image

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


if __name__ == "__main__":
    main()
