"""A device that computes nothing and counts how often a program waits for it.

It is torch's meta device: shapes go through it as through a GPU, and values cannot be read from it.
Here reading one is counted, and answered with a number that was never computed.
"""

import torch
from pytorch_lightning.accelerators import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = torch.device("meta")
ANSWER = 0.5  # to whoever asks for a number
READS = ("_local_scalar_dense", "item", "is_nonzero")  # of a number; in inference mode the latter
DATA_DEPENDENT = ("nonzero", "masked_select", "unique", "bincount", "equal")


class CountWaits(TorchDispatchMode):
    """Counts the operations for which a program waits for the device.

    They are a number that is read (`item`, `float`, `bool`), a copy to the CPU, and what has a
    shape that depends on values, as an index by a mask.
    """

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        on_device = any(isinstance(a, torch.Tensor) and a.device == DEVICE for a in args)
        if not on_device:
            return func(*args, **kwargs)
        if name in READS:
            self.waits.append(name)
            return args[0].dtype.is_floating_point and ANSWER
        if torch.device("cpu") in [
            a for a in (*args, *kwargs.values()) if isinstance(a, torch.device)
        ]:
            self.waits.append("copy to the CPU")
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if name in DATA_DEPENDENT or (name == "index" and has_mask(args[1])):
            self.waits.append(name)
        return func(*args, **kwargs)


def has_mask(indices):
    return any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in indices)


class PretendAccelerator(Accelerator):
    """The device, as Lightning's trainer takes it."""

    def setup_device(self, device):
        assert device == DEVICE

    def teardown(self):
        pass

    @staticmethod
    def parse_devices(devices):
        return devices

    @staticmethod
    def get_parallel_devices(devices):
        return [DEVICE] * devices

    @staticmethod
    def auto_device_count():
        return 1

    @staticmethod
    def is_available():
        return True

    @staticmethod
    def name():
        return "pretend"
