"""Ways to break the stores outside this process; see `breakages`, of which they are a part."""

from __future__ import annotations

from typing import Final

from tests.campaigns.mutants.breakages import Breakage


FILES: Final = "tests/stores/test_file_store.py"
REDIS: Final = "tests/stores/test_redis_store.py"
ENCRYPTION: Final = "tests/stores/test_encryption.py"
FLEET: Final = "tests/fleet"

STORE_BREAKAGES: Final = (
    Breakage(
        name="redis-save-without-a-fence",
        invariant=25,
        file="stores/redis.py",
        old=(
            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
            "redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])\n"
        ),
        new="redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])\n",
        tests=(f"{REDIS}::test_a_lease_that_ended_is_the_next_ones",),
    ),
    Breakage(
        name="redis-record-without-a-ttl",
        invariant=26,
        file="stores/redis.py",
        old="redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])",
        new="redis.call('SET', KEYS[2], ARGV[2])",
        tests=(f"{REDIS}::test_all_keys_end_by_themselves",),
    ),
    Breakage(
        name="redis-lease-without-a-ttl",
        invariant=26,
        file="stores/redis.py",
        old="if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then",
        new="if redis.call('SET', KEYS[1], ARGV[1], 'NX') then",
        tests=(f"{REDIS}::test_all_keys_end_by_themselves",),
    ),
    Breakage(
        name="redis-lease-released-by-anybody",
        invariant=26,
        file="stores/redis.py",
        old=(
            "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end\n"
            "return redis.call('DEL', KEYS[1])\n"
        ),
        new="return redis.call('DEL', KEYS[1])\n",
        tests=(f"{REDIS}::test_a_lease_that_ended_is_the_next_ones",),
    ),
    Breakage(
        name="redis-lease-not-its-owners-again",
        invariant=26,
        file="stores/redis.py",
        old="if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end\n",
        new="",
        tests=(f"{REDIS}::test_a_lost_answer_does_not_lock_its_owner_out",),
    ),
    Breakage(
        name="redis-age-not-from-the-ttl",
        invariant=26,
        file="stores/redis.py",
        old="max(0.0, of - left) / 1000",
        new="0.0",
        tests=(f"{REDIS}::test_the_age_is_the_servers",),
    ),
    Breakage(
        name="redis-keys-in-two-slots",
        invariant=26,
        file="stores/redis.py",
        old=":{{{key_digest(key)}}}",
        new=":{key_digest(key)}",
        tests=(f"{REDIS}::test_all_keys_end_by_themselves",),
    ),
    Breakage(
        name="redis-lease-kept-by-who-is-cancelled",
        invariant=5,
        file="stores/redis.py",
        old="                await lease.release()\n            raise\n",
        new="                pass\n            raise\n",
        tests=(f"{REDIS}::test_who_is_cancelled_leaves_no_lease_to_run_out",),
    ),
    Breakage(
        name="redis-on-trio-is-an-outage",
        invariant=27,
        file="_token/guarded_store.py",
        old="                return Misconfigured(reason=str(cause))\n",
        new="                raise OSError from cause\n",
        tests=(f"{REDIS}::test_on_trio_the_first_use_says_so",),
    ),
    Breakage(
        name="redis-client-in-any-loop",
        invariant=26,
        file="stores/_redis_clients.py",
        old="            if home is None or home is loop or home.is_closed():\n",
        new="            if True:\n",
        tests=(f"{REDIS}::test_a_users_client_stays_in_its_loop",),
    ),
    Breakage(
        name="file-readable-by-all",
        invariant=26,
        file="stores/_private_directory.py",
        old="os.open(path, flags, 0o600)",
        new="os.open(path, flags, 0o644)",
        tests=(f"{FILES}::test_only_the_user_can_read_it",),
    ),
    Breakage(
        name="directory-readable-by-all",
        invariant=26,
        file="stores/_private_directory.py",
        old=("                self._make_parents()\n                self.path.mkdir(mode=0o700)\n"),
        new="                self._make_parents()\n                self.path.mkdir()\n",
        tests=(f"{FILES}::test_only_the_user_can_read_it",),
    ),
    Breakage(
        name="directory-of-others-taken",
        invariant=26,
        file="stores/_private_directory.py",
        old="            elif status.st_mode & _OTHERS_MAY_WRITE:\n",
        new="            elif False:\n",
        tests=(f"{FILES}::test_an_unsafe_directory_is_refused",),
    ),
    Breakage(
        name="file-not-synced",
        invariant=26,
        file="stores/_private_directory.py",
        old="            os.fsync(file.fileno())\n",
        new="",
        tests=(f"{FILES}::test_it_is_on_the_disk_before_it_counts",),
    ),
    Breakage(
        name="directory-not-synced",
        invariant=26,
        file="stores/_private_directory.py",
        old="            os.fsync(descriptor)\n",
        new="            pass\n",
        tests=(f"{FILES}::test_it_is_on_the_disk_before_it_counts",),
    ),
    Breakage(
        name="file-written-in-place",
        invariant=26,
        file="stores/_private_directory.py",
        old="        part = self.path / _part(name)\n",
        new="        part = self.path / name\n",
        tests=(
            f"{FILES}::test_a_save_that_fails_leaves_the_old_one",
            "tests/stores/test_kills.py",
        ),
    ),
    Breakage(
        name="links-followed",
        invariant=26,
        file="stores/_private_directory.py",
        old='_NO_FOLLOW: Final[int] = getattr(os, "O_NOFOLLOW", 0)\n',
        new="_NO_FOLLOW: Final[int] = 0\n",
        tests=(f"{FILES}::test_no_link_and_no_pipe_is_followed",),
    ),
    Breakage(
        name="pipes-waited-for",
        invariant=26,
        file="stores/_private_directory.py",
        old='_NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0)\n',
        new="_NO_WAIT: Final[int] = 0\n",
        tests=(f"{FILES}::test_no_link_and_no_pipe_is_followed",),
    ),
    Breakage(
        name="damaged-file-overwritten",
        invariant=26,
        file="stores/file.py",
        old="            self._directory.set_aside(_file_name(key))\n",
        new="            pass\n",
        tests=(f"{FILES}::test_a_damaged_file_is_set_aside",),
    ),
    Breakage(
        name="lock-not-looked-at-again",
        invariant=25,
        file="stores/_file_lease.py",
        old="        return is_ours and self._file is not None and self._file == _identity(self._path)\n",
        new="        return is_ours\n",
        tests=(f"{FILES}::test_a_lock_whose_file_was_removed_is_lost",),
    ),
    Breakage(
        name="lock-left-by-who-gave-up",
        invariant=5,
        file="stores/_file_lease.py",
        old="            if self._given_up:\n",
        new="            if False:\n",
        tests=(f"{FILES}::test_a_stuck_file_system_stops_no_event_loop",),
    ),
    Breakage(
        name="stuck-calls-without-a-bound",
        invariant=23,
        file="_core/threads.py",
        old="        if not free.acquire(blocking=False):\n",
        new="        free = threading.Semaphore()\n        if False:\n",
        tests=(f"{FILES}::test_a_stuck_file_system_stops_no_event_loop",),
    ),
    Breakage(
        name="calls-of-the-parent-counted",
        invariant=27,
        file="_core/threads.py",
        old="self._free.get()",
        new="self._free._value",
        tests=("tests/unit/test_threads.py",),
    ),
    Breakage(
        name="record-of-another-app-taken",
        invariant=25,
        file="stores/_encryption.py",
        old="        if decoded.key != key:\n",
        new="        if False:\n",
        tests=(f"{FILES}::test_a_damaged_file_is_set_aside",),
    ),
    Breakage(
        name="record-of-another-format-taken",
        invariant=26,
        file="stores/_records.py",
        old='    if content.get("format") != RECORD_FORMAT:\n',
        new="    if False:\n",
        tests=(f"{FILES}::test_a_damaged_file_is_set_aside",),
    ),
    Breakage(
        name="clear-text-beside-a-key",
        invariant=20,
        file="stores/_encryption.py",
        old="clear if self._fernet is None else self._fernet.encrypt(clear)",
        new="clear",
        tests=(f"{ENCRYPTION}::test_no_secret_is_in_the_files",),
    ),
    Breakage(
        name="wrong-key-is-a-crash",
        invariant=27,
        file="stores/_encryption.py",
        old=(
            "        except Exception:  # noqa: BLE001 - InvalidToken: importing it would load cryptography\n"
            "            return None\n"
        ),
        new="        finally:\n            pass\n",
        tests=(f"{ENCRYPTION}::test_keys_can_be_rotated",),
    ),
    Breakage(
        name="wall-clock-trusted-on-one-machine",
        invariant=11,
        file="stores/_machine_time.py",
        old="        if self.boot and self.boot == earlier.boot and self.uptime >= earlier.uptime:\n",
        new="        if False:\n",
        tests=("tests/stores/test_machine_time.py::test_the_uptime_counts_where_it_can",),
    ),
    Breakage(
        name="waiters-do-not-look-into-the-store",
        invariant=24,
        file="_token/lease_wait.py",
        old="        return seen or renewal.adopt(request, await renewal.store.load(key))\n",
        new="        return seen\n",
        tests=(
            "tests/behaviour/auth/test_shared_stores.py",
            f"{FLEET}/test_cold_start.py",
        ),
    ),
)
