"""Plan hostile statements, one after another; the parent test sees whether the process lives.

Each shape is as deep or long as the limits let it be, and once far beyond them.
"""

from __future__ import annotations

from durproxy.rewrite.plan import Session, plan_statement
from durproxy.rewrite.step import classify

UTF8 = Session("UTF8", standard_conforming_strings=True)


def statements(n: int) -> list[str]:
    return [
        "SELECT df.x()" + "+1" * n,
        "SELECT df.start('a'" + "~>'a'" * n + ")",
        "SELECT df.start('a'" + "?>'b'!>'c'" * (n // 2) + ")",
        "SELECT df.start('a'" + "|=>'a'" * n + ")",
        "SELECT df.start(" + "@> " * n + "'a')",
        "SELECT df.start(" + "'a'~>(" * (n // 2) + "'a'" + ")" * (n // 2) + ")",
        "SELECT df.start(" + "df.loop(" * (n // 4) + "'a'" + ")" * (n // 4) + ")",
        "SELECT df.start(" + "CASE WHEN a THEN " * (n // 4) + "'a'" + " END" * (n // 4) + ")",
        "SELECT df.start(" + "||".join(["'a'"] * n) + ")",
        "SELECT df.x(), 1" + "&1" * n,
        "SELECT df.x(" + "(" * n + "1" + ")" * n + ")",
        "SELECT df.x(" + "(SELECT " * (n // 2) + "1" + ")" * (n // 2) + ")",
        "SELECT df.x(ARRAY" + "[" * n + "1" + "]" * n + ")",
        "SELECT df.x(" + "NOT " * 2 * n + "true)",
        "SELECT df.x(" + "- " * 2 * n + "a)",
        "SELECT df.x()" + "::int" * n,
        "SELECT df.x()" + " UNION SELECT 1" * (n // 2),
        "SELECT df.x() FROM a" + " JOIN a ON b" * (n // 2),
        "SELECT df.x() FROM " + "(SELECT * FROM " * (n // 4) + "a" + ") x" * (n // 4),
        "SELECT df.x();" * (n // 4),
    ]


def bodies(n: int) -> list[str]:
    return [
        "BEGIN PERFORM df.x()" + "; PERFORM df.start(a & b)" * (n // 10),
        "BEGIN PERFORM " + "df.start(" * (n // 4) + "a" + ")" * (n // 4),
        "BEGIN PERFORM " + "df.start(" * (n // 4),
        "BEGIN PERFORM df.x(" + "a ~> " * (n // 2) + "b)",
        "BEGIN PERFORM df.x(" + "'a' | " * (n // 2) + "'b')",
        "BEGIN PERFORM df.start(" + "@> " * n + "'a')",
        "BEGIN PERFORM df.x(" + "(" * n + "1" + ")" * n + ")",
        "BEGIN PERFORM df.x() " + "/*" * n + "*/" * (n // 2),
        "df." * (n // 2),
    ]


def literals() -> list[str]:
    return [
        "SELECT " + "1+" * 25_000 + "1",
        "SELECT " + "(" * 25_000 + "1" + ")" * 25_000,
        "SELECT " + "$a," * 3_000 + "1",
        '{"a":' * 9_000,
        '{"node_type":"SQL","query":' + "[" * 30_000,
        "/*" * 20_000,
        "SELECT 1 " + "+-" * 20_000,
        "'" * 30_000,
    ]


def main() -> None:
    for n in (100, 2_400, 30_000):
        for statement in statements(n):
            plan_statement(statement.encode(), UTF8)
        for body in bodies(n):
            for head in ("DO ", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS "):
                plan_statement(f"{head}$body${body}$body$".encode(), UTF8)
    for literal in literals():
        quoted = literal.replace("'", "''")
        plan_statement(f"SELECT df.start('{quoted}')".encode(), UTF8)
        classify(literal)
    print("alive")


if __name__ == "__main__":
    main()
