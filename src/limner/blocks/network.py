"""What every network that becomes a style file says of itself."""

from pathlib import Path

from torch import nn

from limner.errors import LimnerError
from limner.gallery import weights


class StyleNetwork(nn.Module):
    """A network that becomes a style file: ``forward`` maps float32 NCHW RGB in [0, 1] to the same."""

    arguments: dict[str, int]
    """What its class is called with to build it again."""
    multiple_of: int
    """Height and width must be multiples of this."""
    min_side: int
    """The smallest height and width that it can take (a multiple of ``multiple_of``)."""
    receptive_field: int
    """Side of the square of input pixels that one output pixel sees, normalisation aside."""

    may_lack: tuple[str, ...] = ()
    """How names of weights begin that what it starts from need not have, or may have of another kind: then its own stay."""

    def start_from(self, path: Path) -> None:
        """Take the weights in ``path``, a style file or the .safetensors beside it. Raises ``LimnerError`` where it holds others."""
        found, own = weights.load(path), self.state_dict()
        if path.suffix == ".onnx":
            found = {name: value for name, value in found.items() if name in own}
        others, ours = ({name: value for name, value in each.items() if name.startswith(self.may_lack)} for each in (found, own))
        if {name: value.shape for name, value in others.items()} != {name: value.shape for name, value in ours.items()}:
            found = {name: value for name, value in found.items() if name not in others} | ours
        try:
            self.load_state_dict(found)
        except RuntimeError as error:
            arguments = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
            raise LimnerError(
                f"{path} does not hold the weights of this network ({arguments}): name a style file of the same method, trained with the "
                "same options of the network."
            ) from error
