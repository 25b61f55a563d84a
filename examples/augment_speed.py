"""Augmentation against OpenCV, NumPy, torchvision, kornia and albumentations: ratios of one interleaved run.

    python examples/augment_speed.py               # 256 images a batch, one thread
    python examples/augment_speed.py --size 224 --only rotation

Every rival does the same work: a draw for each image, arrays in, one array out. Those who take single images loop and write
into their place in the batch; torchvision has one draw a batch, and is asked only where nothing is drawn. What is not
installed is left out: pip install opencv-python-headless albumentations kornia torchvision rich.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import common

try:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.table import Table

    import regkern as rk
    import regkern.augment as A
    from regkern.bench.measure import Participant, interleave, loop_cost, spinning, warm_up
except ModuleNotFoundError as error:
    raise common.missing(error) from None

Array = NDArray[Any]
Call = Callable[[], Any]

N = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
COPY, TWO = "np.copyto", "regkern, 2 threads"


def installed(name: str) -> Any:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask the network for a newer version of itself
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


RIVALS = {name: installed(name) for name in ("cv2", "albumentations", "kornia", "torch")}
cv2, albumentations, kornia, torch = RIVALS.values()


def loop(transform: Any, x: Array, out: Array) -> Call:
    """An albumentations transform, image by image."""

    def call() -> None:
        for image, place in zip(x, out, strict=True):
            place[...] = transform(image=image)["image"]

    return call


class Work:
    """A batch of square images, and every operation as regkern and its rivals do it."""

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(0)
        self.size = size
        self.x = rng.integers(0, 256, (N, size, size, 3), np.uint8)
        self.y = np.empty_like(self.x)
        self.planes = np.empty((N, 3, size, size), np.float32)
        self.floats = rng.random((N, size, size, 3), dtype=np.float32)
        self.mixed = np.empty_like(self.floats)
        self.rng = rng

    def tensor(self, images: Array) -> Any:
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))

    def flip(self) -> Iterator[tuple[str, Call]]:
        x, y, ours = self.x, self.y, A.RandomHorizontalFlip()
        yield "regkern", lambda: ours(x, rng=1, out=y)
        yield COPY, lambda: np.copyto(y, x)

        def numpy() -> None:
            np.copyto(y, x)
            chosen = self.rng.random(N) < 0.5
            y[chosen] = x[chosen, :, ::-1]

        yield "NumPy", numpy
        if cv2:

            def opencv() -> None:
                for image, place, flipped in zip(x, y, self.rng.random(N) < 0.5, strict=True):
                    if flipped:
                        cv2.flip(image, 1, dst=place)
                    else:
                        place[...] = image

            yield "OpenCV", opencv
        if albumentations:
            yield "albumentations", loop(albumentations.HorizontalFlip(p=0.5), x, y)
        if kornia:
            t, augment = self.tensor(self.floats), kornia.augmentation.RandomHorizontalFlip(p=0.5)
            yield "kornia", lambda: augment(t)

    def crop(self) -> Iterator[tuple[str, Call]]:
        x, y, n = self.x, self.y, self.size
        ours = A.RandomCrop(n, padding=4)
        yield "regkern", lambda: ours(x, rng=1, out=y)
        yield COPY, lambda: np.copyto(y, x)

        def numpy() -> None:
            y.fill(0)
            for image, place, (dy, dx) in zip(x, y, self.rng.integers(-4, 5, (N, 2)).tolist(), strict=True):
                place[max(-dy, 0) : n - max(dy, 0), max(-dx, 0) : n - max(dx, 0)] = image[
                    max(dy, 0) : n + min(dy, 0), max(dx, 0) : n + min(dx, 0)
                ]

        yield "NumPy", numpy
        if albumentations:
            pipeline = albumentations.Compose([albumentations.Pad(4), albumentations.RandomCrop(n, n)])
            yield "albumentations", loop(pipeline, x, y)
        if kornia:
            t, augment = self.tensor(self.floats), kornia.augmentation.RandomCrop((n, n), padding=4)
            yield "kornia", lambda: augment(t)

    def rotation(self) -> Iterator[tuple[str, Call]]:
        x, y, n = self.x, self.y, self.size
        ours = A.RandomRotation(15, interpolation="bilinear")
        yield "regkern", lambda: ours(x, rng=1, out=y)
        if cv2:

            def opencv() -> None:
                centre = ((n - 1) / 2, (n - 1) / 2)
                for image, place, angle in zip(x, y, self.rng.uniform(-15, 15, N).tolist(), strict=True):
                    cv2.warpAffine(image, cv2.getRotationMatrix2D(centre, angle, 1.0), (n, n), dst=place)

            yield "OpenCV", opencv
        if albumentations:
            yield "albumentations", loop(albumentations.Rotate(15, border_mode=0, p=1.0), x, y)
        if kornia:
            t, augment = self.tensor(self.floats), kornia.augmentation.RandomRotation(15.0, p=1.0)
            yield "kornia", lambda: augment(t)

    def affine(self) -> Iterator[tuple[str, Call]]:
        x, y, n = self.x, self.y, self.size
        ours = A.RandomAffine(15, translate=(0.1, 0.1), scale=(0.8, 1.2), interpolation="bilinear")
        yield "regkern", lambda: ours(x, rng=1, out=y)
        if cv2:

            def opencv() -> None:
                centre = ((n - 1) / 2, (n - 1) / 2)
                for image, place, (a, s, dx, dy) in zip(x, y, self.rng.uniform(-1, 1, (N, 4)).tolist(), strict=True):
                    matrix = cv2.getRotationMatrix2D(centre, 15 * a, 1 + 0.2 * s)
                    matrix[:, 2] += 0.1 * n * dx, 0.1 * n * dy
                    cv2.warpAffine(image, matrix, (n, n), dst=place)

            yield "OpenCV", opencv
        if albumentations:
            yield (
                "albumentations",
                loop(albumentations.Affine(scale=(0.8, 1.2), translate_percent=0.1, rotate=(-15, 15), p=1.0), x, y),
            )

    def normalize(self) -> Iterator[tuple[str, Call]]:
        x, y, n = self.x, self.planes, self.size
        ours = A.Normalize(MEAN, STD, layout_out="NCHW")
        yield "regkern", lambda: ours(x, out=y)
        yield COPY, lambda: np.copyto(y.reshape(-1), x.reshape(-1))
        scale = np.tile(1 / (255 * np.float32(STD)), n).astype(np.float32)
        shift = np.tile(-np.float32(MEAN) / np.float32(STD), n).astype(np.float32)
        rows = np.empty((N * n, 3 * n), np.float32)

        def numpy() -> None:
            np.multiply(x.reshape(N * n, 3 * n), scale, out=rows)
            np.add(rows, shift, out=rows)
            np.copyto(y, rows.reshape(N, n, n, 3).transpose(0, 3, 1, 2))

        yield "NumPy, rows tiled", numpy
        if albumentations:
            normalize = albumentations.Normalize(MEAN, STD)

            def looped() -> None:
                for image, place in zip(x, y, strict=True):
                    place[...] = normalize(image=image)["image"].transpose(2, 0, 1)

            yield "albumentations", looped
        if torch:
            t, mean, std = torch.from_numpy(x), torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
            out = torch.from_numpy(y)

            def with_torch() -> None:
                out.copy_(t.permute(0, 3, 1, 2)).div_(255).sub_(mean).div_(std)

            yield "torch", with_torch

    def erase(self) -> Iterator[tuple[str, Call]]:
        x, y, n = self.x, self.y, self.size
        ours = A.Cutout(n // 2)
        yield "regkern", lambda: ours(x, rng=1, out=y)
        yield COPY, lambda: np.copyto(y, x)

        def numpy() -> None:
            np.copyto(y, x)
            half = n // 4
            for place, (cy, cx) in zip(y, self.rng.integers(0, n, (N, 2)).tolist(), strict=True):
                place[max(cy - half, 0) : cy + half, max(cx - half, 0) : cx + half] = 0

        yield "NumPy", numpy
        if albumentations:
            holes = {"num_holes_range": (1, 1), "hole_height_range": (0.5, 0.5), "hole_width_range": (0.5, 0.5)}
            yield "albumentations", loop(albumentations.CoarseDropout(**holes, p=1.0), x, y)

    def mixup(self) -> Iterator[tuple[str, Call]]:
        x, y = self.floats, self.mixed
        partner = np.arange(N - 1, -1, -1)
        lam = self.rng.beta(1, 1, N)
        yield "regkern", lambda: A.functional.mixup(x, lam, partner, out=y)
        yield COPY, lambda: np.copyto(y, x)
        weight, room = lam.astype(np.float32).reshape(N, 1, 1, 1), np.empty_like(x)

        def numpy() -> None:
            np.multiply(x, weight, out=y)
            np.multiply(x[::-1], 1 - weight, out=room)
            np.add(y, room, out=y)

        yield "NumPy", numpy
        if torch:
            t, w, out = torch.from_numpy(x), torch.from_numpy(weight), torch.from_numpy(y)
            yield "torch", lambda: torch.lerp(t.flip(0), t, w, out=out)

    def brightness_contrast(self) -> Iterator[tuple[str, Call]]:
        x, y = self.x, self.y
        ours = A.ColorJitter(brightness=0.2, contrast=0.2)
        yield "regkern", lambda: ours(x, rng=1, out=y)
        yield COPY, lambda: np.copyto(y, x)
        if albumentations:
            yield "albumentations, one table", loop(albumentations.RandomBrightnessContrast(p=1.0), x, y)
            jitter = albumentations.ColorJitter((0.8, 1.2), (0.8, 1.2), (1, 1), (0, 0), p=1.0)
            yield "albumentations, ColorJitter", loop(jitter, x, y)

    def noise(self) -> Iterator[tuple[str, Call]]:
        x, y = self.x, self.y
        ours = A.GaussianNoise(sigma=0.1)
        yield "regkern", lambda: ours(x, rng=1, out=y)
        if albumentations:
            yield "albumentations", loop(albumentations.GaussNoise((0.1, 0.1), p=1.0), x, y)
        if kornia:
            t, augment = self.tensor(self.floats), kornia.augmentation.RandomGaussianNoise(std=0.1, p=1.0)
            yield "kornia", lambda: augment(t)

    def pipeline(self) -> Iterator[tuple[str, Call]]:
        x, y, n = self.x, self.planes, self.size
        ours = A.Compose(
            [
                A.RandomCrop(n, padding=4),
                A.RandomHorizontalFlip(),
                A.RandomErasing(),
                A.Normalize(MEAN, STD, layout_out="NCHW"),
            ]
        )
        yield "regkern", lambda: ours(x, rng=1, out=y)
        yield COPY, lambda: np.copyto(y.reshape(-1), x.reshape(-1))
        if albumentations:
            steps = albumentations.Compose(
                [
                    albumentations.Pad(4),
                    albumentations.RandomCrop(n, n),
                    albumentations.HorizontalFlip(p=0.5),
                    albumentations.Erasing(p=0.5),
                    albumentations.Normalize(MEAN, STD),
                ]
            )

            def looped() -> None:
                for image, place in zip(x, y, strict=True):
                    place[...] = steps(image=image)["image"].transpose(2, 0, 1)

            yield "albumentations", looped


ROWS = {
    "flip, p = 0.5": Work.flip,
    "pad 4 and crop": Work.crop,
    "rotation ±15°, bilinear": Work.rotation,
    "rotation, scale, translation": Work.affine,
    "normalize to NCHW": Work.normalize,
    "cutout": Work.erase,
    "mixup, float32": Work.mixup,
    "brightness and contrast": Work.brightness_contrast,
    "Gaussian noise": Work.noise,
    "crop, flip, erase, normalize": Work.pipeline,
}


def measure(calls: list[tuple[str, Call]], seconds: float) -> list[Participant]:
    # Workers that have slept since their last call are slow to come: one call before, and a pause until they sleep again.
    participants = [Participant(call, least=3, pause=spinning(call) if name == TWO else 0.0) for name, call in calls]
    for participant in participants:
        warm_up(participant)
    interleave(participants, seconds, least=7, most=61, overhead=loop_cost())
    return participants


def ratio(of: Participant, over: Participant) -> float:
    """The median of the ratios within rounds."""
    rounds = of.rounds.keys() & over.rounds.keys()
    return statistics.median(of.rounds[r] / over.rounds[r] for r in rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=common.count, action="append", help="side of the images (default: 32 and 224)")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--seconds", type=common.positive, default=3.0, help="for each row")
    args = parser.parse_args()
    if not any(args.only in name for name in ROWS):
        parser.error(f"argument --only: must be part of a row's name, got {args.only!r}; there are {', '.join(ROWS)}")
    if cv2:
        cv2.setNumThreads(1)
    if torch:
        torch.set_num_threads(1)
    absent = [name for name, found in RIVALS.items() if not found]
    if absent:
        print(f"Left out, since not installed: {', '.join(absent)}.")
    for size in args.size or (32, 224):
        work, title = Work(size), f"{N} images of {size} × {size} × 3, one thread unless said"
        table = Table("operation", "against", title=title, title_justify="left")
        for heading in ("images/s", "against, images/s", "against / regkern"):
            table.add_column(heading, justify="right")
        for name, row in ROWS.items():
            if args.only not in name:
                continue
            calls = list(row(work))
            ours = calls[0][1]

            def two(call: Call = ours) -> None:
                with rk.threads(2):
                    call()

            with rk.threads(1):
                calls.append((TWO, two))
                done = measure(calls, args.seconds)
                speed = [N / statistics.median(p.rounds.values()) * 1e9 for p in done]
                for k in range(1, len(done)):
                    shown = (name, f"{speed[0]:,.0f}") if k == 1 else ("", "")
                    table.add_row(shown[0], calls[k][0], shown[1], f"{speed[k]:,.0f}", f"{ratio(done[k], done[0]):.2f}")
            table.add_section()
        Console().print(table)


if __name__ == "__main__":
    main()
