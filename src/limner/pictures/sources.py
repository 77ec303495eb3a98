"""Where training pictures come from: folders, films, tar shards and .npz files, all read by number.

A source knows how many pictures it has before it has read one, and reads any of them in any order from any thread. So a training
shuffles sets far larger than memory as well as small ones, and the same number always gives the same picture.
"""

from __future__ import annotations

import io
import logging
import math
import tarfile
import zipfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate, groupby
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from limner import limits
from limner.errors import LimnerError, require
from limner.pictures import formats, image, tones

logger = logging.getLogger("limner")

FILMS = frozenset((".mp4", ".mkv", ".mov", ".avi", ".webm", ".m4v"))
"""Lower-case suffixes of films; reading them needs PyAV, the extra `video`."""

_CLOCK = 1e-3  # seconds; containers round the times of their frames, Matroska to a millisecond
_BT709, _UNTAGGED = 1, 2  # ffmpeg's numbers; films that do not say are BT.601 where they are small, BT.709 from HD on


class Source(Protocol):
    """Pictures by number: random access, from many threads at once."""

    path: Path
    """The file or folder that was opened."""
    kind: str
    """One of "folder", "npz", "film", "shards"."""

    def __len__(self) -> int: ...

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        """Picture n, uint8 HWC RGB (sRGB, alpha laid over white), perhaps read-only. LimnerError where that one cannot be read."""

    def key(self, n: int) -> str:
        """A stable name of picture n that no other of the source has: "a/b.jpg", "clip.mp4#t=12", "set.npz#a/17"."""


def without_suffix(key: str) -> str:
    """A source's key without the suffix of a picture file."""
    suffix = Path(key).suffix
    return key.removesuffix(suffix) if suffix.lower() in image.SUFFIXES else key


def open_source(path: Path, *, domain: str = "", every: float = 1.0) -> Source:
    """The pictures of a folder (searched at any depth), a picture, a film, a tar shard or an .npz file.

    A folder may hold all of these; they follow one another in the order of their names, and one that cannot be opened counts as one
    picture that cannot be read. Films give a frame `every` so many seconds; `domain`, "a" or "b", chooses from an .npz with two.
    Raises LimnerError where there is no picture, or the file is damaged.
    """
    if not _CLOCK <= every < float("inf"):
        raise LimnerError(f"A frame every {every:g} seconds is not possible: give a number of seconds above 0.")
    if not path.is_dir():
        return _open_file(path, path.name, domain, every)
    parts: list[Source] = []
    left_out = Counter[str]()
    found = image.find(path, image.SUFFIXES | FILMS | {".npz", ".tar"}, left_out)
    if left_out:
        logger.warning("left out of %s, not known as pictures: %s", path, image.told_left_out(left_out))
    for pictures, files in groupby(found, key=lambda file: file.suffix.lower() in image.SUFFIXES):
        if pictures:
            parts.append(PictureFiles(path, list(files)))
            continue
        for file in files:
            try:
                parts.append(_open_file(file, file.relative_to(path).as_posix(), domain, every))
            except LimnerError as error:
                parts.append(_Unreadable(file, file.relative_to(path).as_posix(), error))
    if not parts:
        raise LimnerError(f"There are no pictures in {path}: name a folder that holds some (folders inside it are searched too).")
    return parts[0] if len(parts) == 1 else _Joined(path, parts)


def _open_file(path: Path, name: str, domain: str, every: float) -> Source:
    suffix = path.suffix.lower()
    if not path.exists():
        raise LimnerError(f"{path} does not exist: check the name and the folder.")
    if suffix in image.SUFFIXES:
        return PictureFiles(path.parent, [path])
    with formats.decoding(str(path)):
        limits.open_file(path).close()  # no pipe, which would be waited for
    if suffix in FILMS:
        return Film(path, name, every)
    if suffix == ".npz":
        return Npz(path, name, domain)
    if suffix == ".tar":
        return Shard(path, name)
    raise LimnerError(f"{path} holds no pictures that Limner knows: give a folder, a picture, a film, a .tar (not compressed) or a .npz.")


class PictureFiles:
    """Picture files of one folder."""

    kind = "folder"

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self.path, self.files = folder, files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        return image.flat(image.read(self.files[n]))

    def key(self, n: int) -> str:
        return self.files[n].relative_to(self.path).as_posix()


class Npz:
    """A compressed NumPy file of uint8 NHWC RGB: `images`, or the two domains `a` and `b`. Kept decoded in memory."""

    kind = "npz"

    def __init__(self, path: Path, name: str, domain: str) -> None:
        self.path, self.name = path, name
        with formats.decoding(str(path)), zipfile.ZipFile(path) as file:
            arrays = sorted(name.removesuffix(".npy") for name in file.namelist())
            if domain not in arrays and "images" not in arrays:
                if {"a", "b"} <= set(arrays):
                    raise LimnerError(f"{path} holds the two domains a and b: say which of them is wanted.")
                held = ", ".join(arrays[:10]) or "nothing"
                raise LimnerError(f"{path} holds {held}: it must hold an array named images, or the two arrays a and b.")
            self.array = domain if domain in arrays else "images"
            with file.open(f"{self.array}.npy") as packed:
                shape, in_rows, dtype = _npy_header(packed)
                if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3 or not math.prod(shape):
                    raise LimnerError(f"The array `{self.array}` of {path} is {dtype} {shape}: it must be uint8 [N, height, width, 3].")
                most = min(limits.ARRAY, limits.memory() / 2)
                require(
                    math.prod(shape) <= most,
                    f"{path} holds {math.prod(shape) / 1e9:,.1f} GB of pictures, more than the {most / 1e9:.1f} GB that fit into memory: "
                    "put them into a folder or tar shards.",
                )
                self.images: NDArray[np.uint8] = np.empty(shape[::-1] if not in_rows else shape, np.uint8)
                _fill(self.images, packed)
                self.images = self.images if in_rows else self.images.T
        self.images.setflags(write=False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        picture: NDArray[np.uint8] = self.images[n]
        return picture

    def key(self, n: int) -> str:
        return f"{self.name}#{self.array}/{n}"


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether its last axis is contiguous, dtype) of a .npy file; nothing of it is unpickled or laid into memory."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read(file)
    if any(side < 0 for side in shape):
        raise ValueError("its shape is negative")
    return shape, not in_columns, dtype


def _fill(array: NDArray[np.uint8], file: IO[bytes]) -> None:
    data = array.reshape(-1)
    at = 0
    while at < data.size:
        part = file.read(min(data.size - at, 1 << 24))
        if not part:
            raise ValueError("it ends before its last picture")
        data[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)


class Film:
    """Frames of a film: the first, and one `every` so many seconds after it."""

    kind = "film"

    def __init__(self, path: Path, name: str, every: float) -> None:
        self.path, self.name, self.every = path, name, every
        with _film(path, str(path)) as (container, stream):
            self.first = float((stream.start_time or 0) * stream.time_base)
            length = _last_time(container, stream) - self.first
            # Even a still picture takes some bytes a second; a film that says it lasts for years would be listed name by name.
            require(
                length <= max(3600.0, float(path.stat().st_size)) and length / every < limits.MEMBERS,
                f"{path} says that it lasts {length:,.0f} seconds, which is not possible, or too many frames: copy or download it again, "
                "or take fewer of them (`every`).",
            )
            self.count = int((length + _CLOCK) / every) + 1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        n = range(self.count)[n]
        wanted, name = self.first + n * self.every, f"{self.path} at {self._time(n)} s"
        # A container of its own for each read: decoders have a state, and other threads read other frames.
        with _film(self.path, name) as (container, stream):
            container.seek(int(wanted / stream.time_base), stream=stream)  # to the key frame before it
            for frame in container.decode(stream):
                if frame.time is not None and frame.time >= wanted - _CLOCK:
                    return film_pixels(frame, stream)
        raise LimnerError(f"{name} has no frame that can be decoded: copy or download it again.")

    def key(self, n: int) -> str:
        return f"{self.name}#t={self._time(n)}"

    def _time(self, n: int) -> str:
        return f"{n * self.every:.3f}".rstrip("0").rstrip(".")


@contextmanager
def _film(path: Path, name: str) -> Iterator[tuple[Any, Any]]:
    """(PyAV's container, its first video stream); errors begin with `name`."""
    try:
        import av
    except ImportError as error:
        raise LimnerError(f"{path} is a film, which needs one more package: pip install 'limner[video]'.") from error
    with formats.decoding(name), av.open(f"file:{path}") as container:  # "file:", for ffmpeg takes "a:b.mp4" for a protocol
        stream: Any = container.streams.best("video")  # not the cover that some files carry
        if stream is None or stream.codec_context is None:
            raise LimnerError(f"{path} has no pictures that can be decoded: leave it out, or copy or download it again.")
        if stream.width * stream.height > image.DEFAULT_MAX_PIXELS:
            raise LimnerError(f"{path} is {stream.width} x {stream.height} pixels, more than Limner reads: make it smaller.")
        stream.codec_context.thread_count = 1  # there is a thread for each frame that is read
        yield container, stream


def _last_time(container: Any, stream: Any) -> float:
    """Seconds of the last frame, from the packets themselves: headers tell the sound's end, or that of a film before it was cut."""
    start = stream.start_time or 0
    duration = stream.duration or int((container.duration or 0) / 1e6 / stream.time_base)
    times: list[int] = []
    for place in (start + duration, start):  # from the last key frame; from the beginning where that finds none
        container.seek(place, stream=stream)
        stamps = (packet.dts if packet.pts is None else packet.pts for packet in container.demux(stream))
        times = [stamp for stamp in stamps if stamp is not None]
        if times:
            break
    return float(max(times) * stream.time_base)


def film_pixels(frame: Any, stream: Any) -> NDArray[np.uint8]:
    """A frame as it is shown: upright, its pixels square, its colours those that players take it for, high dynamic range as sRGB."""
    if frame.colorspace == _UNTAGGED and frame.height > 576:
        frame.colorspace = _BT709
    aspect = float(stream.sample_aspect_ratio or 1)
    width = round(frame.width * aspect) if 0.25 <= aspect <= 4 else frame.width
    transfer = tones.HDR.get(stream.codec_context.color_trc)
    pixels = tones.mapped(frame, width, transfer) if transfer else frame.reformat(width=width, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


class Shard:
    """An uncompressed tar in WebDataset's layout. Its headers are read once; a picture is then one plain read from its place."""

    kind = "shards"

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with formats.decoding(str(path)), tarfile.open(path, "r:") as tar:
            files = {
                member.name: (member.offset_data, member.size) for member in _members(tar, path) if member.isreg() and not member.issparse()
            }
        self.members = [(member, *files[member]) for member in _pictures_of_samples(list(files))]
        if not self.members:
            raise LimnerError(f"There are no pictures in {path}: name a tar that holds some.")

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        member, offset, size = self.members[n]
        name = f"{self.path}/{member}"
        require(size <= limits.PIPE, f"{name} has {size:,} bytes, more than the {limits.PIPE:,} of a picture in an archive: leave it out.")
        with formats.decoding(name), self.path.open("rb") as file:
            file.seek(offset)
            data = file.read(size)
        return image.flat(image.decode(io.BytesIO(data), name))

    def key(self, n: int) -> str:
        return f"{self.name}/{self.members[n][0]}"


def _members(tar: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """Headers of an archive, which is read once; a member that claims to be larger than the archive ends it."""
    whole = path.stat().st_size
    for count, member in enumerate(tar):
        require(count < limits.MEMBERS, f"{path} has more than {limits.MEMBERS:,} members: divide it.")
        if member.isreg() and member.offset_data + member.size > whole:
            raise ValueError(f"{member.name} ends after the archive")
        tar.members = []  # type: ignore[attr-defined]  # each would be kept for ever
        yield member


def _pictures_of_samples(names: list[str]) -> list[str]:
    """Names of the pictures: of a sample's files, all that share the name up to the first dot, 7.jpg is one and 7.mask.png is not."""
    dots: dict[str, int] = {}
    pictures = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if not base.startswith(".") and Path(base).suffix.lower() in image.SUFFIXES:
            sample = f"{folder}/{base.partition('.')[0]}"
            dots[sample] = min(base.count("."), dots.get(sample, base.count(".")))
            pictures.append((name, sample, base.count(".")))
    return [name for name, sample, count in pictures if count == dots[sample]]


class _Unreadable:
    """A film, shard or .npz of a folder that cannot be opened: one picture, which tells why when it is read."""

    kind = "folder"

    def __init__(self, path: Path, name: str, error: LimnerError) -> None:
        self.path, self.name, self.sentence = path, name, str(error)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        raise LimnerError(self.sentence)

    def key(self, n: int) -> str:
        return self.name


class _Joined:
    """All that a folder holds, one after the other."""

    kind = "folder"

    def __init__(self, path: Path, parts: list[Source]) -> None:
        self.path, self.parts = path, parts
        self.ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, n: int) -> NDArray[np.uint8]:
        part, n = self._place(n)
        return part[n]

    def key(self, n: int) -> str:
        part, n = self._place(n)
        return part.key(n)

    def _place(self, n: int) -> tuple[Source, int]:
        n = range(len(self))[n]
        k = bisect_right(self.ends, n)
        return self.parts[k], n - (self.ends[k - 1] if k else 0)
