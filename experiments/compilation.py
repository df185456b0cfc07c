"""What programs keep between runs in the user's cache folder: compiled programs, and embeddings of others' outputs."""

import os
from pathlib import Path

import jax


def use_compilation_cache() -> None:
    """Has JAX keep compiled programs in the user's cache folder, so that a second run starts at once."""
    jax.config.update("jax_compilation_cache_dir", str(cache_folder("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def cache_folder(name: str) -> Path:
    """Returns a folder of ours among the user's caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sfjax" / name
