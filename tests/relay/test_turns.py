"""Turns: fair, bounded, and nothing is lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from durproxy.proxy.turns import Turns

clients = st.integers(0, 4)
actions = st.lists(st.one_of(clients.map(lambda c: ("add", c)), st.just(("take", 0))), max_size=60)


def drain(turns: Turns[int, int]) -> list[tuple[int, int]]:
    """All that waits, with one hand."""
    taken = []
    while (turn := turns.take()) is not None:
        taken.append(turn)
        turns.done(turn[0])
    return taken


@given(st.lists(clients, max_size=40))
def test_everything_is_taken_once_and_each_clients_own_in_order(asked: list[int]) -> None:
    turns: Turns[int, int] = Turns(100, 100)
    for number, client in enumerate(asked):
        assert turns.add(client, number)
    taken = drain(turns)
    assert sorted(number for _, number in taken) == list(range(len(asked)))
    for client in set(asked):
        own = [number for who, number in taken if who == client]
        assert own == sorted(own)


@given(st.lists(clients, max_size=40))
def test_no_client_is_served_twice_while_another_waits(asked: list[int]) -> None:
    turns: Turns[int, int] = Turns(100, 100)
    for number, client in enumerate(asked):
        turns.add(client, number)
    waiting, served = Counter(asked), Counter[int]()
    for client, _ in drain(turns):
        assert all(served[client] <= served[other] for other in waiting if waiting[other])
        served[client] += 1
        waiting[client] -= 1


@given(actions)
def test_two_hands_never_work_for_one_client(actions: list[tuple[str, int]]) -> None:
    turns: Turns[int, int] = Turns(5, 12)
    in_work: list[int] = []
    for number, (action, client) in enumerate(actions):
        if action == "add":
            turns.add(client, number)
        elif len(in_work) < 2 and (taken := turns.take()) is not None:
            assert taken[0] not in in_work
            in_work.append(taken[0])
        elif in_work:
            turns.done(in_work.pop(0))
        assert len(turns) <= 12


def test_too_many_of_one_client_or_in_total_are_not_taken_in() -> None:
    turns: Turns[str, int] = Turns(2, 3)
    assert [turns.add("a", number) for number in range(3)] == [True, True, False]
    assert [turns.add("b", number) for number in range(2)] == [True, False]
