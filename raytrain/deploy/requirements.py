"""What a container needs to serve a bundle: the very versions that are installed here, and nothing of the training."""

from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.engines.base import Engine
from raytrain.errors import ConfigError
from raytrain.features.steps import Garch

SERVES = ("fastapi", "numpy", "polars", "psutil", "pydantic", "pydantic-settings", "pyyaml", "scipy", "uvicorn")
"""What raytrain itself needs to make features and to answer."""
_LOADS: dict[Engine, tuple[str, ...]] = {
    "native": ("scikit-learn", "skops", "threadpoolctl"),
    "torch": ("safetensors",),
    "keras": ("safetensors",),
}
"""What reads the model files of an engine, beside the libraries that a fit names."""
_ON_CPU = {"xgboost": "xgboost-cpu", "tensorflow": "tensorflow-cpu"}
"""Builds for Linux on x86-64, without a gigabyte of CUDA."""
LINUX = {
    "os_name": "posix",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "implementation_name": "cpython",
}
"""What Cloud Run and Vertex AI run."""


def requirements(bundle: Bundle, runtime: Runtime, python: str) -> list[str]:
    """`name==version` of each distribution, and of all that they need on Linux.

    Args:
        bundle: to serve.
        runtime: `onnx` needs no training library, unless a member has no graph.
        python: of the container, `3.11`.

    Raises:
        ConfigError: one of them is not installed here, so that nobody has tried it.
    """
    roots = set(SERVES) | ({"arch"} if any(isinstance(step, Garch) for step in bundle.features.steps) else set())
    for one in _fits(bundle):
        roots |= {"onnxruntime"} if runtime == "onnx" and one.onnx["files"] else native_packages(one)
    environment = {**LINUX, "python_version": python, "python_full_version": f"{python}.0", "extra": ""}
    pinned: dict[str, str] = {}
    for name in sorted(roots):
        _pin(name, environment, pinned)
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def native_packages(bundle: Bundle) -> set[str]:
    """What a native model is loaded with."""
    named = {_ON_CPU.get(name, name) for name, _ in bundle.spec.packages}
    if "keras" in named:
        named.add("torch" if bundle.keras_backend == "torch" else "tensorflow-cpu")
    return named | (set(_LOADS[bundle.engine]) if named - {"scipy", "arch"} else set())


def _fits(bundle: Bundle) -> Iterator[Bundle]:
    """The bundle and all inside."""
    yield bundle
    for member in bundle.members:
        yield from _fits(member)


def _pin(name: str, environment: dict[str, str], pinned: dict[str, str]) -> None:
    """The distribution and what it needs, each once."""
    canonical = canonicalize_name(name)
    if canonical in pinned:
        return
    try:
        found = distribution(name)
    except PackageNotFoundError:
        if (other := _other_build(canonical)) is None:
            raise ConfigError(
                f"a container needs {name} as it was tried here, but it is not installed; pip install "
                f"'raytrain[serve,onnx]' and the extra of the model's engine"
            ) from None
        pinned[canonical] = distribution(other).version
        return
    pinned[canonical] = found.version.partition("+")[0]
    for one in _needs(found.requires or (), environment):
        _pin(one, environment, pinned)


def _other_build(name: str) -> str | None:
    """A Mac holds the plain build of what a container has for the CPU."""
    plain = name.removesuffix("-cpu")
    try:
        return distribution(plain).metadata["Name"] if plain != name else None
    except PackageNotFoundError:
        return None


def _needs(lines: Iterable[str], environment: dict[str, str]) -> Iterator[str]:
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            # CUDA comes with torch's build for it only, which a container without an accelerator has no use for.
            if not requirement.name.startswith(("nvidia-", "cuda-", "triton")):
                yield requirement.name
