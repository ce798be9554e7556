"""The command ``co3``: photos to masks, public sets to the authors' layout, tables of experiments and their reports."""
