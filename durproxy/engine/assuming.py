"""Steps that share one login and become their role by SET ROLE: only where that is asked for.

Each use of a connection begins with DISCARD ALL and SET ROLE. Nothing else keeps a step from the
rights of the login, and so of every role that it may become: a text that would change the role is
refused before the workflow begins, but a function that does so is not noticed. Steps in another
database are refused, since what they leave there is kept by login.
"""

from __future__ import annotations

from durproxy.engine.claim import Claim
from durproxy.engine.connection import Connection, ServerError
from durproxy.engine.core.graph import Graph
from durproxy.engine.core.references import quote_name, substitute_variables
from durproxy.errors import LanguageError, UpstreamUnreachable
from durproxy.rewrite.switching import switch_in


async def assume(connection: Connection, role: str) -> None:
    """Forget the session, and be that role in it.

    Raises UpstreamUnreachable: the session is nobody's then, and to be closed.
    """
    try:
        if connection.assumes is not None:
            await connection.forget()
        await connection.script(f"SET ROLE {quote_name(role)}")
    except ServerError as error:
        raise UpstreamUnreachable(f'cannot become role "{role}": {error.message}') from None
    connection.assumes = role


def refuse_switches(claim: Claim, graph: Graph) -> None:
    """Raise LanguageError for a workflow that would leave its role."""
    if claim.database is not None:
        raise LanguageError(
            "steps in another database need a login of their role",
            sqlstate="0A000",
            hint='step_identity is "set_role" in the settings of this engine.',
        )
    for node in graph.nodes():
        if not node.query:
            continue
        found = switch_in(substitute_variables(node.query, claim.substitutions))
        if found is not None:
            raise LanguageError(
                f"a step may not change its role: {found}",
                node=node.number,
                sqlstate="42501",
                hint='step_identity is "set_role" in the settings of this engine.',
            )
