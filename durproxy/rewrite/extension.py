"""Statements about the extension pg_durable, whose place the home schema has.

Migrations that create the extension go on: the statement becomes one that has the same command
tag and changes nothing. For CREATE that is a CREATE of an extension that every home database has,
which any role may "create" again. Dropping the extension must not cost anybody a workflow, so
that, too, does nothing, and says so.
"""

from __future__ import annotations

from typing import Final

from pglast import ast
from pglast.enums import ObjectType

from durproxy.rewrite.bodies import statement_span
from durproxy.rewrite.parse import Tree
from durproxy.rewrite.splice import Edit

NAME: Final = "pg_durable"
STAND_IN: Final = "plpgsql"

_CREATE: Final = f"CREATE EXTENSION IF NOT EXISTS {STAND_IN}"
_DROP: Final = f"DROP EXTENSION IF EXISTS {NAME}"
_UPDATE: Final = (
    "DO LANGUAGE plpgsql $extension$BEGIN"
    f""" RAISE NOTICE 'extension "{NAME}" is provided by durproxy' USING"""
    " HINT = 'The command durproxy init updates it.'; END$extension$"
)
_COMMENT: Final = "DO LANGUAGE plpgsql $extension$BEGIN END$extension$"


def extension_edit(text: str, raw: Tree) -> Edit | None:
    """Return what replaces the statement if it is about the extension."""
    instead = _instead(raw.stmt)
    return None if instead is None else Edit(*statement_span(text, raw), instead)


def _instead(statement: Tree) -> str | None:
    if isinstance(statement, ast.CreateExtensionStmt) and statement.extname == NAME:
        return _CREATE
    if isinstance(statement, ast.AlterExtensionStmt) and statement.extname == NAME:
        return _UPDATE
    if isinstance(statement, ast.DropStmt):
        named = [getattr(name, "sval", None) for name in statement.objects or ()]
        is_ours = statement.removeType == ObjectType.OBJECT_EXTENSION and named == [NAME]
        return _DROP if is_ours else None
    if isinstance(statement, ast.CommentStmt) and statement.objtype == ObjectType.OBJECT_EXTENSION:
        return _COMMENT if getattr(statement.object, "sval", None) == NAME else None
    return None
