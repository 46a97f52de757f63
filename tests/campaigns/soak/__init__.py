"""
A soak: full speed, tokens of two seconds and random faults, and nothing lost and nothing left behind.

Run `python -m tests.campaigns.soak.run --seconds 60 --backend trio --seed 1`.

- `server`, `link`: the sandbox, in a process of its own so that only the client's side is counted.
- `weather`: which faults come, and what may be asked of the policy while they are there.
- `crew`: who sends requests, and through which clients; `caller`: how.
- `judge`: what became of each request, and whether that was right.
- `census`: what there is once all is quiet; `bounds`: how much of it there may be.
- `soak`: rounds of all that; `run`: the command.
"""
