"""The wheel carries everything: built, installed alone into an empty environment, used there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import durproxy
from tests.fix_postgres import Database
from tests.fix_serve import ENVIRONMENT

pytestmark = pytest.mark.one_postgres

REPOSITORY = Path(__file__).parents[2]


def run(*command: object, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment whose only durproxy is the built wheel.

    Its dependencies are the ones of the environment that runs the tests, by a .pth file that
    comes after the wheel's own folder: so nothing is downloaded again.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    run(*build, REPOSITORY, cwd=folder)
    [wheel] = folder.glob("durproxy-*.whl")
    environment = folder / "environment"
    run(sys.executable, "-m", "venv", environment, cwd=folder)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel, cwd=folder)
    here = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = run(python, "-c", here, cwd=folder).strip()
    dependencies = run(sys.executable, "-c", here, cwd=folder).strip()
    (Path(purelib) / "dependencies.pth").write_text(dependencies + "\n")
    return environment


def test_wheel_has_the_sql_files_and_initialises_a_database(
    installed: Path, database: Database, tmp_path: Path
) -> None:
    program = installed / "bin" / "durproxy"
    where = "import durproxy; print(durproxy.__file__)"
    origin = run(installed / "bin" / "python", "-c", where, cwd=tmp_path)
    assert origin.startswith(str(installed)), "the wheel's own code is what runs"
    assert run(program, "version", cwd=tmp_path) == f"durproxy {durproxy.__version__}\n"
    run(program, "init", cwd=tmp_path, DURPROXY_UPSTREAM=database.dsn)
    assert database.psql("SELECT df.version() IS NOT NULL") == "t"
    known = {path.name for path in (REPOSITORY / "durproxy/schema/migrations").glob("*.sql")}
    assert set(database.psql("SELECT name FROM df._migrations").split()) == known
