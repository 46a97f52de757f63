"""
The options that several commands of the command line have, and the values that are made of them.

What a command does is not decided here.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from taxizer_async._cli.store_config import (
    SharedStore,
    StoreChoice,
    StoreKind,
    encryption_keys_of_environment,
)
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import ConfigurationError
from taxizer_async._core.secret import Secret


_ENCRYPTION: Final = (
    "It is encrypted with the key in TAXIZER_ENCRYPTION_KEY, or in the file that "
    "TAXIZER_ENCRYPTION_KEY_FILE names, if there is one: several are separated by commas, and the first "
    "encrypts."
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
        show_default="taxizer_async in $XDG_STATE_HOME, or in ~/.local/state",
    ),
]
RedisUrl = Annotated[
    Secret | None,
    typer.Option(
        envvar="TAXIZER_REDIS_URL",
        metavar="URL",
        parser=Secret,
        help="Where Redis is, such as redis://host:6379/0. One with a password belongs in the variable, "
        "as others can see the arguments of a process.",
        show_default=False,
    ),
]

#: The kind of store that each option is for.
_ONLY_FOR: Final = {"store_path": StoreKind.FILE, "redis_url": StoreKind.REDIS}


def read_choice(
    context: typer.Context,
    kind: StoreKind | SharedStore,
    store_path: str | None,
    redis_url: Secret | None,
) -> StoreChoice:
    """
    Return what the options and the environment of this process ask for.

    Raises:
        ConfigurationError: If they contradict each other, or a key is not where it should be.
    """
    wanted = StoreKind(kind)
    for name, needed in _ONLY_FOR.items():
        source = context.get_parameter_source(name)
        if wanted is not needed and source is not None and source.name == "COMMANDLINE":
            msg = f"--{name.replace('_', '-')} is for --store {needed}"
            raise ConfigurationError(msg)
    return StoreChoice(
        kind=wanted,
        path=store_path,
        redis_url=redis_url,
        encryption_keys=() if wanted is StoreKind.MEMORY else encryption_keys_of_environment(),
    )
