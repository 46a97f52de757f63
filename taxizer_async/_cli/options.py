"""The options that several commands share."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from taxizer_async._cli.store_config import (
    SharedStore,
    StoreConfig,
    StoreKind,
    encryption_keys_of_environment,
)
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret


_ENCRYPTION: Final = (
    "It is encrypted if there is a key in TAXIZER_ENCRYPTION_KEY, or in the file that "
    "TAXIZER_ENCRYPTION_KEY_FILE names. Separate several keys by commas; the first one encrypts."
)

BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TAXIZER_BASE_URL", help="Where the API is.", show_default=DEFAULT_BASE_URL
    ),
]
Store = Annotated[
    StoreKind,
    typer.Option(
        help="Where the token is kept: nowhere, in a file that only you can read, or in Redis. "
        f"{_ENCRYPTION}",
    ),
]
LastingStore = Annotated[SharedStore, typer.Option(help=f"Where the token is kept. {_ENCRYPTION}")]
StorePath = Annotated[
    str | None,
    typer.Option(
        envvar="TAXIZER_STORE_PATH",
        metavar="DIRECTORY",
        help="Where a file store is.",
        show_default="taxizer_async in your state directory: on Linux $XDG_STATE_HOME, or else "
        "~/.local/state",
    ),
]
RedisUrl = Annotated[
    Secret | None,
    typer.Option(
        envvar="TAXIZER_REDIS_URL",
        metavar="URL",
        parser=Secret,
        help="Where Redis is, such as redis://host:6379/0. Put a URL with a password into the "
        "variable, as others can see the arguments of a process.",
        show_default=False,
    ),
]

#: Options that belong to one kind of store.
_ONLY_FOR: Final = {"store_path": StoreKind.FILE, "redis_url": StoreKind.REDIS}


def read_store_config(
    context: typer.Context,
    kind: StoreKind | SharedStore,
    store_path: str | None,
    redis_url: Secret | None,
) -> StoreConfig:
    """
    Return the store that the options and the environment ask for.

    Raises:
        ConfigurationError: If they contradict each other, or an encryption key is missing.
    """
    store_kind = StoreKind(kind)
    for name, needed in _ONLY_FOR.items():
        source = context.get_parameter_source(name)
        if store_kind is not needed and source is not None and source.name == "COMMANDLINE":
            msg = f"--{name.replace('_', '-')} is for --store {needed}"
            raise ConfigurationError(msg)
    return StoreConfig(
        kind=store_kind,
        path=store_path,
        redis_url=redis_url,
        encryption_keys=() if store_kind is StoreKind.MEMORY else encryption_keys_of_environment(),
    )
