"""Changes in Fourier space: what they keep, what they remove, what they match."""

import math

import pytest
import torch

from octopi.data.fourier import (
    ChangeDefocus,
    MatchSpectrum,
    MissingWedge,
    frequencies,
    radial_profiles,
    shells_of,
    transfer,
)

SHAPE = (16, 24, 32)
STEPS = [
    MissingWedge(min_tilt=40, max_tilt=60, prob=1.0),
    MatchSpectrum(strength=1.0, prob=1.0),
    ChangeDefocus(voxel_spacing=10.0, defocus=3.0, change=1.0, prob=1.0),
]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def image():
    scale = torch.tensor([1.0, 3.0, 0.5]).view(-1, 1, 1, 1, 1)
    return 5 + scale * torch.randn((3, 1, *SHAPE), generator=rng())


def spectra(image):
    return torch.fft.rfftn(image, dim=(2, 3, 4))


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_a_step_changes_the_image_and_keeps_mean_deviation_and_target(image, step):
    target = torch.randint(0, 3, image.shape, dtype=torch.uint8)
    changed, same_target = step(image, target, rng())
    assert same_target is target
    assert (changed - image).abs().amax(dim=(1, 2, 3, 4)).min() > 0.01
    for moment in (torch.mean, torch.std):
        expected = moment(image, dim=(1, 2, 3, 4))
        assert torch.allclose(moment(changed, dim=(1, 2, 3, 4)), expected, rtol=1e-4)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_the_same_numbers_are_drawn_again_and_a_step_may_do_nothing(image, step):
    target = torch.zeros(image.shape, dtype=torch.uint8)
    first, again = (step(image, target, rng(5))[0] for _ in range(2))
    assert torch.equal(first, again)
    never = type(step).__new__(type(step))
    never.__dict__.update({**step.__dict__, "prob": 0.0})
    assert never(image, target, rng())[0] is image


def test_nothing_is_left_in_the_wedge_and_all_outside_of_it_stays(image):
    step = MissingWedge(min_tilt=45, max_tilt=45, prob=1.0)
    before, after = spectra(image), spectra(step(image, image, rng())[0])
    z, y, x = frequencies(SHAPE, image.device)
    z, _, x = torch.broadcast_tensors(z, y, x)
    is_lost = z.abs() > x.abs() + 1e-3
    is_kept = (z.abs() < x.abs() - 1e-3).expand(is_lost.shape)
    for crop in range(len(image)):
        power = after[crop, 0].abs()
        assert power[is_lost].max() < 1e-3 * power[is_kept].max()
        ratio = after[crop, 0][is_kept] / before[crop, 0][is_kept]
        assert torch.allclose(ratio.real, ratio.real.mean(), rtol=1e-3)  # one factor, the deviation
        assert ratio.imag.abs().max() < 1e-2


def test_a_wider_range_of_tilts_loses_less(image):
    kept = [
        MissingWedge(min_tilt=t, max_tilt=t, prob=1.0).filters(image, spectra(image), rng()).mean()
        for t in (30, 50, 70)
    ]
    assert kept[0] < kept[1] < kept[2] < 1


def test_a_matched_crop_has_the_spectrum_of_the_crop_before_it():
    colours = torch.randn((2, 1, *SHAPE), generator=rng())
    z, y, x = frequencies(SHAPE, colours.device)
    blur = torch.exp(-20 * (z**2 + y**2 + x**2))
    colours[1] = torch.fft.irfftn(spectra(colours[1:])[0, 0] * blur, s=SHAPE)
    shells = shells_of(SHAPE, colours.device)
    step = MatchSpectrum(strength=1.0, prob=1.0)
    ratios = step.filters(colours, spectra(colours), rng(1))
    profiles = radial_profiles(spectra(colours).abs(), shells)
    drawn = torch.rand(2, generator=rng(1))
    wanted = (profiles.roll(1, 0) / profiles).clamp(0.1, 10) ** drawn[:, None]
    assert torch.allclose(ratios[:, 0], wanted[:, shells], rtol=1e-4)
    full = spectra(colours) * (profiles.roll(1, 0) / profiles)[:, shells][:, None]
    matched = radial_profiles(full.abs(), shells)
    assert torch.allclose(matched, profiles.roll(1, 0), rtol=1e-4)


def test_the_transfer_is_that_of_the_formula_and_vanishes_at_its_zeros():
    defocus = torch.tensor(2.0)
    assert transfer(torch.tensor(0.0), defocus) == pytest.approx(0.07)
    # without spherical aberration the first zero lies at π λ Δ k² + asin(0.07) = π
    squared = (math.pi - math.asin(0.07)) / (math.pi * 0.0197 * 2e4)
    assert transfer(torch.tensor(squared), defocus) < 0.02


def test_no_change_of_defocus_changes_nothing(image):
    step = ChangeDefocus(voxel_spacing=10.0, defocus=3.0, change=0.0, prob=1.0)
    assert torch.allclose(step(image, image, rng())[0], image, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "arguments", "message"),
    [
        (MissingWedge, {"min_tilt": 60, "max_tilt": 40, "prob": 1}, "is above max_tilt"),
        (MissingWedge, {"min_tilt": 40, "max_tilt": 95, "prob": 1}, "max_tilt"),
        (MatchSpectrum, {"strength": 1.5, "prob": 1}, "strength"),
        (
            ChangeDefocus,
            {"voxel_spacing": None, "defocus": 3, "change": 1, "prob": 1},
            "data.working_spacing",
        ),
        (
            ChangeDefocus,
            {"voxel_spacing": 10, "defocus": 1, "change": 2, "prob": 1},
            "more than the defocus",
        ),
    ],
)
def test_wrong_numbers_are_refused(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
