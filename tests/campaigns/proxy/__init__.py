"""
Faults from outside: an nginx stands between 16 processes and their token endpoints, their API and their Redis.

Run `python -m tests.campaigns.proxy.run --seconds 600`; `--only "redis"` picks slots by a part of their name.

- `faults.js`: what nginx does to each piece of data that passes.
- `nginx`: its process, and the switch of the faults.
- `schedule`: which fault comes when on which path; `run`: the load, the table and the judgement.
"""
