"""Each rule of the protocol taken away once: some test of it must turn red.

A test that cannot fail proves nothing; here every one that guards a rule is seen to fail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from durproxy.schema.install import install
from tests.fix_postgres import BINDIRS, Clusters, Database
from tests.store import test_protocol as protocol
from tests.store import test_runs as runs
from tests.store.arena import Arena

Check = Callable[[Arena], None]

pytestmark = pytest.mark.soak

_PATIENCE = 0.5  # seconds: what should wait and does not is seen by waiting in vain


@dataclass(frozen=True)
class Mutation:
    """In ``function`` every ``old`` becomes ``new``, and ``check`` must fail."""

    function: str
    old: str
    new: str
    check: Check


_ENDED_SCOPE = protocol.test_a_scope_that_ends_ends_the_waits_inside_and_nothing_else
_OUTERMOST_CLOSED = partial(protocol.test_every_enclosing_scope_must_be_open, closed=0)

_FINISH = [
    Mutation("_finish_1", "i.paused IS NULL FOR SHARE SKIP LOCKED",
             "i.paused IS NULL FOR KEY SHARE SKIP LOCKED",
             protocol.test_a_cancel_waits_for_a_step_that_is_committing),
    Mutation("_finish_1", "i.token = p_token", "true",
             protocol.test_nothing_commits_after_a_cancel),
    Mutation("_finish_1", "i.token = p_token", "true",
             protocol.test_a_step_cannot_commit_after_a_takeover_or_a_release),
    Mutation("_finish_1", "i.token = p_token", "i.token IS NOT NULL",
             protocol.test_every_claim_has_a_token_of_its_own),
    Mutation("_finish_1", "f.n = p_rounds[k] FOR SHARE", "f.n = p_rounds[k] FOR KEY SHARE",
             protocol.test_a_race_that_closes_waits_for_a_step_that_is_committing_in_it),
    Mutation("_finish_1", "f.n = p_rounds[k] FOR SHARE", "f.n = p_rounds[k] FOR KEY SHARE",
             protocol.test_the_next_round_waits_for_a_step_that_is_committing_in_this_one),
    Mutation("_finish_1", "f.n = p_rounds[k] FOR SHARE", "true FOR SHARE",
             protocol.test_a_late_step_of_an_old_round_is_refused_though_its_key_is_free_again),
    Mutation("_finish_1", "AND f.status = 'o' AND f.n = p_rounds[k]", "AND f.n = p_rounds[k]",
             protocol.test_a_step_of_a_branch_that_lost_cannot_commit),
    Mutation("_finish_1", "FOR k IN 1 .. v_frames", "FOR k IN greatest(1, v_frames) .. v_frames",
             _OUTERMOST_CLOSED),
    Mutation("_finish_1", "AND f.status = 'o' AND f.n = p_rounds[v_frames]", "",
             protocol.test_of_two_branches_that_finish_at_once_one_commits),
    Mutation("_finish_1", "ON CONFLICT DO NOTHING",
             "ON CONFLICT (instance_id, node, path) DO UPDATE SET result = excluded.result",
             protocol.test_an_outcome_is_written_once),
    Mutation("_finish_1", "ON CONFLICT DO NOTHING",
             "ON CONFLICT (instance_id, node, path) DO UPDATE SET result = excluded.result",
             protocol.test_a_second_finish_that_comes_at_once_is_refused_too),
    Mutation("_finish_1", "FOR SHARE SKIP LOCKED", "FOR SHARE",
             protocol.test_the_user_is_never_the_victim_of_a_deadlock_with_a_step),
    Mutation("_await_hold_1", "OR EXISTS (", "OR false AND EXISTS (",
             protocol.test_the_user_is_never_the_victim_of_a_deadlock_with_a_step),
    Mutation("_await_hold_1", "WHERE i.id = p_instance AND i.token = p_token;",
             "WHERE i.id = p_instance;",
             protocol.test_a_step_that_meets_an_uncommitted_cancel_waits_and_is_refused),
]  # fmt: skip
_CANCELS = protocol.test_a_cancel_of_what_may_owe_something_voids_the_token_and_leaves_it
_CANCEL = [
    *(
        Mutation("_do_cancel", "ending = v_reason, owner = NULL, token = NULL",
                 "ending = v_reason", partial(_CANCELS, owing=owing))
        for owing in protocol.OWING
    ),
    Mutation("_do_cancel", "AND NOT df._unwinds(i.graph)", "",
             partial(_CANCELS, owing=protocol.OWING[0])),
    Mutation("_do_cancel", "i.ending IS NULL AND i.status", "i.status",
             partial(_CANCELS, owing=protocol.OWING[0])),
    Mutation("_do_cancel", "PERFORM df._end_waits_1", "PERFORM 1; -- ",
             partial(_CANCELS, owing=protocol.OWING[0])),
    Mutation("_unwinds", 'FINALLY', "NOTHING", partial(_CANCELS, owing=protocol.OWING[0])),
    Mutation("_unwinds", 'COMPENSATE', "NOTHING", partial(_CANCELS, owing=protocol.OWING[1])),
    Mutation("_do_cancel", "i.status = 'pending' OR", "",
             protocol.test_a_cancel_of_what_has_not_begun_or_owes_nothing_ends_it),
]  # fmt: skip
_SCOPES = [
    Mutation("_hold_1", "i.token = p_token", "true", protocol.test_nothing_commits_after_a_cancel),
    Mutation("_hold_1", "f.status = 'o' AND f.n", "f.n",
             protocol.test_a_step_of_a_branch_that_lost_cannot_commit),
    Mutation("_hold_1", "f.n = p_rounds[k] FOR SHARE", "f.n = p_rounds[k] FOR KEY SHARE",
             protocol.test_a_wait_that_opens_while_the_race_around_it_closes_ends_with_it),
    Mutation("_hold_1", "FOR k IN 1 .. coalesce", "FOR k IN 2 .. coalesce", _OUTERMOST_CLOSED),
    Mutation("_hold_1", " AND f.n = p_rounds[k]", "",
             protocol.test_a_late_step_of_an_old_round_is_refused_though_its_key_is_free_again),
    Mutation("_open_1", "v_status <> 'o'", "false",
             protocol.test_a_late_open_does_not_bring_a_closed_scope_back),
    Mutation("_open_1", "ON CONFLICT DO NOTHING",
             "ON CONFLICT (instance_id, node, path) DO UPDATE SET due = excluded.due",
             protocol.test_a_timer_keeps_the_due_time_of_its_first_opening),
    Mutation("_close_1", "AND f.status = 'o' AND f.n = p_rounds[v_frame]", "",
             protocol.test_a_scope_closes_once),
    Mutation("_end_waits_1", "AND c.status = 'o'", "AND false",
             protocol.test_a_wait_that_opens_while_the_race_around_it_closes_ends_with_it),
    Mutation("_close_1", "PERFORM df._end_waits_1", "PERFORM 1; -- ",
             partial(_ENDED_SCOPE, ends="close")),
    Mutation("_finish_1", "PERFORM df._end_waits_1", "PERFORM 1; -- ",
             partial(_ENDED_SCOPE, ends="win")),
    Mutation("_expire_1", "PERFORM df._end_waits_1", "PERFORM 1; -- ",
             partial(_ENDED_SCOPE, ends="expire")),
    Mutation("_end_waits_1", "c.node <= p_last", "true", partial(_ENDED_SCOPE, ends="close")),
    Mutation("_end_waits_1", "c.kind IN", "true OR c.kind IN",
             partial(_ENDED_SCOPE, ends="close")),
    Mutation("_end_waits_1", "AND position(", "AND 0 * position(",
             partial(_ENDED_SCOPE, ends="close")),
    Mutation("_retry_1", "AND f.status = 'o' AND f.n = p_failed", "AND f.status = 'o'",
             protocol.test_an_attempt_that_is_over_cannot_commit_nor_count_on),
    Mutation("_retry_1", "ON CONFLICT DO NOTHING",
             "ON CONFLICT (instance_id, node, path) DO UPDATE SET n = 1",
             protocol.test_an_attempt_that_is_over_cannot_commit_nor_count_on),
    Mutation("_retry_1", "c.node <= p_last", "true",
             protocol.test_the_next_attempt_takes_away_the_rows_of_the_last_and_no_others),
    Mutation("_is_within", "pg_catalog.starts_with(p_path, p_outer)",
             "pg_catalog.starts_with(p_path, p_outer) OR false",
             protocol.test_the_next_attempt_takes_away_the_rows_of_the_last_and_no_others),
    Mutation("_is_within", ",:,~,!}", "}",
             protocol.test_the_next_attempt_takes_away_the_rows_of_the_last_and_no_others),
    Mutation("_retry_1", "0.5 + random() / 2", "random()",
             protocol.test_jitter_keeps_at_least_half_of_a_pause),
    Mutation("_expire_1", "v_due > df._clock()", "false",
             protocol.test_a_deadline_never_passes_early_and_passes_once),
    Mutation("_expire_1", "AND f.status = 'o' FOR UPDATE", "FOR UPDATE",
             protocol.test_a_deadline_never_passes_early_and_passes_once),
    Mutation("_next_1", "f.n = p_rounds[v_frame]", "true",
             protocol.test_a_late_step_of_an_old_round_is_refused_though_its_key_is_free_again),
    Mutation("_is_within", "p_path OPERATOR(pg_catalog.=) p_outer OR", "false OR",
             protocol.test_a_round_takes_away_its_own_rows_and_no_others),
    Mutation("_is_within", "OR pg_catalog.starts_with", "OR false AND pg_catalog.starts_with",
             protocol.test_a_round_takes_away_its_own_rows_and_no_others),
]  # fmt: skip
_WAITS = [
    Mutation("_fire_1", "v_due > df._clock()", "false",
             protocol.test_a_timer_never_fires_early_and_fires_once),
    Mutation("_fire_1", "AND f.status = 'o'", "",
             protocol.test_a_timer_never_fires_early_and_fires_once),
    Mutation("_take_1", "ORDER BY o.seq", "ORDER BY o.seq DESC",
             protocol.test_messages_come_in_order_and_once),
    Mutation("_take_1", "SKIP LOCKED", "", protocol.test_two_waits_never_take_the_same_message),
    Mutation("_take_1", "v_due IS NULL OR v_due > df._clock()", "true",
             protocol.test_a_wait_whose_time_is_over_prefers_a_message_that_is_there),
    Mutation("_release_1", "p_how = 'w' AND EXISTS", "false AND EXISTS",
             partial(protocol.test_a_message_that_is_there_makes_a_released_instance_claimable,
                     sent="before the release")),
    Mutation("_tick_1", "i.ready_at IS NOT NULL AND i.takeovers",
             "i.ready_at < now() AND i.takeovers",
             protocol.test_a_message_that_comes_after_the_release_is_seen_by_the_next_look),
]  # fmt: skip
_HOLDERS = [
    Mutation("_claim_1", "FOR NO KEY UPDATE SKIP LOCKED", "FOR NO KEY UPDATE",
             protocol.test_a_claim_never_waits_and_takes_what_is_free),
    Mutation("_claim_1", "FOR NO KEY UPDATE", "FOR UPDATE",
             protocol.test_a_row_that_an_open_transaction_refers_to_can_be_claimed),
    Mutation("_claim_one_1", "AND i.ready_at IS NOT NULL", "",
             protocol.test_two_workers_never_claim_the_same_instance),
    Mutation("_claim_one_1", "token = gen_random_uuid()", "token = p_engine",
             protocol.test_every_claim_has_a_token_of_its_own),
    Mutation("_takeover_1", "SKIP LOCKED", "",
             protocol.test_a_takeover_leaves_what_is_committing_for_its_next_look),
    Mutation("_interrupted", "token = NULL", "token = i.token",
             protocol.test_a_step_cannot_commit_after_a_takeover_or_a_release),
    Mutation("_reclaim_1", "SKIP LOCKED", "",
             protocol.test_a_worker_never_waits_for_a_users_transaction_when_it_gives_back),
    Mutation("_release_all_1", "AND (SELECT count(*) FROM mine)", "OR (SELECT count(*) FROM mine)",
             protocol.test_a_worker_never_waits_for_a_users_transaction_when_it_gives_back),
    Mutation("_tick_1", "AND NOT EXISTS (SELECT", "AND EXISTS (SELECT",
             protocol.test_what_a_forgotten_worker_still_claimed_is_found),
]  # fmt: skip
_RUNS = [
    Mutation("_runs_2", "            COMMIT;", "",
             runs.test_a_step_is_committed_while_the_next_one_runs),
    Mutation("_runs_2", "EXIT WHEN pg_catalog.clock_timestamp()", "EXIT WHEN false AND now()",
             runs.test_a_call_whose_time_is_over_leaves_the_rest),
]  # fmt: skip
_MUTATIONS = [*_RUNS, *_FINISH, *_CANCEL, *_SCOPES, *_WAITS, *_HOLDERS]


@pytest.fixture(scope="module")
def scratch(clusters: Clusters) -> Iterator[Database]:
    """On one server is enough: what is tested here is the tests."""
    postgres = clusters.get(next(iter(BINDIRS.values())))
    database = postgres.fresh_database()
    install(database.dsn)
    yield database
    postgres.drop_database(database)


@pytest.fixture
def arena(scratch: Database) -> Iterator[Arena]:
    user = scratch.add_role()
    with scratch.connect() as owner:
        owner.execute("SELECT df.grant_usage(%s)", [user.name])
    with Arena(scratch, user, _PATIENCE) as arena:
        yield arena


@pytest.mark.parametrize(
    "mutation", _MUTATIONS, ids=[f"{m.function}-{k}" for k, m in enumerate(_MUTATIONS)]
)
def test_without_the_rule_its_test_fails(arena: Arena, mutation: Mutation) -> None:
    with arena.database.connect() as owner:
        found = owner.execute(
            "SELECT oid, pg_get_functiondef(oid) FROM pg_proc"
            " WHERE pronamespace = 'df'::regnamespace AND proname = %s",
            [mutation.function],
        ).fetchone()
        assert found is not None
        definition = str(found[1])
        assert mutation.old in definition, "the rule is written in another way now"
        mutated = definition.replace(mutation.old, mutation.new)
        owner.execute(mutated.encode())
        try:
            with pytest.raises((AssertionError, psycopg.Error)):
                mutation.check(arena)
        finally:
            owner.execute(definition.encode())
