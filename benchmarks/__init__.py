"""
What the library costs, beside what it is compared with, in one run: ``python -m benchmarks`` (``make bench``).

Every contender of a part is measured in the same run and in turn, round by round, so that a slow minute of the machine
hits all of them. A figure is the median of its rounds; what is judged is a ratio of two medians, never a time.
"""
