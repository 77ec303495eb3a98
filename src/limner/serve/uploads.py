"""What comes in: bounded in bytes and in time, and never written where a client says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from limner.batch.options import Options
from limner.serve import asked
from limner.serve.problems import Problem
from limner.serve.settings import Settings
from limner.serve.studio import Photo

FIELD = 1000
"""Bytes of a form's field that is no file."""

PICTURES = 500
"""Pictures of one job."""


@dataclass(frozen=True)
class Order:
    """What a client sends: photographs, what to do with them, and perhaps a style file of its own."""

    photos: Sequence[Photo]
    options: Options
    own: bytes | None = None


def limited(request: Request, settings: Settings) -> Request:
    """The same request, whose body ends in a ``Problem`` when it is too long or takes too long."""
    deadline = asyncio.get_running_loop().time() + settings.upload_seconds
    length = request.headers.get("content-length", "0")
    too_much = Problem(413, f"The upload has more than the {settings.max_upload:,} bytes that this server takes: send less at a time.")
    if length.isdecimal() and int(length) > settings.max_upload:
        raise too_much

    def within(receive: Receive) -> Receive:
        received = 0

        async def bounded() -> Message:
            nonlocal received
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                sentence = f"The upload was not whole after {settings.upload_seconds:g} seconds: send less, or over a faster line."
                raise Problem(408, sentence, {"Connection": "close"}) from error
            received += len(message.get("body", b""))
            if received > settings.max_upload:
                raise too_much
            return message

        return bounded

    return Request(request.scope, within(request.receive))


async def read(request: Request, settings: Settings, most: int = 1) -> Order:
    """The order in a request: a form with pictures and options in it, or a picture's bytes, with options in the address.

    Raises ``Problem`` where it is none.
    """
    request = limited(request, settings)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    values = dict(request.query_params)
    if kind == "multipart/form-data":
        return await _form(request, values, most)
    if not (kind in ("", "application/octet-stream") or kind.startswith("image/")):
        raise Problem(415, f"{kind!r} is no picture: send multipart/form-data, or a picture's bytes as image/jpeg and the like.")
    options = asked.read(values)
    return Order([Photo(await request.body())], options)


async def _form(request: Request, values: dict[str, str], most: int) -> Order:
    try:
        async with request.form(max_files=most + 1, max_fields=50, max_part_size=FIELD) as form:
            return await _order(form, values, most)
    except HTTPException as error:  # starlette's, of a form that is no form
        raise Problem(400, f"The form cannot be read: {error.detail}") from error


async def _order(form: FormData, values: dict[str, str], most: int) -> Order:
    photos, own = list[Photo](), None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            if name == "image":
                photos.append(Photo(await value.read(), value.filename or ""))
            elif name == "style_file":
                own = await value.read()
            else:
                raise Problem(422, f"{name}: a form has files called image and style_file, and no others.")
        elif name in ("image", "style_file"):
            raise Problem(422, f"{name}: send a file; Limner opens no paths and no addresses.")
        else:
            values[name] = value
    if not 1 <= len(photos) <= most:
        raise Problem(422, f"image: send {'one picture' if most == 1 else f'1 to {most} pictures'}, not {len(photos)}.")
    return Order(photos, asked.read(values), own)
