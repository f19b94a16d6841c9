"""What a project holds and what a machine can do, found out before hours are spent on them.

- `octopi check`: `runs` and `picks` fill a `run_report` for each run, `summary` sums them up.
- `octopi plan`: `project_summary`, `measured_cost`, `planning_rules`; written by `experiment_file`.
- `octopi create_targets`: `target_inputs` finds and checks what is painted; `plan` uses it too.
- `octopi doctor`: `environment`; `octopi status`: `status`. Their tables: `tables`.
"""
