"""Layouts of classes at 10 m for rendered samples: parcels, enlarged maps, roads and rivers."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from model.clouds import fractal_noise
from model.legend import LULC6

WATER, FOREST, GRASS, BARREN, BUILT, CROP = range(len(LULC6.classes))


def cells(
    shape: tuple[int, int], rng: np.random.Generator, size: float, stretch: float = 1.0
) -> np.ndarray:
    """Voronoi cells of about size x size px, stretched along one direction: (y, x) int64 ids."""
    angle = rng.uniform(0, np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = turn * np.sqrt([[stretch], [1.0 / stretch]])
    count = max(2, int(4 * shape[0] * shape[1] / size**2))
    seeds = rng.uniform(-0.5, 1.5, (count, 2)) * shape
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 2)
    _, cell = cKDTree(seeds @ scale.T).query(grid @ scale.T)
    return cell.reshape(shape)


def layout(
    shape: tuple[int, int], rng: np.random.Generator, base: np.ndarray | None = None
) -> np.ndarray:
    """A layout of classes at 10 m: (y, x) uint8 class index, 255 unknown.

    Args:
      shape: pixels of the layout.
      rng: source of every random choice.
      base: (y, x) uint8 class index of a real, coarser map of at most that size, which is enlarged
        to `shape` with wobbly borders; parcels of drawn classes if None.
    """
    if base is None:
        share = rng.dirichlet([0.7, 1.2, 1.0, 0.6, 0.9, 1.4])
        parcel = cells(shape, rng, rng.uniform(12, 60), rng.uniform(1, 3))
        label = rng.choice(6, parcel.max() + 1, p=share)[parcel].astype(np.uint8)
    else:
        label = enlarge_labels(base, shape, rng)
    yx = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    for _ in range(rng.poisson(0.9)):  # hamlets: built-up clumps with ragged borders
        center = rng.uniform(0, 1, 2) * shape
        distance = np.hypot(yx[0] - center[0], yx[1] - center[1]) / rng.uniform(4, 30)
        label[distance + 0.5 * fractal_noise(shape, rng, 1.0) < 1.0] = BUILT
    for _ in range(rng.poisson(0.3)):  # sand, gravel, rock: in patches
        bare = fractal_noise(shape, rng, rng.uniform(1.2, 2.0))
        label[bare > np.quantile(bare, rng.uniform(0.7, 0.98))] = BARREN
    for class_index, count, widths in ((BUILT, 0.7, (1.2, 2.5)), (WATER, 0.35, (2.0, 9.0))):
        for _ in range(rng.poisson(count)):  # roads, rivers
            bend = fractal_noise(shape, rng, 2.5)
            a = rng.uniform(0, np.pi)
            across = np.cos(a) * (yx[0] - shape[0] * rng.uniform()) + np.sin(a) * (
                yx[1] - shape[1] * rng.uniform()
            )
            bend *= shape[0] * (0.02 if class_index == BUILT else 0.12)
            label[np.abs(across + bend) < rng.uniform(*widths) / 2] = class_index
    return label


def enlarge_labels(
    label: np.ndarray, shape: tuple[int, int], rng: np.random.Generator
) -> np.ndarray:
    """Nearest-neighbour enlargement of labels (y, x) uint8; borders wobble by half a pixel."""
    zoom = [n / m for n, m in zip(shape, label.shape, strict=True)]
    place = []
    for axis in (0, 1):
        at = (np.arange(shape[axis]) + 0.5) / zoom[axis] - 0.5
        at = at[:, None] if axis == 0 else at[None, :]
        place.append(at + 0.25 * np.clip(fractal_noise(shape, rng, 1.0), -2, 2))
    return map_coordinates(label, place, order=0, mode="nearest")
