"""How drawn pictures are: one number against cartoons, and measures that each say one thing.

Pictures and photographs are float32 NCHW RGB in [0, 1]; what is given in pairs is of the same shape, a picture and the photograph it was
made from at the same place. Results are scalar tensors, unless another shape is given.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from limner.blocks.adversarial import mmd
from limner.blocks.drawing import luma

LAYER = "relu2_2"
"""Layer of VGG-19 in which lines are compared: it sees 14 x 14 pixels, a line and what lies on both sides of it."""
WINDOW = 5
"""Side, in pixels, of the squares in which thin lines and flat areas are looked for: lines are up to four pixels wide."""


class DrawingDistance:
    """How far drawn pictures are from cartoons in the way in which they are drawn: 1 for their photographs, 0 for cartoons.

    Three parts are added up, and divided by what they are for the photographs; all look at grey pictures of equal mean and contrast
    (``levelled``), so that a palette gains nothing:

    - ``lines``: how far the strength of features in ``LAYER`` of VGG-19 is from the cartoons', over the photographs' distance: the kernel
      distance of Mikołaj Bińkowski et al., "Demystifying MMD GANs", 2018, https://arxiv.org/abs/1801.01401, on the standard deviation of
      each channel within a picture in the place of its mean, which is a matter of what is shown;
    - ``grain``: by how much there is more of it than in cartoons, as a part of half the photographs' own; less is no fault;
    - ``outlines``: by how much thin dark lines along the photographs' edges outweigh thin light ones less than in cartoons; more is no
      fault. It tells an outline from a halo.

    Checked on pictures made by hand, 128 x 128 pixels, in 200 draws of 24 of 48 photographs against 44 of 176 cartoons with outlines, of
    four artists (mean and deviation of the draws): other cartoons 0.07 and 0.08, flats + ink 0.17 and 0.03, photographs + ink 0.51 and
    0.07, flats with halos 0.56 and 0.14, with a cartoon's histogram 0.57 and 0.11, flats 0.66 and 0.16, recoloured to a cartoon's mean and
    deviation 0.97 and 0.04, flats + ink + noise of 0.03 1.11 and 0.19, sharpened 1.27 and 0.12, blurred (sigma 1) 1.55 and 0.27. With 16
    photographs and 16 cartoons flats + ink came before flats in 98 draws of 100, and flats before photographs in 92. Lines where the
    photograph has none count as lines: what is drawn must be held to the photograph by something else.
    """

    def __init__(self, see: Callable[[Tensor], dict[str, Tensor]], cartoons: Sequence[Tensor], photos: Sequence[Tensor]) -> None:
        """``see`` is VGG-19 with ``LAYER``. Sets are lists of batches, of two pictures or more in all, at the scale of the photographs."""
        self.see, self.photos = see, list(photos)
        self.cartoons = self._strengths(cartoons)
        self.scale = self.cartoons.square().mean().sqrt() + 1e-6
        self.grain = joined(grain, cartoons).mean()
        self.balance = balance(joined(top_hats, cartoons, cartoons)).clamp_min(0.02)
        self.lines_of_photos = self._lines(self.photos).clamp_min(1e-6)
        self.grain_of_photos = joined(grain, self.photos).mean() + 1e-6
        self.of_photos = self._total(self.photos)

    def __call__(self, drawn: Sequence[Tensor]) -> Tensor:
        """Of what was drawn from the photographs: in the same batches, and of the same shapes."""
        return self._total(drawn) / self.of_photos

    def parts(self, drawn: Sequence[Tensor]) -> dict[str, Tensor]:
        """``lines``, ``grain`` and ``outlines``, not divided."""
        return {
            "lines": self._lines(drawn) / self.lines_of_photos,
            "grain": 2 * F.relu(joined(grain, drawn).mean() - self.grain) / self.grain_of_photos,
            "outlines": F.relu(1 - balance(joined(top_hats, drawn, self.photos)) / self.balance),
        }

    def _total(self, drawn: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(self.parts(drawn).values())).sum()

    def _lines(self, pictures: Sequence[Tensor]) -> Tensor:
        return mmd(self._strengths(pictures) / self.scale, self.cartoons / self.scale)

    def _strengths(self, pictures: Sequence[Tensor]) -> Tensor:
        """N x C: standard deviation of each channel within each picture."""
        return joined(lambda batch: self.see(levelled(batch))[LAYER].float().flatten(2).std(2), pictures)


def joined(measure: Callable[..., Tensor], *sets: Sequence[Tensor]) -> Tensor:
    """What ``measure`` finds in each batch, or each pair of batches, joined along the pictures."""
    return torch.cat([measure(*batches) for batches in zip(*sets, strict=True)])


def grain(pictures: Tensor) -> Tensor:
    """Of each levelled picture: the standard deviation within squares of 3 x 3 pixels that a quarter of its places stay below. N."""
    grey = levelled(pictures)[:, :1]
    found: Tensor = deviation(grey, 3).flatten(1).quantile(0.25, dim=1)
    return found


def balance(lines: Tensor) -> Tensor:
    """From -1, thin lines are light, to 1, thin lines are dark; of N x 2 ``top_hats``."""
    dark, light = lines.mean(0).unbind()
    return (dark - light) / (dark + light + 1e-6)


def levelled(pictures: Tensor) -> Tensor:
    """Grey pictures, N3HW, each with a mean of 0.5 and a standard deviation of 0.2."""
    grey = luma(pictures)
    deviation, mean = torch.std_mean(grey, (1, 2, 3), keepdim=True)
    return ((grey - mean) / (deviation + 1e-3) * 0.2 + 0.5).expand(-1, 3, -1, -1)


def outline_strength(pictures: Tensor, photos: Tensor) -> Tensor:
    """How much thin dark lines stand out along the photographs' edges, less thin light ones, in 255ths of levelled luma.

    Photographs -0.3, sharpened 0.3, flats -1.0, flats + ink 4.0, photographs + ink 3.5; cartoons along their own edges 2.9.
    """
    dark, light = top_hats(pictures, photos).mean(0).unbind()
    return 255 * (dark - light)


def light_rims(pictures: Tensor, photos: Tensor) -> Tensor:
    """How much more thin light lines stand out along edges than in the photographs, likewise: halos."""
    return 255 * (top_hats(pictures, photos) - top_hats(photos, photos)).mean(0)[1]


def top_hats(pictures: Tensor, photos: Tensor) -> Tensor:
    """How much thin dark, and thin light, lines stand out along each photograph's edges in its levelled picture: N x 2.

    Black and white top-hats (Fernand Meyer, 1979) of ``WINDOW`` pixels, within two pixels of the steepest tenth of a photograph.
    """
    steep = steepness(photos)
    edges = steep >= steep.flatten(1).quantile(0.9, dim=1).view(-1, 1, 1, 1)
    near = F.max_pool2d(edges.float(), 5, 1, 2)
    grey = levelled(pictures)[:, :1]
    hats = torch.cat([-dilated(-dilated(grey)) - grey, grey - dilated(-dilated(-grey))], 1)
    return (hats * near).sum((2, 3)) / near.sum((2, 3))


def flat_noise(pictures: Tensor, photos: Tensor) -> Tensor:
    """Grain, dirt and pattern where the photographs are flat: standard deviation within squares of ``WINDOW`` pixels, in 255ths of luma.

    Flat is where a photograph varies by less than a twentieth of what it does on its steepest tenth; of all such places the median, since a
    line may well run through some. Not a number where nothing is flat.
    Photographs 1.2, flats 0.0 with and without ink, cartoons along their own 0.7, photographs + noise of 0.05 11.6.
    """
    smooth = box(luma(photos), 3)
    size = dilated(smooth) + dilated(-smooth)
    flat = size < 0.05 * size.flatten(1).quantile(0.9, dim=1).view(-1, 1, 1, 1)
    return 255 * deviation(luma(pictures), WINDOW)[flat].median()


def spectral_peak(pictures: Tensor, photos: Tensor, period: int) -> Tensor:
    """How much a pattern that repeats every ``period`` pixels, across or down, stands out: 1 for the photographs themselves.

    Power of rows and of columns at that period, as a multiple of the median of the frequencies beside it, over the photographs' own.
    """
    return peak(pictures, period) / peak(photos, period)


def peak(pictures: Tensor, period: int) -> Tensor:
    found = []
    for lines in (luma(pictures), luma(pictures).mT):
        width = lines.shape[3] // period * period
        window = torch.hann_window(width, device=lines.device)
        power = torch.fft.rfft((lines[..., :width] - lines[..., :width].mean(3, keepdim=True)) * window).abs().square().mean((0, 1, 2))
        place = width // period
        beside = torch.cat([power[place - width // 16 : place - 2], power[place + 3 : place + 1 + width // 16]])
        found.append(power[place] / beside.median())
    return torch.stack(found).max()


def skin_hue_shift(pictures: Tensor, photos: Tensor) -> Tensor:
    """By how many degrees the hue of skin is turned, on average over the photographs with at least a hundredth of it.

    Skin is what lies at Cb 77 to 127 and Cr 133 to 173 of 255 (Douglas Chai, King Ngan, "Face Segmentation Using Skin-Color Map", 1999);
    hue is the direction of its mean (Cb, Cr). Not a number where there is none.
    """
    before, after = chroma(photos), chroma(pictures)
    blue, red = (255 * before + 128).unbind(1)
    skin = ((blue >= 77) & (blue <= 127) & (red >= 133) & (red <= 173))[:, None]
    enough = skin.float().mean((1, 2, 3)) >= 0.01
    angles = [torch.atan2(*(each * skin).sum((2, 3)).unbind(1)) for each in (before, after)]
    turned = (angles[1] - angles[0] + torch.pi) % (2 * torch.pi) - torch.pi
    return turned[enough].abs().mean().rad2deg()


def chroma(pictures: Tensor) -> Tensor:
    """Cb and Cr of ITU-R BT.601, N2HW, each in [-0.5, 0.5]."""
    grey = luma(pictures)
    return torch.cat([(pictures[:, 2:] - grey) * 0.564, (pictures[:, :1] - grey) * 0.713], 1)


def shift_change(paint: Callable[[Tensor], Tensor], photos: Tensor, margin: int = 16) -> Tensor:
    """How much a picture changes, in 255ths, if its photograph is moved by one pixel: the least flicker that a film would have.

    ``margin`` pixels along the border do not count.
    """
    moved, still = paint(photos[..., 1:]), paint(photos)[..., 1:]
    inside = (..., slice(margin, -margin), slice(margin, -margin))
    return 255 * (moved[inside] - still[inside]).abs().mean()


def steepness(pictures: Tensor) -> Tensor:
    """Length of the gradient of slightly blurred luma, N1HW."""
    grey = F.pad(box(luma(pictures), 3), (1, 1, 1, 1), mode="replicate")
    across, down = grey[:, :, 1:-1, 2:] - grey[:, :, 1:-1, :-2], grey[:, :, 2:, 1:-1] - grey[:, :, :-2, 1:-1]
    return torch.hypot(across, down)


def dilated(planes: Tensor) -> Tensor:
    return F.max_pool2d(planes, WINDOW, 1, WINDOW // 2)


def deviation(planes: Tensor, side: int) -> Tensor:
    """Standard deviation within the square of ``side`` pixels around each."""
    planes = planes - planes.mean((2, 3), keepdim=True)  # or squares would leave little of a small difference
    return (box(planes.square(), side) - box(planes, side).square()).clamp_min(0).sqrt()


def box(planes: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(planes, side, 1, side // 2, count_include_pad=False)
