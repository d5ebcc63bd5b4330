"""Hostile clients and a hostile server at the real process: nobody else notices."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.attack import attacked

_SEED = 7
_ROUNDS = 150


def test_hostile_peers_harm_only_themselves(tmp_path: Path) -> None:
    with attacked(tmp_path, _SEED) as attack:
        for number in range(_ROUNDS):
            attack.round(number)
            if number % 30 == 0:
                attack.check_bystander()
        attack.check_bystander()
        attack.check_process()
