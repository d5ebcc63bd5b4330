"""What two things that happen to a session at once leave behind, without a server."""

from __future__ import annotations

from durproxy.wire.backend import IDLE
from durproxy.wire.frontend import Query
from durproxy.wire.states import State
from tests.fuzz.test_wire_streams import Ends


def test_a_session_that_is_paused_while_it_is_cancelled_stays_paused() -> None:
    with Ends() as ends:
        link = ends.link
        link.status = IDLE
        with link.client_waiting():
            link.maybe_pause()
        assert link.state is State.PAUSED
        assert not link.up.reading
        with link.client_waiting():
            link.end_pause()
            assert not link.up.reading
        assert link.up.reading


def test_of_two_cancels_the_last_one_lets_the_client_go_on() -> None:
    with Ends() as ends:
        link = ends.link
        with link.client_waiting():
            with link.client_waiting():
                pass
            assert not link.up.reading
        assert link.up.reading


def test_what_came_with_the_login_waits_for_the_end_of_a_pause() -> None:
    with Ends() as ends:
        link = ends.link
        link.status = IDLE
        link.pump.paused = True
        query = Query(b"SELECT 1").encode()
        link.take_initial(b"", query)
        assert link.state is State.PAUSED
        assert not link.expected
        link.end_pause()
        assert list(link.expected) == [Query.kind]
        assert ends.server.recv(100) == query
