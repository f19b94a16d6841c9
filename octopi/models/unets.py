"""MONAI's U-Nets, each described by a few numbers that a search can vary one by one."""

from collections.abc import Sequence

from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.basic_unetplusplus import BasicUNetPlusPlus
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.unet import UNet
from pydantic import validate_call
from torch import Tensor

from octopi.ranges import (
    MAX_CHANNELS,
    Channels,
    CountOrZero,
    InChannels,
    NumHiddenLayers,
    NumLayers,
    NumResUnits,
    ShareBelowOne,
    Stride,
)


class UNetPlusPlus(BasicUNetPlusPlus):
    """MONAI's BasicUNetPlusPlus, whose heads come with the deepest first.

    MONAI returns them from the shallowest, which sees the least, to the deepest; of the heads of a
    deeply supervised network octopi predicts with the first, and weighs it most.
    """

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits of each head."""
        return super().forward(x)[::-1]


class SizedUNet(UNet):
    """MONAI's UNet, described by its depth and width.

    Args:
        out_channels: classes, background included.
        in_channels: of the input.
        base_channels: of the first layer; each further layer has twice as many.
        num_layers: each at half the resolution of the one above.
        num_hidden_layers: below, with the channels and the resolution of the last one.
        num_res_units: convolutions with a shortcut in each layer; 0 = one plain convolution.
        dropout: part of the channels' values that training sets to zero.
        norm: MONAI's name of a normalisation.
    """

    @validate_call
    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: InChannels = 1,
        base_channels: Channels = 16,
        num_layers: NumLayers = 3,
        num_hidden_layers: NumHiddenLayers = 1,
        num_res_units: NumResUnits = 1,
        dropout: ShareBelowOne = 0.0,
        norm: str = "instance",
    ) -> None:
        channels, strides = unet_layers(base_channels, num_layers, num_hidden_layers)
        super().__init__(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=channels,
            strides=strides,
            num_res_units=num_res_units,
            norm=norm,
            dropout=dropout,
        )


class SizedAttentionUnet(AttentionUnet):
    """MONAI's AttentionUnet, described by its depth and width.

    Args:
        out_channels: classes, background included.
        in_channels: of the input.
        base_channels: of the first layer; each further layer has twice as many.
        num_layers: each at half the resolution of the one above.
        num_hidden_layers: below, with the channels and the resolution of the last one.
        dropout: part of the channels' values that training sets to zero.
    """

    @validate_call
    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: InChannels = 1,
        base_channels: Channels = 16,
        num_layers: NumLayers = 3,
        num_hidden_layers: NumHiddenLayers = 1,
        dropout: ShareBelowOne = 0.0,
    ) -> None:
        channels, strides = unet_layers(base_channels, num_layers, num_hidden_layers)
        super().__init__(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            channels=channels,
            strides=strides,
            dropout=dropout,
        )


class SizedDynUNet(DynUNet):
    """MONAI's DynUNet, described by its strides and width.

    Args:
        out_channels: classes, background included.
        in_channels: of the input.
        strides: of each layer, the first 1; 2 halves the resolution, 1 keeps it.
        base_channels: of the first layer; each further layer has twice as many, up to 320.
        deep_supr_num: layers of the decoder, beside the last, that are supervised too.
        dropout: part of the channels' values that training sets to zero.
    """

    @validate_call
    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: InChannels = 1,
        strides: Sequence[Stride] = (1, 2, 2, 2),
        base_channels: Channels = 32,
        deep_supr_num: CountOrZero = 1,
        dropout: ShareBelowOne = 0.0,
    ) -> None:
        if len(strides) < 3 or strides[0] != 1 or not set(strides) <= {1, 2}:
            raise ValueError(
                f"strides must be three or more, each 1 or 2, the first 1, not {list(strides)}."
            )
        if not 0 <= deep_supr_num <= len(strides) - 2:
            raise ValueError(
                f"With {len(strides)} strides deep_supr_num must be 0 … {len(strides) - 2}, "
                f"not {deep_supr_num}."
            )
        super().__init__(
            spatial_dims=3,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=[3] * len(strides),
            strides=list(strides),
            upsample_kernel_size=list(strides[1:]),
            filters=[min(base_channels * 2**i, 320) for i in range(len(strides))],
            dropout=dropout,
            deep_supervision=deep_supr_num > 0,
            deep_supr_num=max(deep_supr_num, 1),
            res_block=True,
        )


def unet_layers(
    base_channels: int, num_layers: int, num_hidden_layers: int
) -> tuple[list[int], list[int]]:
    """Return each layer's channels, which double, and the strides between them, which halve."""
    channels = [base_channels * 2**i for i in range(num_layers)]
    if channels[-1] > MAX_CHANNELS:
        raise ValueError(
            f"base_channels={base_channels} doubled for each of num_layers={num_layers} makes "
            f"{channels[-1]} channels; at most {MAX_CHANNELS} fit into memory."
        )
    hidden = [channels[-1]] * num_hidden_layers
    return channels + hidden, [2] * (num_layers - 1) + [1] * num_hidden_layers
