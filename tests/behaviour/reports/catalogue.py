"""
The field reports: what users of comparable clients ran into, and whether it concerns this package.

Numbers are stable; gaps are reports that concern nothing here.
"""

from __future__ import annotations

import enum

from typing import Final, final

import attrs


class Status(enum.Enum):
    """Whether a report applies; the value is how that is written."""

    APPLIES = "yes"
    ADAPTERS = "waits for the adapters"
    NOT_APPLICABLE = "no"


@final
@attrs.frozen
class Report:
    """
    One report.

    Attributes:
        number: What tests are marked with.
        fault: What went wrong there, in a few words.
        links: Where it was reported, below https://github.com/.
        status: Whether it applies.
        note: What the tests leave out, or why it does not apply.
    """

    number: int
    fault: str
    links: tuple[str, ...]
    status: Status = Status.APPLIES
    note: str = attrs.field(default="", kw_only=True)

    @property
    def waits(self) -> bool:
        return self.status not in (Status.APPLIES, Status.NOT_APPLICABLE)


CATALOGUE: Final = (
    Report(
        1,
        "a lock held over the auth flow stays locked when another task closes the flow",
        ("modelcontextprotocol/python-sdk/issues/3382",),
    ),
    Report(
        2,
        "an abandoned flow keeps a lock, and no request is sent any more",
        ("modelcontextprotocol/python-sdk/issues/2847",),
    ),
    Report(
        3,
        "an outer flow that never closes the inner one leaves its lock taken",
        ("NousResearch/hermes-agent/issues/94070",),
    ),
    Report(
        4,
        "a long answer holds the lock, and other calls never start",
        ("modelcontextprotocol/python-sdk/issues/1326",),
    ),
    Report(
        5,
        "a wake-up is lost when a waiter is cancelled as the lock is released",
        ("agronholm/anyio/pull/1145", "Soju06/codex-lb/pull/2129"),
    ),
    Report(
        6,
        "a native cancellation while acquiring leaves the lock taken",
        ("agronholm/anyio/issues/398",),
    ),
    Report(
        8,
        "a renewal through the authenticated session calls itself without end",
        ("ansys/pysimai/pull/46",),
    ),
    Report(
        9,
        "a renewal that is answered 401 renews itself without end",
        ("ibmresilient/resilient-python-api/issues/17",),
    ),
    Report(
        10,
        "a call made within a renewal meets a 401 and waits for the same lock",
        ("medplum/medplum/pull/10559",),
    ),
    Report(
        11,
        "a hook that is run under the lock and uses the client waits for ever",
        ("cdnninja/yoto_api/pull/224",),
    ),
    Report(13, "several coroutines refresh at once", ("authlib/authlib/issues/266",)),
    Report(
        14,
        "a lock on an object that is made per request guards nothing",
        ("authlib/authlib/issues/673",),
        note="what is made per request has to be given a store in common",
    ),
    Report(
        15,
        "no second look at the token behind the lock: a login per call",
        ("microsoft/durabletask-python/pull/198",),
    ),
    Report(
        16,
        "many clients of one credential log in once each",
        ("Azure/azure-sdk-for-python/pull/43889", "Azure/azure-sdk-for-python/pull/45447"),
    ),
    Report(17, "threads refresh twice", ("googleapis/google-cloud-python/issues/15146",)),
    Report(
        18,
        "simultaneous 401s spend one rotating refresh token each",
        ("librefang/librefang/issues/3625", "anomalyco/opencode/issues/28234"),
    ),
    Report(20, "the second try carries the old token", ("openai/codex/pull/2699",)),
    Report(
        21, "queued waiters try a failing refresh one after the other", ("NangoHQ/nango/pull/2494",)
    ),
    Report(22, "a whole fleet refreshes at one moment", ("mozilla/fxa-oauth-server/issues/370",)),
    Report(
        24,
        "a lock kept over event loops fails in the second run, under contention",
        ("deepset-ai/haystack-core-integrations/issues/3789",),
    ),
    Report(
        25,
        "an object made at import is bound to another event loop at random",
        ("vladkens/twscrape/issues/182",),
    ),
    Report(
        26,
        "a transient failure in a thread is remembered as having no credentials",
        ("Significant-Gravitas/AutoGPT/pull/12628",),
    ),
    Report(
        28,
        "asyncio's lock under trio fails when two tasks race",
        ("Azure/azure-sdk-for-python/issues/32968",),
    ),
    Report(29, "no support of trio", ("authlib/authlib/issues/394",)),
    Report(
        30,
        "a blocking token call stops the event loop",
        (
            "GoogleCloudPlatform/alloydb-python-connector/issues/245",
            "Colin-b/httpx_auth/issues/72",
            "Colin-b/httpx_auth/pull/48",
        ),
    ),
    Report(
        31,
        "an async session calls a sync refresh, or the other way round",
        ("googleapis/google-cloud-python/issues/15211",),
        note="hooks and credentials; a store is async, and one that is not is reported as failing and not used",
    ),
    Report(
        32, "after one cancellation all later calls are cancelled", ("talkiq/gcloud-aio/pull/500",)
    ),
    Report(
        33,
        "the timeout of one waiter cancels the shared refresh",
        ("teng-lin/notebooklm-py/pull/562",),
    ),
    Report(
        36,
        "a refresh without a timeout stalls all callers",
        ("piotr-agier/google-drive-mcp/issues/169",),
    ),
    Report(
        37,
        "a stalled refresh holds the lock of the shared store for minutes",
        ("earendil-works/pi/issues/7508",),
    ),
    Report(
        38,
        "a call's timeout does not hold for its hidden login",
        ("jrl84/amazon-sp-api/issues/300",),
    ),
    Report(
        39,
        "a refused refresh causes an endless flood of requests",
        ("vaadin/vaadin-connect/issues/335",),
    ),
    Report(
        40,
        "an API that always answers 401 causes logins without end",
        ("FlexMeasures/flexmeasures-client/issues/49", "spectacles-ci/spectacles/issues/264"),
    ),
    Report(
        41,
        "a consumed stream is sent again as an empty body",
        ("googleapis/google-cloud-python/issues/18238",),
    ),
    Report(43, "a one-shot body has no defined outcome after a 401", ("encode/httpx/pull/685",)),
    Report(
        44,
        "auth requests, secrets included, are kept in the history of a response",
        ("encode/httpx/issues/669",),
    ),
    Report(
        45,
        "a rotated refresh token is used before it is saved, and lost by a crash",
        ("Temikus/denkeeper/pull/283",),
    ),
    Report(
        46,
        "one of the paths to a new token does not tell the callback",
        ("golang/go/issues/77502", "octokit/auth-oauth-user.js/issues/373"),
    ),
    Report(
        47,
        "a network error or a 503 deletes the credentials",
        (
            "arpitbatra123/mcp-googletasks/pull/14",
            "schulydev/Schuly/issues/476",
            "internxt/cli/pull/645",
        ),
        note="where the server may have taken the refresh token, one login replaces it",
    ),
    Report(
        48,
        "the loser of a race deletes what the winner has saved",
        ("xorbitsai/xagent/issues/1454",),
    ),
    Report(
        49,
        "a refresh token that is null counts as a malformed answer",
        ("elizaOS/eliza/pull/30566",),
        note="null is absent; as the old refresh token was sent it is spent, so one login follows",
    ),
    Report(
        51,
        "a window as long as the token's life means a refresh per call",
        ("boto/botocore/issues/2189",),
    ),
    Report(
        52,
        "the same once the server shortens its tokens' lives",
        ("one-covenant/basilica/pull/554", "nuclia/frontend/pull/2771", "realm/realm-js/pull/2116"),
    ),
    Report(
        53, "a token that has ended on arrival is an error, or a loop", ("seek-oss/aec/pull/435",)
    ),
    Report(
        55,
        "with a fast local clock every new token looks stale",
        ("koala73/worldmonitor/issues/5932",),
    ),
    Report(
        56,
        "with a slow local clock ended tokens are sent for ever",
        ("workos/authkit-nextjs/issues/470",),
    ),
    Report(
        58,
        "seven fractional digits, as .NET writes them, are not read",
        ("segmentio/action-destinations/pull/3922",),
    ),
    Report(
        59,
        "more than six fractional digits are an error",
        ("DataDog/integrations-core/pull/4288", "TomasTomecek/sen/issues/123"),
        note="Python 3.10 is not supported; the digits are read without strptime",
    ),
    Report(
        61,
        "a UTC moment without a zone is taken for local time",
        ("googleapis/google-cloud-python/issues/15192",),
    ),
    Report(
        62,
        "naive and aware moments meet in the second call",
        ("healthjoy/async-firebase/issues/98", "vgrem/office365-rest-python-client/pull/965"),
    ),
    Report(
        63,
        "a secret header of its own follows a redirect elsewhere",
        ("openai/openai-python/issues/3516", "openai/openai-node/pull/2320"),
    ),
    Report(
        64,
        "the Authorization header follows a redirect elsewhere",
        ("sindresorhus/got/issues/1090", "apify/crawlee/issues/4134"),
    ),
    Report(66, "debug logs show tokens and headers", ("requests/requests-oauthlib/issues/536",)),
    Report(
        67,
        "logs of failures show secrets",
        (
            "klen/aioauth-client/issues/191",
            "Colin-b/requests_auth/issues/62",
            "metabrainz/picard/pull/3409",
        ),
    ),
    Report(
        68,
        "exceptions and reprs contain the body with the secret",
        ("oauthlib/oauthlib/issues/665", "oauthlib/oauthlib/issues/345"),
    ),
    Report(69, "a generated repr shows tokens", ("BaseIntelligence/bounty-challenge/issues/8828",)),
    Report(
        70,
        "HTML or plain text in place of JSON raises a JSON error",
        ("authlib/authlib/issues/928",),
    ),
    Report(
        72,
        "a lifetime that is null, missing or a string is an error",
        (
            "oauthlib/oauthlib/issues/672",
            "airbytehq/airbyte/pull/20301",
            "IBM/mcp-context-forge/pull/4447",
        ),
    ),
    Report(
        74,
        "a Retry-After with two numbers raises",
        ("microsoftgraph/msgraph-sdk-python/issues/1159",),
    ),
    Report(
        75,
        "a Retry-After with fractions, a date or an overflow raises",
        (
            "SpaceTradersAPI/api-docs/issues/24",
            "Azure/azure-sdk-for-python/issues/31004",
            "notatallshaw/nab/pull/596",
        ),
    ),
    Report(
        76,
        "wrong credentials are sent again and again until the client is blocked",
        ("camunda-community-hub/zeebe-client-node-js/issues/244",),
    ),
    Report(
        78,
        "an error out of memory does not say what it is about",
        ("AzureAD/microsoft-authentication-library-for-dotnet/issues/2855",),
    ),
    Report(
        79,
        "parallel processes corrupt the file",
        (
            "AzureAD/microsoft-authentication-extensions-for-python/pull/150",
            "Azure/azure-cli/issues/20749",
        ),
    ),
    Report(
        80,
        "a file that is rewritten in place loses a rotated refresh token",
        ("aws/aws-cli/issues/10628",),
    ),
    Report(
        81,
        "siblings keep an old refresh token in memory",
        ("Softeria/ms-365-mcp-server/issues/545",),
    ),
    Report(
        82,
        "one instance per window, and each refreshes",
        ("editor-code-assistant/eca/issues/462",),
    ),
    Report(
        84,
        "the lock of a dead process is never taken over",
        (
            "anthropics/claude-code/issues/95236",
            "earendil-works/pi/issues/4919",
            "AzureAD/microsoft-authentication-library-for-js/issues/7148",
        ),
    ),
    Report(
        85,
        "a file lock is waited for without a bound, or silently missing",
        ("reanahub/reana-client/pull/777",),
    ),
    Report(
        86,
        "the losing process clears the winner's tokens",
        ("prisma/prisma-cli/pull/35",),
    ),
    Report(
        87,
        "a lease ends in mid-refresh, and two spend one refresh token",
        ("appstrate/appstrate/issues/1366",),
    ),
    Report(
        89,
        "a lost lease is an error of the user's request",
        ("repository-service-tuf/repository-service-tuf-worker/issues/151",),
    ),
    Report(
        90,
        "who waits for the winner waits less than that may take, and goes without a token",
        ("onyx-dot-app/onyx/pull/13146",),
    ),
    Report(
        92,
        "a lock makes credentials impossible to pickle",
        ("googleapis/google-auth-library-python/issues/1478",),
    ),
    Report(
        94,
        "the login ignores the proxy and the certificates of the client",
        (
            "requests/requests-oauthlib/pull/235",
            "requests/requests-oauthlib/pull/237",
            "requests/requests-oauthlib/pull/407",
            "factset/enterprise-sdk-utils-python/issues/23",
        ),
    ),
    Report(
        95,
        "a full pool of connections keeps a login from being made",
        ("encode/httpcore/issues/550", "encode/httpcore/issues/454"),
    ),
    Report(
        96,
        "an unread 401 keeps its connection while the renewal waits for one",
        ("karpetrosyan/hishel/issues/82", "encode/httpx/issues/2139"),
    ),
    Report(
        101,
        "callers whose deadlines are shorter than a login end it, one after the other, for ever",
        (),
    ),
    Report(
        102,
        "the same of a renewal after a revocation",
        (),
    ),
    Report(
        103,
        "requests are lost to a renewal ahead of need that hangs, though the token is good",
        (),
    ),
    Report(
        105,
        "a handler that is cancelled, as its client has left, takes a login of others down",
        ("open-webui/open-webui/pull/23709",),
    ),
    Report(
        106,
        "a loop that is closed with a login pending makes each later login take 34 s",
        (),
    ),
    Report(
        107,
        "an auth that is shared by loops that come and go keeps all of them alive",
        (),
    ),
    Report(
        108,
        "a loop that blocks in mid-login holds all other loops up",
        (),
    ),
    Report(
        109,
        "a token dies under its renewal, whose single failure is told to all callers",
        (),
    ),
    Report(
        110,
        "a login that takes 30 s at most takes 64 s, as the wait for a lease is not counted in",
        (),
    ),
    Report(
        111,
        "an outage is remembered for long after it has ended",
        (),
    ),
    Report(
        113,
        "an outage of the refresh endpoint alone fails requests, though logins are well",
        (),
    ),
    Report(
        114,
        "tokens of the refresh endpoint that never work are renewed again and again, and nobody logs in",
        (),
    ),
    Report(
        115,
        "a refresh token is sent again after a gateway's 503, though the server had taken it",
        (),
    ),
    Report(
        116,
        "a firewall's page with 403 is taken for a refusal of the credentials",
        ("planningcenter/developers/issues/1310",),
    ),
    Report(
        118,
        "an endpoint that answers 401 for want of a right uses up the renewals of all",
        ("nicklaw5/helix/issues/204",),
    ),
    Report(
        119,
        "one 401 while the token endpoints are down fails all other requests, whose token is good",
        (),
    ),
    Report(
        120,
        "an endpoint that always answers 401 is told of with each request, and not once per token",
        (),
    ),
    Report(
        121,
        "a 401 after a redirect has the first request sent again, which was taken",
        ("postmanlabs/postman-app-support/issues/8002",),
    ),
    Report(
        122,
        "a response hook that raises for status hides each 401 from the auth",
        ("encode/httpx/pull/3493",),
        note="with a client of the library's own the requests in flight fail, and the next one succeeds",
    ),
    Report(
        123,
        "a 401 whose body can't be read ends a request that was to be cured",
        ("projectdiscovery/retryablehttp-go/issues/6",),
    ),
    Report(
        125,
        "after forgetting, a refused pair is still served from memory",
        (),
    ),
    Report(
        126,
        "users of the bare token who see it refused can only forget it, and log in several times",
        (),
    ),
    Report(
        127,
        "a request object that is sent several times mixes its sendings up, and takes its token elsewhere",
        (),
    ),
    Report(
        128,
        "a multipart form that could be sent again gets its 401 back",
        (),
    ),
    Report(
        130,
        "a lack of threads or descriptors, or a secret that is being replaced, is told as a misconfiguration",
        ("ManiMatter/decluttarr/issues/297",),
    ),
    Report(
        131,
        "no thread can be started while the interpreter exits, so nothing can be flushed there",
        ("python/cpython/issues/113964",),
        note="with a base_url by IP address; to look a host name up takes a thread of the event loop's",
    ),
    Report(
        132,
        "after the CA bundle was replaced logins fail until a restart",
        ("puffo-ai/puffo-agent/pull/213",),
    ),
    Report(
        133,
        "a credentials callable that hangs keeps the process from its end, and one more thread with each try",
        ("python/cpython/issues/111358",),
    ),
    Report(
        134,
        "an absurd date of the server makes each new token look dead",
        (),
    ),
    Report(
        135,
        "a wall clock that is set in an outage makes a good token look dead",
        (),
    ),
    Report(
        140,
        "a slow listener holds up requests, and their deadlines lose what it should hear",
        (),
    ),
    Report(
        152,
        "an event loop that was blocked takes a healthy store for a dead one, and every worker logs in",
        (),
    ),
    Report(
        157,
        "under a umask without x the store's directory is never usable",
        ("globus/globus-compute/pull/1037",),
    ),
    Report(
        158,
        "a store's directory that is a link is refused in words that hide why",
        (),
        note="a sync client of Redis is told by the Redis store",
    ),
)
