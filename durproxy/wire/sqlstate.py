"""The SQLSTATEs that the proxy puts into a message, or looks for (appendix A of the manual)."""

from __future__ import annotations

CONNECTION_FAILURE = "08006"
FEATURE_NOT_SUPPORTED = "0A000"
DUPLICATE_OBJECT = "42710"
INVALID_AUTHORIZATION = "28000"
TOO_MANY_CONNECTIONS = "53300"
SYNTAX_ERROR = "42601"
ADMIN_SHUTDOWN = "57P01"
