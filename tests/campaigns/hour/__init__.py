"""
The long run: an hour of paced load through renewals and faults, after which nothing has grown.

Run `python -m tests.campaigns.hour.run --seconds 3600 --seed 1 --output FOLDER`.

- `traffic`: the callers: two event loops that last, others that come and go, and threads without one.
- `course`: the samples that are taken meanwhile, and the rule by which they are flat.
- `plot`: how they are drawn.
- `long_run`: all that, in the weather of the soak (`tests.campaigns.soak`), a little at a time; `run`: the command.
"""
