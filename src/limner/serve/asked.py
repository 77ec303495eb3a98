"""What a client may ask for: the options of ``limner apply`` that are no business of the server's alone."""

from collections.abc import Mapping
from dataclasses import fields
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, cast, get_args, get_type_hints

from docstring_parser import parse_from_object
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from limner.batch.options import Options
from limner.gallery import bundled
from limner.serve import problems
from limner.serve.problems import Problem

NOT_OFFERED = ("runtime", "device", "executor", "overwrite", "max_pixels", "film")
"""Options that choose what the machine does, and not what the picture looks like; and those of films, which are not taken."""

BOUNDS: dict[str, dict[str, float]] = {
    "strength": {"ge": 0, "le": 1},
    "quality": {"ge": 1, "le": 100},
    "max_size": {"ge": 1, "le": 1_000_000},
    "stroke_size": {"ge": 0.5, "le": 2},
    "working_size": {"ge": 0, "le": 1 << 16},
}


class _Base(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, title="Options")


def _model() -> type[BaseModel]:
    """A model with the fields, types, defaults and texts of ``Options``. A style is a name here: paths are never opened."""
    kinds, texts = get_type_hints(Options), {each.arg_name: each.description for each in parse_from_object(Options).params}
    kinds["style"] = Literal[("", *bundled.names())]
    wanted: dict[str, Any] = {}
    for each in fields(Options):
        if each.name not in NOT_OFFERED:
            text = " ".join((texts[each.name] or "").split())
            bounds = BOUNDS.get(each.name, {})
            if each.name in ("max_size", "working_size"):  # bounds are those of the number, where it is one
                kinds[each.name] = _bounded(kinds[each.name], bounds)
                bounds = {}
            wanted[each.name] = (kinds[each.name], Field(each.default, description=text, **cast(Any, bounds)))
    return cast(type[BaseModel], create_model("Asked", __base__=_Base, **wanted))


def _bounded(kind: Any, bounds: dict[str, float]) -> Any:
    return reduce(or_, (Annotated[int, Field(**cast(Any, bounds))] if each is int else each for each in get_args(kind)))


if TYPE_CHECKING:
    Asked: TypeAlias = BaseModel
else:
    Asked = _model()
    """``Options`` as a client gives them."""


def read(values: Mapping[str, str]) -> Options:
    """The options among the fields of a form or an address. Raises ``Problem`` where they are none."""
    try:
        return Options(**Asked.model_validate(dict(values)).model_dump())
    except ValidationError as error:
        raise Problem(422, problems.sentence(error.errors())) from error
