"""For each torch function with weights: what the derivative by one of them is, given the gradient at its output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vkdnw_search.fisher.taps import Contract, Scalars, Statistics, Taps

# ---------------------------------------------------------------------------------------------- convolutions


def _convolution(dimensions: int, *, transposed: bool = False) -> Callable[..., Tensor]:
    """The rule of ``F.conv{d}d`` or ``F.conv_transpose{d}d``."""
    function: Callable[..., Tensor] = getattr(F, f"conv_transpose{dimensions}d" if transposed else f"conv{dimensions}d")

    def rule(
        taps: Taps, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        if input.dim() != dimensions + 2 or input.shape[0] != taps.samples:
            taps.untapped(weight, bias)
            return function(input, weight, bias, *args, **kwargs)
        geometry = _geometry(weight, dimensions, transposed, args, kwargs)
        kernel, padding = _crop(taps.weight(weight), input, geometry)
        if _pointwise_kernel(kernel, geometry, padding) and input.movedim(1, -1).is_contiguous():
            output = F.linear(input.movedim(1, -1), kernel.flatten(1), taps.constant(bias)).movedim(-1, 1)
        elif padding is None:
            output = function(input, kernel, taps.constant(bias), *args, **kwargs)
        else:
            output = function(
                input, kernel, taps.constant(bias), geometry.stride, padding, geometry.dilation, geometry.groups
            )
        chosen = taps.scalars(weight), taps.scalars(bias)
        return taps.attach(
            output,
            (chosen[0], lambda scalars: _convolution_weight(scalars, input, geometry)),
            (chosen[1], _channel_sum),
        )

    return rule


class _Geometry(NamedTuple):
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    transposed: bool
    lopsided: bool
    in_per_group: int
    out_per_group: int


def _geometry(
    weight: Tensor, dimensions: int, transposed: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Geometry:
    names = ("stride", "padding", "output_padding", "groups", "dilation") if transposed else _CONV_NAMES
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    stride, dilation = (_tuple(given.get(name, 1), dimensions) for name in ("stride", "dilation"))
    padding, groups = given.get("padding", 0), int(given.get("groups", 1))
    lopsided = False
    if padding == "same":  # an odd sum has one more behind than in front, which is what counts here
        lopsided = any(d * (k - 1) % 2 for d, k in zip(dilation, weight.shape[2:], strict=True))
        padding = tuple(d * (k - 1) // 2 for d, k in zip(dilation, weight.shape[2:], strict=True))
    padding = _tuple(0 if padding == "valid" else padding, dimensions)
    if transposed:
        return _Geometry(stride, padding, dilation, groups, True, False, weight.shape[0] // groups, weight.shape[1])
    return _Geometry(stride, padding, dilation, groups, False, lopsided, weight.shape[1], weight.shape[0] // groups)


def _pointwise_kernel(kernel: Tensor, geometry: _Geometry, padding: tuple[int, ...] | None) -> bool:
    """Whether a convolution is a linear layer over channels: the same result from a matrix product, which needs no
    code generated for every new shape (a search meets new widths all the time). For channels last in memory."""
    ones = (1,) * (kernel.dim() - 2)
    unpadded = not any(geometry.padding if padding is None else padding)
    return kernel.shape[2:] == ones and geometry.stride == ones and geometry[3:5] == (1, False) and unpadded


def _crop(weight: Tensor, input: Tensor, geometry: _Geometry) -> tuple[Tensor, tuple[int, ...] | None]:
    """The part of a kernel that ever meets the input, with its padding; (weight, None) where that is all of it.

    A 7×7 kernel on a 1×1 map sees padding but for its centre. The result is the same; the library's convolution is
    up to a hundred times slower on such a kernel than on its centre.
    """
    if (
        geometry.transposed
        or geometry.lopsided
        or all(k <= size for k, size in zip(weight.shape[2:], input.shape[2:], strict=True))
    ):
        return weight, None
    window, paddings = [slice(None), slice(None)], []
    for kernel, size, stride, padding, dilation in zip(
        weight.shape[2:], input.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True
    ):
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        first = max(0, -(-(padding - (outputs - 1) * stride) // dilation))
        last = min(kernel - 1, (size - 1 + padding) // dilation)
        left = padding - first * dilation
        if left < 0 or (size + 2 * left - dilation * (last - first) - 1) // stride + 1 != outputs:
            return weight, None
        window.append(slice(first, last + 1))
        paddings.append(left)
    return weight[tuple(window)], tuple(paddings)


_CONV_NAMES = ("stride", "padding", "dilation", "groups")


def _tuple(value: Any, length: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, tuple | list) else (value,)
    return tuple(int(v) for v in (values * length if len(values) == 1 else values))


def _convolution_weight(scalars: Scalars, input: Tensor, geometry: _Geometry) -> Contract:
    """y[n, o, q] = Σ w[o, i, k] x[n, i, q·stride − padding + k·dilation], so ∂/∂w = Σ_q g[n, o, q] x[n, i, …].

    A transposed convolution is the same with the roles of x and y exchanged, q running over the input.
    """
    by_position: dict[tuple[int, ...], list[int]] = {}
    for draw, index in enumerate(scalars.indices):
        by_position.setdefault(index[2:], []).append(draw)
    version = input._version

    def contract(gradient: Tensor) -> Tensor:
        _unchanged(input, version, scalars)
        strided, dense = (input, gradient) if geometry.transposed else (gradient, input)
        derivatives = gradient.new_zeros(gradient.shape[0], len(scalars.indices))
        for position, draws in by_position.items():
            here, there = _overlap(position, strided.shape[2:], dense.shape[2:], geometry)
            pairs = [_channels(scalars.indices[draw], geometry) for draw in draws]
            of_strided, of_dense = (_pick(side) for side in zip(*pairs, strict=True))
            product = strided[(slice(None), of_strided, *here)] * dense[(slice(None), of_dense, *there)]
            values = product.flatten(2).sum(dim=2)  # (N, draws)
            if len(by_position) == 1:
                return values
            derivatives[:, draws] = values
        return derivatives

    return contract


def _channels(index: tuple[int, ...], geometry: _Geometry) -> tuple[int, int]:
    """(channel of the strided side, channel of the dense side) that weight ``index`` connects."""
    if geometry.transposed:  # weight: (in, out / groups, …), strided side = input
        group = index[0] // geometry.in_per_group
        return index[0], group * geometry.out_per_group + index[1]
    group = index[0] // geometry.out_per_group  # weight: (out, in / groups, …), strided side = output
    return index[0], group * geometry.in_per_group + index[1]


def _overlap(
    position: tuple[int, ...], strided: Sequence[int], dense: Sequence[int], geometry: _Geometry
) -> tuple[list[slice], list[slice]]:
    """Along each axis the q for which q·stride − padding + k·dilation is inside the dense side, and those places."""
    here, there = [], []
    for k, length, inside, stride, padding, dilation in zip(
        position, strided, dense, geometry.stride, geometry.padding, geometry.dilation, strict=True
    ):
        shift = k * dilation - padding
        first = max(0, -(shift // stride))
        last = min(length - 1, (inside - 1 - shift) // stride)
        count = max(0, last - first + 1)
        start = first * stride + shift
        here.append(slice(first, first + count))
        there.append(slice(start, start + (count - 1) * stride + 1, stride) if count else slice(0, 0))
    return here, there


def _pick(channels: Sequence[int]) -> slice | list[int]:
    """A slice where the channels are consecutive (no copy), a list otherwise."""
    first = channels[0]
    if list(channels) == list(range(first, first + len(channels))):
        return slice(first, first + len(channels))
    return list(channels)


# --------------------------------------------------------------------------------- linear layers, normalisations


def _linear(taps: Taps, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y[n, …, o] = Σ w[o, i] x[n, …, i]."""
    if input.dim() < 2 or input.shape[0] != taps.samples:
        taps.untapped(weight, bias)
        return F.linear(input, weight, bias)
    output = F.linear(input, taps.weight(weight), taps.constant(bias))
    version = input._version

    def of_weight(scalars: Scalars) -> Contract:
        rows, columns = (_pick(side) for side in zip(*scalars.indices, strict=True))

        def contract(gradient: Tensor) -> Tensor:
            _unchanged(input, version, scalars)
            product = gradient[..., rows] * input[..., columns]
            return product.reshape(product.shape[0], -1, product.shape[-1]).sum(dim=1)

        return contract

    def of_bias(scalars: Scalars) -> Contract:
        rows = _pick([index[0] for index in scalars.indices])
        return lambda gradient: gradient[..., rows].reshape(len(gradient), -1, len(scalars.indices)).sum(dim=1)

    return taps.attach(output, (taps.scalars(weight), of_weight), (taps.scalars(bias), of_bias))


def _batch_norm(
    taps: Taps,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x − μ) / √(σ² + ε) · γ + β per channel, with μ and σ² constant, so samples stay independent."""
    if input.shape[0] != taps.samples:
        taps.untapped(weight, bias)
    weight_, bias_ = taps.constant(weight), taps.constant(bias)
    measured = taps.calibrate or running_mean is None or running_var is None
    if measured:
        with torch.no_grad():
            mean, variance = next(taps.given) if taps.given is not None else _measure(input)
            taps.statistics.append(Statistics(mean, variance))
    else:
        assert running_mean is not None and running_var is not None
        mean, variance = running_mean, running_var
    inverse = (variance + eps).rsqrt()
    scale = inverse if weight_ is None else inverse * weight_
    shift = -mean * scale if bias_ is None else bias_ - mean * scale
    over = (-1,) + (1,) * (input.dim() - 2)  # (C, 1, …)
    output = torch.addcmul(shift.view(over), input, scale.view(over))
    return _affine(taps, input, output, weight, bias, lambda x, c: (x - mean[c]) * inverse[c])


def _measure(input: Tensor) -> Statistics:
    """Over all axes but the channel's."""
    if input.device.type == "cpu" and input.dim() > 2:  # nine times faster there than var_mean
        return Statistics(*torch.batch_norm_update_stats(input, None, None, 0.0))
    axes = [axis for axis in range(input.dim()) if axis != 1]
    variance, mean = torch.var_mean(input, dim=axes, correction=0)
    return Statistics(mean, variance)


def _affine(
    taps: Taps,
    input: Tensor,
    output: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    normalised: Callable[[Tensor, Any], Tensor],
) -> Tensor:
    """Taps of γ and β in y[n, c, …] = x̂[n, c, …] γ[c] + β[c]; ``normalised(x, c)`` is x̂ with channels last."""

    def of_weight(scalars: Scalars) -> Contract:
        channels = _pick([index[0] for index in scalars.indices])
        with torch.no_grad():
            x = normalised(input.detach()[:, channels].movedim(1, -1), channels).movedim(-1, 1)
        return lambda gradient: _over_places(gradient[:, channels] * x)

    return taps.attach(output, (taps.scalars(weight), of_weight), (taps.scalars(bias), _channel_sum))


def _channel_sum(scalars: Scalars) -> Contract:
    """∂/∂β[c] = Σ_q g[n, c, q]."""
    channels = _pick([index[0] for index in scalars.indices])
    return lambda gradient: _over_places(gradient[:, channels])


def _over_places(values: Tensor) -> Tensor:
    """(N, D, …) → (N, D), summed over what follows."""
    return values.flatten(2).sum(dim=2) if values.dim() > 2 else values


def _layer_norm(
    taps: Taps,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = x̂ ∘ γ + β, x̂ normalised over the last axes."""
    return _elementwise(taps, F.layer_norm(input, normalized_shape, None, None, eps), weight, bias)


def _rms_norm(
    taps: Taps,
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """y = x̂ ∘ γ, x̂ = x / √mean(x²) over the last axes."""
    return _elementwise(taps, F.rms_norm(input, list(normalized_shape), None, eps), weight, None)


def _group_norm(
    taps: Taps,
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = x̂ γ + β per channel, x̂ normalised over groups of channels."""
    return _per_channel(taps, F.group_norm(input, num_groups, None, None, eps), weight, bias)


def _instance_norm(
    taps: Taps,
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = x̂ γ + β per channel, x̂ normalised over each channel of each sample (or by running statistics)."""
    if use_input_stats:
        running_mean = running_var = None
    x = F.instance_norm(input, running_mean, running_var, None, None, use_input_stats, momentum, eps)
    return _per_channel(taps, x, weight, bias)


def _per_channel(taps: Taps, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """y[n, c, …] = x[n, c, …] γ[c] + β[c], as two broadcast steps."""
    over = (-1,) + (1,) * (x.dim() - 2)
    return _elementwise(taps, x, weight, bias, over)


def _elementwise(
    taps: Taps, x: Tensor, weight: Tensor | None, bias: Tensor | None, over: tuple[int, ...] | None = None
) -> Tensor:
    """x ∘ γ + β, each parameter viewed in shape ``over`` (its own, if None)."""
    y = x
    for parameter, combine, partner in ((weight, torch.mul, x), (bias, torch.add, None)):
        if parameter is not None:
            y = _broadcast(taps, combine, y, parameter, partner, over)
    return y


def _broadcast(
    taps: Taps,
    combine: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    parameter: Tensor,
    factor: Tensor | None,
    over: tuple[int, ...] | None = None,
) -> Tensor:
    """``combine(x, parameter)``, whose derivative by the parameter is ``factor`` (1, if None), broadcast."""
    shape = tuple(parameter.shape if over is None else parameter.view(over).shape)
    start = x.dim() - len(shape)  # the axis of x that the parameter's first axis goes along
    if start < 0 or x.shape[0] != taps.samples or (start == 0 and shape[0] != 1):
        taps.untapped(parameter)
        return combine(x, parameter if over is None else parameter.view(over))
    constant = taps.weight(parameter)
    output = combine(x, constant if over is None else constant.view(over))
    known = None if factor is None else factor.detach()

    def rule(scalars: Scalars) -> Contract:
        def contract(gradient: Tensor) -> Tensor:
            product = gradient if known is None else gradient * known
            return torch.stack([_at(product, start, shape, index) for index in scalars.indices], dim=1)

        return contract

    return taps.attach(output, (taps.scalars(parameter), rule))


def _at(gradient: Tensor, start: int, shape: tuple[int, ...], index: tuple[int, ...]) -> Tensor:
    """Σ of each sample's gradient over all places that one element of a broadcast parameter went to: (N,)."""
    picked: list[int | slice] = [slice(None)] * start
    picked += [place if size > 1 else slice(None) for place, size in zip(index, shape, strict=False)]
    return gradient[tuple(picked)].reshape(gradient.shape[0], -1).sum(dim=1)


def _add(taps: Taps, input: Any, other: Any, **kwargs: Any) -> Any:
    """x + θ, θ broadcast over the samples: position embeddings and the like."""
    return _pointwise(taps, torch.add, input, other, kwargs)


def _mul(taps: Taps, input: Any, other: Any, **kwargs: Any) -> Any:
    """x ∘ θ, θ broadcast over the samples: layer scales and the like."""
    return _pointwise(taps, torch.mul, input, other, kwargs)


def _pointwise(taps: Taps, function: Callable[..., Tensor], a: Any, b: Any, kwargs: dict[str, Any]) -> Any:
    chosen = [side for side in (a, b) if isinstance(side, Tensor) and taps.scalars(side) is not None]
    if len(chosen) == 1 and not kwargs:
        x = b if chosen[0] is a else a
        if isinstance(x, Tensor):
            return _broadcast(taps, function, x, chosen[0], x if function is torch.mul else None)
    taps.untapped(*chosen)
    return function(a, b, **kwargs)


def _expand(taps: Taps, input: Tensor, *sizes: Any, **kwargs: Any) -> Tensor:
    """θ repeated for every sample: class tokens and the like."""
    output = input.expand(*sizes, **kwargs)
    if taps.scalars(input) is None:
        return output
    return _broadcast(taps, torch.add, torch.zeros_like(output), input, None)


class _AveragePool(torch.autograd.Function):
    """The derivative of average pooling needs the shape of the input alone; PyTorch's keeps the input for it."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, *options: Any) -> Tensor:
        """Pool, and remember the shape."""
        last = input.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if last else torch.contiguous_format
        ctx.shape, ctx.options = input.shape, options
        return F.avg_pool2d(input, *options)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        """Spread each gradient over the places it was averaged from."""
        (gradient,) = gradients
        anything = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.layout)
        spread = torch.ops.aten.avg_pool2d_backward(gradient, anything, *ctx.options)
        return (spread, *[None] * len(ctx.options))


def _pooling(
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> tuple[Any, ...]:
    """All options of ``F.avg_pool2d``, as its derivative takes them."""
    kernel = _tuple(kernel_size, 2)
    strides = kernel if stride is None else _tuple(stride, 2)
    return kernel, strides, _tuple(padding, 2), ceil_mode, count_include_pad, divisor_override


def _average_pool(taps: Taps, input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """As ever, but with less to keep."""
    if input.dim() != 4 or not (input.requires_grad and torch.is_grad_enabled()):
        return F.avg_pool2d(input, *args, **kwargs)
    output: Tensor = _AveragePool.apply(input, *_pooling(*args, **kwargs))  # type: ignore[no-untyped-call]
    return output


def _unchanged(input: Tensor, version: int, scalars: Scalars) -> None:
    """The input must still hold what the layer saw."""
    if input._version != version:
        raise RuntimeError(f"{scalars.name}: the input of its layer was changed in place after use")


RULES: dict[Callable[..., Any], Callable[..., Any]] = {
    F.linear: _linear,
    F.batch_norm: _batch_norm,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _add),
    **dict.fromkeys((torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__), _mul),
    Tensor.expand: _expand,
    F.avg_pool2d: _average_pool,
    **{getattr(F, f"conv{d}d"): _convolution(d) for d in (1, 2, 3)},
    **{getattr(F, f"conv_transpose{d}d"): _convolution(d, transposed=True) for d in (1, 2, 3)},
}
