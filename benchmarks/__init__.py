"""Every speed claim as a program: `python -m benchmarks.NAME --out FILE.json` prints a table and writes JSON."""
