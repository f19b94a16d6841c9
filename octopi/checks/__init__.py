"""Survey: what a project holds and a machine can do, before hours are spent on them."""
