"""
What taxizer_async costs, compared with a fixed header and with other libraries.

`python -m benchmarks` runs everything. None of it is part of the package, and no test measures time.
"""
