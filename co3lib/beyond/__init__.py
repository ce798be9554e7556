"""What the default does beyond the released method, and the baselines it is compared with."""
