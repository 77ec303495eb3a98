"""Servers for the tests: in a thread, to look into, or in a process of their own, as users start them."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from limner.serve.app import Server, create
from limner.serve.settings import Settings

PATIENCE = 300.0
"""Seconds after which a test gives up: only where something hangs."""


@dataclass
class Process:
    """A `limner serve`."""

    url: str
    process: "subprocess.Popen[str]"

    def memory(self) -> float:
        """Megabytes that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return float(status.split("VmRSS:")[1].split()[0]) / 1e3

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, **more)


@contextmanager
def process(*flags: str) -> Iterator[Process]:
    """`limner serve` on a free port, ready."""
    started = subprocess.Popen(
        [sys.executable, "-m", "limner", "serve", "--port", "0", *flags],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert started.stdout is not None
        served = Process(started.stdout.readline().strip(), started)
        with served.client() as client:
            until(lambda: client.get("/readyz").status_code == 200)
        yield served
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGTERM)
        started.wait(PATIENCE)
        assert started.stdout is not None
        started.stdout.close()


@dataclass
class Thread:
    """A server in this process."""

    url: str
    server: Server

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False, **more)


@contextmanager
def thread(**settings: Any) -> Iterator[Thread]:
    """A server with these settings."""
    app = create(Settings(port=0, **settings))
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=5))
    worker = threading.Thread(target=running.run)
    worker.start()
    try:
        until(lambda: running.started and app.state.server.is_ready)
        host, port = running.servers[0].sockets[0].getsockname()[:2]
        yield Thread(f"http://{host}:{port}", app.state.server)
    finally:
        running.should_exit = True
        worker.join(PATIENCE)
        assert not worker.is_alive()


def until(holds: Any) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
