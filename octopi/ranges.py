"""The ranges of numbers: named types for our own signatures, a table for other libraries' classes.

A setting's range stands in the annotation of what takes it: a field of a settings class, or an
argument of the class that `_target_` names. `octopi.arguments.fit` reads them, whoever asks.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

from pydantic import AfterValidator, Field, validate_call

Class = TypeVar("Class", bound=type)

LARGEST = 1_000_000  # no number that makes sense in a setting lies beyond it
PLAUSIBLE_SPACING = (0.5, 100.0)  # Å, of the voxels of tomograms

Spacing = Annotated[float, Field(ge=PLAUSIBLE_SPACING[0], le=PLAUSIBLE_SPACING[1])]  # Å
PixelSize = Annotated[float, Field(gt=0, le=PLAUSIBLE_SPACING[1])]  # Å, of unbinned pixels
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=100)]  # of a radius, a spacing, a standard deviation
FactorOrZero = Annotated[float, Field(ge=0, le=100)]
Radii = Annotated[float, Field(gt=0, le=10)]  # radii of an object
RadiiOrZero = Annotated[float, Field(ge=0, le=10)]
HalfTurn = Annotated[float, Field(ge=0, le=180)]  # degrees
QuarterTurn = Annotated[float, Field(ge=0, le=90)]  # degrees
Voltage = Annotated[float, Field(gt=0, le=10_000)]  # kV
Beta = Annotated[float, Field(gt=0, le=100)]

Count = Annotated[int, Field(ge=1, le=LARGEST)]
CountOrZero = Annotated[int, Field(ge=0, le=LARGEST)]
NumFolds = Annotated[int, Field(ge=2, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Workers = Annotated[int, Field(ge=1, le=512)]  # processes or threads
WorkersOrZero = Annotated[int, Field(ge=0, le=512)]
CropsPerStep = Annotated[int, Field(ge=1, le=4096)]
NumSides = Annotated[int, Field(ge=1, le=8)]
Smoothing = Annotated[float, Field(ge=0, le=1000)]  # Å
NumRuns = Annotated[int, Field(ge=1, le=1000)]
NumParticles = Annotated[int, Field(ge=1, le=1000)]
NumResamples = Annotated[int, Field(ge=0, le=100_000)]

_THREE = Field(min_length=3, max_length=3)
Edges = Annotated[Sequence[Annotated[int, Field(ge=1, le=4096)]], _THREE]  # voxels, z y x
Halo = Annotated[Sequence[Annotated[int, Field(ge=0, le=2048)]], _THREE]  # voxels, z y x
PhantomEdges = Annotated[Sequence[Annotated[int, Field(ge=8, le=512)]], _THREE]  # voxels, z y x
TomogramEdges = Annotated[Sequence[Count], _THREE]  # pixels, x y z
Ratios = Annotated[Sequence[Share], _THREE]  # of training, validation and test


def _check_covariance(values: Sequence[float]) -> Sequence[float]:
    variance, shared, other_variance = values
    if min(variance, other_variance) < 0 or shared**2 > variance * other_variance * (1 + 1e-6):
        raise ValueError("It is no covariance.")
    return values


Covariance = Annotated[  # of two quantities
    list[float],
    _THREE,
    Field(description="variance, covariance, variance, as they can be"),
    AfterValidator(_check_covariance),
]


def _check_time(text: str) -> str:
    if not text.strip("0:"):
        raise ValueError("No time is left.")
    return text


Duration = Annotated[
    str,
    Field(pattern=r"^\d+:\d\d:\d\d:\d\d$", description="as DD:HH:MM:SS, above 0"),
    AfterValidator(_check_time),
]

MAX_CHANNELS = 2048  # of a layer; with more, its weights alone take gigabytes
Channels = Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
InChannels = Annotated[int, Field(ge=1, le=1)]  # a tomogram has one
NumLayers = Annotated[int, Field(ge=2, le=16)]
NumHiddenLayers = Annotated[int, Field(ge=0, le=16)]
NumResUnits = Annotated[int, Field(ge=0, le=16)]
Layers = Annotated[int, Field(ge=1, le=64)]
Stride = Annotated[int, Field(ge=1, le=8)]
KernelSize = Annotated[int, Field(ge=1, le=15)]

_Part = Count | PositiveShare  # batches, or a part of them; none would train or validate nothing
_Moments = Annotated[list[ShareBelowOne], Field(min_length=2, max_length=2)]
_NOT_EMPTY = Field(min_length=1, description="(not empty)")
Text = Annotated[str, _NOT_EMPTY]
_Kernels = (
    KernelSize | Annotated[list[KernelSize | Annotated[list[KernelSize], _NOT_EMPTY]], _NOT_EMPTY]
)
_Strides = list[Stride | list[Stride]]
_Expansion = Annotated[int, Field(ge=1, le=64)]
_Expansions = _Expansion | Annotated[list[_Expansion], _NOT_EMPTY]
_Attention = Annotated[int, Field(ge=1, le=16)]  # voxels; memory grows with the sixth power

# What other libraries' constructors take; they accept more, or refuse it only while they work.


class _Trainer:
    max_epochs: Count
    max_time: Duration | None
    devices: Count | Annotated[list[CountOrZero], Field(min_length=1)] | Literal["auto", -1]
    check_val_every_n_epoch: Count
    log_every_n_steps: Count
    accumulate_grad_batches: Count
    gradient_clip_val: NotNegative | None
    accelerator: str
    # octopi computes in float32 beside the network, which "16-true" and "64-true" would not be
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16", 32, 16] | None
    limit_train_batches: _Part | None
    limit_val_batches: _Part | None
    overfit_batches: NotNegative
    val_check_interval: _Part | None
    min_epochs: Count | None
    min_steps: Count | None
    max_steps: Count | Literal[-1]
    num_nodes: Count
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"]
    num_sanity_val_steps: Annotated[int, Field(ge=-1, le=LARGEST)]


class _Callback:
    decay: Share
    patience: CountOrZero
    min_delta: Number
    update_every_n_steps: Count
    update_starting_at_step: CountOrZero | None
    update_starting_at_epoch: CountOrZero | None


class _Logger:
    experiment_name: Text
    run_name: Text | None
    tracking_uri: Text | None
    artifact_location: Text | None
    version: CountOrZero | str | None


class _Optimizer:
    lr: Annotated[float, Field(gt=0, le=100)]  # too high a rate ends a training with exit 5
    weight_decay: NotNegative
    momentum: Share
    dampening: Share
    betas: _Moments
    eps: NotNegative


class _Loss:
    alpha: NotNegative | list[NotNegative] | None
    beta: NotNegative
    gamma: NotNegative
    lambda_dice: NotNegative
    lambda_ce: NotNegative
    label_smoothing: Share
    smooth_nr: NotNegative
    smooth_dr: NotNegative


class _Network:
    spatial_dims: Annotated[int, Field(ge=3, le=3)]
    in_channels: InChannels
    channels: Annotated[list[Channels], Field(min_length=1)]
    strides: Annotated[list[Stride], Field(min_length=1)]
    kernel_size: _Kernels
    up_kernel_size: _Kernels
    num_res_units: NumResUnits
    dropout: ShareBelowOne
    init_filters: Channels
    dsdepth: Layers
    features: Annotated[list[Channels], Field(min_length=6, max_length=6)]
    feature_size: Channels
    depths: Annotated[list[Layers], Field(min_length=1)]
    num_heads: Annotated[list[Channels], Field(min_length=1)]
    window_size: _Attention | Annotated[list[_Attention], _NOT_EMPTY]
    patch_size: Stride
    mlp_ratio: Factor
    drop_rate: ShareBelowOne
    attn_drop_rate: ShareBelowOne
    dropout_path_rate: ShareBelowOne
    blocks_down: Annotated[list[Layers], Field(min_length=1)]
    blocks_bottleneck: Layers
    blocks_up: Annotated[list[Layers], Field(min_length=1)] | None
    encoder_expansion_ratio: _Expansions
    decoder_expansion_ratio: _Expansions
    bottleneck_expansion_ratio: _Expansion


class _DynUNet:
    strides: Annotated[_Strides, Field(min_length=3)]
    upsample_kernel_size: Annotated[_Strides, Field(min_length=2)]
    filters: Annotated[list[Channels], Field(min_length=3)] | None
    dropout: ShareBelowOne | None
    deep_supr_num: Layers


class _Pruner:
    n_startup_trials: CountOrZero
    n_warmup_steps: CountOrZero
    interval_steps: Count
    n_min_trials: Count
    min_resource: Count | Literal["auto"]
    max_resource: Count | Literal["auto"]
    reduction_factor: Annotated[int, Field(ge=2, le=100)]
    bootstrap_count: CountOrZero


class _Sampler:
    n_startup_trials: CountOrZero
    n_ei_candidates: Count
    prior_weight: Positive | None
    seed: Seed | None


# A class, or a package of classes; a later line may narrow an earlier one.
_LIBRARIES = {
    "pytorch_lightning.trainer.trainer.Trainer": _Trainer,
    "pytorch_lightning.callbacks.": _Callback,
    "pytorch_lightning.loggers.": _Logger,
    "torch.optim.": _Optimizer,
    "monai.losses.": _Loss,
    "monai.networks.nets.": _Network,
    "monai.networks.nets.dynunet.DynUNet": _DynUNet,
    "optuna.pruners.": _Pruner,
    "optuna.samplers.": _Sampler,
}


def validated(cls: Class) -> Class:
    """Have the constructor of a dataclass check the ranges of its fields."""
    cls.__init__ = validate_call(cls.__init__)
    return cls


def library_ranges(target: Any) -> dict[str, Any]:
    """Return what the constructor of another library's class takes: argument -> type."""
    mro = getattr(target, "__mro__", ())
    cls = next((cls for cls in mro if "__init__" in vars(cls)), object)
    name, out = f"{cls.__module__}.{cls.__qualname__}", {}
    for owner, ranges in _LIBRARIES.items():
        if name == owner or (owner[-1] == "." and name.startswith(owner)):
            out |= get_type_hints(ranges, include_extras=True)
    return out
