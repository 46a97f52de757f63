"""
What it costs to have taxizer_async take care of the token, next to the floor and to what others do.

`python -m benchmarks` runs it all; nothing here is part of the package, and no test measures time.
"""
