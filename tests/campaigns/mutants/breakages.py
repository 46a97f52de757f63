"""
Ways to break the package by hand, and the tests that have to notice.

Each is a slip that somebody could make: a check dropped, a bound lost, two steps swapped. `old` occurs
once in its file, so a change of that line asks for a look at its breakage.
"""

from __future__ import annotations

from typing import Final

import attrs


AUTH: Final = "tests/behaviour/auth"
CANCELLATION: Final = "tests/behaviour/cancellation"
CORE: Final = "tests/unit"
EXCHANGE: Final = "tests/behaviour/exchange"
SECRETS: Final = "tests/behaviour/secrets"


@attrs.frozen(kw_only=True)
class Breakage:
    """
    One way to break the package.

    Attributes:
        name: What is broken, in a word or a few.
        invariant: Which of the design's invariants that goes against.
        file: The module, relative to the package.
        old: The text that is replaced …
        new: … and by what.
        tests: Node ids of pytest, for where those that are named after the invariant do not notice, or
            are none. One of all has to fail.
    """

    name: str
    invariant: int
    file: str
    old: str
    new: str
    tests: tuple[str, ...] = ()


BREAKAGES: Final = (
    # 1: The fast path awaits nothing and takes no lock.
    Breakage(
        name="fast-path-yields-to-the-loop",
        invariant=1,
        file="_auth/flow.py",
        old=("        mark = request.extensions.get(MARK)\n        if mark is not cached.mark:\n"),
        new=(
            "        await __import__('anyio').sleep(0)\n"
            "        mark = request.extensions.get(MARK)\n"
            "        if mark is not cached.mark:\n"
        ),
    ),
    Breakage(
        name="fast-path-takes-the-mutex",
        invariant=1,
        file="_auth/flow.py",
        old="        cached, now = bearer.cache.state.cached, bearer.now()\n",
        new=(
            "        with bearer.cache._changing():\n"
            "            cached, now = bearer.cache.state.cached, bearer.now()\n"
        ),
    ),
    # 2: No lock is held across a yield, and an abandoned flow leaves no trace.
    Breakage(
        name="lock-across-the-yield",
        invariant=2,
        file="_auth/flow.py",
        old=(
            "        self._cached = cached\n"
            "        self._sent_at = now\n"
            "        return request\n"
            "\n"
            "    async def asend(self, response: Any) -> Any:\n"
            '        """Take the response; return the request to send again, if there is one."""\n'
            "        cached = self._cached\n"
        ),
        new=(
            "        await bearer.provider._coordinator().lock().acquire()\n"
            "        self._cached = cached\n"
            "        self._sent_at = now\n"
            "        return request\n"
            "\n"
            "    async def asend(self, response: Any) -> Any:\n"
            '        """Take the response; return the request to send again, if there is one."""\n'
            "        cached = self._cached\n"
            "        if cached is not None:\n"
            "            self._bearer.provider._coordinator().lock().release()\n"
        ),
    ),
    # 3: One exchange at a time, and who has waited looks again.
    Breakage(
        name="no-look-into-the-store-behind-the-lease",
        invariant=3,
        file="_token/renewal.py",
        old="        record = await self.store.load(key) if lease else None\n",
        new="        record = None\n",
    ),
    Breakage(
        name="a-refresh-for-each-loop",
        invariant=3,
        file="_token/single_flight.py",
        old="            if before is not None and not before.is_over and not before.loop.is_gone:\n                return before\n",
        new="            if before is not None and before.loop.is_same(native) and not before.is_over:\n                return before\n",
    ),
    Breakage(
        name="lease-for-all",
        invariant=3,
        file="stores/_memory.py",
        old="            return lease if state.leases.setdefault(key, lease) is lease else None",
        new="            state.leases[key] = lease\n            return lease",
    ),
    Breakage(
        name="a-refresh-for-each-caller",
        invariant=3,
        file="_token/single_flight.py",
        old="        if refresh is not None and refresh.loop.is_same(native) and not refresh.is_over:\n            return refresh\n        with self._mutex:\n            before = self._current\n            if before is not None and not before.is_over and not before.loop.is_gone:\n                return before\n",
        new="        with self._mutex:\n            before = None\n",
    ),
    Breakage(
        name="no-lock",
        invariant=3,
        file="_token/provider.py",
        old="            await lock.acquire()\n",
        new="            lock = anyio.Lock()\n            await lock.acquire()\n",
    ),
    # 4: Waiters share the outcome.
    Breakage(
        name="waiters-each-make-their-own-try",
        invariant=4,
        file="_token/provider.py",
        old="        if isinstance(result, Failure) and result.answers_need:\n            raise result.error()\n",
        new="",
    ),
    Breakage(
        name="one-exception-object-for-all",
        invariant=4,
        file="_token/failures.py",
        old="    def error(self,",
        new="    @__import__('functools').cache\n    def error(self,",
    ),
    Breakage(
        name="waiters-not-woken",
        invariant=4,
        file="_token/single_flight.py",
        old="        self._ended.set()\n",
        new="",
    ),
    Breakage(
        name="half-hearted-failure-raised",
        invariant=4,
        file="_token/failures.py",
        old="        return not self.ahead_of_need or isinstance(self.cause, Refused)\n",
        new="        return True\n",
        tests=(f"{AUTH}/test_pressing.py",),
    ),
    # 5: A cancellation ends its caller and nobody else, and loses nothing.
    Breakage(
        name="cancellation-swallowed",
        invariant=5,
        file="_http/token_endpoints.py",
        old="            except Exception as cause:  # noqa: BLE001 - whatever a transport raises\n",
        new="            except BaseException as cause:\n",
        tests=(f"{EXCHANGE}/test_cancellation.py::test_a_call_can_be_cancelled_wherever_it_waits",),
    ),
    Breakage(
        name="lease-not-given-back-when-cancelled",
        invariant=5,
        file="_token/guarded_store.py",
        old='        with anyio.CancelScope(shield=True):\n            await self._call("release", lease.release)\n',
        new='        await self._call("release", lease.release)\n',
        tests=(f"{CANCELLATION}",),
    ),
    Breakage(
        name="refresh-that-is-cut-off-never-ends",
        invariant=5,
        file="_token/provider.py",
        old="                self._end(refresh, self._renewal.fail(Unavailable(reason=problem)))\n            raise\n",
        new="                self._renewal.fail(Unavailable(reason=problem))\n            raise\n",
        tests=(f"{CANCELLATION}",),
    ),
    Breakage(
        name="caller-takes-the-refresh-down",
        invariant=5,
        file="_token/provider.py",
        old="        refresh, native = self._join_or_start()\n        await refresh.wait(native)\n",
        new="        refresh, native = self._join_or_start()\n        try:\n            await refresh.wait(native)\n        except BaseException:\n            refresh.task and refresh.task.cancel()\n            raise\n",
    ),
    Breakage(
        name="hanging-store-waited-for",
        invariant=5,
        file="_token/guarded_store.py",
        old="        with anyio.move_on_after(self._timeout):\n",
        new="        with anyio.CancelScope():\n",
    ),
    Breakage(
        name="keeper-counted-when-cancelled",
        invariant=5,
        file="_token/single_flight.py",
        old="        try:\n            yield sleeper\n        finally:\n            with self._mutex:\n                self._sleepers.remove(sleeper)\n",
        new="        yield sleeper\n        with self._mutex:\n            self._sleepers.remove(sleeper)\n",
        tests=(f"{CANCELLATION}/test_keepers.py::test_keep_fresh_loses_nothing",),
    ),
    Breakage(
        name="forgotten-when-the-store-has",
        invariant=5,
        file="_token/provider.py",
        old="        self._drop()\n        key, _ = await self._renewal.key()\n",
        new="        key, _ = await self._renewal.key()\n",
        tests=(f"{CANCELLATION}/test_keepers.py::test_forget_forgets_here_and_harms_nothing",),
    ),
    Breakage(
        name="lock-kept-by-who-is-cancelled-at-it",
        invariant=5,
        file="stores/file.py",
        old="            attempt.give_up()\n",
        new="",
        tests=(f"{CANCELLATION}/test_refreshes.py",),
    ),
    # 6: What belongs to an event loop dies with it.
    Breakage(
        name="blocked-loop-waited-for",
        invariant=6,
        file="_token/single_flight.py",
        old="        if refresh.loop.is_gone or turns * WATCH_INTERVAL >= BLOCKED_AFTER:\n",
        new="        if refresh.loop.is_gone:\n",
    ),
    Breakage(
        name="loops-kept-alive",
        invariant=6,
        file="_token/single_flight.py",
        old="anyio.Lock] = WeakKeyDictionary()\n",
        new="anyio.Lock] = {}\n",
    ),
    Breakage(
        name="keeper-of-a-loop-that-ended-counted",
        invariant=6,
        file="_token/single_flight.py",
        old="        return any(not sleeper.loop.is_gone for sleeper in sleepers)\n",
        new="        return bool(sleepers)\n",
    ),
    Breakage(
        name="forgotten-token-adopted",
        invariant=25,
        file="_token/cache.py",
        old="self.is_newer_than(record) or self.is_forgotten(record)",
        new="self.is_newer_than(record)",
        tests=(f"{CORE}/test_cache.py",),
    ),
    Breakage(
        name="late-token-replaces-a-newer-one",
        invariant=6,
        file="_token/cache.py",
        old="            is_late = current is not None and current.requested_at > cached.requested_at\n",
        new="            is_late = False\n",
        tests=(f"{CORE}/test_takeover.py", f"{CORE}/test_cache.py"),
    ),
    # 7: Renewal ahead of need.
    Breakage(
        name="failure-ahead-of-need-raised",
        invariant=7,
        file="_token/provider.py",
        old="            elif freshness is Freshness.FRESH or failure is not None:\n                return cached\n",
        new="            elif freshness is Freshness.FRESH:\n                return cached\n            elif failure is not None:\n                raise failure.error()\n",
    ),
    Breakage(
        name="failed-renewal-unsaid",
        invariant=7,
        file="_core/event_log.py",
        old="    events.ExchangeFailed: logging.WARNING,\n",
        new="    events.ExchangeFailed: logging.DEBUG,\n",
    ),
    Breakage(
        name="all-wait-for-a-renewal-ahead-of-need",
        invariant=7,
        file="_token/provider.py",
        old="        if freshness is Freshness.RENEW_AHEAD:\n            return cached\n",
        new="",
    ),
    Breakage(
        name="failure-ahead-of-need-not-backed-off",
        invariant=7,
        file="_token/provider.py",
        old="            elif freshness is Freshness.FRESH or failure is not None:\n",
        new="            elif freshness is Freshness.FRESH:\n",
    ),
    Breakage(
        name="fleet-in-step",
        invariant=7,
        file="_core/policy.py",
        old="ahead * (1 - jitter * JITTER_SHARE)",
        new="ahead",
    ),
    Breakage(
        name="short-lives-are-all-renewal",
        invariant=7,
        file="_core/policy.py",
        old="min(self.renew_ahead, lifetime * AHEAD_SHARE)",
        new="min(self.renew_ahead, lifetime)",
    ),
    # 8: Renewal of need.
    Breakage(
        name="no-must-window",
        invariant=8,
        file="_core/policy.py",
        old="min(self.must_renew, lifetime * MUST_SHARE)",
        new="0.0",
    ),
    Breakage(
        name="pressing-is-merely-due",
        invariant=8,
        file="_core/policy.py",
        old="            return Freshness.RENEW_AHEAD\n        if age < self.ends_after:\n            return Freshness.MUST_RENEW\n",
        new="            return Freshness.RENEW_AHEAD\n        if age < self.ends_after:\n            return Freshness.RENEW_AHEAD\n",
    ),
    Breakage(
        name="waited-to-the-death-of-the-token",
        invariant=8,
        file="_core/policy.py",
        old="return max(remaining / 2, min(usual, self.attempt_timeout))",
        new="return max(remaining / 2, self.attempt_timeout)",
        tests=(f"{AUTH}/test_pressing.py",),
    ),
    Breakage(
        name="gone-on-with-a-dying-token",
        invariant=8,
        file="_core/policy.py",
        old="return max(remaining / 2, min(usual, self.attempt_timeout))",
        new="return remaining / 2",
        tests=(f"{AUTH}/test_pressing.py",),
    ),
    Breakage(
        name="attempts-ahead-of-need-without-end",
        invariant=8,
        file="_token/renewal.py",
        old="        return self.cache.alive() is None and not self.is_superseded(request)\n",
        new="        return not self.is_superseded(request)\n",
        tests=(f"{AUTH}/test_pressing.py", "tests/behaviour/invariants/test_renewal.py"),
    ),
    Breakage(
        name="refresh-waits-for-itself",
        invariant=4,
        file="_token/single_flight.py",
        old="        if _part_of.get() is self:\n            self._refuse_its_own()\n",
        new="",
        tests=(f"{CORE}/test_single_flight.py",),
    ),
    Breakage(
        name="what-a-refresh-started-is-taken-for-it",
        invariant=4,
        file="_token/single_flight.py",
        old="        if anyio.get_current_task().id != self._task_id:\n            return\n",
        new="",
        tests=(f"{CORE}/test_single_flight.py",),
    ),
    # 9: The refresh token: first, once, and again only if it was certainly not taken.
    Breakage(
        name="login-in-place-of-refresh",
        invariant=9,
        file="_token/renewal.py",
        old="        cached = None if self.cache.passes_over_refresh() else self._refreshable(record)\n",
        new="        cached = None\n",
    ),
    Breakage(
        name="sick-refresh-endpoint-asked-again",
        invariant=9,
        file="_token/renewal.py",
        old="        cached = None if self.cache.passes_over_refresh() else self._refreshable(record)\n",
        new="        cached = self._refreshable(record)\n",
    ),
    Breakage(
        name="no-login-after-a-sick-refresh",
        invariant=9,
        file="_token/renewal.py",
        old="        if not isinstance(outcome, Refused) and not self._is_needed(request):\n",
        new="        if not isinstance(outcome, Refused):\n",
    ),
    Breakage(
        name="empty-refresh-token-sent",
        invariant=9,
        file="_core/codec.py",
        old="isinstance(value, str) and value else None",
        new="isinstance(value, str) else None",
    ),
    Breakage(
        name="refresh-tokens-expiry-ignored",
        invariant=9,
        file="_token/cached_token.py",
        old=(
            "        return self.refresh_lifetime is None or "
            "self.age(clock) < self.refresh_lifetime\n"
        ),
        new="        return True\n",
    ),
    Breakage(
        name="sent-unmarked",
        invariant=9,
        file="_token/renewal.py",
        old="        marked = await self._mark(key, lease, cached, spent=True)\n",
        new="        marked = SaveResult.SAVED\n",
    ),
    Breakage(
        name="spent-refresh-token-kept-in-memory",
        invariant=9,
        file="_token/renewal.py",
        old="        self.cache.mark_spent(cached.version, spent=spent, shared=lease is not None)\n",
        new="",
    ),
    Breakage(
        name="unmarked-after-an-uncertain-failure",
        invariant=9,
        file="_token/renewal.py",
        old="            isinstance(outcome, Unavailable) and outcome.not_processed\n",
        new="            isinstance(outcome, Unavailable)\n",
    ),
    Breakage(
        name="outage-costs-the-refresh-token",
        invariant=9,
        file="_token/renewal.py",
        old="            await self._mark(key, lease, cached, spent=False)\n",
        new="            pass\n",
    ),
    Breakage(
        name="401-passes-the-refresh-token-over",
        invariant=9,
        file="_token/refusals.py",
        old="    state = _note(state, current, place, verdict, now=now, policy=policy)\n",
        new=(
            "    state = _note(state, current, place, verdict, now=now, policy=policy)\n"
            "    state = state.passing_over_refresh(now + 600.0)\n"
        ),
        tests=("tests/behaviour/invariants/test_unauthorized.py",),
    ),
    # 10: A rotated refresh token is saved first, and never lost.
    Breakage(
        name="saved-after-use",
        invariant=10,
        file="_token/renewal.py",
        old="        saved: SaveResult | None = None\n",
        new=(
            "        saved: SaveResult | None = None\n"
            "        tools.cache.set_issued(\n"
            "            cached, login=login, elapsed=issued.elapsed, generation=self._errand.generation\n"
            "        )\n"
        ),
    ),
    Breakage(
        name="never-saved",
        invariant=10,
        file="_token/renewal.py",
        old="                saved = await self.store.save(key, cached.record(self.clock), lease)\n",
        new="                saved = SaveResult.SAVED\n",
    ),
    # 11: Time.
    Breakage(
        name="servers-date-ignored",
        invariant=11,
        file="_core/policy.py",
        old="        return server_date\n    return sent_at if",
        new="        return sent_at\n    return sent_at if",
    ),
    Breakage(
        name="absurd-date-believed",
        invariant=11,
        file="_core/policy.py",
        old="    if expires_at is None or 0 < expires_at - server_date <= LONGEST_LIFE:\n",
        new="    if True:\n",
        tests=(f"{CORE}/test_renewal_schedule.py",),
    ),
    Breakage(
        name="a-firewalls-page-is-a-refusal",
        invariant=22,
        file="_http/response.py",
        old="    if is_refusal:\n",
        new="    if True:\n",
        tests=(f"{EXCHANGE}/test_answers.py",),
    ),
    Breakage(
        name="date-believed-to-the-second",
        invariant=11,
        file="_core/policy.py",
        old="sent_at - CLOCK_TOLERANCE <= server_date <= received_at + CLOCK_TOLERANCE",
        new="sent_at <= server_date <= received_at",
    ),
    Breakage(
        name="age-by-the-wall-clock",
        invariant=11,
        file="_token/cached_token.py",
        old="        return max(clock.monotonic() - self.requested_at, 0.0)\n",
        new="        return max(clock.wall() - 1_799_999_000.0 - self.requested_at, 0.0)\n",
    ),
    Breakage(
        name="fresh-by-the-wall-clock",
        invariant=11,
        file="_token/cache.py",
        old="        self._monotonic = clock.monotonic\n",
        new="        self._monotonic = lambda: clock.wall() - 1_799_999_000.0\n",
    ),
    Breakage(
        name="clock-ignored-on-the-fast-path",
        invariant=11,
        file="_token/cache.py",
        old=" and self._monotonic() < cached.fresh_until",
        new="",
    ),
    Breakage(
        name="clock-that-sleeps-with-the-machine",
        invariant=11,
        file="_core/clock.py",
        old="    monotonic = staticmethod(boot_time)\n",
        new="    monotonic = staticmethod(time.monotonic)\n",
        tests=(f"{CORE}/test_clock.py",),
    ),
    Breakage(
        name="answer-timed-by-the-wall-clock",
        invariant=11,
        file="_http/response.py",
        old="received_at=attempt.wall + now - attempt.requested_at",
        new="received_at=clock.wall()",
    ),
    Breakage(
        name="life-counted-from-the-answer",
        invariant=11,
        file="_http/response.py",
        old="        requested_at=attempt.requested_at,\n",
        new="        requested_at=clock.monotonic(),\n",
    ),
    # 12: Timestamps, and none.
    Breakage(
        name="zoneless-is-local",
        invariant=12,
        file="_core/codec.py",
        old="{zone.upper() or 'Z'}",
        new="{zone.upper()}",
    ),
    Breakage(
        name="seven-digits-are-enough",
        invariant=12,
        file="_core/codec.py",
        old=r"\d{0,9}",
        new=r"\d{0,7}",
    ),
    Breakage(
        name="missing-expiry-is-none-at-all",
        invariant=12,
        file="_token/cached_token.py",
        old="policy.unknown_lifetime if issued.lifetime is None",
        new="math.inf if issued.lifetime is None",
    ),
    Breakage(
        name="dead-on-arrival-loops",
        invariant=12,
        file="_core/policy.py",
        old="                renew_after=self.refused_interval,\n",
        new="                renew_after=0.0,\n",
    ),
    # 14: While a refused token is being replaced.
    Breakage(
        name="a-401-of-a-token-that-ended-is-evidence",
        invariant=13,
        file="_token/refusals.py",
        old="    if current.is_over(now):\n",
        new="    if False:\n",
        tests=(f"{CORE}/test_cache_refusals.py",),
    ),
    Breakage(
        name="callers-not-let-go",
        invariant=14,
        file="_token/provider.py",
        old="            self._coordinator().let_callers_go()\n",
        new="            pass\n",
    ),
    Breakage(
        name="later-acceptance-ignored",
        invariant=14,
        file="_token/refusals.py",
        old=("    is_good = current.refused and sent_at > current.refused_sent\n"),
        new="    is_good = False\n",
    ),
    Breakage(
        name="refused-token-not-used",
        invariant=14,
        file="_token/provider.py",
        old="        return self.cache.alive() or self.cache.refused()\n",
        new=(
            "        if failure is not None and self.cache.alive() is None:\n"
            "            raise failure.error()\n"
            "        return self.cache.alive() or self.cache.refused()\n"
        ),
    ),
    Breakage(
        name="replacement-waited-for-without-end",
        invariant=14,
        file="_token/provider.py",
        old="        with anyio.move_on_after(max(0.0, longest - waited)):\n",
        new="        with anyio.move_on_after(None):\n",
    ),
    Breakage(
        name="replacement-waited-for-though-it-fails",
        invariant=14,
        file="_token/provider.py",
        old=" if self.cache.state.failure is None else 0.0\n",
        new="\n",
    ),
    Breakage(
        name="replacement-not-waited-for",
        invariant=14,
        file="_token/provider.py",
        old="            longest = LONGEST_WAIT_FOR_REPLACEMENT",
        new="            longest = 0.0 * LONGEST_WAIT_FOR_REPLACEMENT",
    ),
    # 15: The body of a 401 is drained, within bounds.
    Breakage(
        name="401-left-unread",
        invariant=15,
        file="_auth/flow.py",
        old="            await _drain(response)\n",
        new="",
    ),
    Breakage(
        name="401-whose-body-is-wrong-raises",
        invariant=15,
        file="_auth/flow.py",
        old=(
            "    with anyio.move_on_after(DRAINED_SECONDS), contextlib.suppress(Exception):\n"
            "        await receive("
        ),
        new=("    with anyio.move_on_after(DRAINED_SECONDS):\n        await receive("),
        tests=("tests/behaviour/stacks/test_places.py",),
    ),
    Breakage(
        name="401-drained-without-bound-of-time",
        invariant=15,
        file="_auth/bearer.py",
        old="DRAINED_SECONDS: Final = 1.0\n",
        new="DRAINED_SECONDS: Final = 1000.0\n",
    ),
    Breakage(
        name="401-drained-without-bound-of-bytes",
        invariant=15,
        file="_auth/bearer.py",
        old="DRAINED_BYTES: Final = 256 * 1024\n",
        new="DRAINED_BYTES: Final = 256 * 1024 * 1024\n",
    ),
    Breakage(
        name="401-read-too-late",
        invariant=15,
        file="_auth/flow.py",
        old=(
            "            await _drain(response)\n"
            "            replacement = await self._bearer.replacement_for(cached)\n"
        ),
        new=(
            "            replacement = await self._bearer.replacement_for(cached)\n"
            "            await _drain(response)\n"
        ),
    ),
    Breakage(
        name="401-handed-back-without-its-body",
        invariant=15,
        file="aiohttp.py",
        old="    private._body = bytes(body)  # noqa: SLF001\n",
        new="",
        tests=("tests/behaviour/stacks/test_places.py",),
    ),
    Breakage(
        name="drained-401-not-marked-as-read",
        invariant=15,
        file="_auth/flow.py",
        old='    if not hasattr(response, "_content"):\n',
        new="    if response is None:\n",
        tests=("tests/behaviour/stacks/test_places.py",),
    ),
    # 13: A 401 is evidence about one token at one place.
    Breakage(
        name="late-401-hits-the-new-token",
        invariant=13,
        file="_token/refusals.py",
        old=(
            "    if current is None or not current.same_token(cached):\n        return state, Verdict"
        ),
        new=("    if current is None:\n        return state, Verdict"),
    ),
    Breakage(
        name="same-version-for-same-token",
        invariant=13,
        file="_token/cached_token.py",
        old="self.token.jwt == other.token.jwt",
        new="self.version == other.version",
        tests=(f"{CORE}/test_cached_token.py::test_same_token",),
    ),
    # 16: The refused hop is sent again, if its body can be.
    Breakage(
        name="consumed-stream-sent-again",
        invariant=16,
        file="_http/library.py",
        old=("        if not isinstance(stream, self._multipart):\n            return False\n"),
        new=("        if not isinstance(stream, self._multipart):\n            return True\n"),
    ),
    Breakage(
        name="resent-with-the-old-header",
        invariant=16,
        file="_auth/flow.py",
        old="        request.headers[_HEADER] = replacement.authorization\n",
        new=("        request.headers.setdefault(_HEADER, replacement.authorization)\n"),
    ),
    Breakage(
        name="insufficient-scope-renews",
        invariant=16,
        file="_auth/bearer.py",
        old=("        if lacks_scope(challenge):\n            return False\n"),
        new="",
    ),
    Breakage(
        name="403-renews",
        invariant=16,
        file="_auth/flow.py",
        old=("        if response.status_code == UNAUTHORIZED:\n            return await"),
        new=("        if response.status_code in (UNAUTHORIZED, 403):\n            return await"),
    ),
    Breakage(
        name="sent-again-in-place",
        invariant=16,
        file="_auth/flow.py",
        old=("        request = self._bearer.library.copied(request)\n        request.extensions"),
        new="        request.extensions",
        tests=("tests/behaviour/client/test_request_objects.py",),
    ),
    Breakage(
        name="pipe-sent-again",
        invariant=16,
        file="_http/library.py",
        old=("            return False\n        return all(_is_rewindable("),
        new=("            return False\n        return True or all(_is_rewindable("),
        tests=("tests/behaviour/client/test_bodies.py",),
    ),
    Breakage(
        name="exceptions-told-of-twice",
        invariant=16,
        file="_auth/flow.py",
        old="                    and _SEEN not in response.extensions\n",
        new="",
        tests=("tests/behaviour/client/test_response_hooks.py",),
    ),
    Breakage(
        name="exception-hidden-by-its-response",
        invariant=16,
        file="_auth/flow.py",
        old=("            with contextlib.suppress(Exception):\n                response: Any"),
        new=("            with contextlib.nullcontext():\n                response: Any"),
        tests=("tests/behaviour/client/test_response_hooks.py",),
    ),
    Breakage(
        name="exception-not-looked-at",
        invariant=16,
        file="_auth/flow.py",
        old="            self._look_at_exception(self._cached)\n",
        new="",
    ),
    Breakage(
        name="hooks-never-raise",
        invariant=16,
        file="_auth/flow.py",
        old="            if held_back is None:\n",
        new="            if held_back is None or response is not None:\n",
        tests=("tests/behaviour/client/test_response_hooks.py",),
    ),
    Breakage(
        name="hooks-raise-at-once",
        invariant=16,
        file="_auth/response_hooks.py",
        old="            response.extensions[HELD_BACK] = error\n",
        new="            raise\n",
    ),
    Breakage(
        name="redirects-not-in-the-history",
        invariant=16,
        file="_auth/flow.py",
        old="        self._past = [*self._whole_history(response), response]\n",
        new="        self._past = [response]\n",
    ),
    Breakage(
        name="first-request-sent-again",
        invariant=16,
        file="_auth/flow.py",
        old=("        request = response.request\n        held_back"),
        new=("        request = self._request\n        held_back"),
    ),
    Breakage(
        name="401-from-elsewhere-renews",
        invariant=13,
        file="_auth/flow.py",
        old=(
            "        if request.headers.get(_HEADER) != cached.authorization:\n"
            "            return False\n"
        ),
        new="",
    ),
    Breakage(
        name="refusal-told-with-each-request",
        invariant=13,
        file="_token/refusals.py",
        old="    is_reported = current.reported not in (verdict, Verdict.RENEW)\n",
        new="    is_reported = True\n",
        tests=("tests/behaviour/stacks/test_places.py",),
    ),
    Breakage(
        name="no-second-for-others-to-tell",
        invariant=13,
        file="_token/refusals.py",
        old="        if last.was_accepted if is_second else is_recent:\n",
        new="        if is_second and last.was_accepted:\n",
        tests=("tests/behaviour/stacks/test_places.py",),
    ),
    Breakage(
        name="acceptance-noted-where-the-token-never-was",
        invariant=13,
        file="_auth/flow.py",
        old=("            if each.request.headers.get(_HEADER) == cached.authorization:\n"),
        new="            if each.request is not None:\n",
        tests=("tests/behaviour/client/test_refused_hops.py",),
    ),
    Breakage(
        name="gateway-vouches-for-a-token",
        invariant=13,
        file="_auth/bearer.py",
        old="    return status < _SERVER_ERRORS and status != _TOO_MANY_REQUESTS\n",
        new="    return True\n",
        tests=("tests/behaviour/stacks/test_places.py",),
    ),
    Breakage(
        name="place-that-refuses-not-known",
        invariant=13,
        file="_token/refusals.py",
        old=("    if places.refuses_what_others_accept(place) and places.others_have_accepted(\n"),
        new="    if False and places.others_have_accepted(\n",
    ),
    Breakage(
        name="place-that-refuses-renewed-again",
        invariant=13,
        file="_token/refusals.py",
        old=(
            "        # It refused the token before, and this one is good elsewhere.\n"
            "        return Verdict.HAND_BACK\n"
        ),
        new="        return Verdict.RENEW\n",
    ),
    Breakage(
        name="place-that-refused-both-tokens-not-known",
        invariant=13,
        file="_token/refusals.py",
        old="last.version != current.version or last.is_second)",
        new="last.version != current.version)",
        tests=("tests/unit/test_cache_refusals.py",),
    ),
    Breakage(
        name="busy-place-never-contradicted",
        invariant=13,
        file="_token/refusals.py",
        old="known_at=last.known_at if last is not None and is_again else now",
        new="known_at=now",
        tests=("tests/unit/test_cache_refusals.py",),
    ),
    Breakage(
        name="place-that-refuses-now-and-then-renewed-for-ever",
        invariant=13,
        file="_token/places.py",
        old="        return len(moments) >= times and moments[-times] > since\n",
        new="        return False\n",
        tests=("tests/unit/test_cache_refusals.py",),
    ),
    Breakage(
        name="all-places-doubted-after-one-accepts-again",
        invariant=13,
        file="_token/places.py",
        old="            moments[-1] > since and self.refuses_what_others_accept(place)\n",
        new="            moments[-1] > since\n",
        tests=("tests/unit/test_places.py",),
    ),
    # 17: The budget.
    Breakage(
        name="no-budget",
        invariant=17,
        file="_token/refusals.py",
        old="    is_exhausted = len(",
        new="    is_exhausted = False and len(",
    ),
    Breakage(
        name="sick-place-uses-the-budget-up",
        invariant=17,
        file="_token/refusals.py",
        old=("        renewals = tuple(each for each in renewals if each.place != place)\n"),
        new="",
    ),
    Breakage(
        name="budget-never-comes-back",
        invariant=17,
        file="_token/refusals.py",
        old=" if now - each.at < window)",
        new=")",
    ),
    Breakage(
        name="hopeless-401-renewed",
        invariant=17,
        file="_token/refusals.py",
        old=("        current.answers_refusal\n        and not is_doubtful\n"),
        new=("        False\n        and not is_doubtful\n"),
    ),
    Breakage(
        name="accepted-token-taken-for-hopeless",
        invariant=17,
        file="_token/refusals.py",
        old=("        and not current.accepted\n        and now - current"),
        new="        and now - current",
    ),
    # 18: Where the token goes, and how exchanges are made.
    Breakage(
        name="token-for-every-origin",
        invariant=18,
        file="_auth/flow.py",
        old=") and not bearer.may_have_token(",
        new=") and bearer is None and not bearer.may_have_token(",
    ),
    Breakage(
        name="marked-request-keeps-the-token",
        invariant=18,
        file="_auth/flow.py",
        old="    del copy.extensions[MARK], copy.headers[_HEADER]\n",
        new="",
        tests=("tests/behaviour/client/test_request_objects.py",),
    ),
    Breakage(
        name="marked-request-not-copied",
        invariant=18,
        file="_auth/flow.py",
        old="                request = bearer.library.copied(request)\n",
        new="                pass\n",
        tests=("tests/behaviour/client/test_request_objects.py",),
    ),
    Breakage(
        name="ports-not-compared",
        invariant=18,
        file="_auth/flow.py",
        old=" or url.port != bearer.port",
        new="",
    ),
    Breakage(
        name="schemes-not-compared",
        invariant=18,
        file="_auth/flow.py",
        old=" or url.scheme != bearer.scheme",
        new="",
    ),
    Breakage(
        name="port-ignored",
        invariant=18,
        file="_http/urls.py",
        old="port or DEFAULT_PORTS.get(scheme)\n",
        new="DEFAULT_PORTS.get(scheme)\n",
    ),
    Breakage(
        name="scheme-ignored",
        invariant=18,
        file="_http/urls.py",
        old=("    return scheme, _one_spelling(host.lower()), port or DEFAULT_PORTS.get(scheme)\n"),
        new='    return "https", _one_spelling(host.lower()), port or 443\n',
    ),
    Breakage(
        name="a-warning-for-each-request",
        invariant=18,
        file="_auth/bearer.py",
        old="        if name not in self._skipped:\n",
        new="        if name:\n",
    ),
    Breakage(
        name="exchange-follows-redirects",
        invariant=18,
        file="_http/token_endpoints.py",
        old="follow_redirects=False",
        new="follow_redirects=True",
    ),
    Breakage(
        name="exchange-through-the-users-hooks",
        invariant=18,
        file="_http/token_endpoints.py",
        old="            client.event_hooks = {}\n",
        new="",
    ),
    Breakage(
        name="exchange-with-authorization",
        invariant=18,
        file="_http/token_endpoints.py",
        old='            request.headers.pop("Authorization", None)\n',
        new="",
    ),
    Breakage(
        name="exchange-through-the-users-auth",
        invariant=18,
        file="_http/token_endpoints.py",
        old="stream=True, auth=None, ",
        new="stream=True, ",
    ),
    Breakage(
        name="login-through-the-flow",
        invariant=18,
        file="_auth/flow.py",
        old=("            cached = await bearer.provider.acquire()\n            now"),
        new=(
            "            if cached is None:\n"
            '                url = bearer.base_url + "/v1/Auth/Connect"\n'
            '                return type(request)("POST", url)\n'
            "            cached = await bearer.provider.acquire()\n"
            "            now"
        ),
    ),
    # 19: https, visible ASCII, and bounds.
    Breakage(
        name="http-anywhere",
        invariant=19,
        file="_http/urls.py",
        old='    if url.scheme == "http" and not is_loopback(url.host):\n',
        new="    if False:\n",
    ),
    Breakage(
        name="any-jwt",
        invariant=19,
        file="_core/codec.py",
        old=r"[\x21-\x7e]+",
        new=r"(?s:.+)",
    ),
    Breakage(
        name="no-bound-of-an-answer",
        invariant=19,
        file="_http/response.py",
        old=("        if len(self.raw) > self.most:\n            return None\n"),
        new="",
    ),
    Breakage(
        name="no-bound-of-an-inflated-answer",
        invariant=19,
        file="_http/response.py",
        old=(
            "            body = inflater.decompress(raw, self.most + 1)\n"
            "        except zlib.error:\n"
            "            return raw\n"
            "        return body if len(body) <= self.most else None\n"
        ),
        new=(
            "            return inflater.decompress(raw)\n"
            "        except zlib.error:\n"
            "            return raw\n"
        ),
    ),
    Breakage(
        name="token-of-an-unfinished-answer-used",
        invariant=19,
        file="_http/response.py",
        old="        return self.complete or (self.status_code != 0 and not self.is_success)\n",
        new="        return self.status_code != 0\n",
        tests=(f"{EXCHANGE}/test_deadlines.py",),
    ),
    # 20: No secret anywhere.
    Breakage(
        name="secret-in-its-repr",
        invariant=20,
        file="_core/secret.py",
        old='        return f"Secret({MASK!r})"\n',
        new='        return f"Secret({self._value!r})"\n',
    ),
    Breakage(
        name="secret-in-a-pickle",
        invariant=20,
        file="_core/secret.py",
        old="    def __reduce__(self) -> NoReturn:\n        self.__getstate__()\n",
        new="    def __reduce__(self):\n        return Secret, (self._value,)\n",
    ),
    Breakage(
        name="error-raised-within-except",
        invariant=20,
        file="_core/environment.py",
        old="        problem = str(cause) if type(cause) is ValueError else type(cause).__name__\n",
        new=(
            "        problem = str(cause) if type(cause) is ValueError else type(cause).__name__\n"
            '        raise ConfigurationError(f"{variable} does not name a file ({problem})")\n'
        ),
        tests=(f"{CORE}/test_models_from_env.py",),
    ),
    Breakage(
        name="arguments-left-in-the-frame",
        invariant=20,
        file="_auth/base.py",
        old=(
            "        del credentials, base_url, store, policy, http_client, on_event, extra_origins,"
            " clock\n"
        ),
        new="",
        tests=(f"{SECRETS}/test_wrong_arguments.py",),
    ),
    Breakage(
        name="stores-error-quoted",
        invariant=20,
        file="_token/guarded_store.py",
        old="                problem = _describe(cause)\n",
        new="                problem = repr(cause)\n",
    ),
    # 21: A failure is remembered.
    Breakage(
        name="failure-not-remembered",
        invariant=21,
        file="_token/cache.py",
        old="        if failure is None or self._clock.monotonic() >= failure.until:\n",
        new="        if True:\n",
    ),
    Breakage(
        name="backoff-does-not-double",
        invariant=21,
        file="_core/policy.py",
        old="self.outage_backoff * 2.0 ** min(failures - 1, _DOUBLINGS)",
        new="self.outage_backoff",
    ),
    Breakage(
        name="changed-credentials-taken-for-refused",
        invariant=21,
        file="_token/cache.py",
        old="        if rejection is None or rejection.rejected != credentials:\n",
        new="        if rejection is None or rejection.rejected is None:\n",
    ),
    Breakage(
        name="refused-credentials-sent-again",
        invariant=21,
        file="_token/renewal.py",
        old="        known = self.cache.rejection_of(credentials)\n",
        new="        known = None\n",
    ),
    Breakage(
        name="refused-credentials-soon-sent-again",
        invariant=21,
        file="_core/policy.py",
        old="    rejected_for: float = 60.0\n",
        new="    rejected_for: float = 30.0\n",
    ),
    Breakage(
        name="next-try-untold",
        invariant=21,
        file="_token/failures.py",
        old='        message = f"{self.describe()}; the next try is at {when}"\n',
        new="        message = self.describe()\n",
    ),
    # 22: Retries.
    Breakage(
        name="retry-after-unbounded",
        invariant=22,
        file="_core/policy.py",
        old=(
            "(1 - jitter / 2)\n        if retry_after is None:\n            return own\n"
            "        return max(own, min(retry_after, self.retry_after_limit))\n"
        ),
        new=(
            "(1 - jitter / 2)\n        if retry_after is None:\n            return own\n"
            "        return max(own, retry_after)\n"
        ),
    ),
    Breakage(
        name="retry-after-ignored",
        invariant=22,
        file="_http/token_endpoints.py",
        old="self._random(), retry_after)",
        new="self._random(), None)",
    ),
    Breakage(
        name="refusal-tried-again",
        invariant=22,
        file="_http/token_endpoints.py",
        old="    return isinstance(outcome, Unavailable)\n",
        new="    return isinstance(outcome, (Unavailable, Refused))\n",
    ),
    Breakage(
        name="refresh-repeated-in-doubt",
        invariant=9,
        file="_http/token_endpoints.py",
        old=(
            "        return await self._attempt(\n"
            "            _Call(REFRESH_PATH, encode), budget, began=self._clock.monotonic()\n"
            "        )\n"
        ),
        new=(
            "        call, began = _Call(REFRESH_PATH, encode), self._clock.monotonic()\n"
            "        outcome = await self._attempt(call, budget, began=began)\n"
            "        if not isinstance(outcome, Unavailable):\n"
            "            return outcome\n"
            "        return await self._attempt(call, budget, began=began)\n"
        ),
        tests=(f"{EXCHANGE}/test_retries.py::test_a_refresh_is_one_attempt",),
    ),
    Breakage(
        name="refresh-kept-after-a-503",
        invariant=9,
        file="_http/response.py",
        old="            not_processed=status == _NOT_PROCESSED,\n",
        new="            not_processed=status in {_NOT_PROCESSED, 503},\n",
        tests=(f"{EXCHANGE}/test_retries.py::test_a_refresh_is_one_attempt",),
    ),
    Breakage(
        name="retries-without-jitter",
        invariant=22,
        file="_core/policy.py",
        old=" * (1 - jitter / 2)\n",
        new="\n",
    ),
    Breakage(
        name="attempts-without-end",
        invariant=22,
        file="_http/token_endpoints.py",
        old="            if self._clock.monotonic() + wait >= budget.deadline:\n                return outcome\n",
        new="",
        tests=(f"{EXCHANGE}/test_retries.py::test_connect_tries_until_the_time_is_over",),
    ),
    Breakage(
        name="attempts-that-nobody-wants",
        invariant=22,
        file="_http/token_endpoints.py",
        old="            if not _may_pass(outcome) or not budget.wants_more():\n",
        new="            if not _may_pass(outcome):\n",
        tests=(f"{EXCHANGE}/test_retries.py::test_attempts_end_when_no_more_are_wanted",),
    ),
    Breakage(
        name="one-attempt-of-a-login",
        invariant=22,
        file="_http/token_endpoints.py",
        old="            if not _may_pass(outcome) or not budget.wants_more():\n",
        new="            if attempt:\n",
    ),
    Breakage(
        name="page-of-a-gateway-is-final",
        invariant=22,
        file="_http/token_endpoints.py",
        old="        return not outcome.is_the_apis\n",
        new="        return False\n",
        tests=(f"{EXCHANGE}/test_retries.py",),
    ),
    Breakage(
        name="apis-own-answer-asked-for-again",
        invariant=22,
        file="_http/token_endpoints.py",
        old="        return not outcome.is_the_apis\n",
        new="        return True\n",
        tests=(f"{EXCHANGE}/test_retries.py",),
    ),
    Breakage(
        name="bundle-read-once",
        invariant=22,
        file="_http/library.py",
        old="if made is not None and made[1] == stamp:",
        new="if made is not None:",
        tests=(f"{EXCHANGE}/test_tls.py",),
    ),
    Breakage(
        name="bundle-not-doubted",
        invariant=22,
        file="_http/token_endpoints.py",
        old="            self._make.tls.doubt()\n",
        new="            return\n",
        tests=(f"{EXCHANGE}/test_tls.py",),
    ),
    Breakage(
        name="bundle-lost-while-it-is-replaced",
        invariant=22,
        file="_http/library.py",
        old="            if made is None:\n                raise\n            return made[0]\n",
        new="            raise\n",
        tests=(f"{EXCHANGE}/test_tls.py",),
    ),
    Breakage(
        name="lack-of-a-descriptor-is-a-misconfiguration",
        invariant=22,
        file="_http/token_endpoints.py",
        old="isinstance(cause, (OSError, MemoryError)) or lacks_thread(cause)",
        new="False",
        tests=(f"{EXCHANGE}/test_http_client.py",),
    ),
    Breakage(
        name="secret-that-is-replaced-is-a-misconfiguration",
        invariant=22,
        file="_token/credentials_source.py",
        old="        except UnreadySecretError as cause:\n",
        new="        except BrokenPipeError as cause:\n",
        tests=(f"{CORE}/test_credentials_source.py",),
    ),
    Breakage(
        name="exchange-past-its-deadline",
        invariant=22,
        file="_http/token_endpoints.py",
        old="        seconds = min(self._policy.attempt_timeout, budget.deadline - attempt.requested_at)\n",
        new="        seconds = self._policy.attempt_timeout\n",
    ),
    Breakage(
        name="attempt-past-its-own-deadline",
        invariant=22,
        file="_http/token_endpoints.py",
        old="        with anyio.move_on_after(seconds) as scope:\n",
        new="        with anyio.move_on_after(5 * seconds) as scope:\n",
        tests=(f"{EXCHANGE}/test_deadlines.py::test_a_stalled_answer_ends_with_the_deadline",),
    ),
    Breakage(
        name="attempts-past-their-common-deadline",
        invariant=22,
        file="_http/token_endpoints.py",
        old="        seconds = min(self._policy.attempt_timeout, budget.deadline - attempt.requested_at)\n",
        new="        seconds = min(self._policy.attempt_timeout, 5 * (budget.deadline - began))\n",
        tests=(f"{EXCHANGE}/test_deadlines.py::test_the_deadline_bounds_all_attempts_together",),
    ),
    Breakage(
        name="raw-transport-error",
        invariant=22,
        file="_http/token_endpoints.py",
        old="            except Exception as cause:  # noqa: BLE001 - whatever a transport raises\n",
        new="            except ConnectionError as cause:\n",
    ),
    Breakage(
        name="raw-json-error",
        invariant=22,
        file="_core/codec.py",
        old="    except (ValueError, RecursionError):\n",
        new="    except RecursionError:\n",
        tests=(f"{CORE}/test_codec_describe.py",),
    ),
    # 23: Hooks and stores.
    Breakage(
        name="listeners-waited-for-by-the-refresh",
        invariant=23,
        file="_token/provider.py",
        old="            raise\n        self._end(refresh, result)\n",
        new="            raise\n        await self._event_log.delivered()\n        self._end(refresh, result)\n",
    ),
    Breakage(
        name="rest-not-heard-when-a-loop-ends",
        invariant=23,
        file="_core/event_log.py",
        old="_GRACE: Final = 1.0\n",
        new="_GRACE: Final = 0.0\n",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="lost-events-unsaid",
        invariant=23,
        file="_core/event_log.py",
        old="            self._listener.miss(number)\n",
        new="",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="lost-events-of-a-closed-loop-unsaid",
        invariant=23,
        file="_core/event_log.py",
        old="            other.give_up_if_closed()\n",
        new="            pass\n",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="loops-kept-alive-by-listeners",
        invariant=23,
        file="_core/event_log.py",
        old="WeakKeyDictionary[object, _Queue] = WeakKeyDictionary()\n",
        new="dict[object, _Queue] = {}\n",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="listener-waits-for-itself",
        invariant=23,
        file="_core/event_log.py",
        old="        if any(queue.task_id == task_id for queue in queues):\n",
        new="        if not task_id:\n",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="removed-listener-told",
        invariant=23,
        file="_core/event_log.py",
        old="        if self.is_removed:\n            return\n",
        new="",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="listeners-cancellation-taken-for-its-tasks",
        invariant=23,
        file="_core/event_log.py",
        old="                if is_cancelled():\n",
        new="                if self:\n",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="parents-listeners-waited-for-by-a-child",
        invariant=23,
        file="_core/event_log.py",
        old="        own = self._queues.get()\n        with own.mutex:\n            queue =",
        new="        own = self._queues._value\n        with own.mutex:\n            queue =",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="first-listener-alone-told",
        invariant=23,
        file="_core/event_log.py",
        old="                listener.queue(native).put(event, native)\n",
        new="                next(iter(self._listeners)).queue(native).put(event, native)\n",
        tests=(f"{CORE}/test_listeners.py",),
    ),
    Breakage(
        name="task-of-the-loops-end-left-behind",
        invariant=23,
        file="_core/event_loops.py",
        old="        if followers:\n",
        new="        if not end:\n",
        tests=(f"{CORE}/test_event_loops.py", f"{CORE}/test_listeners.py"),
    ),
    Breakage(
        name="hooks-error-raised",
        invariant=23,
        file="_core/event_log.py",
        old="            except Exception as cause:  # noqa: BLE001 - it is the user's\n",
        new="            except KeyError as cause:\n",
    ),
    Breakage(
        name="stores-error-raised",
        invariant=27,
        file="_token/guarded_store.py",
        old="            except Exception as cause:  # noqa: BLE001 - whatever a store raises\n",
        new="            except KeyError as cause:\n",
    ),
    Breakage(
        name="client-made-in-the-loop",
        invariant=23,
        file="_http/token_endpoints.py",
        old="client = await self._calls.run(self._make, needs_thread=False)",
        new="client = self._make()",
    ),
    Breakage(
        name="ca-bundle-read-in-the-loop",
        invariant=23,
        file="_http/token_endpoints.py",
        old="            client = await self._calls.run(self._make, needs_thread=False)\n",
        new=(
            "            self._library.tls.get()\n"
            "            client = await self._calls.run(self._make, needs_thread=False)\n"
        ),
        tests=(f"{EXCHANGE}/test_event_loop.py::test_the_first_login_does_not_block_the_loop",),
    ),
    Breakage(
        name="calls-that-hang-without-a-bound",
        invariant=23,
        file="_core/threads.py",
        old="        if not free.acquire(blocking=False):\n",
        new="        free = threading.Semaphore()\n        if False:\n",
        tests=(
            f"{CORE}/test_threads.py",
            f"{CORE}/test_credentials_source.py",
        ),
    ),
    Breakage(
        name="calls-that-hang-keep-the-process",
        invariant=23,
        file="_core/threads.py",
        old="daemon=True",
        new="daemon=False",
        tests=(f"{CORE}/test_threads.py::test_a_call_is_made_in_a_daemon_thread",),
    ),
    Breakage(
        name="calls-that-hang-keep-their-loop",
        invariant=23,
        file="_core/threads.py",
        old="call, answer, ref(waiter), free)",
        new="call, answer, lambda: waiter, free)",
        tests=(f"{CORE}/test_threads.py::test_a_call_that_hangs_keeps_no_event_loop",),
    ),
    Breakage(
        name="callable-called-in-the-loop-without-a-thread",
        invariant=23,
        file="_core/threads.py",
        old="if needs_thread and not cause.at_exit:",
        new="if False:",
        tests=(
            f"{CORE}/test_threads.py",
            f"{CORE}/test_credentials_source.py",
        ),
    ),
    Breakage(
        name="no-calls-as-the-interpreter-exits",
        invariant=23,
        file="_core/threads.py",
        old="if needs_thread and not cause.at_exit:",
        new="if needs_thread:",
        tests=(f"{CORE}/test_threads.py",),
    ),
    Breakage(
        name="client-needs-a-thread",
        invariant=23,
        file="_http/token_endpoints.py",
        old="self._calls.run(self._make, needs_thread=False)",
        new="self._calls.run(self._make)",
        tests=(f"{EXCHANGE}/test_http_client.py",),
    ),
    Breakage(
        name="credentials-by-value-need-a-thread",
        invariant=23,
        file="_token/credentials_source.py",
        old="            return self.fixed\n",
        new="            return await self._calls.run(lambda: self.fixed)\n",
        tests=(f"{CORE}/test_credentials_source.py",),
    ),
    Breakage(
        name="file-read-in-the-loop",
        invariant=23,
        file="stores/file.py",
        old="        return await self._calls.run(lambda: self._load(key))\n",
        new="        return self._load(key)\n",
    ),
    # 3 and 8 across a fork.
    Breakage(
        name="forked-child-keeps-the-refresh-token",
        invariant=9,
        file="_token/cache.py",
        old="        if self._pid != os.getpid():\n",
        new="        if False:\n",
    ),
    Breakage(
        name="forked-child-waits-for-its-parents-refresh",
        invariant=3,
        file="_token/provider.py",
        old="        return self._own_coordinator.get()\n",
        new="        return self._own_coordinator._value\n",
    ),
    Breakage(
        name="forked-child-keeps-its-parents-state",
        invariant=3,
        file="_core/process.py",
        old="        return self._pid != os.getpid()\n",
        new="        return False\n",
        tests=(f"{CORE}/test_memory_store.py::test_a_child_starts_empty",),
    ),
    # 21 to 24, as far as they are the provider's, and `forget`.
    Breakage(
        name="forgotten-login-held",
        invariant=25,
        file="_token/cache.py",
        old="            if state.generation != generation or is_late:\n                return state.generation == generation\n",
        new="            if is_late:\n                return True\n",
        tests=(
            f"{CORE}/test_cache.py::test_issue_after_forget",
            f"{AUTH}/test_shared_stores.py::test_forget_during_a_refresh_brings_nothing_back",
        ),
    ),
    Breakage(
        name="forgotten-login-saved",
        invariant=25,
        file="_token/renewal.py",
        old="        if self.is_superseded(request):\n            return SUPERSEDED\n        cached = from_issued(\n",
        new="        cached = from_issued(\n",
        tests=(f"{AUTH}/test_flow.py::test_forget_during_a_login_drops_what_comes_of_it",),
    ),
    Breakage(
        name="forgotten-record-adopted",
        invariant=25,
        file="_token/cache.py",
        old="            if self.state.generation != generation:\n                return None\n",
        new="",
        tests=(f"{CORE}/test_forget_race.py::test_what_was_forgotten_is_not_adopted",),
    ),
    Breakage(
        name="shared-refresh-token-sent-without-the-lease",
        invariant=24,
        file="_token/cache.py",
        old="return None if cached is None or cached.shared else cached",
        new="return cached",
        tests=(
            f"{AUTH}/test_shared_stores.py::test_without_a_store_a_shared_refresh_token_is_let_be",
        ),
    ),
    Breakage(
        name="refresh-token-sent-after-the-lease-is-lost",
        invariant=24,
        file="_token/renewal.py",
        old="        if marked is not SaveResult.SAVED:\n",
        new="        if False:\n",
        tests=(f"{AUTH}/test_shared_stores.py::test_a_lost_lease_sends_nothing",),
    ),
    Breakage(
        name="save-without-the-lease",
        invariant=25,
        file="stores/_memory.py",
        old="            if state.leases.get(key) is not lease:\n                return False\n",
        new="",
        tests=(f"{CORE}/test_memory_store.py::test_a_save_needs_the_lease",),
    ),
    Breakage(
        name="store-that-is-down-said-at-each-call",
        invariant=27,
        file="_token/guarded_store.py",
        old="        if not self._problems:\n            self._event_log.emit(StoreFailed",
        new="        if True:\n            self._event_log.emit(StoreFailed",
        tests=(f"{CORE}/test_guarded_store.py::test_reports_changes_only",),
    ),
)
