"""A picture of every operation of rk.augment, on the two photographs that scikit-learn bundles.

Each row is one transform and one call: a batch of six, three times each photograph, hence six draws.

    python examples/augment_grid.py                        # writes docs/augment_grid.png
    python examples/augment_grid.py --output grid.png --seed 7

Needs scikit-learn and matplotlib (for Pillow and a font).
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import common

try:
    import matplotlib as mpl
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw, ImageFont
    from sklearn.datasets import load_sample_images

    import regkern.augment as A
except ModuleNotFoundError as error:
    raise common.missing(error) from None

HEIGHT, WIDTH = 82, 82
DRAWS = 3  # of each photograph
LABEL, CHARACTERS, GAP, BLOCKS = 196, 30, 2, 2

TRANSFORMS: list[A.Transform] = [
    A.RandomHorizontalFlip(),
    A.RandomVerticalFlip(),
    A.RandomRotate90(),
    A.RandomCrop((HEIGHT, WIDTH), padding=25),
    A.RandomCrop((HEIGHT, WIDTH), padding=25, padding_mode="edge"),
    A.RandomCrop((HEIGHT, WIDTH), padding=25, padding_mode="reflect"),
    A.RandomCrop((HEIGHT, WIDTH), padding=25, padding_mode="symmetric"),
    A.CenterCrop(50),
    A.Pad(12, fill=(90, 160, 220)),
    A.Resize((41, 41)),
    A.RandomResizedCrop((HEIGHT, WIDTH)),
    A.RandomAffine(15, (0.1, 0.1), (0.7, 1.3), 15, "bilinear"),
    A.RandomAffine(15, scale=(0.7, 1.3), interpolation="bilinear", padding_mode="reflect"),
    A.RandomRotation(45, "bilinear"),
    A.RandomPerspective(p=1),
    A.RandomErasing(p=1),
    A.RandomErasing(p=1, mode="rand", max_count=3),
    A.RandomErasing(p=1, mode="pixel"),
    A.Cutout(32),
    A.ColorJitter(brightness=0.6),
    A.ColorJitter(contrast=0.8),
    A.ColorJitter(saturation=1.0),
    A.ColorJitter(hue=0.5),
    A.ColorJitter(0.4, 0.4, 0.4, 0.1),
    A.RandomGamma((0.4, 2.5)),
    A.RandomInvert(),
    A.RandomPosterize(2),
    A.RandomSolarize(128),
    A.RandomEqualize(),
    A.RandomAutocontrast(),
    A.RandomAdjustSharpness(4),
    A.RandomGrayscale(0.5),
    A.RandomChannelPermutation(),
    A.GaussianBlur(9, (0.1, 3.0)),
    A.GaussianNoise(sigma=(0.02, 0.2)),
    A.RandAugment(),
    A.TrivialAugmentWide(),
    A.RandomApply([A.GaussianBlur(9, 2.0), A.RandomInvert(1)]),
    A.MixUp(),
    A.CutMix(),
]


def photographs() -> NDArray[np.uint8]:
    """China and the flower, each DRAWS times: (2·DRAWS, HEIGHT, WIDTH, 3)."""
    china, flower = load_sample_images().images
    square = np.stack([china[:, 130:557], flower[:, 140:567]])
    small: NDArray[np.uint8] = A.Resize((HEIGHT, WIDTH))(square)
    return np.repeat(small, DRAWS, axis=0)


def caption(transform: A.Transform) -> tuple[str, str]:
    """What the transform is called, and its options as lines of the label's width."""
    if isinstance(transform, A.RandomApply):
        return "RandomApply", "[GaussianBlur, RandomInvert]"
    name, _, options = repr(transform).removesuffix(")").partition("(")
    options = re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3g}", options)
    lines = [""]
    for option in re.split(r", (?=\w+=)", options):
        joined = f"{lines[-1]}, {option}" if lines[-1] else option
        if len(joined) <= CHARACTERS:
            lines[-1] = joined
        else:
            lines[-1] += ","
            lines.append(option)
    return name, "\n".join(lines)


def row(transform: A.Transform, x: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """The draws side by side, each in the middle of its cell."""
    labels: Any = np.arange(len(x)) if transform.kind == "mix" else None
    if labels is None:
        images = transform(x, rng=seed)
    else:
        order = np.arange(len(x)).reshape(2, DRAWS).T.ravel()  # so that partners are different photographs
        images = transform(x[order], rng=seed, labels=labels)[0]
    cells = np.full((len(x), HEIGHT, WIDTH + GAP, 3), 255, np.uint8)
    if images.shape[1] > HEIGHT:
        images = A.Resize((HEIGHT, WIDTH))(images)
    h, w = images.shape[1:3]
    top, left = (HEIGHT - h) // 2, (WIDTH - w) // 2
    cells[:, top : top + h, left : left + w] = images
    return np.concatenate(list(cells), axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "docs" / "augment_grid.png"
    parser.add_argument("--output", type=common.picture, default=default)
    parser.add_argument("--seed", type=common.seed, default=3)
    arguments = parser.parse_args()
    if arguments.output.suffix.lower() != ".png":
        parser.error(f"argument --output: must end in .png, got {arguments.output}")

    x = photographs()
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    bold, plain = (ImageFont.truetype(str(fonts / name), 11) for name in ("DejaVuSans-Bold.ttf", "DejaVuSans.ttf"))
    rows = -(-len(TRANSFORMS) // BLOCKS)
    block = LABEL + len(x) * (WIDTH + GAP) + 8
    page = Image.new("RGB", (BLOCKS * block, rows * (HEIGHT + GAP) + GAP), "white")
    draw = ImageDraw.Draw(page)
    for i, transform in enumerate(TRANSFORMS):
        left, top = i // rows * block, i % rows * (HEIGHT + GAP) + GAP
        name, options = caption(transform)
        draw.text((left + 4, top + 2), name, fill="black", font=bold)
        draw.multiline_text((left + 4, top + 17), options, fill=(90, 90, 90), font=plain, spacing=1)
        page.paste(Image.fromarray(row(transform, x, arguments.seed)), (left + LABEL, top))
    page.quantize(256, dither=Image.Dither.NONE).save(arguments.output, optimize=True)
    print(f"{arguments.output}: {len(TRANSFORMS)} transforms, {arguments.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
