"""Settings: a mapping parsed once into one frozen tree.

`parse`, `from_environment` and `with_provider_keys` are pure: they take mappings. `load` reads the file of settings,
`upstream_keys` files that hold keys. An unknown key is an error that names the near one.
"""

from __future__ import annotations

from holdfast.config.chat import Chat, ChatImages, PassThrough
from holdfast.config.compensating import check_compensation
from holdfast.config.database import EMBEDDED, check_database, database_of, shown_address
from holdfast.config.describe import SettingDoc, describe
from holdfast.config.environment import from_environment, slips, upstream_keys, with_provider_keys
from holdfast.config.hedging import HedgeAfter, HedgeSettings
from holdfast.config.keys import ByTier
from holdfast.config.list_prices import LIST_CURRENCY, LIST_PRICES
from holdfast.config.load import load, load_compensation
from holdfast.config.observing import Traces
from holdfast.config.parse import check, merged, parse
from holdfast.config.retrying import RetrySettings
from holdfast.config.roles import Role, check_role
from holdfast.config.serving import (
    NO_END,
    Flavor,
    Join,
    OnUnknown,
    Price,
    Provider,
    Route,
    RouteHold,
    RouteOnUnknown,
    RouteUpstream,
    Upstream,
    UpstreamApi,
    UpstreamChatForm,
    UpstreamStream,
)
from holdfast.config.sharing import Cors
from holdfast.config.tree import (
    Compensation,
    CompensationReason,
    Deadlines,
    Drain,
    Heartbeat,
    HoldBy,
    Inputs,
    Joining,
    LatencySettings,
    Log,
    LogFormat,
    LogLevel,
    Money,
    Network,
    QueueSettings,
    Server,
    Settings,
    Store,
    Webhooks,
)

__all__ = [
    "EMBEDDED",
    "LIST_CURRENCY",
    "LIST_PRICES",
    "NO_END",
    "ByTier",
    "Chat",
    "ChatImages",
    "Compensation",
    "CompensationReason",
    "Cors",
    "Deadlines",
    "Drain",
    "Flavor",
    "Heartbeat",
    "HedgeAfter",
    "HedgeSettings",
    "HoldBy",
    "Inputs",
    "Join",
    "Joining",
    "LatencySettings",
    "Log",
    "LogFormat",
    "LogLevel",
    "Money",
    "Network",
    "OnUnknown",
    "PassThrough",
    "Price",
    "Provider",
    "QueueSettings",
    "RetrySettings",
    "Role",
    "Route",
    "RouteHold",
    "RouteOnUnknown",
    "RouteUpstream",
    "Server",
    "SettingDoc",
    "Settings",
    "Store",
    "Traces",
    "Upstream",
    "UpstreamApi",
    "UpstreamChatForm",
    "UpstreamStream",
    "Webhooks",
    "check",
    "check_compensation",
    "check_database",
    "check_role",
    "database_of",
    "describe",
    "from_environment",
    "load",
    "load_compensation",
    "merged",
    "parse",
    "shown_address",
    "slips",
    "upstream_keys",
    "with_provider_keys",
]
