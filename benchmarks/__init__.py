"""Measure this project beside everyone else, in one run.

::

    uv run python -m benchmarks [--quick] [--only TEXT] [--competitors TEXT] [--output FOLDER]

Each competitor of `competitors` is opened in a process of its own, on real servers that are started
for it. The cases of `topics` are measured in rounds, and in each round every competitor has its
turn: what else the computer does hits all of them alike. So of all figures the ratios within one
round are what counts; `results` keeps their median, and an interval for it. Rounds go on until the
ratios stand still, or the time is over.

A new competitor is a function in `competitors`, a new case one in a module of `topics`.
``python -m benchmarks.storms`` is apart: what goes wrong in a storm, not how fast all is well.
"""
