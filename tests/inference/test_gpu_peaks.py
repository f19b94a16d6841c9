import functools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from octopi.errors import ResourceError
from octopi.geometry import Grid
from octopi.inference import gpu_peaks
from octopi.localization import peaks

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
GPU = pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])


def scores(shape=(40, 70, 66)):
    """Blobs on a faint rough ground, as a network's scores are; some touch the edges."""
    rng = np.random.default_rng(3)
    points = np.zeros(shape)
    points[tuple(rng.integers(0, shape, size=(60, 3)).T)] = 1
    blobs = gaussian_filter(points, 2.5, mode="constant") * 250
    rough = gaussian_filter(rng.normal(size=shape), 1) * 0.05
    return np.rint(np.clip(blobs + rough, 0, 1) * 255).astype(np.uint8)


def in_order(found):
    voxels, heights = found
    order = np.lexsort(voxels.T)
    return voxels[order], heights[order]


@DEVICES
@pytest.mark.parametrize("sigma", [(0.0, 0.0, 0.0), (1.2, 1.2, 1.2), (0.6, 1.7, 2.3)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float16])
def test_maxima_are_those_found_on_the_cpu(device, sigma, kind):
    values = scores()
    least = 20.0
    if kind != np.uint8:
        values, least = (values / 255).astype(kind), least / 255
    kernels = [peaks.gaussian_kernel(s) for s in sigma]
    expected = in_order(peaks.find_local_maxima(values, kernels, least))
    found = in_order(
        gpu_peaks.find_local_maxima_gpu(values, kernels, least, device=torch.device(device))
    )
    assert len(found[0]) > 20
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5)


@DEVICES
@pytest.mark.parametrize("smoothing", [0.0, 0.15])
def test_picks_are_those_found_on_the_cpu(device, smoothing):
    settings = {
        "min_distance": 0.7,
        "min_score": 0.05,
        "centroid_radius": 0.85,
        "min_object_distance": 0.0,
    }
    finder = peaks.Peaks(smoothing=smoothing, **settings)
    asked = {"grid": Grid.cubic(scores().shape, 10.0), "radii": {"a": 60.0}}
    expected = finder(scores()[None], **asked)["a"]
    finder.find_maxima = functools.partial(
        gpu_peaks.find_local_maxima_gpu, device=torch.device(device)
    )
    found = finder(scores()[None], **asked)["a"]
    assert len(found) == len(expected) > 20
    np.testing.assert_allclose(found.positions, expected.positions, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


@DEVICES
def test_a_flat_top_is_as_flat_after_smoothing(device):
    values = np.zeros((1, 1, 40), np.uint8)
    values[..., 18:22] = 200
    kernels = [peaks.gaussian_kernel(s) for s in (0.0, 0.0, 1.3)]
    voxels, heights = gpu_peaks.find_local_maxima_gpu(
        values, kernels, 10.0, device=torch.device(device)
    )
    assert voxels[:, 2].mean() == 19.5
    assert len(set(heights)) == 1


def test_an_array_below_the_least_height_has_no_maxima():
    values = np.full((4, 5, 6), 3, np.uint8)
    voxels, heights = gpu_peaks.find_local_maxima_gpu(
        values, [peaks.gaussian_kernel(1.0)] * 3, 10.0, device=torch.device("cpu")
    )
    assert voxels.shape == (0, 3)
    assert heights.shape == (0,)


def test_a_gpu_that_is_too_small_is_reported(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(gpu_peaks, "_find_local_maxima", full)
    with pytest.raises(ResourceError, match=r"too small for scores of \[4, 5, 6\] voxels"):
        gpu_peaks.find_local_maxima_gpu(
            np.zeros((4, 5, 6)), [peaks.gaussian_kernel(1.0)] * 3, 1.0, device=torch.device("cpu")
        )
