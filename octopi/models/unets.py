"""MONAI's U-Nets, each described by a few numbers that a search can vary one by one."""

from collections.abc import Sequence

from monai.networks.nets.attentionunet import AttentionUnet
from monai.networks.nets.dynunet import DynUNet
from monai.networks.nets.unet import UNet


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

    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: int = 1,
        base_channels: int = 16,
        num_layers: int = 3,
        num_hidden_layers: int = 1,
        num_res_units: int = 1,
        dropout: float = 0.0,
        norm: str = "instance",
    ) -> None:
        check_minimum(0, num_res_units=num_res_units)
        check_dropout(dropout)
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

    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: int = 1,
        base_channels: int = 16,
        num_layers: int = 3,
        num_hidden_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        check_dropout(dropout)
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

    def __init__(
        self,
        out_channels: int,
        *,
        in_channels: int = 1,
        strides: Sequence[int] = (1, 2, 2, 2),
        base_channels: int = 32,
        deep_supr_num: int = 1,
        dropout: float = 0.0,
    ) -> None:
        check_minimum(1, base_channels=base_channels)
        check_dropout(dropout)
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
    check_minimum(1, base_channels=base_channels)
    check_minimum(2, num_layers=num_layers)
    check_minimum(0, num_hidden_layers=num_hidden_layers)
    channels = [base_channels * 2**i for i in range(num_layers)]
    hidden = [channels[-1]] * num_hidden_layers
    return channels + hidden, [2] * (num_layers - 1) + [1] * num_hidden_layers


def check_minimum(minimum: int, **counts: int) -> None:
    """Raise ValueError unless every count is a whole number of at least `minimum`."""
    for name, count in counts.items():
        if not isinstance(count, int) or count < minimum:
            raise ValueError(f"{name} must be a whole number from {minimum} up, not {count}.")


def check_dropout(dropout: float) -> None:
    """Raise ValueError unless the part that is dropped is at least 0 and less than 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}.")
