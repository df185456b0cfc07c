"""What a compiled program costs beside its time: to compile, in memory, in operations and in random numbers."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental.compilation_cache import compilation_cache
from jax.extend.core import Jaxpr, jaxprs_in_params
from jaxtyping import Array, Key

from experiments.speed.timing import markdown


class Program(NamedTuple):
    """A compiled function and what it took.

    Attributes:
        run: The function.
        traced: Seconds from Python to XLA's input.
        compiled: Seconds of XLA, with nothing cached.
        again: Seconds of both when XLA's output is in the persistent cache, as in the next process.
        gibibytes: Of arguments, results and everything in between, as XLA plans it.
    """

    run: Callable[..., Any]
    traced: float
    compiled: float
    again: float
    gibibytes: float


def compile_program(function: Callable[..., Any], *args: Any, donate: tuple[int, ...] = ()) -> Program:
    """Returns the function compiled for such arguments, which may be shapes, and what that took.

    Args:
        function: Pure.
        *args: Arrays, or `jax.ShapeDtypeStruct`.
        donate: Numbers of the arguments whose memory the results may take.
    """

    def timed() -> tuple[Any, float, float]:
        jax.clear_caches()
        begun = time.perf_counter()
        lowered = jax.jit(function, donate_argnums=donate).lower(*args)
        traced = time.perf_counter() - begun
        return lowered.compile(), traced, time.perf_counter() - begun - traced

    with fresh_cache():
        program, traced, compiled = timed()
        again = sum(timed()[1:])
    plan = program.memory_analysis()
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    return Program(program, traced, compiled, again, held / 2**30)


@contextlib.contextmanager
def fresh_cache() -> Iterator[None]:
    """Gives JAX an empty folder for compiled programs, and afterwards the one that it had."""
    options = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in options}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name, value in zip(options, (folder, 0.0), strict=True):
                jax.config.update(name, value)
            compilation_cache.reset_cache()  # it holds on to its folder
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def programs_table(title: str, programs: dict[str, Program]) -> str:
    """Returns compile times and memory as a Markdown table."""
    head = ["program", "trace, s", "compile, s", "both from the cache, s", "memory, GiB"]
    rows = [
        [name, f"{one.traced:.1f}", f"{one.compiled:.1f}", f"{one.again:.1f}", f"{one.gibibytes:.2f}"]
        for name, one in programs.items()
    ]
    return markdown(title, head, rows)


def operations(function: Callable[..., Any], *args: Any) -> float:
    """Returns how many operations XLA counts for the function; it counts the body of a loop once."""
    analysis: Any = jax.jit(function).lower(*args).cost_analysis()
    return float(analysis["flops"])


class Draw(NamedTuple):
    """Random bits that a function draws: an array of `shape` and `dtype` for each of its keys."""

    shape: tuple[int, ...]
    dtype: Any


def draws(function: Callable[..., Any], *args: Any) -> list[Draw]:
    """Returns what the function draws from a batch of keys, in order."""
    return list(_draws(jax.make_jaxpr(function)(*args).jaxpr))


def _draws(jaxpr: Jaxpr) -> Iterator[Draw]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "random_bits":
            yield Draw(equation.params["shape"], jnp.dtype(f"uint{equation.params['bit_width']}"))
        for inner in jaxprs_in_params(equation.params):
            yield from _draws(inner)


def drawn(wanted: list[Draw], keys: Key[Array, " n"]) -> list[Array]:
    """Returns the maxima of such draws, so that they are computed and not kept."""

    def of_key(key: Key[Array, ""]) -> list[Array]:
        own = [jax.random.fold_in(key, number) for number in range(len(wanted))]
        return [jax.random.bits(key, draw.shape, draw.dtype).max() for key, draw in zip(own, wanted, strict=True)]

    return jax.vmap(of_key)(keys)


def reset_peak() -> float | None:
    """Returns the GiB that the process holds now, and forgets the most that it held; None where Linux is not."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status("VmRSS")


def peak() -> float:
    """Returns the most GiB that the process held since `reset_peak`."""
    return _status("VmHWM")


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(field)) / 2**20
