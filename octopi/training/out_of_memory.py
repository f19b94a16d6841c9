"""A step that does not fit into the GPU: find a batch and a crop that do."""

import contextlib
import math
import traceback
from collections.abc import Iterator, Sequence

import pytorch_lightning as pl
import torch

from octopi.errors import ResourceError, shorten
from octopi.training.mixing import MIN_CROPS
from octopi.training.module import PickingModule
from octopi.training.trial_batch import draw_batch


@contextlib.contextmanager
def explain_out_of_memory(
    module: PickingModule, trainer: pl.Trainer, crops: int, size: Sequence[int], divisor: int
) -> Iterator[None]:
    """Turn a GPU's lack of memory into a ResourceError that names what would fit.

    Args:
        module: that is trained.
        trainer: that trains it.
        crops: in a batch.
        size: of a crop, voxels z y x.
        divisor: voxels of which every edge of a crop must be a multiple.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        frames = traceback.walk_tb(error.__traceback__)
        if any(frame.f_code.co_name == "validation_step" for frame, _ in frames):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the activations of the step
        reason = shorten(str(error).partition(". ")[0], 100)
    else:
        return
    fewest = MIN_CROPS if module.mix else 1
    advice = "Not even a step of the smallest size fits: choose a smaller network."
    for fewer, smaller in smaller_batches(crops, size, divisor, fewest):
        if fits(module, trainer, fewer, smaller):
            advice = f"A step fits with data.crops_per_step={fewer}"
            if list(smaller) != list(size):
                advice += f" and data.crop_size=[{','.join(map(str, smaller))}]"
            steps = math.ceil(crops / fewer)
            advice += (
                f"; trainer.accumulate_grad_batches={steps * trainer.accumulate_grad_batches} "
                "beside it keeps the crops that an update averages."
            )
            break
    raise ResourceError(
        f"The GPU has too little memory for a step of {crops} crops of {list(size)} voxels "
        f"({reason}). {advice}"
    )


def smaller_batches(
    crops: int, size: Sequence[int], divisor: int, fewest: int = 1
) -> Iterator[tuple[int, list[int]]]:
    """Yield ever smaller steps, as numbers of crops and their size: fewer crops, then smaller.

    The smallest has the fewest crops, each edge of which is twice the divisor.
    """
    size = list(size)
    while crops > fewest:
        crops = max(crops // 2, fewest)
        yield crops, size
    while max(size) >= 4 * divisor:
        axis = size.index(max(size))
        size = [*size]
        size[axis] = size[axis] // 2 // divisor * divisor
        yield crops, size


def fits(module: PickingModule, trainer: pl.Trainer, crops: int, size: Sequence[int]) -> bool:
    """Return whether a step of so many crops fits into the memory; its weights do not change."""
    device = module.to(trainer.strategy.root_device).device
    generator = torch.Generator().manual_seed(0)
    on_cpu = draw_batch(crops, size, max(module.labels.values()) + 1, generator)
    batch = {name: tensor.to(device) for name, tensor in on_cpu.items()}
    module.zero_grad()
    try:
        with trainer.precision_plugin.forward_context():
            loss = module.batch_loss(batch)
        loss.backward()
    except torch.OutOfMemoryError:
        return False
    finally:
        module.zero_grad()
        torch.cuda.empty_cache()
    return True
