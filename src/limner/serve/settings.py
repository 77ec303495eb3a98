"""How a server is set up: the options of ``limner serve``."""

import ipaddress
from dataclasses import dataclass

from limner import limits
from limner.errors import require


@dataclass(frozen=True)
class Settings:
    """Options of ``limner serve``."""

    host: str = "127.0.0.1"
    """Address to listen on. Others than this machine's own need an API key, or that everybody may come in (no-auth)."""
    port: int = 8000
    """Port to listen on; 0 takes a free one."""
    api_key: str = ""
    """Whoever asks must know this key (`Authorization: Bearer KEY`); the page asks for it."""
    no_auth: bool = False
    """Listen on an address that others reach, and let everybody in."""
    allow_host: tuple[str, ...] = ()
    """Names under which a proxy on this machine hands requests on, where it keeps the name that was asked for."""
    workers: int = 2
    """Pictures in work at a time: while one is painted, others are read and written."""
    queue: int = 32
    """Pictures that may wait; when so many do, others are asked to come later (503)."""
    jobs: int = 8
    """Jobs that may wait or be in work."""
    seconds: float = 60
    """What a picture may take, waiting included. Jobs may take longer."""
    upload_seconds: float = 60
    """What an upload may take."""
    max_upload: int = 100_000_000
    """Bytes of an upload."""
    max_pixels: int = 50_000_000
    """Refuse pictures with more pixels than this."""


def check(settings: Settings) -> None:
    """Raise ``LimnerError`` where a server cannot, or must not, be run like this."""
    require(0 <= settings.port <= 65_535, f"A port of {settings.port} is not possible: give a number up to 65535.")
    for name in ("workers", "queue", "jobs", "seconds", "upload_seconds", "max_upload", "max_pixels"):
        least = 0 if name == "queue" else 1
        require(getattr(settings, name) >= least, f"A `{name}` of {getattr(settings, name):g} is not possible: give at least {least}.")
    require(settings.max_pixels <= limits.PIXELS, f"A `max_pixels` of {settings.max_pixels:,} is not possible: {limits.PIXELS:,} at most.")
    require(
        is_own(settings.host) or bool(settings.api_key) or settings.no_auth,
        f"On {settings.host} others reach this server: give `api_key` a key that they must know, or say `no_auth` to let everybody in.",
    )
    require(settings.api_key.isascii() and settings.api_key.isprintable(), "An API key is made of letters, digits and signs of ASCII.")


def is_own(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
