"""Which batch does the work: that of this process, or that of many machines."""

import importlib.util
from collections.abc import Callable, Sequence

from limner.batch.batch import Batch, Options
from limner.errors import require


def open_batch(inputs: Sequence[str], out: str | None, options: Options, tell: Callable[[str], None]) -> Batch:
    """The batch that ``options`` ask for; arguments and errors are those of ``Batch``."""
    if options.executor == "ray":
        require(
            all(importlib.util.find_spec(package) is not None for package in ("ray", "pyarrow")),
            "`executor` ray needs the extra packages of limner[ray]: pip install 'limner[ray]'.",
        )
        from limner.batch.ray_engine import RayBatch

        return RayBatch(inputs, out, options, tell)
    for name in (*inputs, out or ""):
        require("://" not in name and not name.endswith(".parquet"), f"{name} is for Ray Data: set `executor` to ray.")
    return Batch(inputs, out, options, tell)
