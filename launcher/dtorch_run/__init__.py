"""dtorch-run: starts the ranks of a job on this machine and looks after them to the end.

Read in this order: `cli` (arguments), `config` (presets), `plan` (what will be started, as pure
data), `spawn` (the running job), `worker` (what each rank runs first), `pmi` (how MPICH ranks find
each other), `logs` (their lines) and `report` (why the job ended).
"""
