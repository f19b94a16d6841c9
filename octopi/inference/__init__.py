"""From a tomogram and one or more networks to a score map."""
