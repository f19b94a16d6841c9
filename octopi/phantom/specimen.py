"""Synthetic specimens: particles made of Gaussian lobes, vesicles, and their positions in the ice.

Densities are analytic: a particle is a cloud of isotropic Gaussians, so that turning it only moves
their centres, and values are exact wherever in a voxel the particle's centre lies.
Lengths are Å; centres and lobes are x y z.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from octopi.errors import SettingError
from octopi.geometry import Grid, format_shape

LEAFLET_OFFSET = 20.0  # Å from the middle of a bilayer to its head groups
LEAFLET_SIGMA = 8.0
MEMBRANE_HALF_WIDTH = 30.0
BACKGROUND_RADIUS = 40.0  # of the small proteins that are not annotated
BACKGROUND_PER_UM3 = 100_000


@dataclass(frozen=True)
class Kind:
    """One kind of particle.

    Args:
        lobes: (n, 3) centres of its Gaussians in Å, in the particle's own frame.
        sigma: width of each Gaussian in Å.
        contrast: typical density, protein = 1.
        weight: of the object in the total score.
    """

    name: str
    label: int
    radius: float
    color: tuple[int, int, int, int]
    weight: int
    lobes: NDArray[np.float64]
    sigma: float
    contrast: float


@dataclass(frozen=True)
class Particle:
    """A particle: its kind, its centre (Å, x y z), and its rotation from the kind's frame."""

    kind: Kind
    center: NDArray[np.float64]
    rotation: Rotation


@dataclass(frozen=True)
class Vesicle:
    """A closed bilayer on an ellipsoid: centre and half-axes in Å, x y z."""

    center: NDArray[np.float64]
    axes: NDArray[np.float64]

    def distance(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
        """Return the distances (Å) of points from the middle of the bilayer, negative inside."""
        offset = [p - c for p, c in zip((x, y, z), self.center.tolist(), strict=True)]
        length = np.sqrt(sum(p**2 for p in offset))
        parts = np.sqrt(sum((p / a) ** 2 for p, a in zip(offset, self.axes.tolist(), strict=True)))
        return length - length / np.maximum(parts, 1e-6)


@dataclass(frozen=True)
class Specimen:
    """The content of one run; `background` are proteins that are not annotated."""

    particles: list[Particle]
    background: list[Particle]
    vesicles: list[Vesicle]


def _icosahedral_shell(radius: float) -> NDArray[np.float64]:
    """Return the 62 points on the symmetry axes of an icosahedron."""
    golden = (1 + 5**0.5) / 2
    corner = np.array([p for a, b in product((-1, 1), (-golden, golden)) for p in _cycles(0, a, b)])
    corner = corner / np.linalg.norm(corner[0])
    points = [
        corner[list(group)].sum(axis=0)
        for size in (1, 2, 3)
        for group in combinations(range(12), size)
        if all(corner[i] @ corner[j] > 0.4 for i, j in combinations(group, 2))
    ]
    return _on_sphere(points, radius)


def _octahedral_shell(radius: float) -> NDArray[np.float64]:
    """Return the 24 subunits of a ferritin-like cage."""
    signs = product((-1, 1), repeat=3)
    points = [np.multiply(sign, p) for sign in signs for p in _cycles(1, 1, 1 + 2**0.5)]
    return _on_sphere(points, radius)


def _cycles(a: float, b: float, c: float) -> list[tuple[float, float, float]]:
    return [(a, b, c), (c, a, b), (b, c, a)]


def _on_sphere(points: ArrayLike, radius: float) -> NDArray[np.float64]:
    array = np.asarray(points, dtype=np.float64)
    return radius * array / np.linalg.norm(array, axis=1, keepdims=True)


def _two_subunits() -> NDArray[np.float64]:
    """Return a large round and a small long lobe with a groove between, lumpy as a ribosome's."""
    rng = np.random.default_rng(70)  # the lumps belong to the particle, not to the specimen's seed
    large = _lump(110, rng) * [60, 86, 78] + [-30, 0, 0]
    small = _lump(50, rng) * [28, 80, 48] + [76, 8, 6]
    return np.vstack([large, small])


def _lump(num_points: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw points in the unit ball."""
    directions = _on_sphere(rng.normal(size=(num_points, 3)), 1)
    return directions * rng.uniform(0.1, 1, (num_points, 1)) ** (1 / 3)


def _two_fold(points: Sequence[tuple[float, float, float]]) -> NDArray[np.float64]:
    """Return the points, and the same rotated by 180° about z."""
    half = np.array(points, dtype=np.float64)
    return np.vstack([half, half * [-1, -1, 1]])


KINDS = (
    Kind("apo-ferritin", 1, 60, (0, 117, 220, 255), 1, _octahedral_shell(44), 12, 1.0),
    Kind(
        "beta-galactosidase", 2, 85, (76, 0, 92, 255), 2,
        _two_fold([(62, 22, 10), (40, 44, -8), (62, -22, -10), (40, -44, 8),
                       (22, 22, 8), (22, -22, -8)]),
        20, 1.4,
    ),
    Kind("ribosome", 3, 120, (0, 92, 49, 255), 1, _two_subunits(), 23, 1.4),
    Kind(
        "thyroglobulin", 4, 115, (43, 206, 72, 255), 2,
        _two_fold([(12, 8, 0), (34, 26, 14), (60, 30, 18), (84, 14, 6), (96, -12, -8),
                       (72, -30, -16), (44, -26, -8)]),
        19, 1.4,
    ),
    Kind(
        "virus-like-particle", 5, 135, (255, 204, 153, 255), 1, _icosahedral_shell(116), 19, 1.0
    ),
)  # fmt: skip


def make_specimen(grid: Grid, *, num_particles: int, rng: np.random.Generator) -> Specimen:
    """Place one or two vesicles, particles and small background proteins without overlap.

    Particles lie completely within the ice from top to bottom; at the sides up to a quarter of one
    is cut off, as in any tomogram.

    Args:
        grid: of the volume that they are placed in.
        num_particles: of each kind.
        rng: draws all that is random.

    Raises:
        SettingError: they do not fit.
    """
    box = (np.asarray(grid.shape) * grid.spacing)[::-1]
    vesicles = [_make_vesicle(box, rng) for _ in range(rng.integers(1, 3))]
    particles: list[Particle] = []
    for kind in sorted(KINDS, key=lambda kind: -kind.radius):
        for count in range(num_particles):
            particle = _place_without_overlap(kind, box, particles, vesicles, rng, num_tries=4000)
            if particle is None:
                raise SettingError(
                    f"{num_particles} particles of each kind were requested, but a box of "
                    f"{format_shape(box[::-1])} Å (z y x) has room for only "
                    f"{count} {kind.name}. Request fewer, or a larger shape."
                )
            particles.append(particle)
    background: list[Particle] = []
    for _ in range(round(BACKGROUND_PER_UM3 * float(np.prod(box)) * 1e-12)):
        particle = _place_without_overlap(
            _small_protein(rng), box, particles + background, vesicles, rng, num_tries=100
        )
        if particle is not None:
            background.append(particle)
    return Specimen(particles, background, vesicles)


def _make_vesicle(box: NDArray[np.float64], rng: np.random.Generator) -> Vesicle:
    """Draw a vesicle with its centre anywhere in the box."""
    axes = rng.uniform(0.8, 1.2, 3) * rng.uniform(0.12, 0.22) * box[:2].min()
    return Vesicle(rng.uniform(0, 1, 3) * box, axes)


def _small_protein(rng: np.random.Generator) -> Kind:
    lobes = rng.normal(0, 14, (3, 3))
    return Kind("background", 0, BACKGROUND_RADIUS, (0, 0, 0, 0), 0, lobes, 13, 0.6)


def _place_without_overlap(
    kind: Kind,
    box: NDArray[np.float64],
    placed: Sequence[Particle],
    vesicles: Sequence[Vesicle],
    rng: np.random.Generator,
    *,
    num_tries: int,
) -> Particle | None:
    """Place a particle at the first of many random centres where it overlaps nothing.

    Returns None if it overlaps something at each of them.
    """
    margin = np.minimum(kind.radius * np.array([0.5, 0.5, 1]), box / 2)
    centers = rng.uniform(margin, box - margin, (num_tries, 3))
    is_free = np.ones(num_tries, dtype=bool)
    for other in placed:
        gap = kind.radius + other.kind.radius
        is_free &= np.sum((centers - other.center) ** 2, axis=1) > gap**2
    for vesicle in vesicles:
        is_free &= np.abs(vesicle.distance(*centers.T)) > kind.radius + MEMBRANE_HALF_WIDTH
    if not is_free.any():
        return None
    return Particle(kind, centers[is_free.argmax()], Rotation.from_quat(rng.normal(size=4)))


def render_density(specimen: Specimen, grid: Grid, *, origin: Sequence[int]) -> NDArray[np.float32]:
    """Return a specimen's density; protein is 1.

    Args:
        specimen: to render.
        grid: of the result.
        origin: the voxel (z, y, x) that lies at 0 Å.
    """
    volume = np.zeros(grid.shape, dtype=np.float32)
    spacing = grid.spacing[0]
    for particle in specimen.particles + specimen.background:
        _add_lobes(volume, particle, spacing=spacing, origin=np.asarray(origin))
    for vesicle in specimen.vesicles:
        distance = np.abs(vesicle.distance(*_coordinates(grid, origin))) - LEAFLET_OFFSET
        volume += np.exp(-0.5 * (distance / LEAFLET_SIGMA) ** 2)
    return volume


def membrane_mask(specimen: Specimen, grid: Grid) -> NDArray[np.uint8]:
    """Return a mask (z, y, x): 1 in every bilayer, 0 elsewhere."""
    mask = np.zeros(grid.shape, dtype=bool)
    for vesicle in specimen.vesicles:
        mask |= np.abs(vesicle.distance(*_coordinates(grid, (0, 0, 0)))) <= MEMBRANE_HALF_WIDTH
    return mask.astype(np.uint8)


def _coordinates(grid: Grid, origin: Sequence[int]) -> tuple[NDArray, ...]:
    """Return the coordinates x, y, z (Å) of the voxels, broadcastable to (z, y, x)."""
    steps = [
        (np.arange(n, dtype=np.float32) - o) * np.float32(s)
        for n, o, s in zip(grid.shape, origin, grid.spacing, strict=True)
    ]
    return np.meshgrid(*steps, indexing="ij", sparse=True)[::-1]


def _add_lobes(
    volume: NDArray[np.float32], particle: Particle, *, spacing: float, origin: NDArray[np.int_]
) -> None:
    """Add a particle; a Gaussian is a product over the axes, so this takes three small matrices."""
    kind = particle.kind
    width = np.hypot(kind.sigma, 0.3 * spacing)  # a voxel averages over its cube
    lobe_distances = np.linalg.norm(kind.lobes[:, None] - kind.lobes, axis=-1)
    peak_density = np.exp(-0.5 * (lobe_distances / kind.sigma) ** 2).sum(axis=1).mean()
    lobes = (particle.rotation.apply(kind.lobes) + particle.center)[:, ::-1] / spacing + origin
    reach = 3.5 * width / spacing
    low = np.maximum(np.floor(lobes.min(axis=0) - reach).astype(int), 0)
    high = np.minimum(np.ceil(lobes.max(axis=0) + reach).astype(int) + 1, volume.shape)
    z, y, x = (
        np.exp(-0.5 * ((np.arange(a, b) - lobes[:, [axis]]) * spacing / width) ** 2)
        for axis, (a, b) in enumerate(zip(low, high, strict=True))
    )
    strength = kind.contrast / peak_density * (kind.sigma / width) ** 3
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    volume[box] += strength * np.einsum("nz,ny,nx->zyx", z, y, x, optimize=True)
