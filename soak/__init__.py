"""
Nothing twice, nothing lost, while workers are killed and stopped at random: ``python -m soak`` (``make soak``).

Eight worker processes take a table of items through the public surface, on short leases, while writers fill that table
in transactions that commit out of order, and a parent kills workers, stops them past their lease and lets them go on.
In the end everything is drained and reconciled by an oracle that reads past the library (`oracle`).

All dice come from the seed. How the system schedules processes does not, so that two runs of one seed are alike and
not equal.
"""
