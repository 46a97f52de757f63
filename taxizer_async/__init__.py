"""
The async credential client for the Taxizer API: log in once, share the token, never lose a request.

`TaxizerClient` is an `httpx.AsyncClient` that is logged in; `TaxizerAuth` logs in yours.
"""

from taxizer_async._auth.on_httpx import SyncTaxizerClient, TaxizerAuth, TaxizerClient
from taxizer_async._core.clock import Clock
from taxizer_async._core.environment import DEFAULT_BASE_URL
from taxizer_async._core.errors import (
    AuthError,
    ConfigurationError,
    CredentialsRejectedError,
    TaxizerError,
    TokenEndpointUnavailableError,
    TokenResponseError,
    TokenStoreError,
)
from taxizer_async._core.events import (
    Adopted,
    Event,
    ExchangeFailed,
    Forgotten,
    LeaseAwaited,
    LoggedIn,
    OriginSkipped,
    RefreshRefused,
    Renewed,
    StoreFailed,
    StoreRecovered,
    TokenAwaited,
    TokenRefused,
)
from taxizer_async._core.models import AuthStatus, Credentials, Token, TokenState
from taxizer_async._core.policy import RenewalPolicy
from taxizer_async._core.secret import Secret
from taxizer_async._version import __version__
from taxizer_async.stores import MemoryTokenStore, TokenStore


__all__ = [
    "DEFAULT_BASE_URL",
    "Adopted",
    "AuthError",
    "AuthStatus",
    "Clock",
    "ConfigurationError",
    "Credentials",
    "CredentialsRejectedError",
    "Event",
    "ExchangeFailed",
    "Forgotten",
    "LeaseAwaited",
    "LoggedIn",
    "MemoryTokenStore",
    "OriginSkipped",
    "RefreshRefused",
    "RenewalPolicy",
    "Renewed",
    "Secret",
    "StoreFailed",
    "StoreRecovered",
    "SyncTaxizerClient",
    "TaxizerAuth",
    "TaxizerClient",
    "TaxizerError",
    "Token",
    "TokenAwaited",
    "TokenEndpointUnavailableError",
    "TokenRefused",
    "TokenResponseError",
    "TokenState",
    "TokenStore",
    "TokenStoreError",
    "__version__",
]
