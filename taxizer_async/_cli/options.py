"""The options that several commands share, and what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, TypeAlias

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


_BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TAXIZER_BASE_URL", help="Where the API is.", show_default=DEFAULT_BASE_URL
    ),
]
_STORE: Final = typer.Option(
    help="Where the token is kept; only you can read the file. It is encrypted if there is a key in "
    "TAXIZER_ENCRYPTION_KEY, or in the file that TAXIZER_ENCRYPTION_KEY_FILE names. Separate several "
    "keys by commas; the first one encrypts.",
)
_StorePath = Annotated[
    str | None,
    typer.Option(
        envvar="TAXIZER_STORE_PATH",
        metavar="DIRECTORY",
        help="Where a file store is.",
        show_default="taxizer_async in your state directory: on Linux $XDG_STATE_HOME, or else "
        "~/.local/state",
    ),
]
_RedisUrl = Annotated[
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

Command: TypeAlias = Callable[[str, StoreConfig], None]


def with_store(default: StoreKind | SharedStore) -> Callable[[Command], Callable[..., None]]:
    """
    Return a decorator for a command that takes the URL of the API and a store.

    The options offer the kinds of store that *default* is one of.
    """

    def decorate(command: Command) -> Callable[..., None]:
        def run(
            context: typer.Context,
            base_url: _BaseUrl = None,
            store: StoreKind | SharedStore = default,
            store_path: _StorePath = None,
            redis_url: _RedisUrl = None,
        ) -> None:
            config = _read_config(context, StoreKind(store), store_path, redis_url)
            command(base_url or DEFAULT_BASE_URL, config)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__["store"] = Annotated[type(default), _STORE]
        return run

    return decorate


def _read_config(
    context: typer.Context, kind: StoreKind, store_path: str | None, redis_url: Secret | None
) -> StoreConfig:
    for name, needed in _ONLY_FOR.items():
        source = context.get_parameter_source(name)
        if kind is not needed and source is not None and source.name == "COMMANDLINE":
            msg = f"--{name.replace('_', '-')} is for --store {needed}"
            raise ConfigurationError(msg)
    return StoreConfig(
        kind=kind,
        path=store_path,
        redis_url=redis_url,
        encryption_keys=() if kind is StoreKind.MEMORY else encryption_keys_of_environment(),
    )
