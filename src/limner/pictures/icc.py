"""Colour profiles: samples of any ICC profile to sRGB, and sRGB pixels back to the profile they came in.

Colours are converted by Little CMS through imagecodecs, which is loaded when the first profile turns up. Pillow's ImageCms would
convert 8 bits only.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_srgb(samples: NDArray[Any], icc: bytes | None) -> tuple[NDArray[Any], bytes | None]:
    """uint8 or uint16 HW grey, HWC RGB or HWC CMYK (0 = no ink) -> HWC sRGB, and the profile to write it back with, if any."""
    model = "gray" if samples.ndim == 2 else {3: "rgb", 4: "cmyk"}[samples.shape[2]]
    space = icc[16:20] if icc else b""  # of the samples that the profile is made for
    if icc and (model, space) in (("gray", b"GRAY"), ("cmyk", b"CMYK")):
        import imagecodecs

        try:
            return _transform(samples, icc, _srgb(), model), None
        except imagecodecs.CmsError:
            pass  # a broken profile is no reason to refuse the picture: go on as if it had none
    if model == "cmyk":
        full = np.uint32(np.iinfo(samples.dtype).max)
        light = full - samples.astype(np.uint32)
        return ((light[..., :3] * light[..., 3:] + full // 2) // full).astype(samples.dtype), None
    if model == "gray":
        samples = np.repeat(samples[..., None], 3, axis=2)
    if icc and space == b"RGB " and (kind := _profile_kind(icc)) != "broken":
        return samples if kind == "srgb" else _transform(samples, icc, _srgb()), None if kind == "in" else icc
    return samples, None


def from_srgb(pixels: NDArray[Any], icc: bytes | None) -> NDArray[Any]:
    """uint8 or uint16 HWC sRGB -> HWC RGB in a profile that `to_srgb` gave back; None: stays sRGB."""
    if icc is None or _profile_kind(icc) == "srgb":
        return pixels
    return _transform(np.ascontiguousarray(pixels), _srgb(), icc)


@functools.cache
def _srgb() -> bytes:
    import imagecodecs

    return bytes(imagecodecs.cms_profile("srgb"))


def _transform(samples: NDArray[Any], source: bytes, target: bytes, model: str = "rgb") -> NDArray[Any]:
    """Relative colorimetric with black point compensation, at the depth of the samples. Raises imagecodecs.CmsError."""
    import imagecodecs

    flags = int(imagecodecs.CMS.FLAGS.BLACKPOINTCOMPENSATION)
    if samples.dtype == np.uint16:  # the optimised tables of lcms are off by up to 1/255, which 16 bits would show
        flags |= imagecodecs.CMS.FLAGS.NOOPTIMIZE
    converted: NDArray[Any] = imagecodecs.cms_transform(
        samples,
        source,
        target,
        colorspace=model,
        outcolorspace="rgb",
        intent=imagecodecs.CMS.INTENT.RELATIVE_COLORIMETRIC,
        flags=flags,
    )
    return converted


@functools.lru_cache(maxsize=32)
def _profile_kind(icc: bytes) -> str:
    """What an RGB profile is good for: "srgb", "both" ways, "in" only (some scanner profiles) or "broken"."""
    import imagecodecs

    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    try:
        seen = _transform(cube, icc, _srgb())
    except imagecodecs.CmsError:
        return "broken"
    if np.abs(seen.astype(int) - cube).max() <= 1:
        return "srgb"
    try:
        _transform(cube, _srgb(), icc)
    except imagecodecs.CmsError:
        return "in"
    return "both"
