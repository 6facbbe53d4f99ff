"""How much a plain `pip install` brings, and how LiteLLM gets an environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from subjects import LITELLM_VENV

LITELLM = "litellm[proxy]==1.109.1"
# What 1.109.1 pins is not in every index; these are close and work.
LITELLM_OVERRIDES = "certifi==2026.10.18\nlitellm-proxy-extras==0.4.110\n"
TOOLS = frozenset({"pip", "setuptools", "wheel", "uv"})


def measure(project: Path, folder: Path) -> dict[str, Any]:
    """Install the project without extras into a fresh environment and weigh what came."""
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run([str(venv / "bin/pip"), "install", "--quiet", str(project)], check=True)
    return weigh(venv)


def weigh(venv: Path) -> dict[str, Any]:
    """Count packages and bytes of an environment, without the tools that installed them."""
    packages, total, compiled = [], 0, 0
    (site,) = venv.glob("lib/python*/site-packages")
    tool_folders = set(TOOLS) | {"_distutils_hack", "pkg_resources", "distutils-precedence.pth", "_virtualenv.py"}
    for info in sorted(site.glob("*.dist-info")):
        name = info.name.split("-")[0].lower()
        if name in TOOLS:
            tool_folders.add(info.name)
        else:
            packages.append(info.name.removesuffix(".dist-info"))
    for file in site.rglob("*"):
        if file.is_file() and file.relative_to(site).parts[0] not in tool_folders:
            size = file.stat().st_size
            total += size
            compiled += size if file.suffix == ".pyc" else 0
    return {
        "packages": packages,
        "package_count": len(packages),
        "bytes": total,
        "bytes_without_bytecode": total - compiled,
    }


def install_litellm() -> None:
    """Make LiteLLM's environment; when it does not install, keep the reason for the table."""
    why = LITELLM_VENV / "why-not.txt"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(LITELLM_VENV)], check=True)
    overrides = LITELLM_VENV / "overrides.txt"
    overrides.write_text(LITELLM_OVERRIDES)
    pip, uv, python = (str(LITELLM_VENV / "bin" / name) for name in ("pip", "uv", "python"))
    for command in (
        [pip, "install", "--quiet", "uv"],
        [uv, "pip", "install", "--python", python, "--overrides", str(overrides), LITELLM],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            why.write_text(done.stderr.strip()[-500:])
            print(f"LiteLLM did not install:\n{done.stderr}", file=sys.stderr)
            return
    print(f"installed {LITELLM} in {LITELLM_VENV}")
