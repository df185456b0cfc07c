"""How `vmap` treats what a CPU does faster image by image."""

from collections.abc import Callable
from typing import Any

import jax


def in_turn_on_a_cpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function, of arrays, which `vmap` applies to one image after the other on a CPU.

    A turn is also where XLA writes results to memory. Without it, it would merge what comes before into what comes
    after, and compute it anew for every element that needs it: random bits several times a number, a pixel's place
    for each of its neighbors and channels. And a product over all images at once is reordered in memory, which takes
    longer than the product. On accelerators `vmap` is as always.
    """
    mapped = jax.custom_batching.custom_vmap(function)

    @mapped.def_vmap
    def rule(size: int, batched: list[bool], *arguments: Any) -> tuple[Any, Any]:
        del size
        if jax.default_backend() == "cpu":
            several = [argument for argument, has in zip(arguments, batched, strict=True) if has]

            def turn(own: list[Any]) -> Any:
                rest = iter(own)
                return mapped(*(next(rest) if has else all_ for all_, has in zip(arguments, batched, strict=True)))

            result = jax.lax.map(turn, several)
        else:
            result = jax.vmap(function, in_axes=[0 if has else None for has in batched])(*arguments)
        return result, jax.tree.map(lambda _: True, result)

    return mapped
