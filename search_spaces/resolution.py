"""How the resolution of images changes from layer to layer."""


def divided(resolution: int, stride: int) -> int:
    """The resolution after a stride, with padding of half the kernel: rounded up."""
    return -(-resolution // stride)
