"""A painter between two: the mean of the weights of two style files, of which one was trained on from the other, or both from a third.

    python runs/mean_of_weights.py strong/style.onnx hand/style.onnx 0.85 great.onnx

``0.85`` is the first one's share. Networks that come from one start may be averaged (Wortsman et al., "Model Soups", ICML 2022,
https://arxiv.org/abs/2203.05482): the result paints between the two. What a painting's statistics overdo (specks of its strongest colour,
scattered over faces and skies) is gone with a fifth of the hand they came from. The canvas and all else that is not learnt stay the
first one's, as does the card.
"""

import argparse
from pathlib import Path

from limner.gallery import card, weights
from limner.methods import contract
from limner.training import export

FIXED = ("canvas.",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("share", type=float)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    about, own, other = card.read(given.first), weights.load(given.first), weights.load(given.second)
    network = contract.rebuild(about.method, about.network)
    with_names = network.state_dict()
    mean = {
        name: value if name.startswith(FIXED) else given.share * value.float() + (1 - given.share) * other[name].float()
        for name, value in own.items()
        if name in with_names
    }
    network.load_state_dict(mean)
    made = {"network", "multiple_of", "min_side", "receptive_field", "parameters", "weights_sha256", "limner_version"}
    kept = {name: value for name, value in vars(about).items() if name not in made}
    export.write(network, kept, given.out, compact=True)


if __name__ == "__main__":
    main()
