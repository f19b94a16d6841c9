"""What a training checks of its parts before it begins, in the dry run too."""

import contextlib
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from octopi.config.build import build
from octopi.config.settings import TrainSettings
from octopi.data.particles import LABELS, MAX_NUMBER
from octopi.errors import (
    ExitCode,
    OctopiError,
    ResourceError,
    SettingError,
    describe_error,
    exit_code_of,
    place_in_users_code,
    shorten,
    users_definition,
)
from octopi.losses import TargetForm
from octopi.models.devices import choose_device_type
from octopi.models.properties import activation_bytes, backward_on_meta
from octopi.system import resources
from octopi.targets import UNKNOWN
from octopi.training.build_loss import ClassIndexLoss, Loss
from octopi.training.metrics import check_metric
from octopi.training.schedule import check_lr_scheduler

TRAINING_METRICS = ("train/loss",)  # that are logged beside val/METRIC
NUM_AUGMENT_TRIALS = 8  # of a step that may do nothing half of the time
_EDGE = 8  # voxels
# those for which torch.use_deterministic_algorithms raises an error on a GPU, see its documentation
_NOT_DETERMINISTIC = {
    *("avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward"),
    *("fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward"),
    *("upsample_bicubic2d_backward", "upsample_trilinear3d_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("nll_loss2d_forward", "grid_sampler_2d_backward", "grid_sampler_3d_backward"),
    *("cumsum", "histc", "put_"),
}


@contextlib.contextmanager
def explain_failure(subject: str) -> Iterator[None]:
    """Raise what fails in the block as a SettingError that begins with its subject and says where.

    Errors of octopi and a lack of memory pass through.
    """
    try:
        yield
    except Exception as error:  # a class of the user or of a library may raise anything
        if isinstance(error, OctopiError) or exit_code_of(error) == ExitCode.RESOURCE:
            raise
        place, reason = place_in_users_code(error), shorten(describe_error(error), 300)
        raise SettingError(f"{subject}{place} fails: {reason}.") from error


def check_loss(loss: Loss, form: TargetForm, num_objects: int) -> None:
    """Raise SettingError unless the loss takes what the network and the data give it.

    Args:
        loss: of the training.
        form: of the targets.
        num_objects: of the targets, background not included.
    """
    logits, target = example_batch(form, num_objects)
    num_classes = logits.shape[1]
    try:
        with torch.random.fork_rng(devices=[]):
            value = (loss.cpu() if isinstance(loss, nn.Module) else loss)(logits, target)
        if not isinstance(value, Tensor):
            raise TypeError(f"it returns {type(value).__name__}, not a tensor.")
        if value.ndim:
            raise TypeError(f"it returns {list(value.shape)} numbers, not one. Take their mean.")
        if not value.requires_grad:
            raise TypeError("what it returns has no gradient.")
        if not torch.autograd.grad(value, logits)[0].any():
            raise ValueError("nothing changes it. Are all of its weights 0?")
    except Exception as error:  # a loss of the user may raise anything
        reason = shorten(describe_error(error), 300)
        raise SettingError(
            f"loss: {name_of(loss)}{place_in_users_code(error, loss)} cannot be computed from "
            f"logits of shape (2, {num_classes}, z, y, x) and {form} "
            f"(2, {target.shape[1]}, z, y, x): {reason}. "
            "Choose another, as octopi train --help lists them, or wrap it in a class of yours."
        ) from error


def example_batch(form: TargetForm, num_objects: int) -> tuple[Tensor, Tensor]:
    """Make logits with a gradient, and a target of a form; arguments as in `check_loss`."""
    num_classes = num_objects + (form != "objects")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, num_classes, *[_EDGE] * 3), generator=generator, requires_grad=True)
    target = torch.zeros((2, 1, *[_EDGE] * 3), dtype=torch.uint8)
    target[..., 0] = num_objects
    if form != "labels":
        classes = torch.arange(num_objects + 1)[num_objects + 1 - num_classes :]
        target = (target == classes[None, :, None, None, None]).float()
    return logits, target


def name_of(part: Any) -> str:
    """Return the name of a function, or of an object's class."""
    part = getattr(part, "loss", part) if isinstance(part, ClassIndexLoss) else part
    return str(getattr(getattr(part, "func", part), "__name__", type(part).__name__))


def check_painter(painter: Any, radii: Sequence[float], stride: int) -> None:
    """Raise SettingError unless a painter gives each object a score on the grid of the output.

    Args:
        painter: of the training.
        radii: of each object, voxels.
        stride: voxels of the input along an edge of a voxel of the output.
    """
    edge = _EDGE * stride
    labels = torch.zeros((2, 1, edge, edge, edge), dtype=torch.uint8)
    labels[0, 0, 2:5, 2:5, 2:5], labels[1, 0, 2:5, 2:5, 2:5] = 1, len(radii)
    subject = f"painter: {name_of(painter)}"
    with explain_failure(subject):
        painted = painter(labels, (labels > 0).int(), radii, stride)
    expected, problem = [2, len(radii), *[_EDGE] * 3], ""
    if not torch.is_tensor(painted):
        problem = f"returns {type(painted).__name__}"
    elif list(painted.shape) != expected:
        problem = f"returns {list(painted.shape)}"
    elif ((painted < 0) | (painted > 1)).any():
        problem = f"returns scores from {painted.min():.3g} to {painted.max():.3g}"
    if problem:
        raise SettingError(
            f"{subject}{users_definition(painter)} {problem}. For labels {list(labels.shape)} of "
            f"{len(radii)} objects, at a stride of {stride}, it returns a score of 0 to 1 for each "
            f"object, without background: {expected}."
        )


def check_augment(
    augment: Any, crop_size: Sequence[int], num_classes: int, *, numbers_particles: bool = False
) -> None:
    """Raise SettingError unless each augmentation of the user keeps shapes, labels and numbers.

    Args:
        augment: of the training; octopi's own steps are not tried.
        crop_size: voxels, z y x.
        num_classes: of the targets, background included.
        numbers_particles: whether a target's voxels have the number of their particle, too.
    """
    dtype, highest = torch.uint8, num_classes - 1
    if numbers_particles:
        dtype, highest = torch.int32, MAX_NUMBER * LABELS + num_classes - 1
    for name, step in getattr(augment, "steps", {"": augment} if augment else {}).items():
        part = getattr(step, "transform", step)  # of MONAI's
        if type(part).__module__.startswith("octopi."):
            continue
        subject = f"{f'augment.{name}'.removesuffix('.')}: {name_of(part)}"
        for seed in range(NUM_AUGMENT_TRIALS):
            rng = torch.Generator().manual_seed(seed)
            image = torch.randn((2, 1, *crop_size), generator=rng)
            # the last label beside background: what is interpolated lies between them
            target = torch.randint(2, image.shape, generator=rng, dtype=dtype) * highest
            with explain_failure(subject):
                problem = _augment_problem(step(image.clone(), target.clone(), rng), image, target)
            if problem:
                raise SettingError(
                    f"{subject}{users_definition(part)} {problem}. It takes and "
                    "returns image and target, both (b, 1, z, y, x), with labels kept."
                )


def _augment_problem(out: Any, image: Tensor, target: Tensor) -> str | None:
    """Return what is wrong with an augmented batch; None if nothing is."""
    if not (isinstance(out, tuple | list) and len(out) == 2 and all(map(torch.is_tensor, out))):
        return f"returns {type(out).__name__}, not image and target"
    for name, new, old in zip(("image", "target"), out, (image, target), strict=True):
        if new.shape != old.shape:
            return f"changes the {name} from {list(old.shape)} to {list(new.shape)}"
        if new.dtype != old.dtype:
            return f"makes the {name} {new.dtype}, not {old.dtype}"
    if not out[0].isfinite().all():
        return "makes voxels that are NaN or infinite"
    if not torch.isin(out[1], torch.cat([target.unique(), target.new_tensor([0, UNKNOWN])])).all():
        return "makes labels that no target has. Are labels interpolated? Take their nearest"
    return None


def check_monitors(callbacks: Iterable[Any], object_names: Sequence[str]) -> None:
    """Raise SettingError where a callback watches a metric that no training logs."""
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str) or monitor in TRAINING_METRICS:
            continue
        name = type(callback).__name__
        if not monitor.startswith("val/"):
            raise SettingError(
                f"{name} watches {monitor}, which is not logged. Set its monitor to "
                f"{' or '.join(TRAINING_METRICS)}, or to val/METRIC such as val/object_fbeta."
            )
        try:
            check_metric(monitor.removeprefix("val/"), object_names)
        except SettingError as error:
            raise SettingError(f"{name} watches {monitor}. {error}") from error


def check_net(net: nn.Module, settings: TrainSettings) -> None:
    """Check that the network fits into the memory, can be optimized and is as deterministic as set.

    Raises:
        ResourceError: too little memory for a step.
        SettingError: a setting that cannot be used with this network.
    """
    check_memory(net, settings)
    check_optim(net, settings)
    operations = functools.partial(net_operations, net, settings.data["crop_size"])
    check_deterministic(f"the network {type(net).__name__}", operations, settings)


def check_memory(net: nn.Module, settings: TrainSettings) -> None:
    """Raise ResourceError if not even a step's activations fit into the device that trains."""
    crops, size = settings.data["crops_per_step"], settings.data["crop_size"]
    needed = crops * activation_bytes(net, size)
    on_gpu = choose_device_type(settings.trainer["accelerator"]) == "cuda"
    free = torch.cuda.get_device_properties(0).total_memory if on_gpu else resources.memory()
    if needed > free:
        raise ResourceError(
            f"A step of {crops} crops of {list(size)} voxels needs more than {needed / 1e9:.0f} GB "
            f"for this network; {'the GPU has' if on_gpu else 'free are'} {free / 1e9:.0f} GB. "
            "Choose fewer data.crops_per_step, a smaller data.crop_size or a smaller network."
        )


def check_optim(net: nn.Module, settings: TrainSettings) -> None:
    """Try optimizer and scheduler for one step; Lightning makes its own in `fit`."""
    weights = [nn.Parameter(torch.zeros_like(weight)) for weight in net.parameters()]
    if not weights:
        raise SettingError(f"{type(net).__name__} has no weights to train.")
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer = build(settings.optim["optimizer"], "optim.optimizer", params=weights)
    trainer, batches = settings.trainer, settings.data["steps_per_epoch"]
    check_lr_scheduler(
        settings.optim["lr_scheduler"],
        optimizer,
        num_steps=trainer["max_epochs"] * math.ceil(batches / trainer["accumulate_grad_batches"]),
        best_metric=settings.best_metric,
    )


class _OperationNames(TorchDispatchMode):
    """Collects the names of the operations that torch does, backwards too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def check_deterministic(
    part: str, operations: Callable[[], set[str]], settings: TrainSettings
) -> None:
    """Raise SettingError where a GPU cannot compute a part of a training deterministically.

    Args:
        part: its kind and name.
        operations: returns the names of the operations that it needs.
        settings: of the training.
    """
    kind = choose_device_type(settings.trainer["accelerator"])
    if kind != "cuda" or settings.trainer.get("deterministic") is not True:
        return
    if refused := sorted(operations() & _NOT_DETERMINISTIC):
        raise SettingError(
            f"trainer.deterministic=true: on a GPU torch has no deterministic {refused[0]}, "
            f"which {part} needs. Choose another, or trainer.deterministic=false: seeds then "
            "still fix the data, but not the last bits of the weights."
        )


def net_operations(net: nn.Module, size: Sequence[int]) -> set[str]:
    """Return the names of torch's operations in a step of a network; only shapes are sent through.

    Args:
        net: the network.
        size: of a crop, voxels z y x.
    """
    with _OperationNames() as operations:
        backward_on_meta(net, size)
    return operations.names


def loss_operations(loss: Loss, form: TargetForm, num_objects: int) -> set[str]:
    """Return the names of torch's operations in a loss and its gradient."""
    logits, target = example_batch(form, num_objects)
    with _OperationNames() as operations, torch.random.fork_rng(devices=[]):
        torch.autograd.grad(loss(logits, target), logits)
    return operations.names
