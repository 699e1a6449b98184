"""What an image is given is all that its program needs of the sources."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repository import checks
from tests.repository.test_services import SERVICES

DOCKERFILE = (checks.ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")


def sources_of(stage: str, service: str) -> list[tuple[str, str]]:
    """(source, destination) of every COPY out of the checkout in the stage of that name, and in what it is based on."""
    copies: list[tuple[str, str]] = []
    for block in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE):
        if re.match(rf"\S+ AS ({stage}|runtime)\n", block):
            for line in re.findall(r"^COPY (?!--)(.+)$", block, flags=re.MULTILINE):
                *sources, destination = line.replace("${SERVICE}", service).split()
                copies += [(source, destination) for source in sources]
    return copies


def laid_out(copies: list[tuple[str, str]], folder: Path) -> None:
    """Copy as the builder does."""
    for source, destination in copies:
        here, there = checks.ROOT / source, folder / destination
        if here.is_dir():
            shutil.copytree(here, there, dirs_exist_ok=True)
        else:
            there.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)


@pytest.mark.parametrize(
    ("stage", "service", "module"),
    [("provision", "", "deploy.provision"), *(("service", name, f"services.{name}.app") for name in SERVICES)],
)
def test_image_when_its_program_is_loaded_has_every_source(
    tmp_path: Path, stage: str, service: str, module: str
) -> None:
    laid_out(sources_of(stage, service), tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", f"import {module}; print({module}.__file__)"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path)), "not the sources of the image"
