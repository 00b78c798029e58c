"""Sweeps: the settings of a config searched over, under a limit, with most trainings ended early.

``engine sweep`` calls it. Start reading at ``run``: trials are refused by their size before any is
trained, all that are left train for a share of their steps, and the best go on from there.

==============  ====================================================================================
module          what it does
==============  ====================================================================================
``settings``    SWEEP.yaml
``trials``      the combinations of values, each with its config and its bytes
``run``         successive halving; goes on after a break
``report``      what came out: rows, JSON; ``page``: the page
==============  ====================================================================================
"""
