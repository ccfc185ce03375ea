"""A folder that a container is built from: raytrain's own source, pinned requirements, the bundle, a Dockerfile."""

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

import raytrain
from raytrain.data.atomic import whole_folder
from raytrain.deploy.contents import Bundle
from raytrain.deploy.forecaster import Runtime
from raytrain.deploy.local import serve_command
from raytrain.deploy.requirements import requirements

LEFT_OUT = ("cluster", "pipeline.py", "report", "run_config.py", "schedule", "tracking", "tuning")
"""What serving never imports; a test says so."""
_DOCKERFILE = """\
FROM python:{python}-slim
{system}ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONPATH=/app
RUN useradd --create-home --uid 10001 serve
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps -r requirements.txt{index}
COPY raytrain raytrain
COPY bundle bundle
USER serve
CMD [{command}]
"""
_OPENMP = (
    "RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*\n"
)


def write_source(folder: Path, bundle: Bundle, runtime: Runtime) -> Path:
    """Write the folder, or find it: it is named by what is in it.

    Args:
        folder: to put it in.
        bundle: to serve.
        runtime: to serve it with.

    Returns:
        `<folder>/source-<digest>-<runtime>`.

    Raises:
        ConfigError: a package that the container needs is not installed here.
    """
    python = ".".join(platform.python_version_tuple()[:2])
    needed = requirements(bundle, runtime, python)
    target = folder / f"source-{bundle.digest[:12]}-{runtime}"
    if target.exists():
        shutil.rmtree(target)
    with whole_folder(target) as building:
        for name, text in _files(bundle, runtime, python, needed).items():
            (building / name).write_text(text)
        shutil.copytree(bundle.folder, building / "bundle")
        ignored = shutil.ignore_patterns("__pycache__", "*.jinja", "*.css")
        package = Path(raytrain.__file__).parent
        shutil.copytree(package, building / "raytrain", ignore=lambda at, names: _left_out(at, names, package, ignored))
    return target


def _left_out(at: str, names: list[str], package: Path, ignored: object) -> set[str]:
    found = set(ignored(at, names)) if callable(ignored) else set()
    return found | ({name for name in names if name in LEFT_OUT} if Path(at) == package else set())


def _files(bundle: Bundle, runtime: Runtime, python: str, needed: list[str]) -> Mapping[str, str]:
    command = ("python", *serve_command("/app/bundle", runtime, "0.0.0.0", None))
    torch = any(one.startswith("torch==") for one in needed)
    system = _OPENMP if runtime == "native" and bundle.engine == "native" else ""
    index = " --extra-index-url https://download.pytorch.org/whl/cpu" if torch else ""
    told = ", ".join(f'"{word}"' for word in command)
    return {
        "Dockerfile": _DOCKERFILE.format(python=python, system=system, index=index, command=told),
        "requirements.txt": "".join(f"{one}\n" for one in needed),
        ".dockerignore": "**/__pycache__\n",
        # Or gcloud leaves out what a .gitignore above names, such as model files.
        ".gcloudignore": "#!include:.dockerignore\n",
    }
