"""The options that several commands share, and what they ask for."""

from __future__ import annotations

import inspect

from collections.abc import Callable
from typing import Annotated, Any, Concatenate, Final, TypeAlias

import typer

from taxizer_async._cli.store_config import (
    SharedStore,
    StoreConfig,
    StoreKind,
)
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret


_BaseUrl = Annotated[
    str | None,
    typer.Option(
        envvar="TAXIZER_BASE_URL",
        metavar="URL",
        help="Where the API is.",
        show_default=DEFAULT_BASE_URL,
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

_RedisPrefix = Annotated[
    str,
    typer.Option(
        envvar="TAXIZER_REDIS_PREFIX",
        metavar="PREFIX",
        help="What comes before the name of each key in Redis, such as staging:",
        show_default=False,
    ),
]

#: For commands whose output a program may read.
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

#: Options that belong to one kind of store.
_ONLY_FOR: Final = {
    "store_path": StoreKind.FILE,
    "redis_url": StoreKind.REDIS,
    "redis_prefix": StoreKind.REDIS,
}

Command: TypeAlias = Callable[Concatenate[str, StoreConfig, ...], None]


def with_store(default: StoreKind | SharedStore) -> Callable[[Command], Callable[..., None]]:
    """
    Return a decorator for a command that takes the URL of the API and a store.

    The options offer the kinds of store that *default* is one of; keyword arguments of the command become
    options, too.
    """

    def decorate(command: Command) -> Callable[..., None]:
        def run(  # noqa: PLR0917 - typer passes them by name
            context: typer.Context,
            base_url: _BaseUrl = None,
            store: StoreKind | SharedStore = default,
            store_path: _StorePath = None,
            redis_url: _RedisUrl = None,
            redis_prefix: _RedisPrefix = "",
            **of_command: Any,
        ) -> None:
            _check_options(context, StoreKind(store))
            config = StoreConfig(
                kind=StoreKind(store),
                path=store_path,
                redis_url=redis_url,
                redis_prefix=redis_prefix,
            )
            command(base_url or DEFAULT_BASE_URL, config, **of_command)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__["store"] = Annotated[type(default), _STORE]
        _add_options_of(command, run)
        return run

    return decorate


def _add_options_of(command: Command, run: Callable[..., None]) -> None:
    """Have the signature of *run* end with the keyword arguments of *command*."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[2:]
    shared = list(inspect.signature(run, eval_str=True).parameters.values())[:-1]
    run.__annotations__.update({each.name: each.annotation for each in own})
    signature = inspect.Signature([*shared, *own])
    run.__signature__ = signature  # type: ignore[attr-defined]


def _check_options(context: typer.Context, kind: StoreKind) -> None:
    for name, needed in _ONLY_FOR.items():
        source = context.get_parameter_source(name)
        if kind is not needed and source is not None and source.name == "COMMANDLINE":
            msg = f"--{name.replace('_', '-')} is for --store {needed}"
            raise ConfigurationError(msg)
