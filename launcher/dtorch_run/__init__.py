"""dtorch-run: starts the ranks of a job and looks after them to the end.

Read in this order: `options` and `cli` (arguments), `config` (presets), `plan` (what will be started,
as pure data; with `hosts`, `devices`, `cores` and `streams`), `job` (the running job), `spawn` and
`worker` (what each rank runs first), `pmi` (how MPICH ranks find each other), `janitor` (that nothing
stays), `peers` (launchers of other hosts), `logs` (the ranks' lines), `record` (the job's folder),
`ending` and `report` (why the job ended), `control` and `beats` (how far the ranks are), `viewer` (what
`dtorch-run status`, `top`, `logs` and `diff` show), `dashboard` (the same as a web page).
"""
