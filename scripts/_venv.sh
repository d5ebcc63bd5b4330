# Sourced by the scripts beside it: a virtual environment in the repository, made when it is
# missing or pyproject.toml has changed. Afterwards $VENV/bin has everything, `durproxy` included.

set -euo pipefail
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV="$REPO/.venv"
cd "$REPO"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "durproxy needs Python 3.11 or newer; set PYTHON to one" >&2
    return 1
}

ensure_venv() {
    local python wanted
    python=$(find_python)
    wanted=$("$python" - <<'EOF'
import hashlib, pathlib, sys
pyproject = pathlib.Path("pyproject.toml").resolve()
print(hashlib.sha256(pyproject.read_bytes()).hexdigest(), sys.version_info[:2], pyproject)
EOF
    )
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/made-from" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    echo "making $VENV (once; some minutes)" >&2
    rm -rf "$VENV"
    "$python" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
    echo "$wanted" >"$VENV/made-from"
}

ensure_venv
# Images for containers often forbid it; each interpreter that a test starts would compile us anew.
unset PYTHONDONTWRITEBYTECODE
