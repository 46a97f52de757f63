"""
Junk for all that comes from outside, and nothing but typed errors for it.

Run `python -m tests.campaigns.fuzz.run --inputs 200000 --seed 1`. Each input is drawn from the seed, its target and
its number alone, so one of them can be fed again: `--target auth --backend trio --seed 1 --only 4711`.

- `draw`: where randomness comes from, and how good values are spoilt.
- `bodies`, `headers`, `replies`, `raw`: answers of a server, from single values up to bytes on the wire.
- `codec`, `heads`, `urls`, `arguments`, `environment`, `exchange`, `auth`, `wire`: the targets, one or
  more for each surface; `targets`: the list of them.
- `verdict`: what may come of an input, and what shows a secret; `campaign`: feeds many and counts them.
- `table`: what a run looks like on a terminal; `run`: the command.
"""
