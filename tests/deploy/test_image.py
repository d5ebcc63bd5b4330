"""The Dockerfile's commands without Docker: they copy what is needed, and what they make runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fix_postgres import Database
from tests.fix_serve import ENVIRONMENT, environment_of

TOP = Path(__file__).parents[2]
LINES = re.sub(r"\\\n\s*", "", (TOP / "deploy/Dockerfile").read_text()).splitlines()
NOBODY = 65534


def others_may_run(program: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in program.resolve().parents)


def arguments(word: str) -> list[str]:
    return [line.removeprefix(word).strip() for line in LINES if line.startswith(f"{word} ")]


@pytest.mark.soak
def test_the_image_is_whole_and_serves_as_nobody(home: Database, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    build, made = tmp_path / "build", tmp_path / "durproxy"
    build.mkdir()
    for line in arguments("COPY"):
        if not line.startswith("--from"):
            *sources, target = line.split()
            for source in sources:
                copy = shutil.copytree if (TOP / source).is_dir() else shutil.copy
                copy(TOP / source, build / target)
    for line in arguments("RUN")[:2]:
        here = line.replace("/opt/durproxy", str(made)).replace("python -m", f"{sys.executable} -m")
        subprocess.run(here, shell=True, cwd=build, env=ENVIRONMENT, check=True)
    assert not list(made.glob("bin/pip*"))
    written = tmp_path / "tmp"
    written.mkdir()
    written.chmod(0o777)
    settings = {"upstream": home.dsn, "listen": "127.0.0.1:0", "web": "127.0.0.1:0"}
    variables = {"TMPDIR": str(written), "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    interpreter = Path(sys.executable)
    user = NOBODY if os.geteuid() == 0 and others_may_run(interpreter) else None
    with subprocess.Popen(
        [made / "bin/durproxy", "serve"],
        env=environment_of(settings) | variables,
        user=user, cwd="/",
        stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        assert server.stdout.readline().startswith("durproxy ready")
        server.terminate()
        assert server.wait(30) == 0
    assert not list(made.rglob("durproxy/**/*.pyc"))
