"""
Junk for all that comes from outside, and nothing but typed errors for it.

Run `python -m tests.campaigns.fuzz.run --inputs 200000 --seed 1`. Each input is drawn from the seed, its target and
its number alone, so one of them can be fed again: `--target auth --backend trio --seed 1 --only 4711`.

- `draw`: draws from a seed, and spoils good values.
- `bodies`, `headers`, `replies`: answers of a server, from single values up to whole answers.
- `codec`, `urls`, `arguments`, `environment`, `exchange`, `auth`: the targets.
- `verdict`: which errors are allowed; `campaign`: feeds a target; `run`: the command.
"""
