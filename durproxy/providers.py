"""What is particular to each managed Postgres, as far as it concerns roles and logins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Provider(Enum):
    """Where the database is."""

    PLAIN = "plain"
    RDS = "rds"
    AURORA = "aurora"
    CLOUDSQL = "cloudsql"
    ALLOYDB = "alloydb"
    AZURE = "azure"
    SUPABASE = "supabase"
    NEON = "neon"


@dataclass(frozen=True, slots=True)
class Manner:
    """How things are done there; `notes` are about logins and connections."""

    title: str
    admin: str
    notes: tuple[str, ...]


_PASSWORDS = "Give both roles a password: \\password NAME in psql sends only its hash."
_AWS = (
    _PASSWORDS,
    (
        "Or by IAM: GRANT rds_iam TO the role, which then logs in with tokens alone, and set"
        ' password_command = ["aws", "rds", "generate-db-auth-token", "--hostname={host}",'
        ' "--port={port}", "--username={role}"]. A token is good for 15 minutes.'
    ),
    "Use sslmode=verify-full with the region's CA bundle as sslrootcert.",
    (
        "Connect to the endpoint of the database itself: RDS Proxy shares sessions, and the engine"
        " needs its own (LISTEN)."
    ),
)

MANNERS = {
    Provider.PLAIN: Manner(
        "your own Postgres",
        "a superuser, or a role with CREATEROLE that owns the database",
        (_PASSWORDS, "pg_hba.conf must let each of these roles in from where durproxy runs."),
    ),
    Provider.RDS: Manner("Amazon RDS", "the master user, or who else owns the database", _AWS),
    Provider.AURORA: Manner(
        "Amazon Aurora",
        "the master user, or who else owns the database",
        (*_AWS, "Use the cluster's writer endpoint, which follows a failover."),
    ),
    Provider.CLOUDSQL: Manner(
        "Google Cloud SQL",
        'the user "postgres" (cloudsqlsuperuser), or who else owns the database',
        (
            _PASSWORDS,
            (
                "Or by IAM: create the users with gcloud instead of CREATE ROLE here, name them in"
                " --migrate-role and --run-role, and set"
                ' password_command = ["gcloud", "sql", "generate-login-token"].'
            ),
            "The Cloud SQL Auth Proxy may stand between: it passes sessions through.",
        ),
    ),
    Provider.ALLOYDB: Manner(
        "Google AlloyDB",
        'the user "postgres" (alloydbsuperuser), or who else owns the database',
        (
            _PASSWORDS,
            (
                "Or by IAM: create the users with gcloud instead of CREATE ROLE here, name them in"
                " --migrate-role and --run-role, and set"
                ' password_command = ["gcloud", "auth", "print-access-token"].'
            ),
            "Use the primary instance, and not its managed connection pool.",
        ),
    ),
    Provider.AZURE: Manner(
        "Azure Database for PostgreSQL",
        "the server's administrator (azure_pg_admin), or who else owns the database",
        (
            _PASSWORDS,
            (
                "Or by Entra ID: create the roles with pgaadauth_create_principal instead of CREATE"
                " ROLE here, name them in --migrate-role and --run-role, and set password_command ="
                ' ["az", "account", "get-access-token", "--resource-type", "oss-rdbms",'
                ' "--query", "accessToken", "--output", "tsv"].'
            ),
            "Use port 5432: 6432 is a PgBouncer that shares sessions.",
        ),
    ),
    Provider.SUPABASE: Manner(
        "Supabase",
        'the role "postgres"',
        (
            _PASSWORDS,
            (
                "Use the direct connection or the session pooler (port 5432), not the transaction"
                " pooler (port 6543)."
            ),
            (
                'The roles "anon" and "authenticated" cannot log in, so they start no workflows:'
                " let them call a SECURITY DEFINER function whose owner can."
            ),
        ),
    ),
    Provider.NEON: Manner(
        "Neon",
        "the role that owns the database",
        (
            (
                "Give both roles a password: ALTER ROLE NAME PASSWORD '...'. Neon wants it plain,"
                " and psql's \\password sends a hash."
            ),
            'Use the host without "-pooler" in its name: the pooler shares sessions.',
            "An engine keeps sessions open, so the compute does not go to sleep.",
        ),
    ),
}
