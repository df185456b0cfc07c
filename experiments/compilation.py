"""Compiled programs are kept between runs."""

import os
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Has JAX keep compiled programs in the user's cache folder, so that a second run starts at once."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sfjax" / "xla"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
